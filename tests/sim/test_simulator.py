"""The simulator is the robot that the spec describes, in the world that the YAML describes."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pybullet
import pytest
from simulated import hold, variant

from dara_ros.errors import UserError
from dara_ros.hardware.kinematics import foot_positions, leg_height, leg_velocity
from dara_ros.hardware.robot import Robot
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import RobotSpec, load_robot
from dara_ros.hardware.state import JointCommand, MotorCommand, up_in_body
from dara_ros.hardware.task import WalkingTask
from dara_ros.sim.simulator import PyBulletDriver

Simulate = Callable[..., PyBulletDriver]
A1_MASS = 12.458  # kg, a1.urdf
GRAVITY = 9.81
QUIET = dict.fromkeys(
    ("joint_position", "joint_velocity", "orientation", "angular_velocity", "linear_acceleration"), 0.0
)


def settle(driver: PyBulletDriver) -> list:
    """The last quarter second of two seconds of standing still."""
    return hold(driver, driver.spec.stand_pose, 100)[-12:]


# -- the robot ------------------------------------------------------------------------------------------


def test_only_the_a1_has_a_model() -> None:
    with pytest.raises(UserError, match="no model of robot 'go1'; use --robot a1"):
        PyBulletDriver(load_robot("go1"), variant())


def test_a_world_with_another_control_period_is_refused(a1: RobotSpec) -> None:
    with pytest.raises(UserError, match="timestep x substeps is 0.01 s but the robot's .* 0.02 s; make them"):
        PyBulletDriver(a1, variant(physics={"substeps": 5}))


def test_feet_are_where_the_kinematics_say(simulate: Simulate) -> None:
    driver = simulate(start={"height": 1.0})  # in the air: nothing pushes the joints
    rng = np.random.default_rng(0)
    for _ in range(3):
        hold(driver, driver.spec.stand_pose + rng.uniform(-0.3, 0.3, 12), 5)
        position, orientation = driver.state.position, driver.state.orientation
        matrix = np.array(pybullet.getMatrixFromQuaternion(orientation)).reshape(3, 3)
        links = driver._client.getLinkStates(driver._robot, driver._feet, computeForwardKinematics=1)
        in_world = np.array([link[4] for link in links])
        # The trunk's inertial frame is what PyBullet calls the base: 1.3 cm off the geometric one.
        offset = np.array(driver._client.getDynamicsInfo(driver._robot, -1)[3])
        in_body = (in_world - position) @ matrix + offset
        feet = np.array(foot_positions(driver.spec, driver.state.joint_positions.tolist()))
        np.testing.assert_allclose(in_body, feet, atol=2e-3)


def test_a_standing_robot_feels_gravity_and_its_weight(simulate: Simulate) -> None:
    states = settle(simulate())
    up = np.mean([up_in_body(state.orientation) for state in states], axis=0)
    force = np.mean([state.linear_acceleration for state in states], axis=0)
    np.testing.assert_allclose(force, GRAVITY * up, atol=0.1)
    weight = np.mean([state.foot_forces.sum() for state in states])
    assert weight == pytest.approx(A1_MASS * GRAVITY, rel=0.03)
    assert (states[-1].foot_forces > load_robot("a1").contact_force).all()


def test_height_above_the_feet_is_the_true_one(simulate: Simulate) -> None:
    driver = simulate()
    state = settle(driver)[-1]
    height = leg_height(driver.spec, state, up_in_body(state.orientation))
    assert height == pytest.approx(state.position[2], abs=0.01)


def test_angular_velocity_is_the_change_of_attitude_in_the_body_frame(simulate: Simulate) -> None:
    driver = simulate(start={"height": 1.0})
    leaning = pybullet.getQuaternionFromEuler((0.6, -0.4, 2.0))
    driver._client.resetBasePositionAndOrientation(driver._robot, (0, 0, 1), leaning)
    driver._client.resetBaseVelocity(driver._robot, (0, 0, 0), (0.5, -0.3, 1.0))
    before, after = hold(driver, driver.spec.stand_pose, 2)
    turn = times(conjugate(before.orientation), after.orientation)
    np.testing.assert_allclose(2 * turn[:3] / 0.02, after.angular_velocity, atol=0.05)


def conjugate(q: np.ndarray) -> np.ndarray:
    return q * (-1, -1, -1, 1)


def times(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.array([*(p[3] * q[:3] + q[3] * p[:3] + np.cross(p[:3], q[:3])), p[3] * q[3] - p[:3] @ q[:3]])


def test_leg_odometry_follows_a_body_that_moves_over_its_feet(simulate: Simulate) -> None:
    driver = simulate(ground_friction=5.0)
    settle(driver)
    pose = driver.spec.stand_pose
    error, speed = [], []
    for step in range(25):
        before = driver.state.position
        sway = 0.15 * np.sin(2 * np.pi * step / 25)
        hold(driver, pose + np.tile([0.0, sway, 0.0], 4), 1)
        true = (driver.state.position - before) / 0.02
        error.append(leg_velocity(driver.spec, driver.state)[0] - true[0])
        speed.append(true[0])
    assert np.std(speed) > 0.05
    assert np.std(error) < 0.35 * np.std(speed)


def test_whoever_may_stand_up_while_it_sinks_does_not_run_into_a_limit(simulate: Simulate) -> None:
    driver = simulate()
    refused = 0
    for periods in range(50):
        driver.restart(0)
        robot = Robot(driver.spec, driver)
        for _ in range(periods):
            robot.tick(driver.read(), None)
        if robot.supervisor.stand():
            refused += 1
            continue
        for _ in range(60):
            robot.tick(driver.read(), None)
        assert robot.supervisor.mode is Mode.READY, (periods, robot.supervisor.reason)
    assert 10 < refused < 40


def test_it_stands_up_walks_stops_sits_and_stands_again(simulate: Simulate) -> None:
    driver = simulate()
    robot, task = Robot(driver.spec, driver), WalkingTask(driver.spec)

    def run(periods: int) -> None:
        for _ in range(periods):
            robot.tick(driver.read(), None)

    run(50)
    assert driver.state.position[2] < 0.15  # limp
    robot.supervisor.stand()
    run(60)
    assert driver.state.position[2] > 0.23
    robot.supervisor.enable(True)
    walk = task.begin(driver.read())
    for _ in range(53):  # ends with two feet in the air
        robot.tick(driver.read(), task.command(walk, driver.read(), np.zeros(12)))
    for request, periods, mode, low, high in (
        (lambda: robot.supervisor.enable(False), 50, Mode.READY, 0.23, 0.3),
        (robot.supervisor.sit, 150, Mode.PASSIVE, 0.0, 0.12),
        (robot.supervisor.stand, 60, Mode.READY, 0.23, 0.3),
    ):
        assert request() == ""
        run(periods)
        assert robot.supervisor.mode is mode, robot.supervisor.reason
        assert low < driver.state.position[2] < high


def test_an_emergency_stop_lets_it_down_gently(simulate: Simulate) -> None:
    driver = simulate()
    robot = Robot(driver.spec, driver)
    settle(driver)
    robot.supervisor.damp("test")
    heights = [driver.state.position[2]]
    for _ in range(100):
        robot.tick(driver.read(), JointCommand(driver.read().stamp, driver.spec.stand_pose))
        heights.append(driver.state.position[2])
    fall = -np.diff(heights) / 0.02
    assert heights[-1] < 0.15
    assert fall.max() < 1.0  # m/s; free fall from a stand ends at 1.9


def test_damp_acts_at_once_even_with_latency(simulate: Simulate) -> None:
    driver = simulate(latency=0.02)
    settle(driver)
    driver.damp()
    driver.write(MotorCommand(driver.spec.stand_pose, 0.0, driver.spec.safety.damping))
    state = driver.state
    np.testing.assert_array_less(np.abs(state.joint_torques), 1.5 + 3.5 * np.abs(state.joint_velocities))


# -- time and noise ---------------------------------------------------------------------------------------


def test_stamps_count_control_periods(simulate: Simulate) -> None:
    driver = simulate()
    driver.restart(seed=1, stamp=7_000)
    assert driver.read().stamp == 7_000
    stamps = [state.stamp for state in hold(driver, driver.spec.stand_pose, 2)]
    assert stamps == [20_007_000, 40_007_000]


def test_reading_twice_draws_no_new_noise(simulate: Simulate) -> None:
    driver = simulate()
    assert driver.read() is driver.read()


def test_noise_is_as_large_as_the_world_says(simulate: Simulate) -> None:
    driver = simulate()
    errors: dict[str, list] = {name: [] for name in QUIET}
    measured = {
        "joint_position": "joint_positions",
        "joint_velocity": "joint_velocities",
        "angular_velocity": "angular_velocity",
        "linear_acceleration": "linear_acceleration",
    }
    for _ in range(150):
        hold(driver, driver.spec.stand_pose, 1)
        seen, true = driver.read(), driver.state
        for name, field in measured.items():
            errors[name].append(getattr(seen, field) - getattr(true, field))
        turn = times(conjugate(true.orientation), seen.orientation)
        errors["orientation"].append(2 * turn[:3] * np.sign(turn[3]))
    for name, values in errors.items():
        assert np.std(values) == pytest.approx(getattr(driver.world.noise, name), rel=0.2), name
        assert abs(np.mean(values)) < 0.2 * np.std(values), name


def test_a_world_without_noise_measures_the_truth(simulate: Simulate) -> None:
    driver = simulate(noise=QUIET)
    hold(driver, driver.spec.stand_pose, 5)
    for field in fields(driver.state):
        seen, true = getattr(driver.read(), field.name), getattr(driver.state, field.name)
        np.testing.assert_allclose(seen, true, rtol=0, atol=1e-12, err_msg=field.name)


def test_the_start_turns_with_the_seed(simulate: Simulate) -> None:
    driver = simulate(start={"yaw": 0.3})
    yaws = []
    for seed in range(40):
        driver.restart(seed)
        yaws.append(2 * np.arcsin(driver.state.orientation[2]))
    assert np.std(yaws) == pytest.approx(0.3, rel=0.4)


# -- what makes a world ---------------------------------------------------------------------------------


def test_a_payload_weighs(simulate: Simulate) -> None:
    weights = [np.mean([s.foot_forces.sum() for s in settle(simulate(payload=load))]) for load in (0.0, 2.5)]
    assert weights[1] - weights[0] == pytest.approx(2.5 * GRAVITY, rel=0.1)


def test_weaker_motors_sag(simulate: Simulate) -> None:
    def sag(strength: float) -> float:
        driver = simulate(motor={"strength": strength})
        return np.abs(settle(driver)[-1].joint_positions - driver.spec.stand_pose)[2::3].mean()

    assert sag(0.5) == pytest.approx(2 * sag(1.0), rel=0.25)


def test_torque_is_limited_by_strength(simulate: Simulate) -> None:
    driver = simulate(motor={"strength": 0.5}, start={"height": 1.0})
    hold(driver, driver.spec.lower, 1)
    peak = np.abs(driver.state.joint_torques).max()
    assert peak <= 0.5 * driver.spec.max_torque.max() * (1 + 1e-12)


def test_torque_fades_towards_the_greatest_speed(simulate: Simulate) -> None:
    def turned(knee: float) -> float:
        driver = simulate(motor={"knee": knee}, start={"height": 1.0})
        pose = driver.spec.stand_pose
        state = hold(driver, pose + np.tile([0.0, 2.0, 0.0], 4), 3)[-1]
        return (state.joint_positions - pose)[1::3].mean()

    assert turned(0.0) < 0.95 * turned(0.95)


def test_no_motor_drives_itself_past_its_greatest_speed(simulate: Simulate) -> None:
    """A free calf at full torque would, within one physics step, and the supervisor would call it a fault."""
    driver = simulate(start={"height": 1.0}, latency=0.014, noise=QUIET)
    pose = driver.spec.stand_pose
    speeds = []
    for by in (0.8, -0.8) * 6:
        state = hold(driver, pose + np.tile([0.0, 0.0, by], 4), 1)[-1]
        speeds.append(np.abs(state.joint_velocities[2::3]).max())
    assert 20.0 < max(speeds) <= driver.spec.max_velocity[2]


def moved(driver: PyBulletDriver, by: float) -> float:
    """How far the thighs of a falling robot come in 60 ms when they are told to go `by`, rad."""
    pose = driver.spec.stand_pose
    state = hold(driver, pose + np.tile([0.0, by, 0.0], 4), 3)[-1]
    return (state.joint_positions - pose)[1::3].mean()


@pytest.mark.parametrize(
    ("world", "slow", "fast"), [({"drag": 0.2}, 0.9, 0.8), ({"motor": {"sag": 0.02}}, 0.98, 0.9)]
)
def test_drag_and_a_weak_battery_hinder_fast_legs_most(
    simulate: Simulate, world: dict[str, object], slow: float, fast: float
) -> None:
    def share(by: float) -> float:
        return moved(simulate(start={"height": 1.0}, **world), by) / moved(
            simulate(start={"height": 1.0}), by
        )

    assert share(0.05) > slow and share(1.5) < fast, (share(0.05), share(1.5))


def test_elsewhere_the_outcome_is_another_and_the_present_stays(simulate: Simulate) -> None:
    driver = simulate()
    pose = driver.spec.stand_pose
    hold(driver, pose, 20)
    moment = driver.moment()
    kick = pose + np.tile([0.0, 0.4, 0.4], 4)
    hold(driver, kick, 1)
    true, measured = driver.state, driver.read()
    outcomes = []
    for world in (variant("flat"), variant("flat", motor={"strength": 0.3})):
        with driver.elsewhere(moment, world):
            hold(driver, kick, 1)
            outcomes.append(driver.state)
    driver.forget(moment)
    same, other = outcomes
    assert np.abs(same.joint_velocities - true.joint_velocities).max() < 0.05
    assert np.abs(other.joint_velocities - true.joint_velocities).max() > 1.0
    assert same.stamp == other.stamp == true.stamp
    assert driver.state is true and driver.read() is measured
    assert driver.world.motor.strength == 1.0


def test_drag_only_slows(simulate: Simulate) -> None:
    """However strong: taken from the speed at a step's begin it would throw light links to and fro."""

    def fastest(drag: float) -> float:
        driver = simulate(drag=drag, start={"height": 1.0})
        pose = driver.spec.stand_pose
        swings = [hold(driver, pose + np.tile([0.0, by, by], 4), 3) for by in (0.5, -0.5) * 3]
        return max(float(np.abs(state.joint_velocities).max()) for states in swings for state in states)

    free = fastest(0.0)
    assert free > 10.0
    assert all(fastest(drag) < free for drag in (0.135, 1.0, 20.0))


