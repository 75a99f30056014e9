"""The study of shifted masses as data: its trials, its results file, its scores and tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs MuJoCo: pip install 'dara_ros[mujoco]'")

from dara_ros import mujoco_data
from dara_ros.errors import UserError
from dara_ros.mass_shift.learners import CHOSEN, SMALL, WARM_UPS, stage
from dara_ros.mass_shift.page import as_text, tables, write_report
from dara_ros.mass_shift.published import published
from dara_ros.mass_shift.scores import AGAINST, arrow, count, scores, seed_deviation
from dara_ros.mass_shift.study import (
    ALGORITHMS,
    CONDITIONS,
    DATA_SETS,
    LEAST_STEPS,
    MABE_MODES,
    NETWORKS,
    TASKS,
    Row,
    Study,
    conditions_of,
    missing,
    recipes,
)
from dara_ros.policies.algorithms import algorithms
from dara_ros.policies.learning import Run
from dara_ros.studies.rows import read_table, write_rows

PENALISED = ("dara", "constant", "oracle")
STUDY = Study(data_sets=("random",), seeds=2, size=0.001)  # uniform actions need no behaviours


def filled(trial: Row, score: float) -> Row:
    return replace(trial, version="1", score=score, return_=10 * score)


def test_every_trial_is_tried_once_and_one_seed_of_all_comes_first() -> None:
    trials = list(STUDY.trials())
    of_one_cell = 6 * 6 + 5 + 2  # AWR is not tuned, MABE has its two modes
    assert len(trials) == len(set(trials)) == 2 * of_one_cell * 2
    assert {trial.seed for trial in trials[: 2 * of_one_cell]} == {0}
    assert {trial.condition for trial in trials if trial.eta} == set(PENALISED)
    assert {trial.algorithm for trial in trials if trial.condition.startswith("prior")} == {"mabe"}


def test_the_control_differs_from_dara_in_nothing_but_the_penalty() -> None:
    assert replace(CONDITIONS["dara"], penalty="constant") == CONDITIONS["constant"]
    assert replace(CONDITIONS["dara"], penalty="") == CONDITIONS["union"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("networks", NETWORKS)
def test_a_warm_up_is_part_of_the_steps(algorithm: str, networks: str) -> None:
    for updates in (LEAST_STEPS // 2, 1000):
        one = stage(algorithm, networks, updates)
        learner = algorithms()[algorithm](3, [Run(np.zeros(11), np.ones(11), one.settings, seed=0)])
        assert one.steps > 0 and learner.warm_up + one.steps == updates


def test_small_networks_are_small_and_nothing_is_left_out() -> None:
    assert set(SMALL) == set(WARM_UPS) == set(ALGORITHMS)
    for algorithm in ALGORITHMS:
        settings = vars(stage(algorithm, "small", 1000).settings)
        assert {value for name, value in settings.items() if name.endswith("_hidden")} == {(128, 128)}


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"tasks": ("ant",)}, "no task 'ant'; there are: hopper, walker2d"),
        ({"data_sets": ("expert",)}, "no data set 'expert'; there are: random,"),
        ({"algorithms": ("bc",)}, "no algorithm 'bc'; there are: bcq,"),
        ({"conditions": ("magic",)}, "no condition 'magic'; there are: 10T,"),
        ({"algorithms": ("awr",), "conditions": ("tune",)}, "awr: not tried in tune; there are: 10T, 1T,"),
        ({"behaviours": "mine"}, "no behaviours 'mine'; there are: own, target"),
        ({"target": "mine"}, "no target 'mine'; there are: plain, shifted"),
        ({"networks": "big"}, "no networks 'big'; there are: small, paper"),
        ({"mix": 1.0}, "mix: give a share of target rows below 1, or 0 for the files', not 1.0"),
        ({"size": 0.0}, "size: give a share of the paper's data, above 0 and at most 1, not 0.0"),
        ({"size": 2.0}, "size: give a share"),
        ({"steps": 19}, "steps: give at least 20, not 19"),
        ({"eta": -1.0}, "eta is -1"),
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
    assert one.read_text().startswith(
        "task,data_set,algorithm,condition,seed,eta,steps,size,networks,episodes,collection_seed,behaviours,"
        "target,mix,data,learner,version,score,return\n"
    )
    assert set(read_table(one, Row)) == set(rows)


def test_what_is_done_is_not_done_again_and_what_differs_is(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [filled(trial, 1.0) for trial in STUDY.trials()]
    assert missing(STUDY, rows) == []
    assert missing(STUDY, rows[1:]) == [rows[0].trial]
    for other in ({"steps": 21}, {"size": 0.002}, {"networks": "paper"}, {"collection_seed": 1}):
        assert len(missing(replace(STUDY, **other), rows)) == len(rows)
    assert {trial.condition for trial in missing(replace(STUDY, eta=0.2), rows)} == set(PENALISED)
    mixed = {trial.condition for trial in missing(replace(STUDY, mix=0.5), rows)}
    assert mixed == {"union", *PENALISED, *MABE_MODES}
    with monkeypatch.context() as chosen:
        chosen.setitem(CHOSEN, "bcq", {"kl_weight": 0.1})
        assert {trial.algorithm for trial in missing(STUDY, rows)} == {"bcq"}
    monkeypatch.setattr(mujoco_data, "EXPLORATION_NOISE", (0.5,))
    assert len(missing(STUDY, rows)) == len(rows), "other behaviours make other data"


def test_the_targets_behaviours_make_another_source_and_nothing_else() -> None:
    study = Study(conditions=("1T", "union"), algorithms=("bcq",), seeds=1)
    own, other = list(study.trials()), list(replace(study, behaviours="target").trials())
    changed = [(a, b) for a, b in zip(own, other, strict=True) if a != b]
    assert {(a.data_set, a.condition) for a, _ in changed} == {(name, "union") for name in DATA_SETS[1:]}
    for a, b in changed:
        assert b == replace(a, behaviours="target", data=b.data) and a.data != b.data
        (source, target), (of_target, same) = recipes(a), recipes(b)
        assert same == target and of_target == replace(source, behaviours="target")


def test_swapped_domains_are_other_trials_and_said() -> None:
    study = Study(conditions=("union",), algorithms=("bcq",), seeds=1)
    swapped = replace(study, target="shifted", behaviours="target")
    assert "SWAPPED" in swapped.terms() and "SWAPPED" not in study.terms()
    for usual, trial in zip(study.trials(), swapped.trials(), strict=True):
        assert usual.data != trial.data
        source, target = recipes(trial)
        assert (source.world, source.domain) == (f"{trial.task}_plain", "source")
        assert (target.world, target.domain) == (f"{trial.task}_shifted", "target")
        assert source.behaviour_files() == target.behaviour_files()


# -- the seeds' numbers -------------------------------------------------------------------------------------


def test_the_seeds_numbers_are_whole_and_count_as_they_say() -> None:
    cells = len(TASKS) * len(DATA_SETS)
    assert len(published()) == cells * (6 * 4 + 5 + 2)
    assert published()["walker2d", "medium-expert", "cql", "dara"] == 93.3
    assert published()["hopper", "medium-replay", "bear", "tune"] == 0.7
    assert published()["walker2d", "random", "mabe", "T^ pi_p"] == -0.2
    found = count({}, "dara", "union")
    assert (found.published_above, found.published_cells, found.cells) == (44, 48, 0)
    assert found.published_difference == pytest.approx(5.156, abs=1e-3)


@pytest.mark.parametrize(
    ("cell", "drawn"),
    [
        (("hopper", "random", "bcq"), "↓↓↑"),  # 10.6 against 10.6 is drawn as down
        (("hopper", "medium-expert", "awr"), "↓↓↓"),
        (("walker2d", "medium", "bear"), "↓↑↓"),
        (("hopper", "medium-replay", "brac-p"), "↑↑↑"),
    ],
)
def test_arrows_are_the_seeds(cell: tuple[str, str, str], drawn: str) -> None:
    assert "".join(arrow(published(), (*cell, name), other) for name, other in AGAINST.items()) == drawn


# -- tables -------------------------------------------------------------------------------------------------

WORTH = {"10T": 50.0, "1T": 20.0, "union": 30.0, "dara": 40.0, "constant": 41.0, "oracle": 60.0, "tune": 10.0}


def made_up(study: Study) -> list[Row]:
    """DARA is above no augmentation, and below its control, in all but MABE."""
    return [filled(trial, WORTH.get(trial.condition, 5.0) + trial.seed) for trial in study.trials()]


def test_scores_are_means_with_intervals_and_never_mixed_with_the_seeds() -> None:
    found = scores(made_up(STUDY))
    dara = found["hopper", "random", "bcq", "dara"]
    assert dara.by_seed == {0: 40.0, 1: 41.0}
    assert (dara.score.value, dara.mean_return.value, dara.published) == (40.5, 405.0, 9.7)
    assert dara.score.low == 40.0 and dara.score.high == 41.0
    assert found["hopper", "random", "bcq", "constant"].published is None


def test_tables_show_ours_beside_the_seeds_with_arrows(tmp_path: Path) -> None:
    study = replace(STUDY, tasks=("hopper",), algorithms=("bcq", "awr", "mabe"))
    rows = [row for row in made_up(study) if (row.algorithm, row.condition) != ("awr", "union")]
    bcq, awr, tune, mabe = tables(study, scores(rows))
    assert bcq.head == ("", "10T", "1T", "1T+10S w/o Aug.", "1T+10S DARA", "1T+10S constant", "1T+10S oracle")
    assert bcq.rows == (
        (
            "Random",
            "50.5 [50.0, 51.0] | 10.6",
            "20.5 [20.0, 21.0] ↓ | 10.6 ↓",
            "30.5 [30.0, 31.0] ↑ | 8.3 ↓",
            "40.5 [40.0, 41.0] ↑ | 9.7 ↑",
            "41.5 [41.0, 42.0]",
            "60.5 [60.0, 61.0]",
        ),
    )
    assert awr.rows[0][3:5] == ("· | 3.4 ↓", "40.5 [40.0, 41.0] | 4.5 ↑"), "no arrow towards what was not run"
    assert tune.rows == (("Random", "10.5 [10.0, 11.0] | 8.8", "40.5 [40.0, 41.0] ↑ | 9.7 ↑"),)
    assert mabe.rows == (("Random", "5.5 [5.0, 6.0]", "5.5 [5.0, 6.0]", "10.6", "9.0"),)
    page = write_report(tmp_path / "report.html", study, scores(rows), "dara benchmark <x>").read_text()
    for part in ("<svg", "SIZE 0.001", "40.5 [40.0, 41.0] ↑ | 9.7 ↑", "dara benchmark &lt;x&gt;"):
        assert part in page


def test_the_end_of_the_tables_says_who_is_above_whom_and_what_is_short() -> None:
    rows = made_up(STUDY)
    behind = ("walker2d", "bear", "dara")
    rows = [filled(row, 1.0) if (row.task, row.algorithm, row.condition) == behind else row for row in rows]
    text = as_text(STUDY, scores(rows[:-1]))
    # Eleven times 10 more than without, and once 29.5 less.
    assert "DARA above no augmentation in 11 of 12 cells (paper: 44 of 48, by 5.2), by 6.7 [" in text
    bear = "\n  bear: in 1 of 2 cells (paper: 7 of 8, by 2.8), by -9.8 [-29.5, 10.0] on average; seed by seed"
    assert bear in text
    assert "seed by seed in 2 of 4, by -9.5 in the median\n" in text  # -30, -29, 10 and 10
    assert "DARA above its control, a constant penalty in 0 of 12 cells, by -4.3 [-" in text
    assert "\n  awr: in 0 of 0" not in text
    assert "DARA with true ranks above DARA in 12 of 12 cells, by 2" in text
    assert "DARA above Tune in 9 of 10 cells (paper: 33 of 40, by 8.0), by " in text
    assert "DARA above the target's 1T alone in 11 of 12 cells (paper: " in text
    alone = "No augmentation above the target's 1T alone in 12 of 12 cells (paper: 31 of 48, by 5.4), by 10.0"
    assert alone in text
    assert "\nSeeds of one cell and condition deviate by " in text
    assert text.endswith("Fewer than 2 seeds, in how many cells: mabe prior_from_source 1 in 1")
    assert "SIZE 0.001: the paper has 1,000,000" in text.split("\n")[0]
    full = as_text(replace(STUDY, size=1.0), {})
    assert "SIZE" not in full and "·" in full and "0 of 0 cells" in full


def test_seeds_differ_by_their_pooled_standard_deviation() -> None:
    one, two, three = list(replace(STUDY, algorithms=("bcq",), conditions=("1T",), seeds=3).trials())[::2]
    rows = [filled(one, 0.0), filled(two, 1.0), filled(three, 2.0)]  # variance 1 from two degrees of freedom
    other = replace(one, task="walker2d")
    rows += [filled(other, 0.0), filled(replace(other, seed=1), 4.0)]  # 8 from one
    assert seed_deviation(scores(rows)) == pytest.approx(((2 * 1.0 + 8.0) / 3) ** 0.5)
    assert seed_deviation(scores([filled(one, 3.0)])) is None, "one seed says nothing"


def test_all_conditions_have_their_place() -> None:
    assert {name for algorithm in ALGORITHMS for name in conditions_of(algorithm)} == set(CONDITIONS)
