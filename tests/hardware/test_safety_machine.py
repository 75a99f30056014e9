"""Whatever is requested, commanded and measured, in whatever order: what must never happen does not.

Hypothesis searches for a sequence that breaks an invariant, and shrinks the one it finds.
"""

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dara_ros.hardware.safety import ENERGISED, Decision, Mode, Supervisor, fault, limit_fault
from dara_ros.hardware.spec import load_robot
from dara_ros.hardware.state import JointCommand, RobotState
from dara_ros.hardware.watch import SENSORS

SPEC = load_robot("a1")
PERIOD = SPEC.period_ns
REACH = SPEC.safety.max_target_change
TIMEOUT = round(1e9 * SPEC.safety.command_timeout)  # ns
SWING = 0.3 * np.tile([0.0, 1.0, 1.0], 4)  # rad, of the commands while walking
ANGLES = st.floats(-10, 10) | st.sampled_from([np.nan, np.inf, -np.inf])
SITTING = RobotState(
    stamp=0,
    joint_positions=SPEC.sit_pose,
    joint_velocities=np.zeros(12),
    joint_torques=np.zeros(12),
    orientation=np.array([0.0, 0.0, 0.0, 1.0]),
    angular_velocity=np.zeros(3),
    linear_acceleration=np.array([0.0, 0.0, 9.81]),
    foot_forces=np.full(4, 30.0),
)


