"""Logger node: topics -> transitions -> HDF5.

    ros2 run dara_ros logger_node --ros-args -p out:=target.h5 -p world:=obstructive -p start:=true

Services ~/start, ~/stop, ~/pause, ~/resume, ~/discard. Row k is state k, the command that answers it, what
the robot node says it sent to the motors, and state k + 1: paired by stamp, never guessed (see
`transitions`). Where nobody publishes sent_commands, what was asked for counts as sent. Files, and what
becomes of rows that the disk does not take: see `policies.dataset_recorder`. While a slow disk holds this
node up, messages wait in the middleware: `qos` says how many.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from . import messages, parsing, qos
from .collection import data_set_info
from .diagnostics import StatePace, publish_diagnostics, summary
from .errors import UserError
from .hardware.spec import load_robot
from .listening import WalkListener
from .parameters import Parameter, declare
from .policies.dataset_recorder import Recorder
from .running import run_node

TICK = 0.05  # s between two looks at what time alone decides
# In ticks and not in seconds: a node that the machine keeps waiting has its messages still before it.
STOP_DELAY = 4  # ticks without a word of the last walk after which ~/stop takes it for complete
STOP_PATIENCE = 200  # ticks that ~/stop waits for that

PARAMETERS = (
    Parameter("out", "", "HDF5 file that ~/start makes; an existing one is refused"),
    Parameter("robot", "a1", "robot by name, or its YAML file", read_only=True),
    Parameter("world", "unknown", "where the robot walks, for the file's header"),
    Parameter("domain", "target", "source or target, for the file's header"),
    Parameter("made_by", "logger_node", "how the data came about, for the file's header"),
    Parameter("episode_steps", 0, "rows after which an episode is cut; 0: as long as the walk", 0, 10**9),
    Parameter("flush_interval", 0.1, "s: the most that SIGKILL can take", 0.001, 60.0),
    Parameter("roll_megabytes", 1000.0, "size after which a new file begins; 0: none does", 0.0, 1e7),
    Parameter("roll_minutes", 0.0, "minutes after which a new file begins; 0: none does", 0.0, 1e5),
    Parameter("keep_seconds", 300.0, "s of walking kept in memory while the disk takes none", 1.0, 1e5),
    Parameter("start", False, "record at once", read_only=True),
)


RECORDED = (
    "out", "world", "domain", "made_by", "flush_interval", "roll_megabytes", "roll_minutes", "keep_seconds",
)  # fmt: skip
NOT_RECORDING = "nothing is being recorded; call ~/start first"


class LoggerNode(Node):
    """Follows every walk, and writes its transitions while it records.

    Raises:
        UserError: a parameter is wrong.
    """

    def __init__(self) -> None:
        super().__init__("logger_node")
        declare(self, PARAMETERS)
        self._spec = load_robot(self.get_parameter("robot").value)
        self._listener = WalkListener(self._spec, lambda: self.count_publishers(parsing.SENT_COMMANDS) > 0)
        self._recorder: Recorder | None = None  # the newest; it stays when ~/stop has closed it
        self._recording = self._paused = False
        self._lost_before = 0  # of the builder's, what the recorder knows of
        self._problem, self._refusal = "", ""  # of the recorder, as last logged
        self._stopping: Future | None = None
        self._since_stop = 0  # ticks since ~/stop was asked
        self._since_word = 0  # ticks since a command came
        self._pace = StatePace(self._spec.period_ns)
        self._refused = self._skipped = 0
        self._make_interface()
        if self.get_parameter("start").value:
            self._start_recording()

    def _make_interface(self) -> None:
        # What must be known of a period before its following state comes is asked for first.
        for topic, kind, quality in (
            (parsing.ROBOT_STATE, String, qos.STATE),
            (parsing.JOINT_COMMANDS, JointState, qos.LOGGED_COMMAND),
            (parsing.SENT_COMMANDS, JointState, qos.LOGGED_COMMAND),
            *((topic, kind, qos.LOGGED_SENSOR) for topic, kind in messages.MESSAGE_TYPES.items()),
        ):
            self.create_subscription(kind, topic, partial(self._hear, topic), quality)
        self.create_service(Trigger, "~/start", self._on_start)
        # Its callback waits for messages, whose callbacks must not wait for it.
        self.create_service(Trigger, "~/stop", self._on_stop, callback_group=ReentrantCallbackGroup())
        for name, callback in (
            ("pause", self._on_pause),
            ("resume", self._on_resume),
            ("discard", self._on_discard),
        ):
            self.create_service(Trigger, f"~/{name}", partial(self._while_recording, callback))
        self.create_timer(TICK, self._on_tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        publish_diagnostics(self, self._describe)

    # -- life -----------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """All work is in callbacks."""
        stop.wait()

    def close(self) -> None:
        """Close the file in order."""
        self._stop_recording()
        self.get_logger().info(f"stopped: {summary(self._describe()[1])}")

    # -- recording ------------------------------------------------------------------------------------------

    def _start_recording(self) -> Path:
        values = {name: self.get_parameter(name).value for name in RECORDED}
        if not values["out"]:
            raise UserError("parameter out is empty; set it to the HDF5 file to make")
        self._recorder = Recorder(
            values["out"],
            data_set_info(self._spec, values["world"], values["domain"], values["made_by"]),
            max(0.0, values["flush_interval"] - TICK),
            values["roll_megabytes"] * 1e6,
            values["roll_minutes"] * 60.0,
            round(values["keep_seconds"] / self._spec.control_period),
        )
        self._recording, self._paused = True, False
        self._problem = self._refusal = ""
        self._lost_before = self._lost
        return self._recorder.path

    def _stop_recording(self) -> None:
        self._recording = self._paused = False
        if self._recorder is not None:
            self._recorder.close()
            self._log_problems(self._recorder)

    @property
    def _lost(self) -> int:
        """Periods of walks that are no rows, since this node was started."""
        return self._listener.builder.lost + self._listener.builder.late

    def _write_steps(self) -> None:
        """Record what is complete by now."""
        episode_steps = self.get_parameter("episode_steps").value
        for step in self._listener.steps():
            if self._paused:
                self._skipped += 1
            elif self._recorder is not None and self._recording:
                full = self._recorder.rows_in_episode == episode_steps > 0
                self._recorder.append(step.transition, begins=step.first or full)
        if self._recorder is not None and self._recording and not self._paused:
            self._recorder.add_lost(self._lost - self._lost_before)
        self._lost_before = self._lost

    def _log_problems(self, recorder: Recorder) -> None:
        """Say once when the disk begins to refuse, when it takes rows again, and which rows were refused."""
        if bool(recorder.problem) != bool(self._problem):
            if recorder.problem:
                self.get_logger().error(recorder.problem)
            else:
                self.get_logger().info(f"writing again, into {recorder.files[-1]}")
        self._problem = recorder.problem
        if recorder.refusal and recorder.refusal != self._refusal:
            self.get_logger().error(recorder.refusal, throttle_duration_sec=1.0)
        self._refusal = recorder.refusal

    def _on_tick(self) -> None:
        self._since_word += 1
        self._since_stop += 1
        if self._recorder is not None and self._recording:
            self._recorder.flush_if_due()
            self._log_problems(self._recorder)
        if self._stopping is not None and self._all_has_come():
            self._stopping.set_result(None)

    def _all_has_come(self) -> bool:
        """Whether ~/stop may close the file: the last walk is complete, or one goes on and is cut.

        Either takes a while to tell: a walk may be over for everybody but this node.
        """
        silent = min(self._since_word, self._since_stop) >= STOP_DELAY
        complete = silent and not self._listener.builder.waiting
        goes_on = self._listener.walking and self._since_stop >= STOP_DELAY
        return complete or goes_on or self._since_stop >= STOP_PATIENCE

    # -- topics ---------------------------------------------------------------------------------------------

    def _hear(self, topic: str, message: Any) -> None:
        """Hand a message on; one that is not what it should be is counted and said, once a second."""
        try:
            self._listener.hear(topic, message, time.time_ns())
        except UserError as error:
            self._refused += 1
            self.get_logger().error(f"message ignored: {error}", throttle_duration_sec=1.0)
            return
        if topic == parsing.JOINT_STATES:
            stamp = parsing.stamp_of(message.header.stamp)
            self._pace.add(parsing.walk_of(message), stamp, time.monotonic())
        if topic in (parsing.JOINT_COMMANDS, parsing.SENT_COMMANDS):
            self._since_word = 0
        self._write_steps()

    # -- services -------------------------------------------------------------------------------------------

    def _on_start(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._recorder is not None and self._recording:
            response.message = f"recording into {self._recorder.path} already; call ~/stop first"
            return response
        try:
            response.message = f"recording into {self._start_recording()}"
            response.success = True
        except UserError as error:
            response.message = str(error)
        return response

    async def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Close the file, when the messages that were on their way have come."""
        if self._recorder is None or not self._recording or self._stopping is not None:
            response.message = NOT_RECORDING
            return response
        self._since_stop = 0
        self._stopping = Future()
        try:
            await self._stopping
            self._stop_recording()
        finally:
            self._stopping = None
        recorder = self._recorder
        files = ", ".join(map(str, recorder.files)) or "no file"
        response.success, response.message = not recorder.problem, f"{recorder.rows} rows in {files}"
        if recorder.problem:
            response.message += f"; {recorder.dropped} rows dropped: {recorder.problem}"
        return response

    def _while_recording(
        self, act: Callable[[Recorder], str], request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Answer with what `act` says, or refuse with its error."""
        if self._recorder is None or not self._recording:
            response.message = NOT_RECORDING
            return response
        try:
            response.message = act(self._recorder)
            response.success = True
        except UserError as error:
            response.message = str(error)
        return response

    def _on_pause(self, recorder: Recorder) -> str:
        self._paused = True
        recorder.end_episode()
        return f"paused after {recorder.rows} rows"

    def _on_resume(self, recorder: Recorder) -> str:
        self._paused = False
        return f"recording into {recorder.path}"

    def _on_discard(self, recorder: Recorder) -> str:
        """Drop the newest episode, also one that is over, and the rest of its walk."""
        rows, elsewhere = recorder.discard_episode()
        self._listener.builder.skip_walk()
        stays = f"; its first part stays in {elsewhere}" if elsewhere else ""
        return f"{rows} rows discarded{stays}"

    # -- diagnostics ----------------------------------------------------------------------------------------

    def _describe(self) -> tuple[str, dict[str, Any]]:
        figures: dict[str, Any] = {"recording": self._recording, "paused": self._paused}
        recorder = self._recorder
        for name in ("rows", "episodes", "waiting", "dropped"):
            figures[name] = getattr(recorder, name) if recorder is not None else 0
        figures |= {
            "skipped": self._skipped,
            "refused": self._refused,
            "refused_rows": recorder.refused if recorder is not None else 0,
        }
        figures |= {"lost": self._listener.builder.lost, "late": self._listener.builder.late}
        figures |= {"incomplete": self._listener.assembler.incomplete, **self._pace.figures()}
        figures["problem"] = recorder.problem if recorder is not None else ""
        figures["files"] = os.pathsep.join(map(str, recorder.files)) if recorder is not None else ""
        return figures["problem"] or self._silence(), figures

    def _silence(self) -> str:
        """Which of the topics that a row needs nobody publishes while it records."""
        if not self._recording:
            return ""
        missing = messages.unpublished(self)
        if not missing:
            return ""
        silence = f"no rows while nobody publishes {', '.join(missing)}"
        self.get_logger().warning(silence, throttle_duration_sec=10.0)
        return silence


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Exit status."""
    return run_node("logger_node", LoggerNode, args)


if __name__ == "__main__":
    sys.exit(main())
