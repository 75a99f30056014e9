"""One cell of the study: its data sets, its classifiers, and every trial from training to the last walk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from .. import __version__
from ..collection import EXPLORATION_NOISE, collect
from ..evaluation import evaluate
from ..policies.bcq import BCQConfig
from ..policies.classifiers import ClassifierConfig, DomainClassifiers, train_classifiers
from ..policies.dataset import DataSet
from ..policies.train_config import TrainConfig
from ..policies.training import train
from ..policies.whole_files import replaced_when_whole
from ..rollouts import Setup
from .study import CONDITIONS, ROBOT, SOURCE_WORLD, TEST_WORLDS, VALIDATION, Cell, Row, Study, behaviours

# Smaller than the paper's, for the time of some hundred trainings; the same in every trial. Without a lighter
# KL term the VAE ignores its latents, and BCQ has nothing to choose from (facts/dara_a1.md, section 4.1).
NETWORKS = BCQConfig(
    candidates=5,
    kl_weight=0.05,
    critic_hidden=(128, 128),
    perturbation_hidden=(128, 128),
    vae_hidden=(256, 256),
)


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
    torch.set_num_threads(1)  # as `train` does: several would sum in another order
    files = data_files(study, cell, folder)
    classifiers = _classifiers(files, cell.seed) if any(trial.eta > 0 for trial in trials) else None
    rows = []
    for trial in trials:
        policy = _train(trial, files, folder, classifiers)
        rows.append(judge(trial, policy, study.validation))
        done(rows[-1])
    return rows


def _classifiers(files: tuple[Path, Path], seed: int) -> DomainClassifiers:
    with DataSet(files[0]) as source, DataSet(files[1]) as target:
        classifiers = train_classifiers(source, target, ClassifierConfig(), seed)
    assert classifiers is not None  # nobody stops them
    return classifiers


def _train(trial: Row, files: tuple[Path, Path], folder: Path, classifiers: DomainClassifiers | None) -> Path:
    """The last policy's file."""
    t = trial
    name = f"{Path(t.world).stem}_{t.data_set}_{t.condition}_eta{t.eta:g}_{t.collection_seed}_{t.seed}"
    out = folder / "runs" / name
    shutil.rmtree(out, ignore_errors=True)  # of a study that was stopped
    settings: dict[str, Any] = {"eta": t.eta, **CONDITIONS[t.condition]}
    config = TrainConfig(
        source=str(files[0]),
        target=str(files[1]),
        out=str(out),
        steps=t.steps,
        seed=t.seed,
        log_interval=max(1, t.steps // 50),
        checkpoint_interval=t.steps,
        bcq=NETWORKS,
        **settings,
    )
    train(config, classifiers=classifiers)
    for heavy in ("checkpoint.pt", "classifiers.pt"):
        (out / heavy).unlink(missing_ok=True)
    shutil.rmtree(out / "tensorboard", ignore_errors=True)
    return out / "policy.onnx"


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
