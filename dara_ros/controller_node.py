"""Controller node: observation -> ONNX policy -> command, for every state of a walking robot.

    ros2 run dara_ros controller_node --ros-args -p policy:=policy.onnx
    ros2 lifecycle set /controller_node configure && ros2 lifecycle set /controller_node activate

configure loads and checks the policy and warms it up, activate takes the robot's lease and starts commands,
deactivate stops them and gives the robot back.

It keeps no clock: it answers each state the moment it is complete, and the robot node's loop keeps the
deadlines. A controller that ran freely beside the robot's clock would add up to a period of age to every
command.
"""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import JointState

from . import messages, parsing, qos
from .action_sources import LARGEST_NOISE
from .diagnostics import Durations, StatePace, publish_diagnostics, summary
from .errors import UserError
from .hardware.spec import load_robot
from .hardware.state import RobotState
from .hardware.task import OBSERVATION_SIZE, WalkingTask
from .lease import KEEP_ALIVE
from .lease_client import LeaseClient
from .parameters import Parameter, declare
from .parsing import StateAssembler
from .real_time import freeze_objects
from .responder import Responder, SeededActions
from .running import REAL_TIME_PARAMETERS, run_node

WARM_UP = 20  # inferences before the first one that counts
TOPICS = (parsing.JOINT_STATES, parsing.IMU, parsing.FOOT_CONTACTS)
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

PARAMETERS = (
    Parameter("policy", "", "ONNX file, a shipped behaviour (medium, expert), trot, or random"),
    Parameter("robot", "a1", "robot by name, or its YAML file"),
    Parameter("exploration_noise", 0.0, "standard deviation of the noise on the action", 0.0, LARGEST_NOISE),
    Parameter("seed", 0, "seed of noise and random actions", 0, 2**31 - 1),
    *REAL_TIME_PARAMETERS,
)