def test_drag_is_no_torque_of_the_motors(simulate: Simulate) -> None:
    driver = simulate(drag=5.0, motor={"strength": 0.1}, start={"height": 1.0})
    hold(driver, driver.spec.lower, 3)
    assert np.abs(driver.state.joint_torques).max() <= 0.1 * driver.spec.max_torque.max() * (1 + 1e-12)


def test_latency_holds_the_old_target(simulate: Simulate) -> None:
    def after(latency: float, targets: tuple[float, float]) -> np.ndarray:
        driver = simulate(latency=latency, noise=QUIET)
        pose = driver.spec.stand_pose
        for target in targets:
            hold(driver, pose + target, 1)
        return driver.state.joint_positions

    # A latency of a whole period: the second target has not been heard of yet.
    np.testing.assert_array_equal(after(0.02, (0.0, 0.2)), after(0.02, (0.0, 0.0)))
    none, some, whole = (np.abs(after(latency, (0.0, 0.2))[1::3]).mean() for latency in (0.0, 0.014, 0.02))
    assert none > some > whole


def test_a_slippery_floor_lets_the_robot_slide(simulate: Simulate) -> None:
    def slide(friction: float) -> float:
        driver = simulate(ground_friction=friction)
        settle(driver)
        start = driver.state.position[0]
        driver._client.setGravity(5.0, 0.0, -9.81)  # as on a slope of 27 degrees: tan = 0.51
        return hold(driver, driver.spec.stand_pose, 40)[-1].position[0] - start

    assert slide(0.4) > 3 * slide(0.8)


