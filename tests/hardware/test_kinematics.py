"""Feet against rotation matrices, leg odometry against rigid motions, the trot against its foot path."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dara_ros.hardware.kinematics import TROT_OFFSETS, foot_positions, leg_height, leg_velocity, trot
from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.state import RobotState


def turn_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def turn_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def feet_by_matrices(spec: RobotSpec, q: np.ndarray) -> np.ndarray:
    """Foot positions (4, 3) by the chain of joints: hip about x, thigh and calf about y."""
    feet = []
    for leg, (hip, thigh, calf) in zip(spec.legs, q.reshape(4, 3), strict=True):
        knee = np.array([0, 0, -spec.links.thigh]) + turn_y(calf) @ [0, 0, -spec.links.calf]
        shoulder = np.array([0, leg.side * spec.links.hip, 0]) + turn_y(thigh) @ knee
        feet.append(np.array(leg.hip_origin) + turn_x(hip) @ shoulder)
    return np.array(feet)


def random_pose(spec: RobotSpec, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(spec.lower, spec.upper)


def test_feet_follow_the_chain_of_joints(robot: RobotSpec) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        q = random_pose(robot, rng)
        np.testing.assert_allclose(foot_positions(robot, q.tolist()), feet_by_matrices(robot, q), atol=1e-12)


def test_a_standing_robot_is_as_high_as_its_legs(a1: RobotSpec, standing: Callable[..., RobotState]) -> None:
    expected = 2 * 0.2 * np.cos(0.9) + 0.02
    assert leg_height(a1, standing(), np.array([0.0, 0.0, 1.0])) == pytest.approx(expected)


def test_height_is_that_of_the_lowest_foot(a1: RobotSpec, standing: Callable[..., RobotState]) -> None:
    q = a1.stand_pose.copy()
    q[2] = -1.2  # one leg longer
    up = np.array([0.1, -0.2, np.sqrt(0.95)])
    expected = max(-(feet_by_matrices(a1, q) @ up)) + a1.links.foot_radius
    assert leg_height(a1, standing(joint_positions=q), up) == pytest.approx(expected)


def joint_velocities_of(spec: RobotSpec, q: np.ndarray, v: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """Joint velocities that keep every foot still in the world while the body moves with v and omega."""
    dq, step = np.zeros(12), 1e-6
    feet = feet_by_matrices(spec, q)
    for leg in range(4):
        jacobian = np.zeros((3, 3))
        for joint in range(3):
            shift = np.zeros(12)
            shift[3 * leg + joint] = step
            ahead, behind = feet_by_matrices(spec, q + shift)[leg], feet_by_matrices(spec, q - shift)[leg]
            jacobian[:, joint] = (ahead - behind) / (2 * step)
        dq[3 * leg : 3 * leg + 3] = np.linalg.solve(jacobian, -(v + np.cross(omega, feet[leg])))
    return dq


def test_leg_velocity_finds_a_rigid_motion(robot: RobotSpec, standing: Callable[..., RobotState]) -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        q = robot.stand_pose + rng.uniform(-0.3, 0.3, 12)
        v, omega = rng.normal(size=3), rng.normal(size=3)
        dq = joint_velocities_of(robot, q, v, omega)
        forces = np.full(4, 10 * robot.contact_force)
        state = standing(joint_positions=q, joint_velocities=dq, angular_velocity=omega, foot_forces=forces)
        np.testing.assert_allclose(leg_velocity(robot, state), v, atol=1e-7)


def test_leg_velocity_counts_only_feet_that_stand(a1: RobotSpec, standing: Callable[..., RobotState]) -> None:
    v = np.array([0.5, -0.1, 0.02])
    dq = joint_velocities_of(a1, a1.stand_pose, v, np.zeros(3))
    dq[3:6] = (3.0, -2.0, 1.0)  # the front left foot swings
    state = standing(joint_velocities=dq, foot_forces=np.array([30.0, a1.contact_force, 30.0, 30.0]))
    np.testing.assert_allclose(leg_velocity(a1, state), v, atol=1e-7)


def test_leg_velocity_of_feet_that_disagree_is_their_mean(
    a1: RobotSpec, standing: Callable[..., RobotState]
) -> None:
    still, slipping = np.zeros(12), joint_velocities_of(a1, a1.stand_pose, np.array([0.4, 0, 0]), np.zeros(3))
    dq = np.concatenate((slipping[:3], still[3:]))
    state = standing(joint_velocities=dq)
    np.testing.assert_allclose(leg_velocity(a1, state), [0.1, 0, 0], atol=1e-7)


@pytest.mark.parametrize("angle", [np.nan, np.inf])
def test_leg_velocity_of_a_broken_encoder_is_unknown(
    a1: RobotSpec, standing: Callable[..., RobotState], angle: float
) -> None:
    state = standing()
    broken = replace(state, joint_positions=np.where(np.arange(12) == 1, angle, state.joint_positions))
    assert leg_velocity(a1, broken) is None


def test_leg_velocity_in_the_air_is_unknown(a1: RobotSpec, standing: Callable[..., RobotState]) -> None:
    assert leg_velocity(a1, standing(foot_forces=np.zeros(4))) is None


# -- trot ---------------------------------------------------------------------------------------------


def foot_path(spec: RobotSpec, leg: int, phase: float, heading: float = 0.0) -> np.ndarray:
    """Foot (3,) relative to its hip, sideways offset taken off."""
    foot = feet_by_matrices(spec, trot(spec, phase, heading))[leg] - spec.legs[leg].hip_origin
    return foot - (0.0, spec.legs[leg].side * spec.links.hip, 0.0)


@pytest.mark.parametrize("leg", range(4))
def test_a_standing_foot_moves_straight_back(robot: RobotSpec, leg: int) -> None:
    gait = robot.gait
    for u in np.linspace(0, 0.999, 11):
        expected = (gait.stride * (0.5 - u), 0.0, -gait.stance_height)
        np.testing.assert_allclose(foot_path(robot, leg, u / 2 - TROT_OFFSETS[leg]), expected, atol=1e-9)


@pytest.mark.parametrize("leg", range(4))
def test_a_swinging_foot_is_lifted_forward(robot: RobotSpec, leg: int) -> None:
    gait = robot.gait
    for u, forward, lift in ((0.0, -0.5, 0.0), (0.5, 0.0, 1.0), (1 - 1e-9, 0.5, 0.0)):
        expected = (gait.stride * forward, 0.0, -gait.stance_height + lift * gait.swing_height)
        foot = foot_path(robot, leg, 0.5 + u / 2 - TROT_OFFSETS[leg])
        np.testing.assert_allclose(foot, expected, atol=1e-7)


def test_diagonal_legs_move_together(a1: RobotSpec) -> None:
    for phase in np.linspace(0, 1, 9):
        front_right, front_left, rear_right, rear_left = trot(a1, phase, 0.0).reshape(4, 3)
        np.testing.assert_array_equal(front_right, rear_left)
        np.testing.assert_array_equal(front_left, rear_right)


def test_the_trot_is_continuous(robot: RobotSpec) -> None:
    targets = np.array([trot(robot, phase, 0.3) for phase in np.linspace(0, 1, 2001)])
    assert np.abs(np.diff(targets, axis=0)).max() < 0.01


@pytest.mark.parametrize(("heading", "longer"), [(0.2, 1), (-0.2, -1)])
def test_the_trot_steers_back(a1: RobotSpec, heading: float, longer: int) -> None:
    """Pointing left, the left legs stride longer and the right ones shorter, by the same ratio."""
    for leg, spec_leg in enumerate(a1.legs):
        reach = foot_path(a1, leg, -TROT_OFFSETS[leg], heading)[0]
        expected = 0.5 * a1.gait.stride * (1 + 0.2 * spec_leg.side * longer)
        assert reach == pytest.approx(expected)


def test_steering_has_a_limit(a1: RobotSpec) -> None:
    np.testing.assert_array_equal(trot(a1, 0.1, 3.0), trot(a1, 0.1, a1.gait.steering))
