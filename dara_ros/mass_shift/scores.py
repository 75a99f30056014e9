"""Means over training seeds with 95 % bootstrap intervals, and who is above whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
        seeds: how many; the rest is over them.
        score: D4RL's, in the target's dynamics.
        published: the seeds' score, where they have one.
    """

    task: str
    data_set: str
    algorithm: str
    condition: str
    seeds: int
    score: Estimate
    mean_return: Estimate
    published: float | None


@dataclass(frozen=True)
class Count:
    """In how many cells one condition is above another, and by how much.

    Attributes:
        algorithm: of the cells; "" for all.
        above, cells: of ours; a cell counts where both were tried.
        published_above, published_cells: of the seeds'.
        difference: of ours, mean over the cells; None where there are none.
    """

    condition: str
    other: str
    algorithm: str
    above: int
    cells: int
    published_above: int
    published_cells: int
    difference: Estimate | None


def scores(rows: Iterable[Row]) -> dict[Key, Score]:
    """One for all that was tried."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault((row.task, row.data_set, row.algorithm, row.condition), []).append(row)
    return {
        key: Score(
            *key,
            seeds=len(group),
            score=mean([row.score for row in group]),
            mean_return=mean([row.return_ for row in group]),
            published=published().get(key),
        )
        for key, group in groups.items()
    }


def values(found: Mapping[Key, Score]) -> dict[Key, float]:
    """Our scores as bare numbers, as `published` has the seeds'."""
    return {key: score.score.value for key, score in found.items()}


def arrow(numbers: Mapping[Key, float], key: Key, other: str) -> str:
    """As the seeds draw it: up where a condition is above the other, else down; "" where one is missing."""
    against = (*key[:3], other)
    if key not in numbers or against not in numbers:
        return ""
    return "↑" if numbers[key] > numbers[against] else "↓"


def counts(found: Mapping[Key, Score]) -> list[Count]:
    """DARA beside no augmentation, its control, tuning, and 1T alone: in all, and of each algorithm."""
    tried = dict.fromkeys(key[2] for key in found if key[3] == "dara")
    return [
        count(found, "dara", other, algorithm)
        for other in ("union", "constant", "tune", "1T")
        for algorithm in ("", *tried)
    ]


def count(found: Mapping[Key, Score], condition: str, other: str, algorithm: str = "") -> Count:
    """Over all cells (task, data set, algorithm) in which both were tried."""

    def differences(numbers: Mapping[Key, float]) -> list[float]:
        pairs = (
            (key, (*key[:3], other))
            for key in sorted(numbers)
            if key[3] == condition and algorithm in ("", key[2])
        )
        return [numbers[key] - numbers[against] for key, against in pairs if against in numbers]

    ours, theirs = differences(values(found)), differences(published())
    above, published_above = (sum(one > 0.0 for one in each) for each in (ours, theirs))
    difference = mean(ours) if ours else None
    return Count(condition, other, algorithm, above, len(ours), published_above, len(theirs), difference)
