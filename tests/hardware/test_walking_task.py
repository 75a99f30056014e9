"""The MDP that simulator, logger and controller share: observation, action, reward, description."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dara_ros.hardware.kinematics import trot
from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.state import JointCommand, RobotState
from dara_ros.hardware.task import (
    ACTION_SIZE,
    FALL_PENALTY,
    FIELDS,
    OBSERVATION_SIZE,
    WINDOW,
    Walk,
    WalkingTask,
)

Standing = Callable[..., RobotState]


@pytest.fixture(scope="module")
def task(a1: RobotSpec) -> WalkingTask:
    return WalkingTask(a1)


def yawed(angle: float) -> np.ndarray:
    return np.array([0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)])


def field(task: WalkingTask, observation: np.ndarray, name: str) -> np.ndarray:
    """The columns of one field, found by their names."""
    columns = [i for i, column in enumerate(task.observation_names()) if column.split(".")[0] == name]
    return observation[columns]


# -- observation --------------------------------------------------------------------------------------


def test_names_fit_the_columns(task: WalkingTask) -> None:
    names = task.observation_names()
    assert len(names) == len(set(names)) == OBSERVATION_SIZE == 55
    assert names[:8] == (
        "up.x",
        "up.y",
        "up.z",
        "heading",
        "angular_velocity.x",
        "angular_velocity.y",
        "angular_velocity.z",
        "base_velocity.x",
    )
    assert names[13] == "joint_position.FR_hip_joint"
    assert names[48] == "last_action.RL_calf_joint"
    assert names[49:] == (*(f"foot_contact.{leg}" for leg in ("FR", "FL", "RR", "RL")),) + (
        "gait_phase.sin",
        "gait_phase.cos",
    )
    assert len(task.action_names()) == ACTION_SIZE


def test_a_robot_that_stands_still_observes_next_to_nothing(task: WalkingTask, standing: Standing) -> None:
    state = standing()
    observation = task.observation(task.begin(state), state)
    assert observation.dtype == np.float32
    expected = np.zeros(OBSERVATION_SIZE)
    expected[2] = 1.0  # up.z
    expected[12] = 0.981  # specific force, z, scaled
    expected[49:53] = 1.0  # contacts
    expected[54] = 1.0  # cosine of the phase
    np.testing.assert_allclose(observation, expected, atol=1e-7)


def test_every_field_holds_its_measurement_scaled(
    a1: RobotSpec, task: WalkingTask, standing: Standing
) -> None:
    rng = np.random.default_rng(0)
    state = standing(
        stamp=100_000_000,  # a quarter of the gait
        joint_positions=a1.stand_pose + rng.uniform(-0.1, 0.1, 12),
        joint_velocities=rng.normal(size=12),
        orientation=yawed(0.5),
        angular_velocity=rng.normal(size=3),
        linear_acceleration=rng.normal(size=3),
        foot_forces=np.array([5.0, 5.1, 0.0, 99.0]),
    )
    walk = Walk(0.2, rng.uniform(-1, 1, 12), rng.normal(size=3), ())
    observation = task.observation(walk, state)
    expected = {
        "up": (0, 0, 1),
        "heading": (0.3,),
        "angular_velocity": 0.25 * state.angular_velocity,
        "base_velocity": walk.base_velocity,
        "specific_force": 0.1 * state.linear_acceleration,
        "joint_position": state.joint_positions - a1.stand_pose,
        "joint_velocity": 0.1 * state.joint_velocities,
        "last_action": walk.last_action,
        "foot_contact": (0, 1, 0, 1),
        "gait_phase": (1, 0),
    }
    assert list(expected) == [f.name for f in FIELDS]
    for name, values in expected.items():
        np.testing.assert_allclose(field(task, observation, name), values, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("begin", "now", "heading"),
    [(0.0, 0.3, 0.3), (3.0, -3.0, 2 * np.pi - 6.0), (-3.0, 3.0, 6.0 - 2 * np.pi), (1.0, 1.0, 0.0)],
)
def test_heading_wraps(
    task: WalkingTask, standing: Standing, begin: float, now: float, heading: float
) -> None:
    walk = task.begin(standing(orientation=yawed(begin)))
    observation = task.observation(walk, standing(orientation=yawed(now)))
    assert field(task, observation, "heading")[0] == pytest.approx(heading, abs=1e-6)


def test_phase_comes_from_the_stamp_alone(a1: RobotSpec, task: WalkingTask, standing: Standing) -> None:
    period = round(a1.gait.period * 1e9)
    late = 10**18 + 7 * period + period // 8  # decades on
    late -= 10**18 % period
    for walk_begin in (0, 12_345):
        walk = task.begin(standing(stamp=walk_begin))
        phase = field(task, task.observation(walk, standing(stamp=late)), "gait_phase")
        np.testing.assert_allclose(phase, [np.sqrt(0.5)] * 2, atol=1e-6)


def test_base_velocity_holds_its_last_estimate_in_the_air(task: WalkingTask, standing: Standing) -> None:
    moving = standing(joint_velocities=np.tile([0.0, 1.0, 0.0], 4))
    walk = task.begin(moving)
    assert np.linalg.norm(walk.base_velocity) > 0.1
    flying = task.advance(walk, np.zeros(12), standing(foot_forces=np.zeros(4)))
    np.testing.assert_array_equal(flying.base_velocity, walk.base_velocity)


def test_advance_remembers_the_action(task: WalkingTask, standing: Standing) -> None:
    action = np.linspace(-1, 1, 12, dtype=np.float32)
    walk = task.advance(task.begin(standing()), action, standing(stamp=20_000_000))
    assert walk.last_action.dtype == np.float64
    np.testing.assert_array_equal(walk.last_action, action)


# -- action -------------------------------------------------------------------------------------------


def test_no_action_is_the_trot(a1: RobotSpec, task: WalkingTask, standing: Standing) -> None:
    state = standing(stamp=150_000_000, orientation=yawed(0.3))
    command = task.command(task.begin(standing()), state, np.zeros(12))
    assert command.stamp == state.stamp
    np.testing.assert_allclose(command.positions, trot(a1, 0.375, 0.3), atol=1e-12)


def test_one_unit_of_action_adds_its_scale(a1: RobotSpec, task: WalkingTask, standing: Standing) -> None:
    state, unit = standing(), np.eye(12)[4]
    walk = task.begin(state)
    added = task.command(walk, state, unit).positions - task.command(walk, state, 0 * unit).positions
    np.testing.assert_allclose(added, unit * a1.action_scale.thigh, atol=1e-15)


def test_action_is_the_inverse_of_command(robot: RobotSpec, standing: Standing) -> None:
    task, rng = WalkingTask(robot), np.random.default_rng(3)
    for _ in range(50):
        state = standing(stamp=int(rng.integers(2**62)), orientation=yawed(rng.uniform(-3, 3)))
        walk = replace(task.begin(state), heading=rng.uniform(-3, 3))
        action = rng.uniform(-1, 1, 12)
        found = task.action(walk, state, task.command(walk, state, action))
        np.testing.assert_allclose(found, action, atol=1e-12, rtol=0)


def test_action_does_not_clip(task: WalkingTask, standing: Standing) -> None:
    state = standing()
    far = JointCommand(0, np.full(12, 3.0))
    assert np.abs(task.action(task.begin(state), state, far)).max() > 1.0


# -- reward -------------------------------------------------------------------------------------------


def test_reward_by_hand(task: WalkingTask, standing: Standing) -> None:
    walk = Walk(0.0, np.zeros(12), np.zeros(3), (1.0, 1.01, 1.03))  # 0.03 m in two periods: 0.75 m/s
    tilt = 0.2
    state = standing(
        joint_torques=np.array([10.0, -5.0, *np.zeros(10)]),
        joint_velocities=np.array([2.0, 4.0, *np.zeros(10)]),  # |20| + |-20| W
        orientation=np.array([np.sin(tilt / 2), 0.0, 0.0, np.cos(tilt / 2)]),
    )
    expected = 2.0 * 0.75 - 0.001 * 40.0 - 2.0 * (1 - np.cos(tilt))
    assert task.reward(walk, state, False) == pytest.approx(expected)
    assert task.reward(walk, state, True) == pytest.approx(expected - FALL_PENALTY)


def test_a_fall_costs_what_augmentation_can_take(task: WalkingTask) -> None:
    eta, clip, discount = 0.1, 10.0, 0.99
    assert eta * clip / (1 - discount) <= FALL_PENALTY * (1 + 1e-9)


def test_forward_is_measured_along_the_heading(task: WalkingTask, standing: Standing) -> None:
    walk = task.begin(standing(orientation=yawed(np.pi / 2), position=np.array([5.0, 1.0, 0.3])))
    turned = standing(orientation=yawed(0.0), position=np.array([9.0, 1.04, 0.3]))
    walk = task.advance(walk, np.zeros(12), turned)
    assert task.forward_velocity(walk) == pytest.approx(0.04 / 0.02)


def test_velocity_is_averaged_over_the_window(task: WalkingTask, standing: Standing) -> None:
    walk = task.begin(standing())
    assert task.forward_velocity(walk) == 0.0
    forward = np.cumsum(np.arange(1.0, 31.0)) * 1e-3
    for step, x in enumerate(forward, start=1):
        walk = task.advance(walk, np.zeros(12), standing(position=np.array([x, 0.0, 0.3])))
        before = step - min(step, WINDOW)
        x_before = forward[before - 1] if before else 0.0
        expected = (x - x_before) / (0.02 * min(step, WINDOW))
        assert task.forward_velocity(walk) == pytest.approx(expected)
    assert len(walk.forward) == WINDOW + 1


def test_a_walk_without_odometry_has_no_velocity(task: WalkingTask, standing: Standing) -> None:
    walk = task.begin(standing(position=None))
    walk = task.advance(walk, np.zeros(12), standing(position=None))
    assert walk.forward == ()
    assert task.forward_velocity(walk) == 0.0


# -- description --------------------------------------------------------------------------------------


def test_description_survives_json(robot: RobotSpec) -> None:
    description = WalkingTask(robot).description()
    assert json.loads(json.dumps(description)) == description
    assert description["robot"] == robot.name
    assert sum(entry["size"] for entry in description["observation"]) == OBSERVATION_SIZE


def test_hash_is_the_same_for_the_same_task(a1: RobotSpec, task: WalkingTask) -> None:
    assert WalkingTask(a1).hash() == task.hash()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "b1"},
        {"control_period": 0.01},
        {"gains": {"kp": 81.0}},
        {"action_scale": {"calf": 0.31}},
        {"gait": {"stride": 0.17}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_hash_changes_with_the_robot(a1: RobotSpec, task: WalkingTask, changes: dict[str, Any]) -> None:
    content = a1.model_dump()
    for field_name, value in changes.items():
        content[field_name] = content[field_name] | value if isinstance(value, dict) else value
    changed = RobotSpec.model_validate(content)
    assert WalkingTask(changed).hash() != task.hash()


@pytest.mark.parametrize(
    "constant", ["WINDOW", "VELOCITY_WEIGHT", "POWER_WEIGHT", "TILT_WEIGHT", "FALL_PENALTY"]
)
def test_hash_changes_with_the_reward(
    task: WalkingTask, monkeypatch: pytest.MonkeyPatch, constant: str
) -> None:
    before = task.hash()
    monkeypatch.setattr(f"dara_ros.hardware.task.{constant}", 0.5)
    assert task.hash() != before
