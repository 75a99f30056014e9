"""The Gymnasium environment: its contract, its determinism, and what a walk in it looks like."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from simulated import variant

from dara_ros.hardware.safety import Mode
from dara_ros.hardware.state import RobotState
from dara_ros.hardware.task import FALL_PENALTY
from dara_ros.sim import EPISODE_STEPS, register
from dara_ros.sim.environment import WalkingEnv

register()


def rollout(environment: gymnasium.Env, seed: int, steps: int) -> str:
    """SHA-256 of everything that an episode of random residuals shows, bit for bit."""
    digest = hashlib.sha256()
    observation, _ = environment.reset(seed=seed)
    digest.update(observation.tobytes())
    actions = np.random.default_rng(seed).uniform(-0.5, 0.5, (steps, 12)).astype(np.float32)
    for action in actions:
        observation, reward, terminated, _, info = environment.step(action)
        digest.update(observation.tobytes() + np.float64(reward).tobytes() + info["base_position"].tobytes())
        if terminated:
            break
    return digest.hexdigest()


# -- contract -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dara/A1Flat-v0", "dara/A1Obstructive-v0"])
@pytest.mark.filterwarnings("ignore:.*Box observation space (minimum|maximum) value is -?infinity")
@pytest.mark.filterwarnings("ignore:.*not running render")
def test_gymnasium_is_content(name: str) -> None:
    environment = gymnasium.make(name, render_mode="rgb_array")
    assert environment.unwrapped.world.name == name.split("A1")[1].split("-")[0].lower()
    check_env(environment.unwrapped)
    environment.close()


def test_registering_twice_is_allowed() -> None:
    register()


def test_an_episode_is_cut_after_six_seconds() -> None:
    environment = gymnasium.make("dara/A1Flat-v0")
    assert environment.spec.max_episode_steps == EPISODE_STEPS == 300
    environment.close()


def test_actions_are_clipped(flat: WalkingEnv) -> None:
    commands = []
    for size in (1.0, 5.0):
        flat.reset(seed=0)
        commands.append(flat.step(np.full(12, size))[4]["requested_command"])
    np.testing.assert_array_equal(commands[0], commands[1])


def test_an_episode_begins_standing(flat: WalkingEnv) -> None:
    _, info = flat.reset(seed=4)
    assert 0.23 < info["base_position"][2] < 0.3
    assert flat.robot.supervisor.mode.value == "walking"


def test_info_tells_what_was_asked_and_what_was_sent(flat: WalkingEnv) -> None:
    flat.reset(seed=0)
    stamp = flat.state.stamp
    action = np.linspace(-1, 1, 12)
    expected = flat.task.command(flat.walk, flat.state, action).positions
    info = flat.step(action)[4]
    assert info["stamp"] == stamp
    np.testing.assert_array_equal(info["requested_command"], expected)
    spec = flat.robot_spec
    assert (np.abs(info["sent_command"] - spec.stand_pose) <= spec.safety.max_target_change + 1e-12).all()
    np.testing.assert_array_equal(info["sent_command"], np.clip(info["sent_command"], spec.lower, spec.upper))


# -- determinism ------------------------------------------------------------------------------------------


def test_a_seed_is_an_episode(obstructive: WalkingEnv) -> None:
    first = rollout(obstructive, 5, 60)
    other = rollout(obstructive, 6, 40)  # other bricks, other blocks, other contacts
    assert other != first
    assert rollout(obstructive, 5, 60) == first


def test_a_seed_is_the_same_episode_in_a_fresh_process(obstructive: WalkingEnv) -> None:
    rollout(obstructive, 1, 10)
    script = (
        f"import sys; sys.path[:0] = {[str(path) for path in sys.path]}\n"
        "from test_environment import *\n"
        "print(rollout(WalkingEnv('obstructive'), 7, 40))"
    )
    fresh = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == rollout(obstructive, 7, 40)


def test_resets_without_a_seed_differ_and_repeat(flat: WalkingEnv) -> None:
    def starts() -> list[bytes]:
        flat.reset(seed=9)
        return [flat.reset()[0].tobytes() for _ in range(2)]

    first = starts()
    assert first[0] != first[1]
    assert starts() == first


# -- walking ----------------------------------------------------------------------------------------------


def test_the_trot_walks(flat: WalkingEnv) -> None:
    flat.reset(seed=0)
    rewards = []
    for _ in range(EPISODE_STEPS):
        _, reward, terminated, truncated, info = flat.step(np.zeros(12))
        assert not terminated and not truncated, info["reason"]
        rewards.append(reward)
    assert info["distance"] > 0.8
    assert info["distance"] == pytest.approx(info["base_position"][0], abs=0.2)
    # Twice the velocity is most of the reward.
    assert sum(rewards) == pytest.approx(2 * info["distance"] / 0.02, rel=0.4)


def test_a_slippery_floor_changes_the_trot() -> None:
    """With the floor alone changed: the feet of this trot drag, so less friction takes it further."""
    distances = []
    for friction in (0.8, 0.4):
        environment = WalkingEnv(variant(ground_friction=friction))
        environment.reset(seed=0)
        for _ in range(150):
            info = environment.step(np.zeros(12))[4]
        distances.append(info["distance"])
        environment.close()
    assert distances[1] > 1.5 * distances[0]


def test_a_fall_ends_the_episode_and_costs(flat: WalkingEnv) -> None:
    flat.reset(seed=0)
    flat.driver._client.resetBaseVelocity(flat.driver._robot, (0.0, 2.0, 0.0), (8.0, 0.0, 0.0))  # a kick
    for _ in range(100):
        _, reward, terminated, truncated, info = flat.step(np.zeros(12))
        if terminated:
            break
        assert reward > -0.5 * FALL_PENALTY
        assert info["reason"] == ""
    assert terminated and not truncated
    assert info["reason"] != ""
    assert -FALL_PENALTY - 10 < reward < -FALL_PENALTY + 5


def test_a_joint_that_runs_into_its_limit_is_a_fall(
    flat: WalkingEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expert legs on a weak battery do: a reward that did not tell would teach it."""
    flat.reset(seed=0)
    assert not flat.step(np.zeros(12))[2]
    read = flat.driver.read

    def read_with_a_hip_at_its_stop() -> RobotState:
        state = read()
        hip = np.arange(12) == 0
        return replace(state, joint_positions=np.where(hip, flat.robot_spec.upper, state.joint_positions))

    monkeypatch.setattr(flat.driver, "read", read_with_a_hip_at_its_stop)
    _, reward, terminated, truncated, info = flat.step(np.zeros(12))
    assert info["reason"].startswith("FR_hip_joint runs into its limit")
    assert terminated and not truncated
    assert reward < -0.5 * FALL_PENALTY


