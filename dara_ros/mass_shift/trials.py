"""From data sets over training to a score: one trial, or some that train together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..errors import UserError
from ..mujoco_data import Recipe, data_set, tenth
from ..mujoco_rollouts import evaluate, normalised_score
from ..policies.classifiers import ClassifierConfig, DomainClassifiers, train_classifiers
from ..policies.conversion import Rows, write_dara
from ..policies.dara import PENALTIES, augment, delta_r
from ..policies.dataset import DataSet
from ..policies.run_files import load_tensors
from ..policies.side_by_side import side_by_side
from ..policies.train_config import TrainConfig, check_resumable
from ..policies.training import train_many
from ..policies.whole_files import replaced_when_whole
from ..sim.mujoco_tasks import load_task
from ..studies.estimators import shared_estimator
from ..studies.schedule import Job
from .outcomes import apart
from .study import CONDITIONS, Row, learner_of, recipes

EVALUATION_SEED = 80_000  # of the first episode; no data set and no choice of behaviours has seen it
CHECKPOINTS = 20  # in a training
POINTS = 50  # of its curves
TOLD_BY_THE_TRUTH = "source.h5"  # in the folder of a run of `oracle`, until it is through
# The default noise is for a robot's few rows. Of these, which are ten times as many, less leaves more to see.
CLASSIFIERS = ClassifierConfig(input_noise=0.05)


def _nothing(row: Any) -> None:
    """For who does not listen."""


# -- data sets ----------------------------------------------------------------------------------------------


class DataFile(Recipe):
    """10T, with 1T beside it, or 10S; to the schedule both a trial and its row."""

    @property
    def trial(self) -> DataFile:
        """Itself."""
        return self

    def make(self, folder: Path) -> Path:
        """The whole file, unless it is there already."""
        return data_set(self, folder / "data")

    def is_there(self, folder: Path) -> bool:
        """Whether there is a file of this name; `make` sees whether it is the right one."""
        return self.file(folder / "data").exists()


def data_files(trial: Row) -> tuple[DataFile, DataFile]:
    """Of the source and of the target."""
    source, target = (DataFile(*astuple(recipe)) for recipe in recipes(trial))
    return source, target


def worlds_of(trial: Row) -> tuple[str, str]:
    """Of the source and of the target."""
    source, target = recipes(trial)
    return source.world, target.world


def make_files(files: Sequence[DataFile], folder: Path, done: Callable[[Any], None] = _nothing) -> None:
    """All of them, and the tenths; `done` is called with each."""
    for file in files:
        path = file.make(folder)
        if file.domain == "target":
            tenth(path)
        done(file)


def have_files(trials: Iterable[Row], failed: Iterable[DataFile]) -> list[Row]:
    """Those that need none of the files that could not be made."""
    lost = set(failed)
    return [trial for trial in trials if not lost & set(data_files(trial))]


def data_jobs(trials: Iterable[Row], folder: Path) -> list[Job]:
    """One for every file that the trials need and that is not there."""
    files = dict.fromkeys(file for trial in trials for file in data_files(trial))
    make = partial(make_files, folder=folder)
    return [Job((file,), make) for file in files if not file.is_there(folder)]


# -- training -----------------------------------------------------------------------------------------------


def training_jobs(trials: Iterable[Row], folder: Path, device: str) -> list[Job]:
    """On the CPU one for every trial; on a GPU one for all that can be one computation."""
    run = partial(run_trials, folder=folder, device=device)
    groups = [(trial,) for trial in trials] if device == "cpu" else together(trials, folder)
    return [Job(group, run) for group in groups]


def together(trials: Iterable[Row], folder: Path) -> list[tuple[Row, ...]]:
    """Those that `train_many` takes at once: they differ in seed, eta, penalty and in what data they see.

    What was stopped goes on with others that stopped at the same step.
    """
    groups: dict[Any, list[Row]] = {}
    for trial in trials:
        condition = CONDITIONS[trial.condition]
        alike = replace(trial, data_set="", data="", condition="", seed=0, eta=0.0)
        stages = condition.rows == "tune", condition.prior_from, condition.model_from
        groups.setdefault((alike, stages, _steps_done(trial, folder)), []).append(trial)
    return [tuple(group) for group in groups.values()]


def run_trials(
    trials: Sequence[Row], folder: Path, device: str = "cpu", done: Callable[[Row], None] = _nothing
) -> None:
    """Train these as one computation, and judge their last policies.

    Args:
        folder: for data sets and runs; of a run policy.onnx, config.yaml and figures.json are kept.
        done: called with every row that is filled in.

    Raises:
        UserError: some diverged; the others have their rows.
    """
    configs = [_going_on(config(trial, folder, device)) for trial in trials]
    with ExitStack() as shared:
        for trial, run in zip(trials, configs, strict=True):
            if trial.eta:
                shared.enter_context(shared_estimator(classifiers_of(trial, folder), Path(run.out)))
        results = train_many(configs)
    learnt = [(t, r) for t, r in zip(trials, results, strict=True) if r.policy is not None]
    rows = side_by_side(judge, [(trial, result.policy) for trial, result in learnt])
    reasons = [result.message for result in results if result.failed]
    for row, (_, result) in zip(rows, learnt, strict=True):
        if isinstance(row, UserError):
            reasons.append(str(row))
            continue
        done(row)
        (result.out / "checkpoint.pt").unlink()
        (result.out / TOLD_BY_THE_TRUTH).unlink(missing_ok=True)
        shutil.rmtree(result.out / "tensorboard")
    if reasons:
        raise UserError(reasons[0])


def check_device(device: str) -> None:
    """Refuse a GPU that is not there, before anything is made for it."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no GPU on this machine; give --device cpu")