class AnySupervisor(RuleBasedStateMachine):
    """A supervisor under arbitrary requests, commands and faults.

    `robot` is the next state; its joints follow their targets while the motors are energised, and its IMU
    sways.
    """

    @initialize()
    def switch_on(self) -> None:
        self.supervisor = Supervisor(SPEC)
        self.robot = SITTING
        self.decision: Decision | None = None
        self.before: Decision | None = None
        self.command: JointCommand | None = None
        self.held = self.earlier = np.zeros(12)  # what the motors held last, and before
        self.latched = False  # damped, and not reset since
        self.stood = False  # stand() was granted since the motors were last limp
        self.last: RobotState | None = None  # the state before, while the motors are energised
        self.frozen = dict.fromkeys(SENSORS, 0)  # periods since whose reading did not change but the targets

    # -- requests ---------------------------------------------------------------------------------

    @rule()
    def stand(self) -> None:
        if self.supervisor.stand() == "":
            self.stood = True

    @rule()
    def sit(self) -> None:
        self.supervisor.sit()

    @rule(walk=st.booleans())
    def enable(self, walk: bool) -> None:
        self.supervisor.enable(walk)

    @rule()
    def estop(self) -> None:
        self.supervisor.damp("emergency stop")
        self.latched = True

    @rule()
    def reset(self) -> None:
        if self.supervisor.reset() == "":
            self.latched = self.stood = False

    # -- commands ---------------------------------------------------------------------------------

    @rule(positions=st.lists(ANGLES, min_size=12, max_size=12), age=st.integers(-2, 8))
    def send(self, positions: list[float], age: int) -> None:
        self.command = JointCommand(self.robot.stamp - age * PERIOD, np.array(positions))

    # -- time -------------------------------------------------------------------------------------

    def step(self, state: RobotState) -> None:
        self.before, self.decision = self.decision, self.supervisor.step(state, self.command)
        mode = self.decision.mode
        if self.latched:
            assert mode is Mode.DAMPED
        if mode in ENERGISED:
            assert self.stood, "energised without anyone having asked to stand"
            assert fault(SPEC, state, walking=mode is Mode.WALKING) == ""
            assert limit_fault(SPEC, state, state) == ""
        self.count_frozen(state)
        self.latched = mode is Mode.DAMPED
        self.stood = self.stood and mode is not Mode.PASSIVE
        positions = self.decision.motors.positions if self.energised() else self.robot.joint_positions
        stamp = state.stamp + PERIOD
        sway = 1e-3 * np.array([np.sin(stamp), np.cos(stamp), 0.0])
        self.robot = replace(self.robot, joint_positions=positions, stamp=stamp, angular_velocity=sway)
        self.earlier = self.held
        self.held = self.decision.motors.positions

    def count_frozen(self, state: RobotState) -> None:
        """See that readings which freeze once targets move do not go on for longer than commands may."""
        for sensor, fields in SENSORS.items():
            same = self.last is not None and all(
                np.array_equal(getattr(state, field), getattr(self.last, field)) for field in fields
            )
            moved = not np.array_equal(self.held, self.earlier)
            counts = moved or self.frozen[sensor] > 0
            self.frozen[sensor] = self.frozen[sensor] + counts if same else 0
            if self.energised():
                assert self.frozen[sensor] * PERIOD < TIMEOUT
        self.last = state if self.energised() else None

    @rule()
    def walk(self) -> None:
        """The straight way to walking, which random requests seldom find."""
        self.reset()
        self.go_on(1, answered=False)
        if self.supervisor.mode is not Mode.PASSIVE:
            return
        self.robot = replace(self.robot, joint_positions=SPEC.sit_pose)
        self.stand()
        self.go_on(60, answered=False)
        self.enable(True)
        self.go_on(3, answered=True)

    @rule(steps=st.integers(1, 60), answered=st.booleans())
    def go_on(self, steps: int, answered: bool) -> None:
        for _ in range(steps):
            if answered:
                phase = 2 * np.pi * (self.robot.stamp / PERIOD) / 11
                self.command = JointCommand(self.robot.stamp, SPEC.stand_pose + np.sin(phase) * SWING)
            self.step(self.robot)
            self.check()

    @rule(sensor=st.sampled_from(sorted(SENSORS)), steps=st.integers(1, 12))
    def freeze(self, sensor: str, steps: int) -> None:
        frozen = {field: getattr(self.robot, field) for field in SENSORS[sensor]}
        for _ in range(steps):
            self.robot = replace(self.robot, **frozen)
            self.go_on(1, answered=True)

    @rule(joint=st.integers(0, 11).filter(lambda joint: joint % 3 > 0))
    def stick(self, joint: int) -> None:
        """While the others follow."""
        stuck = self.robot.joint_positions[joint]
        for _ in range(30):
            positions = self.robot.joint_positions.copy()
            positions[joint] = stuck
            self.robot = replace(self.robot, joint_positions=positions)
            self.go_on(1, answered=True)
        assert self.supervisor.mode is not Mode.WALKING

    @rule(joint=st.integers(0, 11), side=st.sampled_from([-1, 1]), inside=st.floats(-0.1, 0.1))
    def run_into_a_limit(self, joint: int, side: int, inside: float) -> None:
        positions, velocities = self.robot.joint_positions.copy(), np.zeros(12)
        positions[joint] = (SPEC.upper[joint] if side > 0 else SPEC.lower[joint]) - side * inside
        velocities[joint] = side * 3.0
        self.step(replace(self.robot, joint_positions=positions, joint_velocities=velocities))
        assert inside >= SPEC.safety.limit_margin or self.supervisor.mode not in ENERGISED

    @rule(
        field=st.sampled_from(
            ["joint_positions", "joint_velocities", "joint_torques", "orientation", "foot_forces"]
        ),
        index=st.integers(0, 3),
        value=ANGLES | st.sampled_from([100.0, -100.0]),
    )
    def measure_nonsense(self, field: str, index: int, value: float) -> None:
        values = getattr(self.robot, field).copy()
        values[index] = value
        self.step(replace(self.robot, **{field: values}))

    @rule(shift=st.integers(-10, 10))
    def clock_jumps(self, shift: int) -> None:
        self.step(replace(self.robot, stamp=self.robot.stamp + shift * PERIOD))

    # -- what must hold after every step --------------------------------------------------------------

    def energised(self) -> bool:
        return self.decision is not None and self.decision.mode in ENERGISED

    @invariant()
    def check(self) -> None:
        if self.decision is None:
            return
        motors = self.decision.motors
        assert np.isfinite(motors.positions).all()
        assert (motors.positions >= SPEC.lower).all() and (motors.positions <= SPEC.upper).all()
        if self.energised():
            assert (motors.kp, motors.kd) == (SPEC.gains.kp, SPEC.gains.kd)
        else:
            assert motors.kp == 0.0
            assert motors.kd == (SPEC.safety.damping if self.decision.mode is Mode.DAMPED else 0.0)
        if self.energised() and self.before is not None and self.before.mode in ENERGISED:
            jump = np.abs(motors.positions - self.before.motors.positions).max()
            assert jump <= REACH + 1e-12

    @invariant()
    def damped_has_a_reason(self) -> None:
        if hasattr(self, "supervisor"):
            assert bool(self.supervisor.reason) is (self.supervisor.mode is Mode.DAMPED)


def test_the_straight_way_leads_to_walking() -> None:
    """Else the machine would explore nothing."""
    machine = AnySupervisor()
    machine.switch_on()
    machine.walk()
    machine.go_on(100, answered=True)
    assert machine.supervisor.mode is Mode.WALKING


TestAnySupervisor = AnySupervisor.TestCase
TestAnySupervisor.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
