"""The truth about delta r in MuJoCo's tasks, and how estimators are held against it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs MuJoCo: pip install 'dara_ros[mujoco]'")

from dara_ros.command import main
from dara_ros.mass_shift import trials as trials_module
from dara_ros.mass_shift import truth as truth_module
from dara_ros.mass_shift.outcomes import apart, is_clipped, outcomes
from dara_ros.mass_shift.study import Row, Study
from dara_ros.mass_shift.trials import config, run_trials
from dara_ros.mass_shift.truth import truth
from dara_ros.mujoco_data import Recipe, data_set
from dara_ros.policies.classifiers import ClassifierConfig
from dara_ros.policies.dara import delta_r
from dara_ros.policies.dataset import DataSet
from dara_ros.policies.dynamics_gap import GapConfig
from dara_ros.sim.mujoco_tasks import load_task

QUICK_CLASSIFIERS = ClassifierConfig(hidden=(32,), max_steps=200, evaluate_every=50)
QUICK_GAP = GapConfig(hidden=(16,), steps=50)


@pytest.mark.parametrize("task", ["hopper", "walker2d"])
def test_a_row_is_walked_again_as_it_was_and_otherwise_in_the_target(task: str, tmp_path: Path) -> None:
    with DataSet(data_set(Recipe(task, "shifted", "random", 300, 0), tmp_path)) as source:
        found = truth((f"{task}_shifted", f"{task}_plain"), source)
        recorded = found.rows.next_observations
        again = outcomes(load_task(f"{task}_shifted"), found.rows)
        in_target = outcomes(load_task(f"{task}_plain"), found.rows)
    assert len(found.apart) == len(recorded) > 20
    np.testing.assert_allclose(again, recorded, atol=1e-4)
    assert np.abs(in_target - recorded).max() > 0.01
    spread = (recorded - found.rows.observations).std(0)
    np.testing.assert_allclose(found.apart, np.square((in_target - again) / spread).mean(1))


def test_a_row_has_the_return_of_its_episode(tmp_path: Path) -> None:
    with DataSet(data_set(Recipe("hopper", "shifted", "random", 200, 0), tmp_path)) as source:
        found = truth(("hopper_shifted", "hopper_plain"), source)
        starts, ends = source.episodes()
        rewards = source.column("rewards")
    expected = {float(rewards[a:b].sum(dtype=np.float64)) for a, b in zip(starts, ends, strict=True)}
    assert set(found.returns) <= expected and len(set(found.returns)) > 3
    first = np.flatnonzero(found.rows.rewards == rewards[0])  # the first row of the first episode
    assert found.returns[first[0]] == pytest.approx(rewards[: ends[0]].sum())


def test_a_state_whose_velocity_is_cut_off_is_not_known() -> None:
    observations = np.zeros((3, 11))
    observations[0, 4], observations[1, 5] = 10.0, -10.0  # the last position, the first velocity
    assert is_clipped(observations).tolist() == [False, True, False]


def test_the_command_from_behaviours_to_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trials_module, "CLASSIFIERS", QUICK_CLASSIFIERS)
    monkeypatch.setattr(truth_module, "GapConfig", lambda: QUICK_GAP)
    words = "benchmark mujoco-delta-r --task walker2d --data-set random --size 0.01 --seeds 2 --json"
    words += " --target shifted"
    csv = tmp_path / "delta_r.csv"
    assert main([*words.split(), "--out", str(tmp_path), "--csv", str(csv)]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [(row["estimator"], row["seed"]) for row in rows] == [
        ("truth", 0), ("classifiers", 0), ("classifiers", 1), ("dynamics", 0), ("dynamics", 1)
    ]  # fmt: skip
    assert {row["target"] for row in rows} == {"shifted"}
    assert rows[0]["with_truth"] == rows[1]["agreement"] == rows[3]["agreement"] == pytest.approx(1.0)
    assert all(-1.0 <= row["with_truth"] < 1.0 and row["agreement"] < 1.0 for row in (rows[2], rows[4]))
    assert [row["auc_sa"] is None for row in rows] == [True, False, False, True, True]
    assert len(csv.read_text().splitlines()) == 6


def test_classifiers_that_the_study_left_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "CLASSIFIERS", QUICK_CLASSIFIERS)
    study = Study(("hopper",), ("random",), ("brac-p",), ("dara",), seeds=1, size=0.001, steps=40, episodes=1)
    trials = list(study.trials())
    run_trials(trials, tmp_path)
    monkeypatch.setattr(trials_module, "train_classifiers", None)
    monkeypatch.setattr(truth_module, "GapConfig", lambda: QUICK_GAP)
    told = truth_module.judge(trials, tmp_path)
    assert [line.estimator for line in told] == ["truth", "classifiers", "dynamics"]


def test_the_oracle_gives_the_classifiers_delta_r_to_the_rows_that_are_farthest_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials_module, "CLASSIFIERS", QUICK_CLASSIFIERS)
    study = Study(("hopper",), ("random",), ("brac-p",), ("dara", "oracle"), seeds=1, size=0.001, steps=40)
    dara, oracle = study.trials()
    run_trials([dara], tmp_path)
    settings = config(oracle, tmp_path)
    assert (settings.eta, oracle.eta) == (0.0, 0.1)
    paths = config(dara, tmp_path).source, settings.source, settings.target
    with DataSet(paths[0]) as source, DataSet(paths[1]) as told, DataSet(paths[2]) as target:
        taken = (source.column("rewards") - told.column("rewards")) / 0.1
        delta = delta_r(trials_module.classifiers(dara, tmp_path, source, target), source).values
        distances = apart("hopper_shifted", "hopper_plain", source.rows(np.arange(len(source))))
        for name in set(source.column_names()) - {"rewards"}:
            assert np.array_equal(source.column(name), told.column(name)), name
    np.testing.assert_allclose(np.sort(taken), np.sort(delta), atol=1e-4)
    assert np.abs(taken - delta).max() > 0.1, "the classifiers rank otherwise"
    assert (np.diff(taken[np.argsort(distances, kind="stable")]) > -1e-4).all()
    rows: list[Row] = []
    run_trials([oracle], tmp_path, done=rows.append)
    assert [row.trial for row in rows] == [oracle]
    assert not Path(settings.source).exists(), "a copy of the source for every run would fill the disk"
