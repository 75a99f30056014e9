"""Figures with 95 % bootstrap intervals over trials.

As Agarwal, Schwarzer, Castro, Courville, Bellemare have it in "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", NeurIPS 2021. (Their library rliable 1.2 does not run with today's arch 7, so this is
scipy's.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, trim_mean

REPETITIONS = 2_000  # of the bootstrap


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; one trial has none."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return self.text(2)

    def text(self, digits: int) -> str:
        """With so many places."""
        interval = "" if self.low is None else f" [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return f"{self.value:.{digits}f}{interval}"


def mean(values: Sequence[float]) -> Estimate:
    """Of one value per trial."""
    return _estimate((values,), lambda sample, axis: np.asarray(sample.mean(axis)))


def interquartile_mean(values: Sequence[float]) -> Estimate:
    """Of one value per trial: the mean of the middle half."""
    return _estimate((values,), lambda sample, axis: trim_mean(sample, 0.25, axis))


def ratio(values: Sequence[float], others: Sequence[float]) -> Estimate | None:
    """Of their interquartile means, both of the same trials; None where one of `others` is not positive."""

    def quotient(sample: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
        return trim_mean(sample, 0.25, axis) / trim_mean(other, 0.25, axis)

    return None if min(others) <= 0.0 else _estimate((values, others), quotient, paired=True)


def _estimate(
    samples: tuple[Sequence[float], ...], figure: Callable[..., np.ndarray], paired: bool = False
) -> Estimate:
    value = float(figure(*map(np.asarray, samples), axis=0))
    if min(map(len, samples)) < 2:
        return Estimate(value)
    found = bootstrap(samples, figure, n_resamples=REPETITIONS, method="percentile", paired=paired, rng=0)
    return Estimate(value, *map(float, found.confidence_interval))
