"""DARA, dynamics-aware reward augmentation: Liu, Zhang, Wang, ICLR 2022 (arXiv 2203.06662).

A source transition that the target's dynamics would not produce loses reward:

    r(s, a) <- r(s, a) - eta delta_r(s, a, s')
    delta_r =   log [ q_sas(source | s, a, s') / q_sas(target | s, a, s') ]
              - log [ q_sa(source | s, a) / q_sa(target | s, a) ]

on source rows only and on raw rewards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import UserError
from .classifiers import Rows
from .dataset import Batch

DEFAULT_CLIP = 10.0
DEFAULT_ETA = 0.1  # the paper's
PENALTIES = ("rows", "constant", "centred")
ESTIMATORS = ("classifiers", "dynamics")
SCALES = ("none", "returns")


@dataclass(frozen=True)
class DeltaR:
    """delta_r of every row of a data set."""

    values: np.ndarray  # (N,) float32, clipped
    fraction_clipped: float


class Estimator(Protocol):
    """What tells delta_r; `DomainClassifiers` and `DynamicsGap` do."""

    def raw_delta_r(self, batch: Batch) -> np.ndarray: ...


def delta_r(estimator: Estimator, data: Rows, clip: float = DEFAULT_CLIP, block: int = 16384) -> DeltaR:
    """delta_r of all rows, in blocks: memory is one float per row and one block.

    Args:
        estimator: classifiers, calibrated, or what stands for them.
        data: source or target data set of N rows.
        clip: |delta_r| is at most this.
        block: rows at a time.

    Raises:
        UserError: `clip` is not a positive number.
    """
    if not clip > 0:
        raise UserError(f"clip is {clip}: give a positive number")
    values = np.empty(len(data), np.float32)
    clipped, at = 0, 0
    for batch in data.blocks(block):
        raw = estimator.raw_delta_r(batch)
        clipped += int(np.count_nonzero(np.abs(raw) > clip))
        values[at : at + len(raw)] = np.clip(raw, -clip, clip)
        at += len(raw)
    return DeltaR(values, clipped / max(1, len(values)))


def shaped(delta: np.ndarray, penalty: str) -> np.ndarray:
    """delta_r (N,) of the source rows as it is to be taken from their rewards.

    Args:
        penalty: "rows": as it is, the paper's. "constant": its mean on every row. That holds nothing of what
            the classifiers know of a row, so DARA has to beat it. "centred": what is left without the mean.

    Raises:
        UserError: no such penalty.
    """
    mean = delta.mean(dtype=np.float64).astype(np.float32)
    if penalty == "rows":
        return delta
    if penalty == "constant":
        return np.full_like(delta, mean)
    if penalty == "centred":
        return delta - mean
    raise UserError(f"penalty is {penalty!r}: give one of {', '.join(PENALTIES)}")


def check_eta(eta: float) -> None:
    """Raise UserError unless eta is a finite number of at least 0."""
    if not (math.isfinite(eta) and eta >= 0):
        raise UserError(f"eta is {eta}: give a number of at least 0 (0: no augmentation; the paper uses 0.1)")


def augment(rewards: np.ndarray, delta: np.ndarray, eta: float) -> np.ndarray:
    """Augmented rewards of source rows, a new array; raw rewards in.

    Raises:
        UserError: eta is negative or not finite.
    """
    check_eta(eta)
    # r <- r - eta * delta_r
    return rewards - np.float32(eta) * delta