def test_rougher_feet_hold_better(simulate: Simulate) -> None:
    def slide(friction: float) -> float:
        driver = simulate(foot_friction=friction)
        settle(driver)
        start = driver.state.position[0]
        driver._client.setGravity(5.0, 0.0, -9.81)
        return hold(driver, driver.spec.stand_pose, 40)[-1].position[0] - start

    assert slide(0.4) > 3 * slide(1.0)


# -- obstacles ------------------------------------------------------------------------------------------


def poses(driver: PyBulletDriver, bodies: list[int]) -> np.ndarray:
    return np.array([driver._client.getBasePositionAndOrientation(body)[0] for body in bodies])


def test_flat_is_empty_and_obstructive_is_not(simulate: Simulate) -> None:
    flat, obstructive = simulate("flat"), simulate("obstructive")
    bodies = [driver._client.getNumBodies() for driver in (flat, obstructive)]
    assert bodies == [2, 2 + 12 + 4]  # the floor and the robot


def test_bricks_stand_out_where_the_world_says(simulate: Simulate) -> None:
    driver = simulate("obstructive")
    bricks = driver.world.bricks
    layouts = []
    for seed in (1, 2, 1):
        driver.restart(seed)
        layouts.append(poses(driver, driver.obstacles._bricks))
        boxes = [driver._client.getAABB(body) for body in driver.obstacles._bricks]
        for x, y, _ in layouts[-1]:
            assert bricks.x[0] <= x <= bricks.x[1] and bricks.y[0] <= y <= bricks.y[1]
        heights = np.array([high[2] for _, high in boxes])
        assert (heights > bricks.height[0] - 0.01).all() and (heights < bricks.height[1] + 0.01).all()
    np.testing.assert_array_equal(layouts[0], layouts[2])
    assert np.abs(layouts[0] - layouts[1]).max() > 0.1
    hold(driver, driver.spec.stand_pose, 20)
    np.testing.assert_array_equal(poses(driver, driver.obstacles._bricks), layouts[2])


