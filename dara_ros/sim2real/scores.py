"""Interquartile means over trials, ratios of them, and what is gained in metres.

A trial is a training seed on a collection seed; its score is a mean over episodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..studies.estimates import Estimate, interquartile_mean, ratio
from .study import CONDITIONS, CONTROLS, PLAIN, Cell, Row


@dataclass(frozen=True)
class Score:
    """How one condition did with one data set in one world.

    Attributes:
        trials: how many; everything else is over them.
        distance_m, mean_return: interquartile means.
        falls: mean share of episodes that fell.
        over_union, over_constant: ratio of distances to the same without augmentation, and to the control at
            the same eta; None where they were not tried, or are not positive.
    """

    data_set: str
    world: str
    condition: str
    eta: float
    trials: int
    distance_m: Estimate
    mean_return: Estimate
    falls: float
    over_union: Estimate | None
    over_constant: Estimate | None


@dataclass(frozen=True)
class Gain:
    """What a condition walks farther, over all worlds and data sets, than others with the same seed and data.

    Attributes:
        over_union, over_constant: interquartile means of the difference in m; None where there are no pairs.
    """

    condition: str
    eta: float
    trials: int
    over_union: Estimate | None
    over_constant: Estimate | None


def gains(rows: Iterable[Row]) -> list[Gain]:
    """One for every condition and eta that was tried."""
    groups: dict[tuple[str, float], dict[Cell, float]] = {}
    for row in _in_order(rows):
        cell = Cell(row.data_set, row.world, row.collection_seed, row.seed)
        groups.setdefault((row.condition, row.eta), {})[cell] = row.distance_m

    def over(mine: dict[Cell, float], other: tuple[str, float]) -> Estimate | None:
        theirs = groups.get(other, {})
        farther = [distance - theirs[cell] for cell, distance in mine.items() if cell in theirs]
        return interquartile_mean(farther) if farther and theirs is not mine else None

    order = list(CONDITIONS)
    return [
        Gain(
            condition, eta, len(mine),
            over(mine, (PLAIN[condition], 0.0)),
            over(mine, (CONTROLS.get(condition, ""), eta)),
        )
        for (condition, eta), mine in sorted(groups.items(), key=lambda g: (order.index(g[0][0]), g[0][1]))
    ]  # fmt: skip


def scores(rows: Iterable[Row]) -> list[Score]:
    """One for every world, data set, condition and eta that was tried."""
    groups: dict[tuple[str, str, str, float], list[Row]] = {}
    for row in _in_order(rows):
        groups.setdefault((row.world, row.data_set, row.condition, row.eta), []).append(row)
    order = list(CONDITIONS)
    return [
        _score(groups, *key)
        for key in sorted(groups, key=lambda key: (key[0], key[1], order.index(key[2]), key[3]))
    ]


def _in_order(rows: Iterable[Row]) -> list[Row]:
    """So that a bootstrap draws the same of a study that has just run and of its file."""
    return sorted(rows, key=lambda row: (row.world, row.data_set, row.seed, row.collection_seed))


def _score(
    groups: dict[tuple[str, str, str, float], list[Row]],
    world: str,
    data_set: str,
    condition: str,
    eta: float,
) -> Score:
    rows = groups[world, data_set, condition, eta]
    distances = [row.distance_m for row in rows]

    def over(other: str, at: float) -> Estimate | None:
        against = {
            (r.seed, r.collection_seed): r.distance_m for r in groups.get((world, data_set, other, at), ())
        }
        both = [row for row in rows if (row.seed, row.collection_seed) in against]
        if not both or other == condition:
            return None
        return ratio(
            [row.distance_m for row in both], [against[row.seed, row.collection_seed] for row in both]
        )

    return Score(
        data_set, world, condition, eta, len(rows),
        interquartile_mean(distances),
        interquartile_mean([row.mean_return for row in rows]),
        float(np.mean([row.falls / row.episodes for row in rows])),
        over(PLAIN[condition], 0.0),
        over(CONTROLS.get(condition, ""), eta),
    )  # fmt: skip
