"""The report of a study: a table for every world, a plot over all, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..report import figure_part, table, write_page
from ..studies.estimates import Estimate
from ..studies.tables import in_columns
from .scores import Gain, Score
from .study import DATA_SETS, SOURCE_WORLD

COLOURS = {
    "target": "#888888",
    "source": "#bbbbbb",
    "bc": "#7f6aa5",
    "union": "#3b6fb6",
    "dara": "#d1662c",
    "constant": "#e0b04c",
    "centred": "#5b9a68",
}
#: By a condition's last word.
MARKERS = {
    "": "o",
    "dynamics": "D",
    "ahead": "P",
    "returns": "*",
    "proportional": "s",
    "paper": "^",
    "evenly": "x",
}
HEAD = ("condition", "eta", "trials", "distance, m", "return", "falls", "over union", "over constant")
GAIN_HEAD = ("condition", "eta", "trials", "over union, m", "over constant, m")
NOTE = """
Interquartile means over trials (a training seed on one of the collections) with 95 % bootstrap intervals.
Every trial is the last policy of its training, walked through ONNX in worlds that no data set and no choice
has seen. Over union: times as far as the same training without augmentation. Over constant: times as far as
with the mean of delta r taken from every source row, which holds nothing of what is known of a row. Both are
of the same seeds and data; the last table has the differences in metres over all of them. Everything is
simulated, the robot too.
"""


def write_report(path: Path, scores: Sequence[Score], gains: Sequence[Gain], command: str) -> Path:
    """The report as one HTML file."""
    worlds = list(dict.fromkeys(score.world for score in scores))
    parts = [f"<p>{NOTE}</p>", figure_part(plot(scores), "Distance in the target world, m per episode.")]
    for world in worlds:
        parts.append(f"<h2>{SOURCE_WORLD} to {world}</h2>")
        for data_set in _data_sets(scores, world):
            rows = [_cells(s) for s in scores if (s.world, s.data_set) == (world, data_set)]
            parts.append(f"<h3>{data_set}</h3>{table(HEAD, rows)}")
    parts.append(f"<h2>All worlds and data sets</h2>{table(GAIN_HEAD, [_gain_cells(g) for g in gains])}")
    parts.append(f"<h2>The same again</h2><pre>{command}</pre>")
    return write_page(path, "From simulation to a simulated robot: with and without DARA", parts)


def as_text(scores: Sequence[Score], gains: Sequence[Gain]) -> str:
    """The tables for people."""
    lines = []
    for world in dict.fromkeys(score.world for score in scores):
        for data_set in _data_sets(scores, world):
            lines.append(f"\n{SOURCE_WORLD} -> {world}, {data_set}")
            rows = [HEAD, *(_cells(s) for s in scores if (s.world, s.data_set) == (world, data_set))]
            lines += in_columns(rows)
    lines += ["\nall worlds and data sets", *in_columns([GAIN_HEAD, *map(_gain_cells, gains)])]
    return "\n".join(lines).strip()


def plot(scores: Sequence[Score]) -> Figure:
    """A panel for every world: conditions side by side for each data set, distances with their intervals."""
    worlds = list(dict.fromkeys(score.world for score in scores))
    figure = Figure(figsize=(max(7.0, 3.6 * len(worlds) + 0.4), 3.8), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(worlds), sharey=True))
    shown = list(dict.fromkeys(score.condition for score in scores))
    for panel, world in zip(panels, worlds, strict=True):
        panel.set_title(world)
        panel.spines[["top", "right"]].set_visible(False)
        names = _data_sets(scores, world)
        panel.set_xticks(range(len(names)), [name.replace("-", "-\n") for name in names])
        panel.set_xlim(-0.5, len(names) - 0.5)
        for score in (score for score in scores if score.world == world):
            beside = 0.8 * ((shown.index(score.condition) + 0.5) / len(shown) - 0.5)
            d = score.distance_m
            panel.errorbar(
                names.index(score.data_set) + beside,
                d.value,
                None if d.low is None or d.high is None else [[d.value - d.low], [d.high - d.value]],
                **_look(score.condition),
                capsize=2,
            )
    panels[0].set_ylabel("distance, m")
    marks = [panels[0].plot([], [], **_look(name), label=name)[0] for name in shown]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _look(condition: str) -> dict[str, Any]:
    base, *variants = condition.split("_")
    return {"color": COLOURS[base], "marker": MARKERS["".join(variants[-1:])], "linestyle": "none"}


def _data_sets(scores: Sequence[Score], world: str) -> list[str]:
    tried = {score.data_set for score in scores if score.world == world}
    return [name for name in DATA_SETS if name in tried]


def _cells(score: Score) -> tuple[str, ...]:
    return (
        score.condition, f"{score.eta:g}", str(score.trials), str(score.distance_m), str(score.mean_return),
        f"{score.falls:.0%}", _text(score.over_union), _text(score.over_constant),
    )  # fmt: skip


def _gain_cells(gain: Gain) -> tuple[str, ...]:
    over = _text(gain.over_union), _text(gain.over_constant)
    return gain.condition, f"{gain.eta:g}", str(gain.trials), *over


def _text(estimate: Estimate | None) -> str:
    return "" if estimate is None else str(estimate)
