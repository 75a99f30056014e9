"""One cell of the study: its data sets, its classifiers, and every trial from training to the last walk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from .. import __version__
from ..collection import EXPLORATION_NOISE, collect
from ..evaluation import evaluate
from ..policies.recommended import RECOMMENDED
from ..policies.train_config import TrainConfig
from ..policies.training import train
from ..policies.whole_files import replaced_when_whole
from ..rollouts import Setup
from ..studies.estimators import shared_estimator
from ..studies.schedule import Job
from .study import CONDITIONS, ROBOT, SOURCE_WORLD, TEST_WORLDS, VALIDATION, Cell, Row, Study, behaviours

BASE = RECOMMENDED["bcq"]  # of every training, but for what its condition changes


def data_files(study: Study, cell: Cell, folder: Path, workers: int | None = 1) -> tuple[Path, Path]:
    """The cell's source and target file; made where they are not there yet, the same for the same seed.

    Raises:
        UserError: no such world or behaviour; the folder cannot be written.
    """
    source = _data_file(folder, cell, SOURCE_WORLD, "source", study.source_rows, workers)
    return source, _data_file(folder, cell, cell.world, "target", study.target_rows, workers)


def _data_file(
    folder: Path,
    cell: Cell,
    world: str,
    domain: Literal["source", "target"],
    rows: int,
    workers: int | None,
) -> Path:
    name = f"{domain}_{Path(world).stem}_{cell.data_set}_{rows}_{cell.collection_seed}.h5"
    path = folder / "data" / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    setup = Setup(world, ROBOT, behaviours(cell.data_set), EXPLORATION_NOISE)
    seed = 2 * cell.collection_seed + (domain == "target")
    with replaced_when_whole(path) as to:
        collect(setup, rows, to, domain, seed, workers, overwrite=True)
    return path


def cell_job(study: Study, cell: Cell, trials: Sequence[Row], folder: Path) -> Job:
    """`run_cell` for the schedule."""
    return Job(tuple(trials), partial(run_cell, study, cell, folder=folder))


def run_cell(
    study: Study,
    cell: Cell,
    trials: Sequence[Row],
    folder: Path,
    done: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Train and judge `trials`, all of this cell, one after the other.

    Args:
        folder: for data sets, which are kept, and runs, of which policy.onnx and figures.json are.
        done: called with every row that is filled in.
    """
    files = data_files(study, cell, folder)
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as shared:
        for trial in trials:
            rows.append(judge(trial, _train(trial, files, folder, Path(shared)), study.validation))
            done(rows[-1])
    return rows


def _train(trial: Row, files: tuple[Path, Path], folder: Path, shared: Path) -> Path:
    """The last policy's file. What estimates delta r is in `shared` for the others of its cell."""
    config = _config(trial, files, folder)
    out = Path(config.out)
    shutil.rmtree(out, ignore_errors=True)  # of a study that was stopped
    with shared_estimator(shared / f"{config.estimator}_{config.horizon}", out):
        train(config)
    (out / "checkpoint.pt").unlink()
    shutil.rmtree(out / "tensorboard")
    return out / "policy.onnx"


def _config(trial: Row, files: tuple[Path, Path], folder: Path) -> TrainConfig:
    t = trial
    numbers = f"{t.source_rows}_{t.target_rows}_{t.collection_seed}_{t.seed}"
    name = f"{Path(t.world).stem}_{t.data_set}_{t.condition}_eta{t.eta:g}_{numbers}"
    own = BASE | CONDITIONS[t.condition]
    of_trial = {
        "source": str(files[0]),
        "target": str(files[1]),
        "out": str(folder / "runs" / name),
        "eta": t.eta,
        "steps": min(t.steps, own.get("steps", t.steps)),
        "seed": t.seed,
        "log_interval": max(1, t.steps // 50),
        "checkpoint_interval": 10 * t.steps,
    }
    return TrainConfig.from_mapping(own | of_trial, t.condition)


def judge(trial: Row, policy: Path, validation: bool) -> Row:
    """The trial's row: walks of the policy in worlds that no data set and no choice has seen."""
    first = TEST_WORLDS + VALIDATION * validation
    walked = evaluate(policy, trial.world, trial.episodes, first, ROBOT, workers=1)
    return replace(
        trial,
        version=__version__,
        distance_m=float(np.mean(walked.distance_m)),
        falls=walked.falls,
        mean_return=float(np.mean(walked.returns)),
    )