def test_a_joint_that_sticks_truncates_the_episode(flat: WalkingEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the supervisor damps on, and one step does not tell, is no fall."""
    flat.reset(seed=0)
    read = flat.driver.read

    def read_with_a_stiff_knee() -> RobotState:
        state = read()
        stiff = np.arange(12) == 2
        return replace(
            state,
            joint_positions=np.where(stiff, flat.robot_spec.stand_pose, state.joint_positions),
            joint_velocities=np.where(stiff, 0.0, state.joint_velocities),
        )

    monkeypatch.setattr(flat.driver, "read", read_with_a_stiff_knee)
    for _ in range(100):
        _, reward, terminated, truncated, info = flat.step(np.zeros(12))
        if truncated or terminated:
            break
    assert truncated and not terminated
    assert info["reason"].startswith("FR_calf_joint sticks")
    assert reward > -10.0


def test_elsewhere_a_walk_goes_another_way_and_here_it_goes_on(flat: WalkingEnv) -> None:
    def walk(away: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
        here, there = [], []
        flat.reset(seed=3)
        for action in np.random.default_rng(3).uniform(-0.3, 0.3, (12, 12)):
            situation = flat.situation()
            here.append(flat.step(action)[0])
            if away:
                with flat.elsewhere(situation, variant("flat", motor={"strength": 0.2})):
                    there.append(flat.step(action)[0])
                    flat.robot.supervisor.damp("it went wrong elsewhere")
            flat.driver.forget(situation.moment)
        return here, there

    (undisturbed, _), (here, there) = walk(False), walk(True)
    np.testing.assert_allclose(here, undisturbed, atol=1e-5)
    assert np.abs(np.array(there) - here).max(1).min() > 0.1
    assert flat.robot.supervisor.mode is Mode.WALKING and flat.world.motor.strength == 1.0


def test_render_is_a_picture(flat: WalkingEnv) -> None:
    flat.reset(seed=0)
    assert flat.render().shape == (240, 320, 3)


# -- output -----------------------------------------------------------------------------------------------


def test_nothing_but_the_answer_reaches_stdout() -> None:
    """PyBullet greets on the C-level streams; `--json` readers must not see it."""
    script = (
        f"import sys; sys.path[:0] = {[str(path) for path in sys.path]}\n"
        "import json, numpy\n"
        "from dara_ros.sim.environment import WalkingEnv\n"
        "for world in ('flat', 'obstructive'):\n"
        "    environment = WalkingEnv(world)\n"
        "    environment.reset(seed=0)\n"
        "    environment.step(numpy.zeros(12))\n"
        "    environment.render()\n"
        "    environment.close()\n"
        "print(json.dumps({'answer': 42}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"answer": 42}