def test_every_simulator_has_the_same_bricks(simulate: Simulate) -> None:
    def boxes() -> list:
        driver = simulate("obstructive")
        driver.restart(1)
        return [driver._client.getAABB(body) for body in driver.obstacles._bricks]

    assert boxes() == boxes()


def test_blocks_turn_as_often_as_the_world_says(simulate: Simulate) -> None:
    def travelled(turn: float) -> float:
        driver = simulate("obstructive", blocks={"turn": turn})
        driver.restart(3)
        before = poses(driver, driver.obstacles._blocks)
        hold(driver, driver.spec.stand_pose, 10)
        return np.abs(poses(driver, driver.obstacles._blocks) - before)[:, 1].mean()

    assert travelled(1.0) < 0.3 * travelled(0.0)


def test_blocks_move_to_and_fro_across_the_way(simulate: Simulate) -> None:
    driver = simulate("obstructive")
    driver.restart(3)
    track = []
    for _ in range(150):
        hold(driver, driver.spec.stand_pose, 1)
        track.append(poses(driver, driver.obstacles._blocks))
    y = np.array(track)[:, :, 1]
    assert (np.ptp(y, axis=0) > 0.3).all()
    steps = np.sign(np.diff(y, axis=0))
    assert (np.abs(np.diff(steps, axis=0)) == 2).any()  # turned back
    margin = 0.1
    low, high = driver.world.blocks.y
    assert (y > low - margin).all() and (y < high + margin).all()


