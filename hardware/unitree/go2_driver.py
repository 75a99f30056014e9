"""Driver of the Unitree Go2 over its ROS 2 messages, on /lowcmd and /lowstate.

    DARA_NETWORK=192.168.123.99 ros2 run dara_ros robot_node --ros-args -p robot:=go2 -p driver:=unitree_go2

Uses ROS 2 with Fast DDS. NEVER reach the robot with the wheel `cyclonedds` 11: its type information makes
Cyclone DDS 0.10, which the robot is said to run, crash.
"""

import importlib
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from ...errors import UserError
from ..spec import RobotSpec
from .go2_wire import decode_state, encode_command, motor_numbers
from .low_level import LowLevelDriver
from .sport_mode import (
    PATIENCE_VARIABLE,
    POLL,
    ModeWatch,
    Rest,
    leave_sport_mode,
    own_mode,
    polled,
    refuse_if,
    take,
)
from .wire import BadPacket, LowCommand, LowState

COMMANDS, STATES = "/lowcmd", "/lowstate"
NODE = "dara_unitree_go2"
DISCOVERY = 10.0  # s until the robot is found, which can take 6.5
LISTENING = 2.0  # s in which every other publisher of commands should be found
LOOK_AROUND = 10  # periods of 2 ms between two looks at who else may command the robot
PATIENCE = 20.0  # s to lie down and leave sport mode


class UnitreeGo2Driver(LowLevelDriver):
    """Reaches one Go2, as a Driver.

    `open` lays the robot down where it is in sport mode, and has it leave that; nothing moves otherwise. It
    refuses where somebody else publishes commands. Where that begins later, or the robot goes back to sport
    mode, the driver sends damping, and `read` raises.
    """

    def __init__(self, spec: RobotSpec, patience: float = PATIENCE) -> None:
        """
        Args:
            patience: s that the robot has to leave sport mode.
        """
        self._patience = patience
        self._motors = motor_numbers(spec.joint_names)
        self._publisher: Any = None  # of commands; while open
        self._next_look = 0
        super().__init__(spec)

    # -- the link -------------------------------------------------------------------------------------------

    def _encode(self, command: LowCommand) -> bytes:
        return encode_command(command, self._motors)

    def _connect(self) -> None:
        rclpy, messages = _modules()
        self._context = rclpy.context.Context()
        rclpy.init(
            args=[], context=self._context, signal_handler_options=rclpy.signals.SignalHandlerOptions.NO
        )
        self._node = rclpy.create_node(
            NODE, context=self._context, enable_rosout=False, start_parameter_services=False
        )
        try:
            self._reach(rclpy.qos, messages)
            for _ in self._arrived():  # what has waited meanwhile is no news
                pass
        except BaseException:
            self._disconnect()
            raise

    def _reach(self, qos: Any, messages: Any) -> None:
        """Hear the robot, see that nobody else commands it, have it lie down, and be the one who does."""
        self._hear(qos, messages)
        self._refuse_company()
        leave_sport_mode(self._node, self._watch_rest(), self._patience, self._called_off)
        self._refuse_company()
        self._publisher = self._node.create_publisher(messages.LowCmd, COMMANDS, qos.QoSProfile(depth=1))
        deadline = time.monotonic() + DISCOVERY
        while self._publisher.get_subscription_count() == 0:
            if time.monotonic() > deadline:
                raise UserError(f"the robot does not listen on {COMMANDS}; restart it, and try again")
            self._pause()
        self._modes = ModeWatch(self._node)

    def _hear(self, qos: Any, messages: Any) -> None:
        """Hear the robot, and find who else is there."""
        hearing = qos.QoSProfile(depth=10, reliability=qos.ReliabilityPolicy.BEST_EFFORT)
        self._subscription = self._node.create_subscription(
            messages.LowState, STATES, polled, hearing, raw=True
        )
        self._wait_for_state()
        deadline = time.monotonic() + LISTENING
        while time.monotonic() < deadline:
            self._pause()

    def _disconnect(self) -> None:
        self._publisher = None
        self._node.destroy_node()
        self._context.try_shutdown()

    def _send(self, packet: bytes) -> None:
        self._publisher.publish(packet)

    def _receive_until(self, deadline: int) -> None:
        time.sleep(max(deadline - time.monotonic_ns(), 0) * 1e-9)
        for state in self._arrived():
            self._take_in(state)

    def _arrived(self) -> Iterator[LowState]:
        """The states that have come since the last call, oldest first; what is none is counted."""
        while (message := take(self._subscription)) is not None:
            try:
                yield decode_state(message, self._motors)
            except BadPacket as error:
                self.refused += 1
                self.problem = str(error)

    def _wait_for_state(self) -> None:
        deadline = time.monotonic() + DISCOVERY
        while not any(True for _ in self._arrived()):
            if time.monotonic() > deadline:
                raise UserError(self._silence())
            self._pause()

    def _pause(self) -> None:
        refuse_if(self._called_off)
        time.sleep(POLL)

    def _watch_rest(self) -> Callable[[], bool]:
        rest = Rest(self.spec)

        def lies() -> bool:
            now = time.monotonic()
            for state in self._arrived():
                rest.add(state, now)
            return rest.lies(now)

        return lies

    def _silence(self) -> str:
        said = f" ({self.refused} messages refused, the last: {self.problem})" if self.refused else ""
        return (
            f"no state on {STATES} within {DISCOVERY:g} s{said}; is the robot on, and does DARA_NETWORK "
            f"give this computer's address in its network?"
        )

    # -- company --------------------------------------------------------------------------------------------

    def _look_around(self) -> str:
        self._next_look -= 1
        if self._next_look > 0:
            return ""
        self._next_look = LOOK_AROUND
        if company := self._company():
            return company
        if mode := self._modes.mode():
            return (
                f"the robot went back to its mode '{mode}', which commands the motors too; leave the app and "
                f"the remote alone while dara_ros drives it"
            )
        return ""

    def _company(self) -> str:
        """Who else publishes commands, one line; empty where nobody does."""
        ours = self._publisher is not None
        if self._node.count_publishers(COMMANDS) <= ours:
            return ""
        names = {info.node_name for info in self._node.get_publishers_info_by_topic(COMMANDS)}
        return (
            f"somebody else publishes {COMMANDS} (among {', '.join(sorted(names))}): two commanders break a "
            f"robot; end that program (one that was killed is forgotten within 20 s)"
        )

    def _refuse_company(self) -> None:
        if company := self._company():
            raise UserError(company)


