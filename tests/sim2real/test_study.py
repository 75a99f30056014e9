"""The study: what it compares, what it writes down, and what becomes of a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dara_ros.command import main
from dara_ros.errors import UserError
from dara_ros.policies.dataset import DataSet
from dara_ros.sim2real import trials as trials_module
from dara_ros.sim2real.page import as_text, write_report
from dara_ros.sim2real.scores import gains, scores
from dara_ros.sim2real.study import (
    COMPARED,
    CONDITIONS,
    CONTROLS,
    Cell,
    Row,
    Study,
    default_eta,
    missing,
)
from dara_ros.sim2real.trials import run_cell
from dara_ros.studies.estimates import interquartile_mean, ratio
from dara_ros.studies.rows import read_table, write_rows

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

STUDY = Study(
    worlds=("obstructive", "low_battery"),
    data_sets=("medium", "medium-expert"),
    conditions=("union", "dara", "constant"),
    etas=(0.1, 0.5),
    seeds=3,
    collection_seeds=2,
    validation=False,
    source_rows=400,
    target_rows=330,
    steps=5,
    episodes=1,
)


def filled(trial: Row, distance: float) -> Row:
    return replace(trial, version="1", distance_m=distance, falls=1, mean_return=2 * distance)


def test_every_trial_is_tried_once() -> None:
    trials = list(STUDY.trials())
    assert len(trials) == len(set(trials)) == 2 * 2 * 3 * (1 + 2 + 2)
    assert {trial.eta for trial in trials if trial.condition == "union"} == {0.0}
    first = STUDY.cells()[:4]
    assert {(cell.seed, cell.collection_seed) for cell in first} == {(0, 0)} and len(set(first)) == 4
    assert {(cell.seed, cell.collection_seed) for cell in STUDY.cells()} == {(0, 0), (1, 1), (2, 0)}
    doses = {trial.condition: trial.eta for trial in replace(STUDY, conditions=COMPARED, etas=()).trials()}
    assert (doses["union"], doses["dara"], doses["dara_dynamics"]) == (0.0, 0.1, 1.0)


def test_a_validation_shares_no_seed_with_what_it_chooses_for() -> None:
    seeds = [
        {value for cell in study.cells() for value in (cell.seed, cell.collection_seed)}
        for study in (STUDY, replace(STUDY, validation=True))
    ]
    assert not seeds[0] & seeds[1]


def test_the_control_differs_from_dara_in_nothing_but_the_penalty() -> None:
    for condition, control in CONTROLS.items():
        penalty = "centred" if condition.startswith("centred") else "rows"
        assert CONDITIONS[control] | {"penalty": penalty} == CONDITIONS[condition]
        assert default_eta(control) == default_eta(condition) > 0.0


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"data_sets": ("expert",)}, "no data set 'expert'; there are: medium,"),
        ({"conditions": ("magic",)}, "no condition 'magic'; there are: target,"),
        ({"seeds": 0}, "seeds: give at least 1, not 0"),
    ],
)
def test_wrong_words(wrong: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        replace(STUDY, **wrong)


def test_results_are_written_in_order_and_read_back(tmp_path: Path) -> None:
    rows = [filled(trial, 0.25 * number) for number, trial in enumerate(STUDY.trials())]
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    write_rows(one, rows)
    write_rows(other, reversed(rows))
    assert one.read_bytes() == other.read_bytes()
    assert set(read_table(one, Row)) == set(rows)
    assert list(missing(STUDY, read_table(one, Row))) == []
    rest = list(missing(STUDY, rows[1:]))
    assert rest == [(STUDY.cells()[0], [rows[0].trial])]
    assert len(list(missing(replace(STUDY, steps=6), rows))) == len(STUDY.cells())


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "data_set,world\nmedium,flat\n", "\0\n"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.csv"
    path.write_text(content)
    with pytest.raises(UserError, match="no results of this benchmark"):
        read_table(path, Row)


# -- scores -------------------------------------------------------------------------------------------------


def test_interquartile_mean_by_hand() -> None:
    found = interquartile_mean([100.0, 1.0, 2.0, 3.0, 4.0, -50.0, 2.0, 3.0])
    assert found.value == pytest.approx((2 + 2 + 3 + 3) / 4)
    assert -50.0 <= found.low <= found.value <= found.high <= 100.0


def test_a_ratio_and_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    slow = rng.normal(2.0, 0.1, 12).tolist()
    found = ratio([1.5 * value for value in slow], slow)
    assert found is not None
    assert found.value == pytest.approx(1.5) and 1.3 < found.low < 1.5 < found.high < 1.7
    assert ratio(slow, [-1.0, 2.0]) is None
    assert str(ratio([3.0], [2.0, 2.0])) == "1.50"  # one trial tells nothing of its spread


def test_scores_compare_with_the_union_and_with_the_control_of_the_same_eta(tmp_path: Path) -> None:
    worth = {"union": 1.0, "dara": 3.0, "constant": 2.0}
    rows = [filled(trial, worth[trial.condition] + trial.eta) for trial in STUDY.trials()]
    found = {(s.world, s.data_set, s.condition, s.eta): s for s in scores(rows)}
    assert len(found) == 2 * 2 * 5
    dara = found["low_battery", "medium", "dara", 0.5]
    assert dara.trials == 3 and dara.falls == 1.0
    assert dara.over_union.value == pytest.approx(3.5) and dara.over_constant.value == pytest.approx(
        3.5 / 2.5
    )
    assert found["low_battery", "medium", "union", 0.0].over_union is None
    gained = gains(rows)
    page = write_report(tmp_path / "report.html", list(found.values()), gained, "dara benchmark").read_text()
    for part in ("<svg", "flat to low_battery", "medium-expert", "1.40 [1.40, 1.40]", "over constant"):
        assert part in page
    assert "flat -> obstructive, medium-expert" in as_text(list(found.values()), gained)


def test_gains_are_of_the_same_seed_and_data_in_all_cells() -> None:
    """DARA at 0.1 walks a metre farther than the union of its own cell, wherever that comes to."""
    base = {cell: float(number) for number, cell in enumerate(STUDY.cells())}
    worth = {"union": 0.0, "dara": 1.0, "constant": 0.25}

    def of(trial: Row) -> Row:
        cell = Cell(trial.data_set, trial.world, trial.collection_seed, trial.seed)
        return filled(trial, base[cell] - 3.0 + worth[trial.condition])

    rows = [of(trial) for trial in STUDY.trials() if trial.eta < 0.5]
    union, dara, constant = gains(rows)
    assert (union.condition, union.over_union, union.over_constant) == ("union", None, None)
    assert dara.trials == len(STUDY.cells()) and str(dara.over_union) == "1.00 [1.00, 1.00]"
    assert str(dara.over_constant) == "0.75 [0.75, 0.75]" and str(constant.over_union) == "0.25 [0.25, 0.25]"
    lonely = [row for row in rows if row.condition == "dara" or row.seed == 1]
    assert gains(lonely)[1].over_union == dara.over_union  # a trial without its pair counts for nothing


def test_figures_do_not_depend_on_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    rows = [filled(trial, rng.normal(3.0, 1.0)) for trial in STUDY.trials()]
    assert scores(rows) == scores(rows[::-1]) and gains(rows) == gains(rows[::-1])


# -- trials -------------------------------------------------------------------------------------------------


def test_a_cell_from_behaviours_to_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = trials_module.BASE
    quick = {"classifiers": {"max_steps": 5}, "settings": base["settings"] | {"vae_steps": 5}}
    monkeypatch.setattr(trials_module, "BASE", base | quick)
    conditions = ("target", "source", "bc", "union", "dara", "constant", "dara_paper")
    study = replace(STUDY, conditions=conditions, etas=(0.5,))
    cell = Cell("medium-expert", "low_battery", collection_seed=1, seed=2)
    told: list[Row] = []
    rows = run_cell(study, cell, study.trials_of(cell), tmp_path, told.append)
    assert rows == told and [row.trial for row in rows] == study.trials_of(cell)
    assert all(row.version and np.isfinite(row.distance_m) for row in rows)
    figures = {
        path.parent.name.split("medium-expert_")[1].split("_eta")[0]: json.loads(path.read_text())
        for path in (tmp_path / "runs").glob("*/figures.json")
    }
    fractions = {name: figures[name]["target_fraction"] for name in ("target", "source", "union", "dara")}
    assert fractions == {"target": 1.0, "source": 0.0, "union": 0.5, "dara": 0.5}
    assert figures["bc"]["algorithm"] == "bc"
    assert figures["dara_paper"]["target_fraction"] == pytest.approx(330 / 730)
    assert (figures["dara"]["penalty"], figures["constant"]["penalty"]) == ("rows", "constant")
    assert figures["dara"]["delta_r"] == figures["constant"]["delta_r"]  # the same classifiers
    again = run_cell(study, cell, study.trials_of(cell)[:1], tmp_path)
    assert again == rows[:1]
    with DataSet(tmp_path / "data" / "target_low_battery_medium-expert_330_1.h5") as target:
        assert (target.info.domain, target.info.world, len(target)) == ("target", "low_battery", 330)
    assert not list(tmp_path.rglob("*.part"))
    smaller = replace(study, target_rows=310, conditions=("target",))
    (row,) = run_cell(smaller, cell, smaller.trials_of(cell), tmp_path)
    assert row.trial != rows[0].trial
    assert len(list((tmp_path / "runs").glob("*_target_eta*"))) == 2  # nobody writes over another's run


WORDS = "benchmark sim2real --world low_battery --data-set medium --condition bc --seeds 4"
SIZES = "--source-rows 400 --target-rows 330 --episodes 1 --collection-seeds 1 --workers 2"


def command(folder: Path, steps: int, *more: str) -> list[str]:
    return [*WORDS.split(), *SIZES.split(), "--out", str(folder), "--steps", str(steps), *more]


def test_a_study_that_is_stopped_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.csv"
    with subprocess.Popen(
        [sys.executable, "-m", "dara_ros.command", *command(tmp_path, 300)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 300.0
        while not results.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60.0) in (0, 130)  # 0: all was done by then
    before = set(read_table(results, Row))
    assert before and main(command(tmp_path, 300, "--json")) == 0
    out, err = capfd.readouterr()
    assert f"{len(before)} of 4 trials are in" in err
    after = read_table(results, Row)
    assert len(after) == 4 and before <= set(after)
    assert (tmp_path / "distance.png").read_bytes()[:4] == b"\x89PNG"
    assert {row["condition"] for row in json.loads(out)["scores"]} == {"bc"}
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_table_is_of_what_was_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = Study(("low_battery",), ("medium",), ("bc",), (), 4, 1, False, 400, 330, steps=5, episodes=1)
    others = (replace(asked, validation=True), replace(asked, steps=6))
    rows = [filled(trial, distance=1.0) for trial in asked.trials()]
    rows += [filled(trial, distance=9.0) for study in others for trial in study.trials()]
    write_rows(tmp_path / "results.csv", rows)
    assert main(command(tmp_path, 5, "--json")) == 0
    found = json.loads(capfd.readouterr().out)["scores"]
    assert [(row["condition"], row["trials"], row["distance_m"]["value"]) for row in found] == [
        ("bc", 4, 1.0)
    ]


def test_ray_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'dara_ros[ray]'")
    for folder, more in (("here", ()), ("ray", ("--ray", "local"))):
        assert main(command(tmp_path / folder, 5, *more)) == 0
    here, there = ((tmp_path / folder / "results.csv").read_bytes() for folder in ("here", "ray"))
    assert here == there


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--world", "moon"), "moon: cannot be read"),
        (("--data-set", "expert"), "no data set 'expert'"),
        (("--eta", "-1"), "eta is -1"),
    ],
)
def test_wrong_words_on_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], line: str
) -> None:
    assert main(command(tmp_path, 5, *words)) == 2
    assert line in capfd.readouterr().err
