"""The truth about delta r, and how estimators are held against it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

from dara_ros.command import main
from dara_ros.policies.classifiers import ClassifierConfig
from dara_ros.policies.dynamics_gap import GapConfig
from dara_ros.sim2real import truth as truth_module
from dara_ros.sim2real.truth import truths

QUICK_CLASSIFIERS = ClassifierConfig(hidden=(16,), max_steps=20, evaluate_every=10)
QUICK_GAP = GapConfig(hidden=(16,), steps=50)


def test_the_truth_is_nothing_where_worlds_are_one_and_the_same_rows_for_all() -> None:
    found = truths(("flat", "low_battery"), "medium", walks=1)
    same, weak = found["flat"], found["low_battery"]
    assert len(same.apart) == len(weak.apart) == len(same.rows) > 20
    assert same.apart.max() < 1e-6 and np.median(weak.apart) > 0.01
    assert same.apart_ahead.max() < 1e-6 and np.median(weak.apart_ahead) > 3 * np.median(weak.apart)
    assert same.rows is weak.rows and same.jerk.min() >= 0.0
    again = truths(("low_battery",), "medium", walks=1)["low_battery"]
    np.testing.assert_array_equal(again.rows.observations, weak.rows.observations)


def test_the_command_from_behaviours_to_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(truth_module, "ClassifierConfig", lambda: QUICK_CLASSIFIERS)
    monkeypatch.setattr(truth_module, "GapConfig", lambda: QUICK_GAP)
    words = "benchmark delta-r --world low_battery --data-set medium --walks 1 --workers 2 --json"
    sizes = "--source-rows 700 --target-rows 640 --seeds 2"
    csv = tmp_path / "delta_r.csv"
    assert main([*words.split(), *sizes.split(), "--out", str(tmp_path), "--csv", str(csv)]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [(row["estimator"], row["seed"]) for row in rows] == [
        ("truth", 0), ("truth_ahead", 0), ("jerk", 0),
        ("classifiers", 0), ("classifiers", 1), ("classifiers_ensemble", 0),
        ("dynamics", 0), ("dynamics", 1), ("dynamics_ensemble", 0),
        ("ahead", 0), ("ahead", 1), ("ahead_ensemble", 0),
    ]  # fmt: skip
    members = [row["mean"] for row in rows[3:5]]
    assert rows[5]["mean"] == pytest.approx(np.mean(members), abs=1e-4)
    assert all(-1.0 <= row["rank_correlation"] <= 1.0 for row in rows)
    assert rows[0]["rank_correlation"] == rows[1]["rank_correlation_ahead"] == pytest.approx(1.0)
    assert rows[3]["agreement"] == rows[6]["agreement"] == pytest.approx(1.0)
    assert all(row["of_expert"] is None and row["of_others"] == row["mean"] for row in rows)
    assert len(csv.read_text().splitlines()) == 13


def test_delta_r_of_the_experts_rows_and_of_the_others() -> None:
    truth = truths(("low_battery",), "medium-expert", walks=2)["low_battery"]
    assert 0 < truth.expert.sum() < len(truth.expert)
    told = truth_module._told("low_battery", "medium-expert", "truth", 0, truth, truth.apart, truth.apart)
    assert told.of_expert == pytest.approx(truth.apart[truth.expert].mean())
    assert told.of_others == pytest.approx(truth.apart[~truth.expert].mean())
