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
from .diagnostics import publish_diagnostics, summary
from .errors import UserError
from .hardware.safety import Mode
from .hardware.spec import load_robot
from .hardware.state import JointCommand
from .hardware.task import WalkingTask
from .parameters import Parameter, declare
from .parsing import SentCommand, StateAssembler
from .policies.dataset_writer import DataSetWriter
from .running import run_node
from .transitions import TransitionBuilder

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
        self._task = WalkingTask(self._spec)
        self._builder = TransitionBuilder(self._task)
        self._assembler = StateAssembler(*messages.MESSAGE_TYPES)
        self._writer: DataSetWriter | None = None
        self._stopping: Future | None = None
        self._since_stop = 0  # ticks since ~/stop was asked
        self._since_word = 0  # ticks since a command came
        self._walking = False
        self._walks = 0  # counted by the robot's mode: used only without sent_commands
        self._steps = 0
        self._figures = {"rows": 0, "episodes": 0, "refused": 0, "refused_rows": 0}
        self._make_interface()
        if self.get_parameter("start").value:
            self._start_recording()

    def _make_interface(self) -> None:
        # What must be known of a period before its following state comes is asked for first.
        self.create_subscription(String, "robot_node/state", self._on_mode, qos.STATE)
        for topic, callback in (
            (parsing.JOINT_COMMANDS, self._on_command),
            (parsing.SENT_COMMANDS, self._on_sent),
        ):
            self.create_subscription(JointState, topic, partial(self._parsed, callback), qos.LOGGED_COMMAND)
        for topic, kind in messages.MESSAGE_TYPES.items():
            callback = partial(self._parsed, partial(self._on_part, topic))
            self.create_subscription(kind, topic, callback, qos.LOGGED_SENSOR)
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
        for step in self._builder.take():
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
        complete = min(self._since_word, self._since_stop) >= STOP_DELAY and not self._builder.waiting
        goes_on = self._walking and self._since_stop >= STOP_DELAY
        return complete or goes_on or self._since_stop >= STOP_PATIENCE

    # -- topics ---------------------------------------------------------------------------------------------

    def _parsed(self, callback: Any, message: Any) -> None:
        """Hand a message on; one that is not what it should be is counted and said, once a second."""
        try:
            callback(message)
        except UserError as error:
            self._figures["refused"] += 1
            self.get_logger().error(f"message ignored: {error}", throttle_duration_sec=1.0)
            return
        self._write_steps()

    def _on_mode(self, message: String) -> None:
        walking = message.data == Mode.WALKING.value
        if walking and not self._walking:
            self._walks, self._steps = self._walks + 1, 0
        self._walking = walking

    def _on_part(self, topic: str, message: Any) -> None:
        state = self._assembler.add(topic, *parsing.parse_part(self._spec, topic, message))
        if state is not None:
            self._builder.add_state(state, time.time_ns())

    def _on_command(self, message: JointState) -> None:
        command = parsing.parse_command(self._spec, message)
        self._builder.add_command(command)
        self._since_word = 0
        if self._walking and self.count_publishers(parsing.SENT_COMMANDS) == 0:
            self._builder.add_sent(self._as_sent(command))

    def _as_sent(self, command: JointCommand) -> SentCommand:
        sent = SentCommand(command.stamp, command.positions, self._walks, self._steps, in_time=True)
        self._steps += 1
        return sent

    def _on_sent(self, message: JointState) -> None:
        self._builder.add_sent(parsing.parse_sent(self._spec, message))
        self._since_word = 0

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
        self._builder.skip_walk()
        response.success, response.message = True, f"{rows} rows discarded"
        return response

    # -- diagnostics ----------------------------------------------------------------------------------------

    def _describe(self) -> tuple[str, dict[str, Any]]:
        silence = self._silence()
        if silence:
            self.get_logger().warning(silence, throttle_duration_sec=10.0)
        figures = {"recording": self._writer is not None, **self._figures}
        figures |= {"lost": self._builder.lost, "late": self._builder.late}
        figures["incomplete"] = self._assembler.incomplete
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
