"""Trials of shifted masses: from files to a score, alone, together, resumed, and from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs MuJoCo: pip install 'dara_ros[mujoco]'")

import torch

from dara_ros.command import main
from dara_ros.errors import UserError
from dara_ros.mass_shift import trials as trials_module
from dara_ros.mass_shift.study import Row, Study
from dara_ros.mass_shift.trials import config, have_files, judge, run_trials, together, training_jobs
from dara_ros.mujoco_rollouts import normalised_score
from dara_ros.policies import training as training_module
from dara_ros.policies.classifiers import ClassifierConfig
from dara_ros.policies.dataset import DataSet
from dara_ros.policies.train_config import TrainConfig
from dara_ros.policies.training import TrainResult, train_many
from dara_ros.sim.mujoco_tasks import MujocoTask
from dara_ros.studies.rows import read_table

STUDY = Study(
    tasks=("hopper",),
    data_sets=("random",),
    algorithms=("brac-p",),
    conditions=("1T", "union"),
    seeds=2,
    size=0.001,
    steps=40,
    episodes=1,
)  # fmt: skip; BRAC-p is the quickest to export


def trials_of(**changes: object) -> list[Row]:
    return list(replace(STUDY, **changes).trials())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For data sets and runs."""
    return tmp_path_factory.mktemp("runs")


def test_conditions_become_settings(folder: Path) -> None:
    conditions = ("10T", "1T", "union", "dara", "constant", "tune")
    found = {trial.condition: config(trial, folder) for trial in trials_of(conditions=conditions, seeds=1)}
    assert {name: c.mix for name, c in found.items() if c.mix is not None} == {"10T": 1.0, "1T": 1.0}
    halves = [config(trial, folder) for trial in trials_of(conditions=conditions, seeds=1, mix=0.5)]
    assert [c.mix for c in halves] == [1.0, 1.0, 0.5, 0.5, 0.5, None]
    assert {name: (c.eta, c.penalty) for name, c in found.items() if c.eta} == {
        "dara": (0.1, "rows"),
        "constant": (0.1, "constant"),
    }
    assert {name: (c.tune, c.steps) for name, c in found.items()} == {
        "10T": (0, 24), "1T": (0, 24), "union": (0, 24), "dara": (0, 24), "constant": (0, 24),
        "tune": (12, 12),
    }  # fmt: skip
    assert len({c.out for c in found.values()}) == 6
    with DataSet(found["10T"].target) as whole, DataSet(found["tune"].target) as tenth:
        assert len(whole) == 1000 and 100 <= len(tenth) < 200
        assert whole.info.domain == tenth.info.domain == "target"
    modes = trials_of(algorithms=("mabe",), conditions=("prior_from_source", "prior_from_target"), seeds=1)
    settings = [config(trial, folder).settings for trial in modes]
    assert [(s.prior_from, s.model_from) for s in settings] == [("source", "target"), ("target", "source")]


@pytest.mark.parametrize(("target", "world"), [("plain", "hopper_plain"), ("shifted", "hopper_shifted")])
def test_a_policy_is_judged_in_the_targets_dynamics(
    folder: Path, monkeypatch: pytest.MonkeyPatch, target: str, world: str
) -> None:
    asked = []

    def stands(policy: Path, task: MujocoTask, episodes: int, seed: int) -> list[SimpleNamespace]:
        asked.append(task.name)
        return [SimpleNamespace(rewards=np.zeros(1))]

    monkeypatch.setattr(trials_module, "evaluate", stands)
    trial = trials_of(target=target, conditions=("1T",), seeds=1)[0]
    assert judge(trial, folder).return_ == 0.0
    assert asked == [world]
    with DataSet(config(trial, folder).target) as rows:
        assert (rows.info.world, rows.info.domain) == (world, "target")


def test_runs_that_may_train_together_do(folder: Path) -> None:
    """Seeds, data sets, eta and penalty may differ; tuning, MABE's modes and steps behind them may not."""
    conditions = ("10T", "1T", "union", "dara", "constant", "tune")
    trials = trials_of(conditions=conditions)
    groups = together(trials, folder)
    assert sorted(len(group) for group in groups) == [2, 10]
    assert {trial.condition for trial in min(groups, key=len)} == {"tune"}
    (all_data,) = together(trials_of(data_sets=("random", "medium"), conditions=("1T", "union")), folder)
    assert len(all_data) == 8
    mabe = trials_of(algorithms=("mabe", "awr"), conditions=("prior_from_source", "prior_from_target", "1T"))
    assert sorted(len(group) for group in together(mabe, folder)) == [2, 2, 2]
    assert [len(job.trials) for job in training_jobs(trials, folder, "cuda")] == [
        len(group) for group in groups
    ]
    assert [len(job.trials) for job in training_jobs(trials, folder, "cpu")] == [1] * len(trials)


def test_two_seeds_together(folder: Path) -> None:
    group = trials_of(conditions=("union",))
    assert together(group, folder) == [tuple(group)]
    rows: list[Row] = []
    run_trials(group, folder, done=rows.append)
    assert [row.trial for row in rows] == group
    for row in rows:
        assert row.version and row.score == pytest.approx(normalised_score("hopper", row.return_))
    kept = [sorted(path.name for path in Path(config(row.trial, folder).out).iterdir()) for row in rows]
    assert kept == [["config.yaml", "figures.json", "policy.onnx"]] * 2