def config(trial: Row, folder: Path, device: str = "cpu") -> TrainConfig:
    """The training of a trial; its files are made where they are not there."""
    condition = CONDITIONS[trial.condition]
    source, target = (file.make(folder) for file in data_files(trial))
    seen = target if condition.target == "10T" else tenth(target)
    if condition.penalty == "truth":
        source = _told_by_the_truth(trial, folder, source, seen)
    one = learner_of(trial)
    return TrainConfig(
        source=str(source),
        target=str(seen),
        out=str(_out(trial, folder)),
        algorithm=trial.algorithm,
        eta=0.0 if condition.penalty == "truth" else trial.eta,
        mix=1.0 if condition.rows == "target" else trial.mix or None,
        penalty=condition.penalty if condition.penalty in PENALTIES else "rows",
        classifiers=CLASSIFIERS,
        steps=one.steps,
        tune=one.steps if condition.rows == "tune" else 0,
        seed=trial.seed,
        device=device,
        log_interval=max(1, trial.steps // POINTS),
        checkpoint_interval=max(1, trial.steps // CHECKPOINTS),
        settings=one.settings,
    )


def _out(trial: Row, folder: Path) -> Path:
    """The folder of a run: another for every trial, but for the episodes that judge it."""
    cell = f"{trial.task}_{trial.data_set}_{trial.data}"
    learner = f"{trial.algorithm}_{trial.networks}_{trial.steps}"
    trained_on = f"{trial.condition}_eta{trial.eta:g}_mix{trial.mix:g}"
    return folder / "runs" / cell / f"{learner}_{trained_on}_{trial.seed}"


def _steps_done(trial: Row, folder: Path) -> int:
    path = _out(trial, folder) / "checkpoint.pt"
    return int(load_tensors(path)["learner"]["steps"]) if path.exists() else 0


def _going_on(fresh: TrainConfig) -> TrainConfig:
    """The run from its checkpoint on; from the start where there is none, or one of other settings."""
    out = Path(fresh.out)
    path = out / "checkpoint.pt"
    if path.exists():
        resumed = replace(fresh, resume=True)
        try:
            check_resumable(resumed, TrainConfig.from_yaml(load_tensors(path)["config"]))
        except UserError:
            path.unlink()  # of another version of this program
        else:
            return resumed
    (out / "policy.onnx").unlink(missing_ok=True)
    return fresh


def classifiers_of(trial: Row, folder: Path) -> Path:
    """Where the classifiers lie for all algorithms and penalties."""
    return folder / "delta_r" / f"{trial.task}_{trial.data_set}_{trial.data}_{trial.seed}.pt"


def classifiers(trial: Row, folder: Path, source: DataSet, target: DataSet) -> DomainClassifiers:
    """Those that a training has left, whichever version it was of; else new ones."""
    path = classifiers_of(trial, folder)
    if path.exists():
        return DomainClassifiers.from_state_dict(load_tensors(path)["estimator"])
    found = train_classifiers(source, target, CLASSIFIERS, trial.seed)
    assert found is not None  # nobody stops it
    return found


def _told_by_the_truth(trial: Row, folder: Path, source: Path, target: Path) -> Path:
    """The source with augmented rewards: the classifiers' delta r, each on the row that it should be on.

    Their values are given out in the order of how far the target's outcome is from the row's, so that `dara`
    and this differ in nothing but how well rows are ranked.
    """
    path = _out(trial, folder) / TOLD_BY_THE_TRUTH
    with DataSet(source) as rows, DataSet(target) as seen:
        delta = delta_r(classifiers(trial, folder, rows, seen), rows).values
        delta[_distances(trial, folder, rows).argsort(kind="stable")] = np.sort(delta)
        columns = {name: rows.column(name) for name in rows.column_names()}
        columns["rewards"] = augment(columns["rewards"], delta, trial.eta)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dara(path, replace(rows.info, made_by="mujoco oracle"), [Rows.of(columns)])
    return path


def _distances(trial: Row, folder: Path, source: DataSet) -> np.ndarray:
    """(N,) `apart` of all rows; it takes minutes, and is kept for the other seeds."""
    path = folder / "delta_r" / f"{trial.task}_{trial.data_set}_{trial.data}_apart.npy"
    if not path.exists():
        found = apart(*worlds_of(trial), source.rows(np.arange(len(source))))
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_when_whole(path) as to, open(to, "wb") as file:
            np.save(file, found)
    return np.asarray(np.load(path))


def judge(trial: Row, policy: Path) -> Row:
    """The trial's row: episodes of the policy in the target's dynamics."""
    _, world = worlds_of(trial)
    walks = evaluate(policy, load_task(world), trial.episodes, EVALUATION_SEED)
    value = float(np.mean([walk.rewards.sum() for walk in walks]))
    return replace(trial, version=__version__, score=normalised_score(trial.task, value), return_=value)
