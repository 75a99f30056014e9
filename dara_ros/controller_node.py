"""Controller node: observation -> ONNX policy -> command, for every state of a walking robot.

    ros2 run dara_ros controller_node --ros-args -p policy:=policy.onnx
    ros2 lifecycle set /controller_node configure && ros2 lifecycle set /controller_node activate

configure loads and checks the policy and warms it up, activate starts commands, deactivate stops them.

It keeps no clock: it answers each state the moment it is complete, and the robot node's loop keeps the
deadlines. A controller that ran freely beside the robot's clock would add up to a period of age to every
command.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from . import messages, qos
from .diagnostics import Durations, publish_diagnostics, summary
from .errors import UserError
from .hardware.safety import Mode
from .hardware.spec import RobotSpec, load_robot
from .hardware.state import Array, JointCommand, RobotState
from .hardware.task import ACTION_SIZE, FIELDS, OBSERVATION_SIZE, Walk, WalkingTask
from .messages import StateAssembler
from .parameters import Parameter, declare
from .policies.runtime import ObservationField, Policy
from .rollouts import behaviour_path
from .running import run_node

WARM_UP = 20  # inferences before the first one that counts
TOPICS = (messages.JOINT_STATES, messages.IMU, messages.FOOT_CONTACTS)
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

PARAMETERS = (
    Parameter("policy", "", "ONNX file, a shipped behaviour (medium, expert), trot, or random"),
    Parameter("robot", "a1", "robot by name, or its YAML file"),
    Parameter("exploration_noise", 0.0, "standard deviation of Gaussian noise on the action", 0.0, 1.0),
    Parameter("seed", 0, "seed of noise and random actions", 0, 2**31 - 1),
)

ActionSource = Callable[[np.ndarray], Array]
"""Observation (55,) float32 -> action (12,) float64, not yet clipped."""


class ControllerNode(LifecycleNode):
    """Answers states with commands. Parameters are read by configure."""

    def __init__(self) -> None:
        super().__init__("controller_node")
        declare(self, PARAMETERS)
        self._active = False
        self._walking = False
        self._answer: JointCommand | None = None  # the last one of this walk
        self._forget_policy()
        self._reset_figures()
        self._command_publisher = self.create_publisher(JointState, messages.JOINT_COMMANDS, qos.COMMAND)
        # First, so that of two messages which wait together the robot's mode is heard before its state.
        self.create_subscription(String, "robot_node/state", self._on_mode, qos.STATE)
        for topic in TOPICS:
            kind = messages.MESSAGE_TYPES[topic]
            self.create_subscription(kind, topic, partial(self._on_part, topic), qos.SENSOR)
        publish_diagnostics(self, self._describe)

    def _forget_policy(self) -> None:
        self._spec: RobotSpec | None = None
        self._task: WalkingTask | None = None
        self._act: ActionSource | None = None

    def _reset_figures(self) -> None:
        self._assembler = StateAssembler(*TOPICS)
        self._loop, self._inference = Durations(), Durations()
        self._figures = {"commands": 0, "repeated": 0, "refused": 0, "not_finite": 0}

    # -- life -----------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """All work is in callbacks."""
        stop.wait()

    def close(self) -> None:
        """Send no more commands: the robot's supervisor notices."""
        self._active = False
        self.get_logger().info(f"stopped: {summary(self._describe()[1])}")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the robot and the policy; check that they fit, and that the policy is what was exported."""
        try:
            self._spec = load_robot(self.get_parameter("robot").value)
            self._task = WalkingTask(self._spec)
            self._act = self._action_source(self._task)
        except UserError as error:
            self._forget_policy()
            self.get_logger().error(str(error))
            return FAILURE
        for _ in range(WARM_UP):
            self._act(np.zeros(OBSERVATION_SIZE, np.float32))
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Answer states from now on."""
        self._reset_figures()
        self._answer = None
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Send no more commands."""
        self._active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the policy."""
        self._forget_policy()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Send no more commands, ever."""
        self._active = False
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unforeseen error: no commands, and configure may be tried again."""
        self._active = False
        self._forget_policy()
        return SUCCESS

    def _action_source(self, task: WalkingTask) -> ActionSource:
        """What gives the actions.

        Raises:
            UserError: the policy does not exist, is damaged, or was made for something else.
        """
        name = self.get_parameter("policy").value
        noise = self.get_parameter("exploration_noise").value
        rng = np.random.default_rng(self.get_parameter("seed").value)
        source = _source(name, task, rng)
        if noise == 0.0:
            return source
        return lambda observation: source(observation) + noise * rng.standard_normal(ACTION_SIZE)

    # -- topics ---------------------------------------------------------------------------------------------

    def _on_mode(self, message: String) -> None:
        walking = message.data == Mode.WALKING.value
        if walking and not self._walking:
            self._answer = None
        self._walking = walking

    def _on_part(self, topic: str, message: Any) -> None:
        if not (self._active and self._walking):
            return
        begin = time.perf_counter()
        try:
            state = self._assembler.add(topic, *messages.parse_part(self._spec, topic, message))
        except UserError as error:
            self._figures["refused"] += 1
            self.get_logger().error(f"{topic}: message ignored: {error}", throttle_duration_sec=1.0)
            return
        if state is not None and self._respond(state):
            self._loop.add(1e3 * (time.perf_counter() - begin))

    def _respond(self, state: RobotState) -> bool:
        """Answer `state`; returns whether the answer is a new one."""
        if self._answer is not None and state.stamp == self._answer.stamp:
            # The robot asks again: the answer was lost, or is on its way.
            self._publish(self._answer)
            self._figures["repeated"] += 1
            return False
        if self._answer is None or state.stamp < self._answer.stamp:
            walk = self._task.begin(state)
        else:
            walk = self._task.advance(self._walk, self._action, state)
        action = self._decide(walk, state)
        if action is None:
            return False
        command = self._task.command(walk, state, action)
        self._publish(command)
        self._walk: Walk = walk
        self._action: Array = action
        self._answer = command
        self._figures["commands"] += 1
        return True

    def _decide(self, walk: Walk, state: RobotState) -> Array | None:
        """The action in [-1, 1]; None where something is not finite: the robot damps on silence."""
        observation = self._task.observation(walk, state)
        begin = time.perf_counter()
        action = self._act(observation) if np.isfinite(observation).all() else None
        self._inference.add(1e3 * (time.perf_counter() - begin))
        if action is None or not np.isfinite(action).all():
            self._figures["not_finite"] += 1
            what = "observation" if action is None else "action"
            self.get_logger().error(f"no command: the {what} is not finite", throttle_duration_sec=1.0)
            return None
        return np.clip(action, -1.0, 1.0)

    def _publish(self, command: JointCommand) -> None:
        self._command_publisher.publish(messages.command_message(self._spec, command))

    # -- diagnostics ----------------------------------------------------------------------------------------

    def _describe(self) -> tuple[str, dict[str, Any]]:
        figures = {"active": self._active, **self._figures, "incomplete": self._assembler.incomplete}
        figures |= self._loop.figures("loop_ms") | self._inference.figures("inference_ms")
        return "", figures


def _source(name: str, task: WalkingTask, rng: np.random.Generator) -> ActionSource:
    if name == "trot":
        return lambda observation: np.zeros(ACTION_SIZE)
    if name == "random":
        return lambda observation: rng.uniform(-1.0, 1.0, ACTION_SIZE)
    if not name:
        raise UserError("parameter policy is empty; set it to an ONNX file or a shipped behaviour")
    spec = task.spec
    policy = Policy.load(behaviour_path(name, spec.name))
    policy.require(
        robot=spec.name,
        joint_names=spec.joint_names,
        control_period=spec.control_period,
        observation=[ObservationField(field.name, field.size, field.scale, field.unit) for field in FIELDS],
        task_hash=task.hash(),
        spec_hash=spec.hash,
    )
    return lambda observation: np.asarray(policy(observation), np.float64)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Exit status."""
    return run_node("controller_node", ControllerNode, args)


if __name__ == "__main__":
    sys.exit(main())