class ControllerNode(LifecycleNode):
    """Answers states with commands. Parameters are read by configure."""

    def __init__(self) -> None:
        super().__init__("controller_node")
        declare(self, PARAMETERS)
        self._responder: Responder | None = None  # while it is configured
        self._active = False
        self._walk: int | None = None  # the one that the last answer belonged to
        self._received = 0  # when the newest state began to arrive, ns of wall clock
        self._token = ""  # of the lease, while it is active
        self._last_sign = 0.0  # when the robot node last heard of this holder, s
        self._lease = LeaseClient(self)
        self._reset_figures()
        self._command_publisher = self.create_publisher(JointState, parsing.JOINT_COMMANDS, qos.COMMAND)
        for topic in TOPICS:
            kind = messages.MESSAGE_TYPES[topic]
            self.create_subscription(kind, topic, partial(self._on_part, topic), qos.SENSOR)
        self.create_timer(KEEP_ALIVE, self._keep_alive, clock=Clock(clock_type=ClockType.STEADY_TIME))
        publish_diagnostics(self, self._describe)

    def _reset_figures(self) -> None:
        self._assembler = StateAssembler(*TOPICS)
        self._loop, self._inference, self._state_age = Durations(), Durations(), Durations()
        # (Before a robot is known no state is heard.)
        self._pace = StatePace(self._responder.spec.period_ns if self._responder is not None else 1)
        self._figures = {"commands": 0, "refused": 0}

    # -- life -----------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """All work is in callbacks."""
        stop.wait()

    def close(self) -> None:
        """Send no more commands: a robot that walks stands then."""
        self._let_go()
        self._lease.close()
        self.get_logger().info(f"stopped: {summary(self._describe()[1])}")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the robot and the policy; check that they fit, and that the policy is what was exported."""
        names = ("policy", "robot", "exploration_noise", "seed")
        policy, robot, noise, seed = (self.get_parameter(name).value for name in names)
        try:
            task = WalkingTask(load_robot(robot))
            act = SeededActions(policy, task, noise, seed)
            for _ in range(WARM_UP):
                act(np.zeros(OBSERVATION_SIZE, np.float32))
        except UserError as error:
            self.get_logger().error(str(error))
            return FAILURE
        self._responder = Responder(task, act)
        freeze_objects()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take the robot's lease, and answer states from now on."""
        try:
            self._token = self._lease.take()
        except UserError as error:
            self.get_logger().error(str(error))
            return FAILURE
        self._reset_figures()
        self._walk = None
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Send no more commands, and give the robot back."""
        self._let_go()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the policy."""
        self._responder = None
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Send no more commands, ever."""
        self._let_go()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unforeseen error: no commands, and configure may be tried again."""
        self._let_go()
        self._responder = None
        return SUCCESS

    def _LifecycleNodeMixin__change_state(self, transition: int) -> TransitionCallbackReturn:  # noqa: N802
        """Refuse what the state does not allow: rclpy raises, which would end the node and the walk."""
        allowed = {number for number, *_ in self._state_machine.available_transitions}
        if transition not in allowed:
            self.get_logger().error(f"no such transition from {self._state_machine.current_state[1]}")
            return FAILURE
        return super()._LifecycleNodeMixin__change_state(transition)

    # -- the lease ------------------------------------------------------------------------------------------

    def _send(self, message: JointState) -> None:
        self._command_publisher.publish(message)
        self._last_sign = time.monotonic()

    def _keep_alive(self) -> None:
        """Not between commands: the robot node keeps only the newest message, which has to be a command."""
        if self._token and time.monotonic() - self._last_sign >= KEEP_ALIVE:
            self._send(messages.keep_alive_message(self._token))

    def _let_go(self) -> None:
        self._active = False
        if self._token:
            self._send(messages.release_message(self._token))
        self._token = ""

    # -- topics ---------------------------------------------------------------------------------------------

    def _on_part(self, topic: str, message: Any, info: dict[str, int]) -> None:
        if not self._active or self._responder is None:
            return
        begin = time.perf_counter()
        if topic == parsing.JOINT_STATES:
            walk = parsing.walk_of(message)
            self._pace.add(walk, parsing.stamp_of(message.header.stamp), time.monotonic())
            self._received = info["received_timestamp"]  # of what the robot node publishes first
            if walk is None:
                return  # the robot does not walk: without this part the state is never complete
            if walk != self._walk:
                self._walk = walk
                self._responder.begin()
        try:
            stamp, fields = parsing.parse_part(self._responder.spec, topic, message)
        except UserError as error:
            self._figures["refused"] += 1
            self.get_logger().error(f"{topic}: message ignored: {error}", throttle_duration_sec=1.0)
            return
        state = self._assembler.add(topic, stamp, fields)
        if state is not None:
            self._respond(self._responder, state, begin)

    def _respond(self, responder: Responder, state: RobotState, begin: float) -> None:
        repeated = responder.repeated
        command = responder.answer(state)
        if command is None:
            self.get_logger().error("no command: state or action is not finite", throttle_duration_sec=1.0)
            return
        self._send(messages.command_message(responder.spec, command, self._token))
        if responder.repeated == repeated:
            self._figures["commands"] += 1
            self._loop.add(1e3 * (time.perf_counter() - begin))
            self._inference.add(responder.inference_ms)
            self._state_age.add(1e-6 * (time.time_ns() - self._received))

    # -- diagnostics ----------------------------------------------------------------------------------------

    def _describe(self) -> tuple[str, dict[str, Any]]:
        figures: dict[str, Any] = {"active": self._active, **self._figures}
        if self._responder is not None:
            figures |= {"repeated": self._responder.repeated, "not_finite": self._responder.not_finite}
        figures["incomplete"] = self._assembler.incomplete
        figures |= self._loop.figures("loop_ms") | self._inference.figures("inference_ms")
        figures |= self._state_age.figures("state_age_ms") | self._pace.figures()
        return "", figures


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Exit status."""
    return run_node("controller_node", ControllerNode, args)


if __name__ == "__main__":
    sys.exit(main())
