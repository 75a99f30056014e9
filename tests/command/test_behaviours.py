"""Behaviours: SAC and PPO learn, every snapshot is judged, and the chosen ones are policy files that load."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from dara_ros import behaviours
from dara_ros.behaviours import Snapshot, choose, replay, train_behaviours
from dara_ros.behaviours_ppo import PpoConfig, mean_action, new_model
from dara_ros.behaviours_sac import SacConfig
from dara_ros.courses import MujocoCourse, WalkingCourse
from dara_ros.errors import UserError
from dara_ros.policies.runtime import Policy

TINY = SacConfig(steps=512, snapshot_interval=256, hidden=16, batch_size=32, random_steps=64)
TINY_PPO = PpoConfig(
    steps=512,
    snapshot_interval=256,
    hidden=16,
    environments=2,
    rollout=64,
    epochs=2,
    batch_size=32,
    decay_steps=1024,
)


def test_medium_is_closest_to_half_of_the_experts_return() -> None:
    snapshots = [
        Snapshot(steps, value, 0.0, 0) for steps, value in ((1, 30.0), (2, 55.0), (3, 70.0), (4, 100.0))
    ]
    medium, expert = choose(snapshots)
    assert (medium.steps, expert.steps) == (2, 4)


def test_replay_is_what_came_up_to_the_medium_policy() -> None:
    snapshots = [Snapshot(10 * step, float(step), 0.0, 0) for step in range(1, 12)]
    assert [one.steps for one in replay(snapshots, snapshots[8])] == [10, 30, 50, 70, 90]
    assert [one.steps for one in replay(snapshots, snapshots[1])] == [10, 20]
    assert replay(snapshots, snapshots[0]) == snapshots[:1]


def test_training_writes_policies_that_changed_and_their_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behaviours, "SELECTION_EPISODES", 1)
    stages: list[tuple[str, int, int]] = []
    train_behaviours(WalkingCourse("flat"), 0, tmp_path, TINY, lambda *stage: stages.append(stage))

    observations = np.random.default_rng(0).standard_normal((8, 55)).astype(np.float32)
    first, second = (Policy.load(tmp_path / f"{steps}.onnx")(observations) for steps in (256, 512))
    assert np.abs(first - second).max() > 1e-4, "the second snapshot has learnt nothing more"
    assert {"medium.onnx", "expert.onnx", "replay_000256.onnx"} <= {path.name for path in tmp_path.iterdir()}
    with (tmp_path / "scores.csv").open() as file:
        assert [int(row["steps"]) for row in csv.DictReader(file)] == [256, 512]
    assert stages[0] == ("training", 256, 512)
    assert stages[-1] == ("judging snapshots", 2, 2)


def test_mujocos_tasks_are_learnt_by_ppo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    monkeypatch.setattr(behaviours, "SELECTION_EPISODES", 2)
    snapshots = train_behaviours(MujocoCourse("hopper_shifted"), 0, tmp_path, TINY_PPO, lambda *stage: None)
    assert [snapshot.falls for snapshot in snapshots] == [2, 2]
    first, second = (Policy.load(tmp_path / f"{steps}.onnx") for steps in (256, 512))
    assert (second.metadata.robot, second.metadata.algorithm) == (
        "none",
        "ppo, hopper_shifted, seed 0, 512 steps",
    )
    observations = np.random.default_rng(0).standard_normal((8, 11)).astype(np.float32)
    assert first(observations).shape == (8, 3)
    assert np.abs(first(observations) - second(observations)).max() > 1e-4, "the second learnt nothing more"


def test_ppos_policy_takes_observations_as_they_come() -> None:
    """stable-baselines3's own actions, whose normalisation lies outside its network."""
    pytest.importorskip("mujoco")
    import torch

    model = new_model(TINY_PPO, MujocoCourse("hopper_plain"), 0)
    model.learn(256)
    observations = 20.0 * np.random.default_rng(0).standard_normal((64, 11)).astype(np.float32)
    normalised = model.get_vec_normalize_env().normalize_obs(observations)
    expected, _ = model.predict(normalised, deterministic=True)
    with torch.no_grad():
        actions = mean_action(model)(torch.from_numpy(observations)).numpy()
    assert np.abs(normalised).max() == 10.0, "some observation lies beyond what is clipped"
    assert actions == pytest.approx(expected, abs=1e-5)


def test_ppos_learning_rate_falls_from_snapshot_to_snapshot() -> None:
    pytest.importorskip("mujoco")
    model = new_model(TINY_PPO, MujocoCourse("hopper_plain"), 0)
    rates = []
    for _ in range(2):
        model.learn(256, reset_num_timesteps=False)
        rates.append(model.policy.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.75 * TINY_PPO.learning_rate, 0.5 * TINY_PPO.learning_rate])


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    for config in (TINY, TINY_PPO):
        with pytest.raises(UserError, match=r"stable-baselines3 is missing; run: pip install 'dara_ros\[b"):
            next(config.learn(MujocoCourse("hopper_plain"), 0, lambda *stage: None))
