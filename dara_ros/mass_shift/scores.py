"""Means over training seeds with 95 % bootstrap intervals, and who is above whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median, variance

import numpy as np

from ..studies.estimates import Estimate, mean
from .published import published
from .study import Row

#: (task, data set, algorithm, condition)
Key = tuple[str, str, str, str]
#: Condition -> the one that the seeds' arrows compare it with. (In their second table, DARA with `tune`.)
AGAINST = {"1T": "10T", "union": "1T", "dara": "union"}


@dataclass(frozen=True)
class Score:
    """How one condition did.

    Attributes:
        by_seed: training seed -> D4RL's score, in the target's dynamics.
        score: the same over the seeds.
        published: the seeds' score, where they have one.
    """

    task: str
    data_set: str
    algorithm: str
    condition: str
    by_seed: dict[int, float]
    score: Estimate
    mean_return: Estimate
    published: float | None


@dataclass(frozen=True)
class Count:
    """In how many cells one condition is above another, and by how much.

    Attributes:
        algorithm: of the cells; "" for all.
        above, cells: of ours; a cell counts where both were tried.
        published_above, published_cells, published_difference: of the seeds'.
        difference: of ours, mean over the cells; None where there are none.
        pairs: of one cell and training seed, where both were tried.
        pairs_above: of them, so many are above.
        pairs_median: of their differences; None where there are none. A single training that is far from all
            others moves it less than `difference`.
    """

    condition: str
    other: str
    algorithm: str
    above: int
    cells: int
    published_above: int
    published_cells: int
    published_difference: float | None
    difference: Estimate | None
    pairs: int
    pairs_above: int
    pairs_median: float | None


def scores(rows: Iterable[Row]) -> dict[Key, Score]:
    """One for all that was tried."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault((row.task, row.data_set, row.algorithm, row.condition), []).append(row)
    return {
        key: Score(
            *key,
            by_seed={row.seed: row.score for row in group},
            score=mean([row.score for row in group]),
            mean_return=mean([row.return_ for row in group]),
            published=published().get(key),
        )
        for key, group in groups.items()
    }


def values(found: Mapping[Key, Score]) -> dict[Key, float]:
    """Our scores as bare numbers, as `published` has the seeds'."""
    return {key: score.score.value for key, score in found.items()}


def seed_deviation(found: Mapping[Key, Score]) -> float | None:
    """Standard deviation of a score between training seeds of one cell and condition, pooled over all."""
    groups = [list(score.by_seed.values()) for score in found.values() if len(score.by_seed) > 1]
    if not groups:
        return None
    freedom = [len(group) - 1 for group in groups]
    return float(np.sqrt(np.average([variance(group) for group in groups], weights=freedom)))


def arrow(numbers: Mapping[Key, float], key: Key, other: str) -> str:
    """As the seeds draw it: up where a condition is above the other, else down; "" where one is missing."""
    against = (*key[:3], other)
    if key not in numbers or against not in numbers:
        return ""
    return "↑" if numbers[key] > numbers[against] else "↓"


def counts(found: Mapping[Key, Score]) -> list[Count]:
    """DARA, what it is with true ranks, and no augmentation beside the others: in all, of each algorithm."""
    tried = dict.fromkeys(key[2] for key in found if key[3] == "dara")
    return [
        count(found, condition, other, algorithm)
        for condition, others in (
            ("dara", ("union", "constant", "tune", "1T")),
            ("oracle", ("union", "constant", "dara")),
            ("union", ("1T",)),
        )
        for other in others
        for algorithm in ("", *tried)
    ]


def count(found: Mapping[Key, Score], condition: str, other: str, algorithm: str = "") -> Count:
    """Over all cells (task, data set, algorithm) in which both were tried."""

    def cells(keys: Iterable[Key]) -> list[tuple[Key, Key]]:
        known = set(keys)
        mine = sorted(key for key in known if key[3] == condition and algorithm in ("", key[2]))
        return [(key, against) for key in mine if (against := (*key[:3], other)) in known]

    def differences(numbers: Mapping[Key, float]) -> list[float]:
        return [numbers[key] - numbers[against] for key, against in cells(numbers)]

    pairs = [
        score - found[against].by_seed[seed]
        for key, against in cells(found)
        for seed, score in found[key].by_seed.items()
        if seed in found[against].by_seed
    ]
    ours, theirs = differences(values(found)), differences(published())
    above, published_above, pairs_above = (sum(one > 0.0 for one in each) for each in (ours, theirs, pairs))
    return Count(
        condition,
        other,
        algorithm,
        above,
        len(ours),
        published_above,
        len(theirs),
        published_difference=fmean(theirs) if theirs else None,
        difference=mean(ours) if ours else None,
        pairs=len(pairs),
        pairs_above=pairs_above,
        pairs_median=median(pairs) if pairs else None,
    )