def test_what_was_stopped_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    (trial,) = trials_of(conditions=("1T",), seeds=1, steps=60)
    straight: list[Row] = []
    run_trials([trial], tmp_path / "straight", done=straight.append)

    folder = tmp_path / "stopped"
    stops = iter([False] * 30 + [True])
    train_many([config(trial, folder)], should_stop=lambda: next(stops))
    later = replace(trial, seed=1)
    assert together([trial, later], folder) == [(trial,), (later,)]
    resumed: list[Row] = []
    run_trials([trial], folder, done=resumed.append)
    assert resumed == straight
    assert Path(config(trial, folder).out, "config.yaml").read_text().count("resume: true") == 1


def test_a_checkpoint_of_other_settings_is_no_hindrance(folder: Path) -> None:
    (trial,) = trials_of(conditions=("1T",), seeds=1, steps=50)
    settings = config(trial, folder)
    train_many([replace(settings, settings=replace(settings.settings, tau=0.5))])
    rows: list[Row] = []
    run_trials([trial], folder, done=rows.append)
    assert [row.trial for row in rows] == [trial]


def test_who_diverges_takes_nobody_along(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(configs: list[TrainConfig]) -> list[TrainResult]:
        first, *others = train_many(configs)
        return [replace(first, policy=None, failed=True, message="training diverged"), *others]

    monkeypatch.setattr(trials_module, "train_many", diverging)
    group = trials_of(conditions=("1T",), steps=30)
    rows: list[Row] = []
    with pytest.raises(UserError, match="training diverged"):
        run_trials(group, folder, done=rows.append)
    assert [row.trial for row in rows] == group[1:]


def test_classifiers_are_trained_once_for_all_algorithms(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials_module, "CLASSIFIERS", ClassifierConfig(max_steps=5))
    for algorithm in ("brac-p", "awr"):
        run_trials(trials_of(algorithms=(algorithm,), conditions=("dara",), seeds=1), folder)
        monkeypatch.setattr(training_module, "train_classifiers", None)  # not called any more
    assert len(list((folder / "delta_r").iterdir())) == 1


def test_a_file_that_cannot_be_made_costs_only_what_needs_it() -> None:
    trials = trials_of(tasks=("hopper", "walker2d"), seeds=1)
    source, _ = trials_module.data_files(trials[0])
    assert {trial.task for trial in have_files(trials, [source])} == {"walker2d"}
    assert have_files(trials, []) == trials


# -- the command --------------------------------------------------------------------------------------------

WORDS = "benchmark mujoco --task hopper --data-set random --algorithm bcq --condition 1T --condition union"
SIZES = "--seeds 1 --size 0.001 --steps 40 --episodes 1 --workers 2"


@pytest.mark.slow
def test_from_a_command_to_a_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """First with a run that cannot be; then without what hindered it."""
    words = [*WORDS.split(), *SIZES.split(), "--out", str(tmp_path)]
    union = trials_of(algorithms=("bcq",), seeds=1)[1]
    hindrance = trials_module._out(union, tmp_path)
    hindrance.parent.mkdir(parents=True)
    hindrance.touch()
    assert main(words) == 1
    out, err = capfd.readouterr()
    assert f"failed, to be tried once more: {union}: " in err and f"failed twice: {union}: " in err
    assert err.rstrip().split("\n")[-1].startswith(f"  {union}: ")
    assert [row.condition for row in read_table(tmp_path / "results.csv", Row)] == ["1T"]
    assert "SIZE 0.001" in out.split("\n")[0] and "· | 8.3 ↓" in out

    assert main([*words, "--print"]) == 0
    assert "· | 8.3 ↓" in capfd.readouterr().out

    hindrance.unlink()
    before = (tmp_path / "results.csv").read_text().split("\n")[1]
    assert main([*words, "--json"]) == 0
    out, err = capfd.readouterr()
    assert "1 of 2 trials are in" in err
    answer = json.loads(out)
    assert "SIZE 0.001" in answer["terms"]
    assert [score["condition"] for score in answer["scores"]] == ["1T", "union"]
    assert all(np.isfinite(score["score"]["value"]) for score in answer["scores"])
    assert before in (tmp_path / "results.csv").read_text().split("\n")
    assert (tmp_path / "scores.png").read_bytes()[:4] == b"\x89PNG"
    assert "Body mass shift: hopper, bcq" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--task", "ant"), "no task 'ant'"),
        (("--algorithm", "bc"), "no algorithm 'bc'"),
        (("--size", "0"), "size: give a share"),
        (("--device", "tpu"), "'tpu' is not one of"),
        (("--csv", __file__), "no results of this benchmark"),
        (("--print",), "0 of 2 trials are in"),
    ],
)
def test_wrong_words_on_the_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], line: str
) -> None:
    assert main([*WORDS.split(), *SIZES.split(), "--out", str(tmp_path / "out"), *words]) == 2
    assert line in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS.split(), *SIZES.split(), "--out", str(tmp_path / "out"), "--device", "cuda"]) == 2
    assert "torch finds no GPU on this machine; give --device cpu" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
