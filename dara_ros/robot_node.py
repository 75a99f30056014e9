"""Robot node: a driver behind the standard topics, with the safety supervisor in front of its motors.

    ros2 run dara_ros robot_node --ros-args -p world:=obstructive -p mode:=lock_step

Publishes joint_states, imu/data, foot_contacts, odom (one stamp each period), sent_commands, ~/state, and
/clock where the robot is simulated; obeys joint_commands while walking, and the services ~/stand, ~/sit,
~/damp, ~/estop, ~/reset, ~/enable, in a simulation also ~/restart. ~/lease gives the token without which
commands are ignored, to one controller at a time (see `lease`). With a joystick (topic joy) the robot walks
only while its dead man's button is held, and another button is an emergency stop.

In real time the loop keeps absolute deadlines: state out, wait for its answer, motors, sleep till the next
deadline. In lock-step (simulation only) every walking period waits for the answer to its state, as
`sim.environment.WalkingEnv` does, and time stands still while nobody walks.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from . import messages, parsing, qos
from .diagnostics import Durations, Rate, publish_diagnostics, summary
from .drivers import Connect, Simulation, make_driver
from .errors import UserError
from .hardware.joystick import Operator, load_joystick
from .hardware.robot import Robot
from .hardware.safety import Mode, fault
from .hardware.spec import load_robot
from .hardware.state import JointCommand, RobotState
from .lease import Lease
from .parameters import Parameter, declare
from .parsing import SentCommand
from .real_time import Deadlines
from .running import REAL_TIME_PARAMETERS, run_node

REPUBLISH = 0.05  # s of wall clock between two publications of one state while time stands still
MARGIN = 0.1  # of a control period, kept for the motors when waiting for an answer
LAST_WORD = 0.1  # s for "damped" to be heard: a reader forgets what it has not read when the writer goes
MOVING = (Mode.STANDING_UP, Mode.SITTING_DOWN)
STOPPED = "the robot node was stopped"
HELD = "another controller holds the robot; deactivate it, or wait"
FOREIGN = "commands of a second controller are refused"
FOREIGN_SHOWN = 2.0  # s for which the last of them is worth a warning
REAL_TIME, LOCK_STEP = "real_time", "lock_step"

PARAMETERS = (
    Parameter("robot", "a1", "robot by name, or its YAML file", read_only=True),
    Parameter("driver", "pybullet", "pybullet, or an entry point of group dara_ros.drivers", read_only=True),
    Parameter("world", "flat", "simulated world by name, or its YAML file", read_only=True),
    Parameter("seed", 0, "seed of the simulated world; ~/restart takes the current one", 0, 2**31 - 1),
    Parameter("mode", REAL_TIME, f"{REAL_TIME}, or {LOCK_STEP} (simulation only)", read_only=True),
    Parameter("answer_timeout", 1.0, "s that a period waits for its command in lock-step", 0.01, 60.0),
    Parameter("walk_steps", 0, "control periods after which a walk ends by itself; 0: never", 0, 10**9),
    Parameter("joystick", "", "joystick by name (xbox) or its YAML file; empty: none", read_only=True),
    *REAL_TIME_PARAMETERS,
)


Request = Callable[[], str]
"""Asks the supervisor for something; returns an empty string, or why it is refused."""


class RobotNode(Node):
    """Hosts one robot. `run` is the control loop; services and commands come in another thread.

    `_changed` guards everything below it: the loop holds it while it works and lets go while it waits.

    Args:
        connect: what makes its driver; None: `make_driver`.

    Raises:
        UserError: a parameter is wrong.
    """

    def __init__(self, connect: Connect | None = None) -> None:
        super().__init__("robot_node")
        declare(self, PARAMETERS)
        self._spec = load_robot(self._parameter("robot"))
        self._lock_step = self._parameter("mode") == LOCK_STEP
        self._changed = threading.Condition()
        if self._parameter("mode") not in (REAL_TIME, LOCK_STEP):
            raise UserError(
                f"mode '{self._parameter('mode')}' does not exist; use {REAL_TIME} or {LOCK_STEP}"
            )
        joystick = self._parameter("joystick")
        self._operator = Operator(load_joystick(joystick)) if joystick else None
        self._driver = (connect or make_driver)(
            self._parameter("driver"), self._spec, self._parameter("world"), self._parameter("seed")
        )
        self._simulation = cast(Simulation, self._driver) if hasattr(self._driver, "restart") else None
        if self._lock_step and self._simulation is None:
            raise UserError(
                f"driver {self._parameter('driver')} cannot wait for commands; use mode {REAL_TIME}"
            )
        self._robot = Robot(self._spec, self._driver)
        self._state: RobotState | None = None  # the one that the current period begins with
        self._command: JointCommand | None = None  # the newest that arrived
        self._mode: Mode | None = None  # as last published
        self._walk = -1  # number of the current or last walk
        self._steps = 0  # control periods of it
        self._settled = 0  # stamp until which a robot that has just walked is given time to stand still
        self._deadlines = Deadlines(self._spec.control_period)
        self._left_out = 0  # periods before the current one, because the host was too slow
        self._lease = Lease()
        self._foreign = -math.inf  # when the last command came that was not its holder's
        counted = ("ticks", "late", "clamps", "overruns", "commands", "refused", "foreign_commands")
        self._figures = dict.fromkeys(counted, 0)
        self._loop, self._answer, self._jitter = Durations(), Durations(), Durations()
        self._state_age, self._rate = Durations(), Rate()
        self._read_at = 0.0  # when the state was, s of the monotonic clock
        self._overdue = 0  # commands for a state that had been acted on
        self._opened = False  # whether the driver has reached the robot
        self._make_interface()

    def _make_interface(self) -> None:
        self._publishers_by_topic = {
            topic: self.create_publisher(kind, topic, qos.SENSOR)
            for topic, kind in messages.MESSAGE_TYPES.items()
        }
        self._sent_publisher = self.create_publisher(JointState, parsing.SENT_COMMANDS, qos.COMMAND)
        self._mode_publisher = self.create_publisher(String, "~/state", qos.STATE)
        self._clock_publisher = (
            self.create_publisher(Clock, "/clock", qos.SENSOR) if self._simulation else None
        )
        self.create_subscription(JointState, parsing.JOINT_COMMANDS, self._on_command, qos.RECEIVED_COMMAND)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/lease", self._on_lease)
        services: dict[str, Request] = {
            "stand": lambda: self._robot.supervisor.stand(),  # ~/restart makes another robot
            "sit": lambda: self._robot.supervisor.sit(),
            "reset": lambda: self._robot.supervisor.reset(),
            "damp": self._damp,
            "estop": self._estop,
        }
        if self._operator is not None:
            requests = {**services, "stop": self._stop_walking}
            self.create_subscription(Joy, "joy", partial(self._on_joy, self._operator, requests), qos.JOY)
        if self._simulation is not None:
            services["restart"] = partial(self._restart, self._simulation)
        for name, request in services.items():
            self.create_service(Trigger, f"~/{name}", partial(self._on_trigger, request))
        publish_diagnostics(self, self._describe)

    def _parameter(self, name: str) -> Any:
        return self.get_parameter(name).value

    # -- life -----------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """The control loop, until `stop` is set."""
        period = self._lock_step_period if self._lock_step else self._real_time_period
        # It may take its time, and an emergency stop must not wait for it.
        self._driver.open(lambda: stop.is_set() or self._robot.supervisor.mode is Mode.DAMPED)
        with self._changed:
            self._opened = True
            self._publish_mode()
            self._deadlines.begin(time.monotonic())
            try:
                while not stop.is_set():
                    period(stop)
            finally:
                self._driver.damp()  # before anything else that could take time, or fail

    def close(self) -> None:
        """Damp the motors and leave the robot, whatever has happened."""
        try:
            self._driver.damp()
        finally:
            self._driver.close()
        with self._changed:
            self._robot.supervisor.damp(STOPPED)
            self._publish_mode()
        time.sleep(LAST_WORD)
        self.get_logger().info(f"stopped: {summary(self._describe()[1])}")

    # -- one control period ---------------------------------------------------------------------------------

    def _real_time_period(self, stop: threading.Event) -> None:
        begin = time.monotonic()
        self._jitter.add(1e3 * (begin - self._deadlines.at))
        self._rate.add(begin)
        state = self._publish_state()
        answer_by = self._deadlines.at + (1.0 - MARGIN) * self._spec.control_period
        self._wait_for_answer(state, answer_by, stop)
        self._tick(state)
        self._loop.add(1e3 * (time.monotonic() - begin))
        self._left_out = self._deadlines.advance(time.monotonic())
        self._figures["overruns"] += self._left_out
        self._sleep()

    def _lock_step_period(self, stop: threading.Event) -> None:
        begin = time.monotonic()
        state = self._publish_state()
        if self._stands_still(state):
            self._changed.wait(REPUBLISH)
            return
        self._wait_for_answer(state, begin + self._parameter("answer_timeout"), stop)
        self._tick(state)
        self._loop.add(1e3 * (time.monotonic() - begin))

    def _stands_still(self, state: RobotState) -> bool:
        mode = self._robot.supervisor.mode
        return mode not in (*MOVING, Mode.WALKING) and state.stamp >= self._settled

    def _wait_for_answer(self, state: RobotState, until: float, stop: threading.Event) -> None:
        """Wait for the command that answers `state`; not where the supervisor will damp the motors anyway."""
        if self._robot.supervisor.mode is not Mode.WALKING or fault(self._spec, state):
            return
        begin = time.monotonic()
        while not (self._command is not None and self._command.stamp == state.stamp):
            remaining = until - time.monotonic()
            walking = self._robot.supervisor.mode is Mode.WALKING and self._state is state
            if remaining <= 0 or not walking or stop.is_set():
                return
            if not self._changed.wait(min(remaining, REPUBLISH)) and self._lock_step:
                self._publish_state()
        self._answer.add(1e3 * (time.monotonic() - begin))

    def _tick(self, state: RobotState) -> None:
        """Supervise, and drive the motors for one period; nothing where ~/restart took the state away."""
        if self._state is not state:
            return
        if not self._may_walk():
            self._stop_walking()
        command = self._command
        self._state_age.add(1e3 * (time.monotonic() - self._read_at))
        decision = self._robot.tick(state, command, 1 + self._left_out)
        self._figures["ticks"] += 1
        if decision.mode is Mode.WALKING:
            in_time = command is not None and command.stamp == state.stamp
            positions = decision.motors.positions
            sent = SentCommand(state.stamp, positions, self._walk, self._steps, in_time)
            self._sent_publisher.publish(messages.sent_message(self._spec, sent))
            self._steps += 1
            self._figures["late"] += not in_time
            self._figures["clamps"] += decision.clamped
            if 0 < self._parameter("walk_steps") <= self._steps:
                self._robot.supervisor.enable(False)
        self._publish_mode()

    def _sleep(self) -> None:
        """Till the deadline: now services and commands have their turn. (A Condition would wake later.)"""
        self._changed.release()
        try:
            self._deadlines.sleep()
        finally:
            self._changed.acquire()

    # -- topics ---------------------------------------------------------------------------------------------

    def _publish_state(self) -> RobotState:
        """Read the robot and publish what it says."""
        self._state = state = self._driver.read()
        self._read_at = time.monotonic()
        publishers = self._publishers_by_topic
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=messages.stamp_message(state.stamp)))
        walk = self._walk if self._robot.supervisor.mode is Mode.WALKING else None
        joints = messages.joint_states_message(self._spec, state, walk, self._lease.token)
        publishers[parsing.JOINT_STATES].publish(joints)
        publishers[parsing.IMU].publish(messages.imu_message(state))
        publishers[parsing.FOOT_CONTACTS].publish(messages.foot_contacts_message(state))
        if state.position is not None:
            publishers[parsing.ODOM].publish(messages.odometry_message(self._spec, state))
        return state

    def _publish_mode(self) -> None:
        """Publish the supervisor's state where it has changed: before the next state, so that who answers
        states knows first."""
        supervisor = self._robot.supervisor
        if supervisor.mode is self._mode:
            return
        if self._mode is Mode.WALKING and self._state is not None:
            self._settled = self._state.stamp + round(1e9 * self._spec.gait.period)
        self._mode = supervisor.mode
        if supervisor.mode is Mode.DAMPED and supervisor.reason != STOPPED:
            self.get_logger().error(f"damped: {supervisor.reason}")
        self._mode_publisher.publish(String(data=supervisor.mode.value))

    def _on_command(self, message: JointState) -> None:
        token = parsing.lease_of(message)
        if not self._lease.renew(token, time.monotonic()):
            self._foreign = time.monotonic()
            self._figures["foreign_commands"] += 1
            return
        if parsing.is_release(message):
            self._lease.release(token)
            self._make(self._stop_walking)  # who leaves in order leaves a robot that stands
        if not message.name:
            return
        try:
            command = parsing.parse_command(self._spec, message)
        except UserError as error:
            self._figures["refused"] += 1
            self.get_logger().error(f"command ignored: {error}", throttle_duration_sec=1.0)
            return
        with self._changed:
            self._command = command
            self._figures["commands"] += 1
            self._overdue += self._state is not None and command.stamp < self._state.stamp
            self._changed.notify()

    def _on_joy(self, operator: Operator, requests: dict[str, Request], message: Joy) -> None:
        try:
            asked_for = operator.hear(message.buttons, time.monotonic())
        except UserError as error:
            self._figures["refused"] += 1
            self.get_logger().error(f"joy: message ignored: {error}", throttle_duration_sec=1.0)
            return
        for name in asked_for:
            refusal = self._make(requests[name])
            if refusal:
                self.get_logger().warning(f"joystick: {refusal}")

    # -- services: each request returns an empty string, or why it is refused -------------------------------

    def _on_trigger(
        self, request: Request, _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        response.message = self._make(request)
        response.success = not response.message
        return response

    def _on_enable(self, message: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.message = self._make(partial(self._enable, message.data))
        response.success = not response.message
        return response

    def _make(self, request: Request) -> str:
        """Make a request between two periods of the loop; returns why it is refused."""
        with self._changed:
            stops = request in (self._damp, self._estop)
            refusal = request() if self._opened or stops else "the driver has not reached the robot yet"
            self._publish_mode()
            self._changed.notify()
        return refusal

    def _on_lease(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Whoever walks the robot keeps it, however long it is silent: the supervisor looks after that."""
        walking = self._robot.supervisor.mode is Mode.WALKING
        token = "" if walking else self._lease.take(time.monotonic())
        response.success, response.message = bool(token), token or HELD
        return response

    def _enable(self, walk: bool) -> str:
        ready = self._robot.supervisor.mode is Mode.READY
        if walk and ready and not self._lease.held(time.monotonic()):
            return "no controller holds the robot; activate one"
        if walk and ready and not self._may_walk():
            return "hold the dead man's button of the joystick"
        refusal = self._robot.supervisor.enable(walk)
        if walk and not refusal:
            self._walk, self._steps, self._command = self._walk + 1, 0, None
        return refusal

    def _may_walk(self) -> bool:
        return self._operator is None or self._operator.holds(time.monotonic())

    def _stop_walking(self) -> str:
        if self._robot.supervisor.mode is Mode.WALKING:
            self._robot.supervisor.enable(False)
        return ""

    def _damp(self) -> str:
        self._robot.supervisor.damp("on request")
        return ""

    def _estop(self) -> str:
        self._robot.supervisor.damp("emergency stop")
        if not self._opened:
            return "the driver has not reached the robot, and will not move it; use its own remote to stop it"
        self._driver.damp()  # now, not at the end of the period
        return ""

    def _restart(self, simulation: Simulation) -> str:
        """A new beginning in a simulated world: time goes on, at the beginning of a gait period."""
        gait = round(1e9 * self._spec.gait.period)
        stamp = 0 if self._state is None else gait * (self._state.stamp // gait + 1)
        simulation.restart(self._parameter("seed"), stamp)
        self._robot = Robot(self._spec, self._driver)
        self._state, self._command, self._settled = None, None, 0
        return ""

    # -- diagnostics ----------------------------------------------------------------------------------------

    def _describe(self) -> tuple[str, dict[str, Any]]:
        supervisor = self._robot.supervisor
        figures: dict[str, Any] = {"mode": supervisor.mode.value, **self._figures}
        figures["drops"] = max(0, self._figures["late"] - self._overdue)
        figures |= self._loop.figures("period_ms") | self._answer.figures("answer_ms")
        figures |= self._state_age.figures("state_age_ms")
        if not self._lock_step:
            figures |= {"rate_hz": self._rate.hz, **self._jitter.figures("jitter_ms")}
        if (health := getattr(self._driver, "health", None)) is not None:
            figures |= health.figures()
        if self._operator is not None:
            figures["deadman"] = self._may_walk()
        foreign = FOREIGN if time.monotonic() - self._foreign < FOREIGN_SHOWN else ""
        return "; ".join(filter(None, (supervisor.reason, foreign))), figures


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Exit status."""
    return run_node("robot_node", RobotNode, args)


if __name__ == "__main__":
    sys.exit(main())
