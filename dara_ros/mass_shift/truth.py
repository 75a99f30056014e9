"""How well delta r is told: beside the truth, which MuJoCo can find and a robot cannot.

From the state of a row of the source its action is taken in the dynamics of both domains. How far the two
outcomes are apart is what delta r should rank rows by: exactly, for Gaussian dynamics, log T_source over
T_target is half their squared distance in units of the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from ..policies.classifiers import DomainClassifiers
from ..policies.dara import DEFAULT_CLIP, Estimator
from ..policies.dataset import Batch, DataSet
from ..policies.dynamics_gap import DynamicsGap, GapConfig, train_gap
from .outcomes import apart, is_clipped
from .study import Row
from .trials import classifiers, config, worlds_of

ROWS = 20_000  # of the source, at most
ROWS_SEED = 70_000  # of their choice


@dataclass(frozen=True)
class Truth:
    """N rows of the source, and how far the target's outcome is from theirs.

    Attributes:
        rows: what the estimators see.
        apart: (N,) squared difference of the two next observations in variances of the source's steps, mean
            over the columns.
        returns: (N,) of the episodes that the rows are of.
    """

    rows: Batch
    apart: np.ndarray
    returns: np.ndarray


@dataclass(frozen=True)
class Told:
    """One estimator's delta r of a source's rows.

    Attributes:
        behaviours: that walked in the source: its own, or the target's.
        target: whose dynamics are the target's; the source has the others.
        estimator: `truth`, the paper's `classifiers`, or `dynamics`.
        seed: of the estimator.
        rows: of the source that are judged by: at most ROWS, less those whose velocities are not known.
        with_truth: Spearman's rank correlation with the truth.
        with_returns: the same with the return of the row's episode: above 0 where more is taken from the
            better walks.
        agreement: the same with the estimator of the first seed.
        mean, deviation: of delta r over the rows.
        at_bound: fraction of rows at the clip.
        auc_sa, auc_sas: of the classifiers on held-out episodes; 1 where they know the domain for certain.
    """

    task: str
    data_set: str
    behaviours: str
    target: str
    estimator: str
    seed: int
    rows: int
    with_truth: float
    with_returns: float
    agreement: float
    mean: float
    deviation: float
    at_bound: float
    auc_sa: float | None = None
    auc_sas: float | None = None


def truth(worlds: tuple[str, str], source: DataSet) -> Truth:
    """The truth about random rows of a source, of those whose states are known whole.

    Args:
        worlds: the tasks of source and target.
    """
    rng = np.random.default_rng(ROWS_SEED)
    drawn = np.sort(rng.permutation(len(source))[:ROWS])
    chosen = drawn[~is_clipped(source.rows(drawn).observations)]
    rows = source.rows(chosen)
    starts, ends = source.episodes()
    returns = np.add.reduceat(source.column("rewards").astype(np.float64), starts)
    return Truth(rows, apart(*worlds, rows), returns[np.searchsorted(ends, chosen, side="right")])


def judge(trials: list[Row], folder: Path) -> list[Told]:
    """What the truth, and each estimator of each seed, say of one task and data set.

    Args:
        trials: of the condition `dara`, one for each seed.
        folder: of the study, for its data sets; classifiers that it has left there are not trained again.
    """
    torch.set_num_threads(1)
    first = trials[0]
    files = config(first, folder)
    with DataSet(files.source) as source, DataSet(files.target) as target:
        known = truth(worlds_of(first), source)
        told = [_told(first, "truth", known, known.apart, known.apart)]
        for name, estimator_of in ESTIMATORS.items():
            deltas: list[np.ndarray] = []
            for trial in trials:
                estimator = estimator_of(trial, folder, source, target)
                deltas.append(np.clip(estimator.raw_delta_r(known.rows), -DEFAULT_CLIP, DEFAULT_CLIP))
                line = _told(trial, name, known, deltas[-1], deltas[0])
                told.append(replace(line, auc_sa=_auc(estimator, "sa"), auc_sas=_auc(estimator, "sas")))
    return told


def _dynamics(trial: Row, folder: Path, source: DataSet, target: DataSet) -> DynamicsGap:
    found = train_gap(source, target, GapConfig(), trial.seed)
    assert found is not None  # nobody stops it
    return found


ESTIMATORS: dict[str, Callable[[Row, Path, DataSet, DataSet], Estimator]] = {
    "classifiers": classifiers,
    "dynamics": _dynamics,
}


def _auc(estimator: Estimator, inputs: str) -> float | None:
    return estimator.figures[inputs].auc if isinstance(estimator, DomainClassifiers) else None


def _told(trial: Row, name: str, known: Truth, delta: np.ndarray, first: np.ndarray) -> Told:
    with_truth, with_returns, agreement = (
        float(spearmanr(delta, other).statistic) for other in (known.apart, known.returns, first)
    )
    return Told(
        trial.task,
        trial.data_set,
        trial.behaviours,
        trial.target,
        name,
        trial.seed,
        len(delta),
        with_truth,
        with_returns,
        agreement,
        mean=float(delta.mean()),
        deviation=float(delta.std()),
        at_bound=float((np.abs(delta) >= DEFAULT_CLIP).mean()),
    )
