"""Leg odometry, beside the simulator's truth and in the places where it must not go astray."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dara_ros.hardware.odometry import Odometry, advance
from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.state import RobotState

STEP = 20_000_000  # ns
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


def standing(a1: RobotSpec, stamp: int = STEP, **changes: np.ndarray) -> RobotState:
    state = RobotState(
        stamp=stamp,
        joint_positions=a1.stand_pose,
        joint_velocities=np.zeros(12),
        joint_torques=np.zeros(12),
        orientation=UPRIGHT,
        angular_velocity=np.zeros(3),
        linear_acceleration=np.array([0.0, 0.0, 9.81]),
        foot_forces=np.full(4, 30.0),
    )
    return replace(state, **changes)


def follow(a1: RobotSpec, states: list[RobotState]) -> Odometry:
    odometry = None
    for state in states:
        odometry = advance(a1, odometry, state)
    assert odometry is not None
    return odometry


def test_who_stands_stays_where_he_began(a1: RobotSpec) -> None:
    there = follow(a1, [standing(a1, k * STEP) for k in range(50)])
    np.testing.assert_allclose(there.position[:2], 0.0, atol=1e-9)
    assert 0.2 < there.position[2] < 0.3


def test_forward_is_where_the_imu_looks(a1: RobotSpec) -> None:
    left = np.array([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)])  # yaw of 90 degrees
    swing = np.zeros(12)
    swing[1::3] = 1.0  # thighs push the feet back
    states = [standing(a1, k * STEP, orientation=left, joint_velocities=swing) for k in range(50)]
    there = follow(a1, states).position
    assert there[1] > 0.1 and abs(there[0]) < 1e-6


def test_nonsense_and_gaps_do_not_move_it(a1: RobotSpec) -> None:
    states = [standing(a1, k * STEP) for k in range(5)]
    before = follow(a1, states)
    broken = standing(a1, 5 * STEP, joint_positions=np.full(12, np.nan))
    assert advance(a1, None, broken) is None
    assert advance(a1, before, broken) is before
    assert advance(a1, before, states[-1]) is before
    fast = replace(before, velocity=np.array([1.0, 0.0, 0.0]))
    late = advance(a1, fast, standing(a1, 500 * STEP))
    assert late is not None and late.position.tolist() == before.position.tolist()


def test_in_the_air_it_comes_to_rest(a1: RobotSpec) -> None:
    air = [standing(a1, k * STEP, foot_forces=np.zeros(4)) for k in range(1000)]
    fast = Odometry(0, np.zeros(3), np.array([1.0, 0.0, 0.0]))
    for state in air:
        fast = advance(a1, fast, state) or fast
    assert np.abs(fast.velocity).max() < 1e-6


@pytest.mark.parametrize(("behaviour", "most"), [("expert", 0.35), ("medium", 0.25)])
def test_a_walk_is_as_long_as_in_truth_within_a_factor(a1: RobotSpec, behaviour: str, most: float) -> None:
    """Feet slip in the simulator: what they say of the path is wrong by up to `most` of it."""
    pytest.importorskip("pybullet")
    from dara_ros.action_sources import action_source
    from dara_ros.sim.environment import WalkingEnv

    env = WalkingEnv("flat")
    act = action_source(behaviour, env.task, np.random.default_rng(0))
    observation, _ = env.reset(seed=0)
    states = [env.state]
    for _ in range(200):
        observation = env.step(act(observation))[0]
        states.append(env.state)
    moved = follow(a1, states).position - follow(a1, states[:1]).position
    truth = states[-1].position - states[0].position
    assert np.linalg.norm((moved - truth)[:2]) < most * np.linalg.norm(truth[:2])
    env.close()
