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
    """In how many cells one condition is above another: of ours, and of the seeds'."""

    condition: str
    other: str
    above: int
    cells: int
    published_above: int
    published_cells: int


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
    """DARA beside no augmentation, its control, and tuning."""
    return [count(found, "dara", other) for other in ("union", "constant", "tune")]


def count(found: Mapping[Key, Score], condition: str, other: str) -> Count:
    """Over all cells (task, data set, algorithm) in which both were tried."""

    def above(numbers: Mapping[Key, float]) -> tuple[int, int]:
        arrows = [arrow(numbers, key, other) for key in numbers if key[3] == condition]
        return arrows.count("↑"), len(arrows) - arrows.count("")

    return Count(condition, other, *above(values(found)), *above(published()))
