"""Every transition of the supervisor, every fault, every limit."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dara_ros.hardware.robot import Robot
from dara_ros.hardware.safety import ENERGISED, Decision, Mode, Supervisor, fault
from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.state import JointCommand, MotorCommand, RobotState

Standing = Callable[..., RobotState]
PERIOD = 20_000_000  # ns


class Bench:
    """A supervisor with a robot that is where it was told to be, one control period after the other."""

    def __init__(self, spec: RobotSpec, standing: Standing) -> None:
        self.spec = spec
        self.supervisor = Supervisor(spec)
        self.state = standing(joint_positions=spec.sit_pose)

    @property
    def mode(self) -> Mode:
        return self.supervisor.mode

    def step(self, command: JointCommand | None = None, periods: int = 1, **changes: object) -> Decision:
        """Ask the supervisor, `periods` after the last time; the joints follow their targets."""
        state = replace(self.state, stamp=self.state.stamp + (periods - 1) * PERIOD)
        decision = self.supervisor.step(replace(state, **changes), command, periods)
        energised = decision.mode in ENERGISED
        positions = decision.motors.positions if energised else self.state.joint_positions
        stamp = self.state.stamp + periods * PERIOD
        sway = 1e-3 * np.array([np.sin(stamp), np.cos(stamp), 0.0])  # an IMU is never still
        self.state = replace(self.state, stamp=stamp, joint_positions=positions, angular_velocity=sway)
        return decision

    def answer(self, positions: np.ndarray | None = None) -> JointCommand:
        """A command for the present state."""
        return JointCommand(self.state.stamp, self.spec.stand_pose if positions is None else positions)

    def walk(self, steps: int) -> None:
        for _ in range(steps):
            self.step(self.answer())

    def bring_to(self, mode: Mode) -> "Bench":
        if mode is Mode.DAMPED:
            self.supervisor.damp("test")
        elif mode is not Mode.PASSIVE:
            assert self.supervisor.stand() == ""
            self.step()
        if mode in (Mode.READY, Mode.WALKING, Mode.SITTING_DOWN):
            while self.mode is Mode.STANDING_UP:
                self.step()
        if mode is Mode.WALKING:
            assert self.supervisor.enable(True) == ""
            self.walk(1)
        if mode is Mode.SITTING_DOWN:
            assert self.supervisor.sit() == ""
            self.step()
        assert self.mode is mode
        return self


@pytest.fixture
def bench(a1: RobotSpec, standing: Standing) -> Bench:
    return Bench(a1, standing)


# -- transitions --------------------------------------------------------------------------------------

REQUESTS: dict[str, Callable[[Supervisor], str]] = {
    "stand": Supervisor.stand,
    "sit": Supervisor.sit,
    "walk": lambda supervisor: supervisor.enable(True),
    "stop": lambda supervisor: supervisor.enable(False),
    "reset": Supervisor.reset,
}
ALLOWED = {
    (Mode.PASSIVE, "stand"): Mode.STANDING_UP,
    (Mode.READY, "walk"): Mode.WALKING,
    (Mode.READY, "sit"): Mode.SITTING_DOWN,
    (Mode.WALKING, "stop"): Mode.READY,
    (Mode.WALKING, "sit"): Mode.SITTING_DOWN,
    (Mode.DAMPED, "reset"): Mode.PASSIVE,
}


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("mode", Mode)
def test_requests_are_granted_where_allowed_and_nowhere_else(
    bench: Bench, mode: Mode, request_name: str
) -> None:
    bench.bring_to(mode)
    refusal = REQUESTS[request_name](bench.supervisor)
    after = ALLOWED.get((mode, request_name))
    assert bench.mode is (after or mode)
    assert (refusal == "") is (after is not None)
    if refusal:
        assert mode.value in refusal and "\n" not in refusal


@pytest.mark.parametrize("mode", Mode)
def test_damp_works_in_every_mode_and_latches(bench: Bench, mode: Mode) -> None:
    bench.bring_to(mode)
    bench.supervisor.damp("emergency stop")
    for _ in range(3):
        decision = bench.step(bench.answer())
        assert decision.mode is Mode.DAMPED
        assert decision.motors.kp == 0.0
        assert decision.motors.kd == bench.spec.safety.damping
    for name in ("stand", "sit", "walk", "stop"):
        assert REQUESTS[name](bench.supervisor) != ""
    assert bench.step(bench.answer()).mode is Mode.DAMPED
    assert bench.supervisor.reason == ("test" if mode is Mode.DAMPED else "emergency stop")


def test_the_first_reason_stays(bench: Bench) -> None:
    bench.supervisor.damp("first")
    bench.supervisor.damp("second")
    assert bench.supervisor.reason == "first"
    bench.supervisor.reset()
    assert bench.supervisor.reason == ""


def test_enabling_twice_is_refused_and_harmless(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    assert bench.supervisor.enable(True) != ""
    bench.walk(10)
    assert bench.mode is Mode.WALKING


def test_passive_motors_are_limp(bench: Bench) -> None:
    motors = bench.step().motors
    assert (motors.kp, motors.kd) == (0.0, 0.0)


def test_a_whole_life(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING).walk(20)
    bench.supervisor.enable(False)
    for _ in range(20):
        assert bench.step().mode is Mode.READY
    bench.supervisor.sit()
    modes = [bench.step().mode for _ in range(80)]
    assert modes[0] is Mode.SITTING_DOWN and modes[-1] is Mode.PASSIVE
    bench.supervisor.damp("test")
    bench.supervisor.reset()
    bench.bring_to(Mode.READY)


# -- moves --------------------------------------------------------------------------------------------


def test_standing_up_is_a_straight_move_from_the_measured_pose(bench: Bench) -> None:
    start, spec = bench.state.joint_positions, bench.spec
    bench.supervisor.stand()
    steps = round(spec.safety.stand_duration / spec.control_period)
    for step in range(steps + 1):
        decision = bench.step()
        assert decision.mode is Mode.STANDING_UP
        expected = start + step / steps * (spec.stand_pose - start)
        np.testing.assert_allclose(decision.motors.positions, expected, atol=1e-12)
        assert (decision.motors.kp, decision.motors.kd) == (spec.gains.kp, spec.gains.kd)
    assert bench.mode is Mode.READY
    np.testing.assert_array_equal(bench.step().motors.positions, spec.stand_pose)


def test_sitting_down_starts_from_the_last_target(bench: Bench) -> None:
    """The measured pose sags under the robot's weight: to aim at it would let go of the robot."""
    bench.bring_to(Mode.READY)
    bench.supervisor.sit()
    sagged = bench.spec.stand_pose + 0.1
    np.testing.assert_allclose(bench.step(joint_positions=sagged).motors.positions, bench.spec.stand_pose)
    steps = round(bench.spec.safety.sit_duration / bench.spec.control_period)
    targets = [bench.step().motors.positions for _ in range(steps)]
    np.testing.assert_allclose(targets[-1], bench.spec.sit_pose)
    assert np.abs(np.diff(targets, axis=0)).max() < 0.02
    assert bench.mode is Mode.PASSIVE


