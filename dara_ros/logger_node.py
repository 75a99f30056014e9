"""Logger node: topics -> transitions -> HDF5.

    ros2 run dara_ros logger_node --ros-args -p out:=target.h5 -p world:=obstructive -p start:=true

Services ~/start, ~/stop, ~/discard. Row k is state k, the command that answers it, what the robot node says
it sent to the motors, and state k + 1: paired by stamp, never guessed (see `transitions`). Where nobody
publishes sent_commands, what was asked for counts as sent.
"""

from __future__ import annotations

import sys
import threading
import time
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
from .policies.dataset_writer import DataSetWriter
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
    Parameter("flush_interval", 0.1, "s: the most that a power cut can take", 0.001, 60.0),
    Parameter("start", False, "record at once", read_only=True),
)


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
        self._writer: DataSetWriter | None = None
        self._stopping: Future | None = None
        self._since_stop = 0  # ticks since ~/stop was asked
        self._since_word = 0  # ticks since a command came
        self._pace = StatePace(self._spec.period_ns)
        self._figures = {"rows": 0, "episodes": 0, "refused": 0, "refused_rows": 0}
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
        self.create_service(Trigger, "~/discard", self._on_discard)
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
        values = {name: self.get_parameter(name).value for name in ("out", "world", "domain", "made_by")}
        if not values["out"]:
            raise UserError("parameter out is empty; set it to the HDF5 file to make")
        info = data_set_info(self._spec, values["world"], values["domain"], values["made_by"])
        path = Path(values["out"])
        self._writer = DataSetWriter(path, info, self.get_parameter("flush_interval").value)
        return path

    def _stop_recording(self) -> None:
        if self._writer is not None:
            self._writer.end_episode()
            self._writer.close()
            self._writer = None

    def _write_steps(self) -> None:
        """Write what is complete by now."""
        episode_steps = self.get_parameter("episode_steps").value
        for step in self._listener.steps():
            if self._writer is None:
                continue
            try:
                if step.first or self._writer.rows_in_episode == episode_steps > 0:
                    self._writer.end_episode()
                self._figures["episodes"] += self._writer.rows_in_episode == 0
                self._writer.append(step.transition)
                self._figures["rows"] += 1
            except UserError as error:
                self._figures["refused_rows"] += 1
                self._writer.end_episode()  # no episode across the missing row
                self.get_logger().error(str(error), throttle_duration_sec=1.0)

    def _on_tick(self) -> None:
        self._since_word += 1
        self._since_stop += 1
        if self._writer is not None:
            self._writer.flush()
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
            self._figures["refused"] += 1
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
        if self._writer is not None:
            response.message = f"recording into {self._writer.path} already; call ~/stop first"
            return response
        try:
            response.message = f"recording into {self._start_recording()}"
            response.success = True
        except UserError as error:
            response.message = str(error)
        return response

    async def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Close the file, when the messages that were on their way have come."""
        if self._writer is None or self._stopping is not None:
            response.message = "nothing is being recorded; call ~/start first"
            return response
        self._since_stop = 0
        self._stopping = Future()
        try:
            await self._stopping
            rows, path = self._writer.rows, self._writer.path
            self._stop_recording()
        except UserError as error:
            response.message = str(error)
            return response
        finally:
            self._stopping = None
        response.success, response.message = True, f"{rows} rows in {path}"
        return response

    def _on_discard(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Drop the newest episode, which stays open until the next one begins, and the rest of its walk."""
        if self._writer is None:
            response.message = "nothing is being recorded; call ~/start first"
            return response
        rows = self._writer.rows_in_episode
        self._writer.discard_episode()
        self._listener.builder.skip_walk()
        response.success, response.message = True, f"{rows} rows discarded"
        return response

    # -- diagnostics ----------------------------------------------------------------------------------------

    def _describe(self) -> tuple[str, dict[str, Any]]:
        silence = self._silence()
        if silence:
            self.get_logger().warning(silence, throttle_duration_sec=10.0)
        figures: dict[str, Any] = {"recording": self._writer is not None, **self._figures}
        figures |= {"lost": self._listener.builder.lost, "late": self._listener.builder.late}
        figures |= {"incomplete": self._listener.assembler.incomplete, **self._pace.figures()}
        return silence, figures

    def _silence(self) -> str:
        """Which of the topics that a row needs nobody publishes while it records."""
        if self._writer is None:
            return ""
        needed = (*messages.MESSAGE_TYPES, parsing.JOINT_COMMANDS)
        missing = [topic for topic in needed if self.count_publishers(topic) == 0]
        return f"no rows while nobody publishes {', '.join(missing)}" if missing else ""


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Exit status."""
    return run_node("logger_node", LoggerNode, args)


if __name__ == "__main__":
    sys.exit(main())
