"""Behaviours: SAC really learns, every snapshot is judged, and the chosen ones are policy files that load."""

import csv
from pathlib import Path

import numpy as np
import pytest

from dara_ros import behaviours
from dara_ros.behaviours import (
    SacConfig,
    Snapshot,
    choose,
    replay,
    train_behaviours,
)
from dara_ros.courses import MujocoCourse, WalkingCourse
from dara_ros.policies.runtime import Policy

TINY = SacConfig(steps=512, snapshot_interval=256, hidden=16, batch_size=32, random_steps=64)


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


def test_mujocos_tasks_are_trained_on_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    monkeypatch.setattr(behaviours, "SELECTION_EPISODES", 2)
    snapshots = train_behaviours(MujocoCourse("hopper_shifted"), 0, tmp_path, TINY, lambda *stage: None)
    assert [snapshot.falls for snapshot in snapshots] == [2, 2]
    policy = Policy.load(tmp_path / "expert.onnx")
    assert (policy.metadata.robot, policy.metadata.algorithm[:19]) == ("none", "sac, hopper_shifted")
    assert policy(np.zeros(11, np.float32)).shape == (3,)


def test_speed_beyond_what_is_safe_is_worth_nothing_to_the_learner() -> None:
    pytest.importorskip("mujoco")
    slow, fast = (MujocoCourse("hopper_plain", speed).environment() for speed in (0.0, 1e3))
    slow.reset(seed=0)
    fast.reset(seed=0)
    for _ in range(10):
        _, less, _, _, info = slow.step(np.ones(3, np.float32))
        _, reward, _, _, _ = fast.step(np.ones(3, np.float32))
        assert float(less) == pytest.approx(float(reward) - max(info["x_velocity"], 0.0))