def test_a_brick_is_in_the_way(simulate: Simulate) -> None:
    here = {"count": 1, "x": (0.0, 0.0), "y": (0.0, 0.0), "height": (0.1, 0.1), "size": (2.0, 2.0)}
    driver = simulate(bricks=here)
    driver.restart(0)
    contact = hold(driver, driver.spec.stand_pose, 25)[-1]
    assert contact.position[2] > 0.3  # the robot stands on it


# -- picture ----------------------------------------------------------------------------------------------


def test_the_picture_shows_the_robot(simulate: Simulate) -> None:
    driver = simulate()
    image = driver.picture(80, 60)
    assert image.shape == (60, 80, 3) and image.dtype == np.uint8
    assert image.std() > 5
    driver._client.resetBasePositionAndOrientation(driver._robot, (0, 0, -50), (0, 0, 0, 1))
    assert (image != driver.picture(80, 60)).mean() > 0.02


def test_the_picture_follows_the_robot(simulate: Simulate) -> None:
    driver = simulate()
    first = driver.picture(80, 60)
    driver._client.resetBasePositionAndOrientation(driver._robot, (3.0, -1.0, 0.28), (0, 0, 0, 1))
    hold(driver, driver.spec.stand_pose, 1)
    changed = np.abs(driver.picture(80, 60).astype(int) - first).max(axis=2) > 40
    assert changed.mean() < 0.02


def test_closing_twice_is_allowed(a1: RobotSpec) -> None:
    driver = PyBulletDriver(a1, variant())
    driver.close()
    driver.open()
    driver.close()
    driver.close()