def test_stopping_moves_smoothly_back_to_the_stand(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    away = np.clip(bench.spec.stand_pose + 0.4, bench.spec.lower, bench.spec.upper)
    bench.step(bench.answer(away))
    bench.supervisor.enable(False)
    targets = [away] + [bench.step().motors.positions for _ in range(12)]
    assert np.abs(np.diff(targets, axis=0)).max() <= 0.4 / 10 + 1e-12  # half a gait is ten periods
    np.testing.assert_allclose(targets[-1], bench.spec.stand_pose)


def test_a_pose_a_little_outside_the_limits_stands_up_from_the_limit(bench: Bench) -> None:
    bench.supervisor.stand()
    outside = bench.spec.lower - 0.05
    decision = bench.step(joint_positions=outside)
    np.testing.assert_array_equal(decision.motors.positions, bench.spec.lower)
    assert decision.mode is Mode.STANDING_UP


def test_a_pose_far_outside_the_limits_does_not_stand_up(bench: Bench) -> None:
    bench.supervisor.stand()
    outside = bench.spec.sit_pose.copy()
    outside[5] = bench.spec.lower[5] - 0.6
    assert bench.step(joint_positions=outside).mode is Mode.DAMPED
    assert "FL_calf_joint" in bench.supervisor.reason


def test_standing_up_after_a_reset_starts_anew(bench: Bench) -> None:
    bench.bring_to(Mode.STANDING_UP)
    for _ in range(20):
        bench.step()
    bench.supervisor.damp("test")
    bench.step()
    bench.supervisor.reset()
    bench.state = replace(bench.state, joint_positions=bench.spec.sit_pose)
    bench.supervisor.stand()
    np.testing.assert_array_equal(bench.step().motors.positions, bench.spec.sit_pose)


# -- commands -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.WALKING])
def test_commands_count_only_while_walking(a1: RobotSpec, standing: Standing, mode: Mode) -> None:
    commanded, alone = (Bench(a1, standing).bring_to(mode) for _ in range(2))
    for _ in range(10):
        with_command = commanded.step(commanded.answer(np.full(12, np.nan)))
        without = alone.step()
        assert with_command.mode is without.mode
        np.testing.assert_array_equal(with_command.motors.positions, without.motors.positions)


def test_a_good_command_passes_unchanged(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    wanted = bench.spec.stand_pose + 0.1
    decision = bench.step(bench.answer(wanted))
    np.testing.assert_array_equal(decision.motors.positions, wanted)
    assert not decision.clamped


def test_targets_change_by_no_more_than_the_limit_per_step(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    reach, before = bench.spec.safety.max_target_change, bench.spec.stand_pose
    wanted = bench.spec.stand_pose + np.tile([0.0, 1.2, 0.0], 4)
    for expected in (reach, 2 * reach, 1.2):
        decision = bench.step(bench.answer(wanted))
        np.testing.assert_allclose(decision.motors.positions[1::3] - before[1::3], expected)
        assert decision.clamped is (expected < 1.2)


@pytest.mark.parametrize("sign", [-1, 1])
def test_targets_stay_within_the_joint_limits(bench: Bench, sign: int) -> None:
    bench.bring_to(Mode.WALKING)
    for step in range(10):  # after the tenth, joints that do not follow count as stuck
        # The robot does not follow: a low base would end the walk.
        measured = bench.spec.stand_pose + 1e-4 * step
        decision = bench.step(bench.answer(np.full(12, 100.0 * sign)), joint_positions=measured)
        assert decision.mode is Mode.WALKING and decision.clamped
    limit = bench.spec.upper if sign > 0 else bench.spec.lower
    np.testing.assert_array_equal(decision.motors.positions, limit)


def test_a_command_late_by_one_period_is_used(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    late = bench.answer()
    for step in range(50):
        wanted = bench.spec.stand_pose + 0.002 * step
        coming = bench.answer(wanted)
        decision = bench.step(late)
        np.testing.assert_array_equal(decision.motors.positions, late.positions)
        late = coming
    assert bench.mode is Mode.WALKING


def test_a_command_that_stays_away_damps_after_100_ms(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    last = bench.answer(bench.spec.stand_pose + 0.1)
    for _ in range(5):  # ages of 0, 20, ... 80 ms
        decision = bench.step(last)
        assert decision.mode is Mode.WALKING
        np.testing.assert_array_equal(decision.motors.positions, last.positions)
    assert bench.step(last).mode is Mode.DAMPED
    assert bench.supervisor.reason == "no command for 100 ms"


def test_a_walk_without_any_command_damps_after_100_ms(bench: Bench) -> None:
    bench.bring_to(Mode.READY)
    bench.supervisor.enable(True)
    for _ in range(5):
        decision = bench.step(None)
        np.testing.assert_array_equal(decision.motors.positions, bench.spec.stand_pose)
        assert decision.mode is Mode.WALKING
    assert bench.step(None).mode is Mode.DAMPED


def test_a_command_of_an_earlier_walk_is_not_used(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    old = bench.answer(bench.spec.stand_pose + 0.2)
    bench.supervisor.enable(False)
    bench.step(old)
    bench.supervisor.enable(True)
    np.testing.assert_array_equal(bench.step(old).motors.positions, bench.spec.stand_pose)


def test_enabling_again_between_two_states_begins_a_new_walk(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    held = bench.supervisor.step(bench.state, bench.answer()).motors.positions
    old = bench.answer(bench.spec.stand_pose + 0.2)
    bench.state = replace(bench.state, stamp=bench.state.stamp + PERIOD)
    bench.supervisor.enable(False)
    bench.supervisor.enable(True)
    np.testing.assert_array_equal(bench.step(old).motors.positions, held)


def test_a_command_from_the_future_is_not_used(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING).walk(20)
    future = JointCommand(bench.state.stamp + 1, bench.spec.stand_pose + 0.2)
    decision = bench.step(future)
    np.testing.assert_array_equal(decision.motors.positions, bench.spec.stand_pose)
    assert decision.mode is Mode.WALKING  # one stray stamp does not end a walk


def test_commands_that_arrive_out_of_order_do_not_go_back(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    older = bench.answer(bench.spec.stand_pose - 0.1)
    bench.state = replace(bench.state, stamp=bench.state.stamp + PERIOD)
    newer = bench.answer(bench.spec.stand_pose + 0.1)
    bench.step(newer)
    np.testing.assert_array_equal(bench.step(older).motors.positions, newer.positions)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_command_that_is_not_finite_damps(bench: Bench, value: float) -> None:
    bench.bring_to(Mode.WALKING)
    positions = bench.spec.stand_pose.copy()
    positions[7] = value
    decision = bench.step(bench.answer(positions))
    assert decision.mode is Mode.DAMPED
    assert np.isfinite(decision.motors.positions).all()
    assert bench.supervisor.reason == "a command is not finite"


# -- faults of the state ------------------------------------------------------------------------------


def tilted(angle: float) -> np.ndarray:
    return np.array([0.6 * np.sin(angle / 2), 0.8 * np.sin(angle / 2), 0.0, np.cos(angle / 2)])


@pytest.mark.parametrize(
    "field",
    [
        "joint_positions",
        "joint_velocities",
        "joint_torques",
        "orientation",
        "angular_velocity",
        "linear_acceleration",
        "foot_forces",
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("mode", Mode)
def test_a_state_that_is_not_finite_damps_in_every_mode(
    bench: Bench, mode: Mode, field: str, value: float
) -> None:
    bench.bring_to(mode)
    broken = getattr(bench.state, field).copy()
    broken[1] = value
    decision = bench.step(bench.answer(), **{field: broken})
    assert decision.mode is Mode.DAMPED
    assert np.isfinite(decision.motors.positions).all()  # NaN x kp = 0 is NaN at the motor


FAULTS = {
    "tilt beyond 45 degrees": {"orientation": tilted(np.radians(45.1))},
    "the orientation is not a unit quaternion": {"orientation": np.zeros(4)},  # an IMU that has not started
    "velocity of FL_hip_joint beyond the spec (-52.5)": {"joint_velocities": -52.5 * np.eye(12)[3]},
    "torque of RL_calf_joint beyond the spec (33.6)": {"joint_torques": 33.6 * np.eye(12)[11]},
}


@pytest.mark.parametrize("reason", FAULTS)
@pytest.mark.parametrize("mode", ENERGISED)
def test_a_fault_damps_in_every_energised_mode(bench: Bench, mode: Mode, reason: str) -> None:
    bench.bring_to(mode)
    assert bench.step(bench.answer(), **FAULTS[reason]).mode is Mode.DAMPED
    assert bench.supervisor.reason == reason
    assert bench.step(bench.answer()).mode is Mode.DAMPED  # although all is well again


@pytest.mark.parametrize("reason", FAULTS)
def test_a_passive_robot_may_be_carried_about(bench: Bench, reason: str) -> None:
    assert bench.step(**FAULTS[reason]).mode is Mode.PASSIVE


def test_limits_themselves_are_allowed(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    spec = bench.spec
    decision = bench.step(
        bench.answer(),
        joint_velocities=spec.max_velocity,
        joint_torques=-spec.max_torque,
        orientation=tilted(np.radians(44.9)),
    )
    assert decision.mode is Mode.WALKING


def test_the_greatest_tilt_is_configurable(a1: RobotSpec, standing: Standing) -> None:
    safety = a1.safety.model_copy(update={"tilt": np.radians(20)})
    careful = a1.model_copy(update={"safety": safety})
    state = standing(orientation=tilted(np.radians(21)))
    assert fault(careful, state) == "tilt beyond 20 degrees"
    assert fault(a1, state) == ""


def test_a_walking_robot_must_be_high_enough(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    assert bench.step(bench.answer(), joint_positions=bench.spec.sit_pose).mode is Mode.DAMPED
    assert bench.supervisor.reason == "base lower than 0.12 m above the feet"


def test_a_robot_that_has_sunk_down_on_its_stand_is_damped(bench: Bench) -> None:
    bench.bring_to(Mode.READY)
    assert bench.step(joint_positions=bench.spec.sit_pose).mode is Mode.DAMPED
    assert bench.supervisor.reason == "base lower than 0.12 m above the feet"


@pytest.mark.parametrize("mode", [Mode.STANDING_UP, Mode.SITTING_DOWN])
def test_a_robot_that_does_not_stand_may_be_low(bench: Bench, mode: Mode) -> None:
    bench.bring_to(mode)
    assert bench.step(joint_positions=bench.spec.sit_pose).mode is mode


@pytest.mark.parametrize("mode", ENERGISED)
def test_a_state_that_freezes_damps_after_100_ms(bench: Bench, mode: Mode) -> None:
    bench.bring_to(mode)
    frozen = bench.state
    for _ in range(5):
        bench.state = frozen
        assert bench.step(bench.answer()).mode is mode
    bench.state = frozen
    assert bench.step(bench.answer()).mode is Mode.DAMPED
    assert bench.supervisor.reason == "no new state for 100 ms"


def test_a_state_that_freezes_damps_after_100_ms_on_a_slow_host_too(bench: Bench) -> None:
    """Which comes around every third period."""
    bench.bring_to(Mode.WALKING)
    frozen = bench.state.stamp - PERIOD
    assert bench.step(bench.answer(), periods=3, stamp=frozen).mode is Mode.WALKING
    assert bench.step(bench.answer(), periods=3, stamp=frozen).mode is Mode.DAMPED
    assert bench.supervisor.reason == "no new state for 120 ms"


@pytest.mark.parametrize("mode", ENERGISED)
@pytest.mark.parametrize(
    ("shift", "reason"),
    [(-PERIOD - 1, "the robot's clock went back"), (4 * PERIOD, "no new state for 100 ms")],
)
def test_a_clock_that_jumps_damps(bench: Bench, mode: Mode, shift: int, reason: str) -> None:
    bench.bring_to(mode)
    bench.state = replace(bench.state, stamp=bench.state.stamp + shift)
    assert bench.step(bench.answer()).mode is Mode.DAMPED
    assert bench.supervisor.reason == reason


@pytest.mark.parametrize("mode", ENERGISED)
def test_a_few_lost_states_are_tolerated(bench: Bench, mode: Mode) -> None:
    bench.bring_to(mode)
    bench.state = replace(bench.state, stamp=bench.state.stamp + 3 * PERIOD)
    assert bench.step(bench.answer()).mode is mode


def test_time_may_pass_or_go_back_while_passive(bench: Bench) -> None:
    bench.bring_to(Mode.READY)
    bench.supervisor.damp("test")
    bench.supervisor.reset()
    for stamp in (10**12, 0):
        bench.state = replace(bench.state, stamp=stamp)
        assert bench.step().mode is Mode.PASSIVE
    assert bench.supervisor.stand() == "cannot stand up: the robot's clock went back"
    bench.step()
    assert bench.supervisor.stand() == ""
    assert bench.step().mode is Mode.STANDING_UP


def test_nobody_stands_up_on_an_old_state(bench: Bench) -> None:
    old = bench.state
    for _ in range(6):
        bench.state = old
        bench.step()
    assert bench.supervisor.stand() == "cannot stand up: no new state for 100 ms"
    bench.step()  # it is there again
    assert bench.supervisor.stand() == ""


@pytest.mark.parametrize("speed", [2.6, -2.6])
def test_nobody_stands_up_before_the_robot_rests(bench: Bench, speed: float) -> None:
    velocities = np.where(np.arange(12) == 11, speed, 0.0)
    bench.step(joint_velocities=velocities)
    refusal = bench.supervisor.stand()
    assert (
        refusal
        == f"cannot stand up: RL_calf_joint still moves at {abs(speed)} rad/s; wait until the robot rests"
    )
    assert bench.step().mode is Mode.PASSIVE
    assert bench.supervisor.stand() == ""


# -- motion that does not fit the targets ---------------------------------------------------------------


def swing(spec: RobotSpec, step: int) -> np.ndarray:
    """Targets of thighs and calves that go to and fro around the stand in eleven periods."""
    return spec.stand_pose + 0.3 * np.sin(2 * np.pi * step / 11) * np.tile([0.0, 1.0, 1.0], 4)


def follow(bench: Bench, steps: int, periods: int = 1, **frozen: object) -> int:
    """Swing with these readings frozen; after how many steps the motors are damped, or `steps`.

    A host that is slow takes `periods` for each.
    """
    for step in range(steps):
        answer = JointCommand(bench.state.stamp + (periods - 1) * PERIOD, swing(bench.spec, step))
        if bench.step(answer, periods, **frozen).mode is Mode.DAMPED:
            return step
    return steps


def test_swinging_joints_that_follow_are_no_fault(bench: Bench) -> None:
    assert follow(bench.bring_to(Mode.WALKING), 200) == 200


ENCODERS = ("joint_positions", "joint_velocities", "joint_torques")
INERTIAL = ("orientation", "angular_velocity", "linear_acceleration")


@pytest.mark.parametrize(("sensor", "fields"), [("encoders", ENCODERS), ("IMU", INERTIAL)])
def test_readings_that_freeze_under_fresh_stamps_damp_after_100_ms(
    bench: Bench, sensor: str, fields: tuple[str, ...]
) -> None:
    bench.bring_to(Mode.WALKING)
    follow(bench, 3)
    frozen = {field: getattr(bench.state, field) for field in fields}
    bench.step(bench.answer(swing(bench.spec, 3)), **frozen)  # the last true reading
    assert follow(bench, 20, **frozen) == 4  # 20, 40, ... 100 ms later
    assert bench.supervisor.reason == f"no new reading of the {sensor} for 100 ms"


@pytest.mark.parametrize("fields", [ENCODERS, INERTIAL])
def test_readings_that_freeze_damp_in_time_on_a_slow_host(bench: Bench, fields: tuple[str, ...]) -> None:
    bench.bring_to(Mode.WALKING)
    follow(bench, 3, periods=3)
    frozen = {field: getattr(bench.state, field) for field in fields}
    bench.step(bench.answer(swing(bench.spec, 3)), **frozen)  # the last true reading
    steps = 1 + follow(bench, 20, periods=3, **frozen)
    assert 100 <= steps * 60 < 160  # ms


def test_readings_that_freeze_while_commands_are_late_damp_no_later(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    follow(bench, 3)
    frozen = {field: getattr(bench.state, field) for field in ENCODERS}
    bench.step(bench.answer(swing(bench.spec, 3)), **frozen)
    answer = bench.answer(swing(bench.spec, 4))
    assert [bench.step(answer, **frozen).mode for _ in range(5)][3:] == [Mode.WALKING, Mode.DAMPED]
    assert bench.supervisor.reason == "no new reading of the encoders for 100 ms"


@pytest.mark.parametrize("mode", [Mode.STANDING_UP, Mode.SITTING_DOWN])
def test_readings_that_freeze_during_a_move_damp(bench: Bench, mode: Mode) -> None:
    bench.bring_to(mode)
    frozen = {field: getattr(bench.state, field) for field in ENCODERS}
    modes = [bench.step(**frozen).mode for _ in range(8)]
    assert modes[4] is mode and modes[6] is Mode.DAMPED


def test_a_robot_without_noise_may_stand_still_for_ever(bench: Bench) -> None:
    bench.bring_to(Mode.READY)
    still = {field: getattr(bench.state, field) for field in (*ENCODERS, *INERTIAL)}
    for _ in range(100):
        assert bench.step(**still).mode is Mode.READY
    bench.supervisor.enable(True)
    assert bench.step(bench.answer(), **still).mode is Mode.WALKING
    assert follow(bench, 50) == 50


@pytest.mark.parametrize("joint", [1, 5, 11])
def test_a_joint_that_sticks_damps(bench: Bench, joint: int) -> None:
    bench.bring_to(Mode.WALKING)
    follow(bench, 12)
    stuck = bench.state.joint_positions[joint]
    for step in range(12, 100):
        positions = bench.state.joint_positions.copy()
        positions[joint] = stuck + 0.002 * (-1) ** step  # an encoder is noisy
        decision = bench.step(bench.answer(swing(bench.spec, step)), joint_positions=positions)
        if decision.mode is Mode.DAMPED:
            break
    assert 12 + 9 <= step < 12 + 20  # 0.2 s, from where its target is not close any more
    assert (
        bench.supervisor.reason == f"{bench.spec.joint_names[joint]} sticks: it ignored its target for 200 ms"
    )


def test_a_joint_that_sticks_damps_in_time_on_a_slow_host(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    stand = bench.spec.stand_pose
    for step in range(10):
        answer = JointCommand(bench.state.stamp + 2 * PERIOD, stand + 0.05 * min(step, 6))
        still = stand + 1e-4 * (-1) ** step
        if bench.step(answer, periods=3, joint_positions=still).mode is Mode.DAMPED:
            break
    # Its target is 0.1 rad away from step 3 on, and it is told in periods of 60 ms.
    assert step == 3 + 3 and "sticks: it ignored its target for 2" in bench.supervisor.reason


def test_a_target_that_came_back_has_been_elsewhere(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    stand = bench.spec.stand_pose
    stuck = {"joint_positions": stand}
    crept = {"joint_positions": stand + 0.019}  # no motion, but noise could take it for one
    bench.step(bench.answer(), **stuck)
    for _ in range(5):
        assert bench.step(bench.answer(), **crept).mode is Mode.WALKING
    bench.step(bench.answer(stand + 0.15), **crept)
    for step in range(10):
        assert bench.mode is Mode.WALKING, step
        bench.step(bench.answer(), joint_positions=stand + 0.02 + 0.002 * (-1) ** step)
    assert bench.supervisor.reason.endswith("sticks: it ignored its target for 200 ms")


def test_a_joint_that_moves_late_does_not_stick(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    stand = bench.spec.stand_pose
    for _ in range(5):
        for late in range(9):
            wanted, still = stand + 0.15 * (late == 0), stand + 1e-4 * (late % 2)
            assert bench.step(bench.answer(wanted), joint_positions=still).mode is Mode.WALKING
        bench.step(bench.answer(), joint_positions=stand + 0.03)


def test_a_joint_that_sticks_damps_while_standing_up(bench: Bench) -> None:
    bench.bring_to(Mode.STANDING_UP)
    for _ in range(50):
        positions = bench.state.joint_positions.copy()
        positions[5] = bench.spec.sit_pose[5]
        if bench.step(joint_positions=positions).mode is Mode.DAMPED:
            break
    assert bench.supervisor.reason.startswith("FL_calf_joint sticks")


def test_a_joint_under_load_rests_beside_its_target(bench: Bench) -> None:
    bench.bring_to(Mode.READY)
    sagged = bench.spec.stand_pose + np.tile([0.0, 0.3, -0.3], 4)
    for _ in range(100):
        assert bench.step(joint_positions=sagged).mode is Mode.READY


def test_a_joint_that_is_not_told_to_move_may_rest(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    for step in range(100):
        wanted = bench.spec.stand_pose + 0.07 * (-1) ** step
        still = bench.spec.stand_pose + 1e-4 * (step % 2)
        assert bench.step(bench.answer(wanted), joint_positions=still).mode is Mode.WALKING


# -- joint limits ---------------------------------------------------------------------------------------


def at_limit(spec: RobotSpec, joint: int, side: int, inside: float, speed: float) -> dict[str, np.ndarray]:
    """A joint that is `inside` (rad) its upper (side 1) or lower limit, and moves outward at `speed`."""
    positions, velocities = spec.stand_pose.copy(), np.zeros(12)
    positions[joint] = spec.upper[joint] - inside if side > 0 else spec.lower[joint] + inside
    velocities[joint] = side * speed
    return {"joint_positions": positions, "joint_velocities": velocities}


@pytest.mark.parametrize("mode", ENERGISED)
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("joint", "name"), [(0, "FR_hip_joint"), (11, "RL_calf_joint")])
def test_a_joint_that_runs_into_its_limit_damps(
    bench: Bench, mode: Mode, side: int, joint: int, name: str
) -> None:
    bench.bring_to(mode)
    for inside, speed in ((0.03, 20.0), (0.012, 0.9), (0.015, -20.0)):  # not there, slow, on its way back
        assert bench.step(bench.answer(), **at_limit(bench.spec, joint, side, inside, speed)).mode is mode
    assert bench.step(bench.answer(), **at_limit(bench.spec, joint, side, 0.01, 1.1)).mode is Mode.DAMPED
    assert bench.supervisor.reason == f"{name} runs into its limit at 1.1 rad/s"


def test_a_joint_that_its_stop_has_brought_to_rest_came_too_fast(bench: Bench) -> None:
    bench.bring_to(Mode.WALKING)
    assert bench.step(bench.answer(), **at_limit(bench.spec, 0, 1, 0.06, 3.0)).mode is Mode.WALKING
    assert bench.step(bench.answer(), **at_limit(bench.spec, 0, 1, 0.0, 0.0)).mode is Mode.DAMPED
    assert bench.supervisor.reason == "FR_hip_joint runs into its limit at 3.0 rad/s"


@pytest.mark.parametrize("mode", ENERGISED)
def test_an_encoder_that_leaves_the_limits_damps_in_every_energised_mode(bench: Bench, mode: Mode) -> None:
    bench.bring_to(mode)
    assert bench.step(bench.answer(), **at_limit(bench.spec, 2, 1, -0.51, 0.0)).mode is Mode.DAMPED
    assert (
        bench.supervisor.reason == "FR_calf_joint says -0.41 rad, far outside its limits; check its encoder"
    )


def test_what_only_the_supervisor_sees_is_no_fall(a1: RobotSpec, standing: Standing) -> None:
    """The fault of a state is part of the task, which shipped policies and data sets know."""
    assert fault(a1, standing(**at_limit(a1, 0, 1, 0.01, 5.0))) == ""


# -- the robot behind its supervisor --------------------------------------------------------------------


class RecordingDriver:
    """A Driver that writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[MotorCommand | str] = []

    def open(self) -> None: ...

    def read(self) -> RobotState:
        raise NotImplementedError

    def write(self, command: MotorCommand) -> None:
        self.calls.append(command)

    def damp(self) -> None:
        self.calls.append("damp")

    def close(self) -> None: ...


def test_a_robot_writes_what_its_supervisor_decides(a1: RobotSpec, standing: Standing) -> None:
    driver = RecordingDriver()
    robot = Robot(a1, driver)
    decision = robot.tick(standing(), None)
    assert driver.calls == [decision.motors]
    robot.supervisor.damp("test")
    decision = robot.tick(standing(), None)
    assert driver.calls[1:] == ["damp", decision.motors]
