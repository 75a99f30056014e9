"""How well a classifier of two domains knows what it does not know. Pure numpy.

Every function takes the logits of the held-out source rows and of the held-out target rows apart, and weights
the two domains alike whatever their numbers of rows: the prior is one half, as in training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TEMPERATURE_RANGE = (0.05, 20.0)


@dataclass(frozen=True)
class Reliability:
    """A reliability curve: one entry per bin of predicted probability that holds any row."""

    predicted: list[float]  # mean predicted probability of "source" in the bin
    observed: list[float]  # fraction of source rows in the bin
    weight: list[float]  # of the bin, summing to 1
    expected_error: float  # ECE = sum_bins weight |observed - predicted|


def cross_entropy(of_source: np.ndarray, of_target: np.ndarray) -> float:
    """Balanced cross-entropy in nats: mean of -log q(source) on source and -log q(target) on target rows."""
    # -log sigmoid(x) = log(1 + exp(-x))
    return float(0.5 * (np.logaddexp(0.0, -of_source).mean() + np.logaddexp(0.0, of_target).mean()))


def area_under_curve(of_source: np.ndarray, of_target: np.ndarray) -> float:
    """P(logit of a source row > logit of a target row), ties counting half (Mann-Whitney U)."""
    target = np.sort(of_target)
    below = np.searchsorted(target, of_source, side="left")
    upto = np.searchsorted(target, of_source, side="right")
    return float((below + upto).mean() / (2 * len(target)))


def fit_temperature(
    of_source: np.ndarray,
    of_target: np.ndarray,
    known_of_source: np.ndarray | float = 0.0,
    known_of_target: np.ndarray | float = 0.0,
) -> float:
    """The T that minimises the cross-entropy of known + logit / T, with smoothed labels.

    N rows without an error do not prove certainty: a label is (N + 1) / (N + 2), as Platt has it
    ("Probabilistic Outputs for Support Vector Machines", 1999). With labels of 1 the best T of domains that
    are told apart without an error would be 0, and the difference of two logits blown up without bound.

    The cross-entropy is convex in 1 / T, so a golden-section search finds its minimum.
    """
    # -(1 - e) log sigmoid(x) - e log sigmoid(-x) = log(1 + exp(-x)) + e x
    smoothing = 0.5 * (of_source.mean() / (len(of_source) + 2) - of_target.mean() / (len(of_target) + 2))

    def loss(inverse: float) -> float:
        logits = known_of_source + of_source * inverse, known_of_target + of_target * inverse
        return cross_entropy(*logits) + inverse * float(smoothing)

    low, high = 1.0 / TEMPERATURE_RANGE[1], 1.0 / TEMPERATURE_RANGE[0]
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(2.0 / (low + high))


def reliability(of_source: np.ndarray, of_target: np.ndarray, bins: int = 15) -> Reliability:
    """Predicted against observed frequency in bins of equal width (Guo et al. 2017, eq. 2 to 5)."""
    logits = np.concatenate((of_source, of_target)).astype(np.float64)
    is_source = np.arange(len(logits)) < len(of_source)
    weights = np.where(is_source, 0.5 / len(of_source), 0.5 / len(of_target))
    probability = 0.5 * (1.0 + np.tanh(0.5 * logits))
    index = np.minimum((probability * bins).astype(int), bins - 1)
    weight = np.bincount(index, weights, bins)
    filled = weight > 0
    weight = weight[filled]
    predicted = np.bincount(index, weights * probability, bins)[filled] / weight
    observed = np.bincount(index, weights * is_source, bins)[filled] / weight
    error = float(np.sum(weight * np.abs(observed - predicted)))
    return Reliability(predicted.tolist(), observed.tolist(), weight.tolist(), error)