class UnitreeGo2Listener(UnitreeGo2Driver):
    """Hears one Go2 as it is, in sport mode too; it never publishes commands: nothing moves or is damped.

    Attributes:
        company: who published commands at `open`, one line; empty where nobody did.
        mode: of the robot itself that had the motors then; empty where none had, None where it did not say.
    """

    company = ""
    mode: str | None = None

    def _reach(self, qos: Any, messages: Any) -> None:
        self._hear(qos, messages)
        self.company = self._company()
        self.mode = own_mode(self._node, DISCOVERY)

    def _send(self, packet: bytes) -> None:
        pass

    def _look_around(self) -> str:
        return ""


def _modules() -> tuple[Any, Any]:
    """rclpy, and the messages of the robot."""
    try:
        rclpy = importlib.import_module("rclpy")
        for part in ("context", "qos", "signals"):
            importlib.import_module(f"rclpy.{part}")
    except ImportError as error:
        raise UserError("no rclpy: source ROS 2, or pip install 'dara_ros[ros]'") from error
    try:
        importlib.import_module("unitree_api.msg")
        return rclpy, importlib.import_module("unitree_go.msg")
    except ImportError as error:
        raise UserError(
            "no unitree_go and unitree_api messages: source the workspace that has them, or run "
            "`make unitree-messages`"
        ) from error


def unitree_go2(spec: RobotSpec) -> UnitreeGo2Driver:
    """Driver of a Go2; entry point of group dara_ros.drivers."""
    if spec.name != "go2":
        raise UserError(f"driver unitree_go2 cannot drive robot '{spec.name}'; set robot to go2")
    given = os.environ.get(PATIENCE_VARIABLE, str(PATIENCE))
    try:
        patience = float(given)
    except ValueError:
        patience = math.nan
    if not 0.0 < patience < math.inf:
        raise UserError(
            f"'{given}' in {PATIENCE_VARIABLE} is no number of seconds; give one like {PATIENCE:g}"
        )
    return UnitreeGo2Driver(spec, patience)
