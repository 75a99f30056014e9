"""The seeds' two tables with our numbers and theirs, a plot, and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..report import figure_part, table, write_page
from ..studies.tables import in_columns
from .published import MABE_COLUMNS, published
from .scores import AGAINST, Count, Key, Score, arrow, counts, seed_deviation, values
from .study import MABE_MODES, Study, conditions_of

NOT_RUN = "·"
HEADINGS = {
    "10T": "10T",
    "1T": "1T",
    "union": "1T+10S w/o Aug.",
    "dara": "1T+10S DARA",
    "constant": "1T+10S constant",
    "oracle": "1T+10S oracle",
    "tune": "Tune",
}
DATA_SET_NAMES = {
    "random": "Random",
    "medium": "Medium",
    "medium-replay": "Medium-R",
    "medium-expert": "Medium-E",
}
COLOURS = {
    "10T": "#888888",
    "1T": "#bbbbbb",
    "union": "#3b6fb6",
    "dara": "#d1662c",
    "constant": "#e0b04c",
    "oracle": "#3a3a3a",
    "tune": "#7f6aa5",
    "prior_from_target": "#5b9a68",
    "prior_from_source": "#b3261e",
}
NAMES = {
    "union": "no augmentation",
    "dara": "DARA",
    "constant": "its control, a constant penalty",
    "oracle": "DARA with true ranks",
    "tune": "Tune",
    "1T": "the target's 1T alone",
}
NOTE = """Ours: mean of the last policy's D4RL score over training seeds, in brackets its 95 % bootstrap
interval; behind the bar the seeds' number. A dot was not run. The seeds' shift of masses, their MuJoCo and
their data are others, so only the arrows can be compared. Differences on average are over cells, and so are
their intervals."""


@dataclass(frozen=True)
class Table:
    """One block of a table; the first column is its heading."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_report(path: Path, study: Study, found: Mapping[Key, Score], command: str) -> Path:
    """The report as one HTML file."""
    parts = [f"<p><b>{escape(study.terms())}.</b></p><p>{NOTE}</p>"]
    parts.append(figure_part(plot(study, found), "Points: ours, with intervals. Crosses: the seeds'."))
    parts += [
        f"<h2>{escape(block.title)}</h2>{table(block.head, block.rows)}" for block in tables(study, found)
    ]
    parts.append("".join(f"<p>{escape(line)}</p>" for line in summary(study, found)))
    parts.append(f"<h2>The same again</h2><pre>{escape(command)}</pre>")
    return write_page(path, "Hopper and Walker2d with other masses: with and without DARA", parts)


def as_text(study: Study, found: Mapping[Key, Score]) -> str:
    """The tables for people."""
    lines = [study.terms(), " ".join(NOTE.split())]
    for block in tables(study, found):
        lines += ["", block.title, *in_columns([block.head, *block.rows])]
    return "\n".join([*lines, "", *summary(study, found)])


def tables(study: Study, found: Mapping[Key, Score]) -> list[Table]:
    """The blocks of the tasks and algorithms that the study asks for."""
    blocks = []
    for task in study.tasks:
        others = [name for name in study.algorithms if name != "mabe"]
        blocks += [_augmentation(study, found, task, algorithm) for algorithm in others]
        blocks += [_tuning(study, found, task, algorithm) for algorithm in others if algorithm != "awr"]
        if "mabe" in study.algorithms:
            blocks.append(_mabe(study, found, task))
    return blocks


def summary(study: Study, found: Mapping[Key, Score]) -> list[str]:
    """Who is above whom, and what has fewer seeds than it should."""
    told = [each for each in counts(found) if each.cells or (each.condition, each.algorithm) == ("dara", "")]
    lines = [_counted(each) for each in told]
    deviation = seed_deviation(found)
    if deviation is not None:
        lines.append(f"Seeds of one cell and condition deviate by {deviation:.1f} points (pooled).")
    fewer = Counter(
        (score.algorithm, score.condition, len(score.by_seed))
        for score in found.values()
        if len(score.by_seed) < study.seeds
    )
    if fewer:
        counted = (f"{' '.join(map(str, kind))} in {cells}" for kind, cells in fewer.items())
        lines.append(f"Fewer than {study.seeds} seeds, in how many cells: {', '.join(counted)}")
    return lines


def plot(study: Study, found: Mapping[Key, Score]) -> Figure:
    """A panel for every algorithm and task: conditions side by side for each data set."""
    grid = len(study.algorithms), len(study.tasks)
    figure = Figure(figsize=(4.6 * grid[1] + 1.0, 2.4 * grid[0] + 0.8), layout="constrained")
    panels = figure.subplots(*grid, squeeze=False)
    shown = [name for name in COLOURS if any(key[3] == name for key in found)]
    for (row, column), panel in np.ndenumerate(panels):
        algorithm, task = study.algorithms[row], study.tasks[column]
        here = [name for name in shown if name in conditions_of(algorithm)]
        panel.set_title(f"{task}, {algorithm}", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xticks(range(len(study.data_sets)), [DATA_SET_NAMES[name] for name in study.data_sets])
        panel.set_xlim(-0.5, len(study.data_sets) - 0.5)
        for place, data_set in enumerate(study.data_sets):
            for number, condition in enumerate(here):
                beside = place + 0.8 * ((number + 0.5) / len(here) - 0.5)
                key = (task, data_set, algorithm, condition)
                if key in published():
                    panel.plot(beside, published()[key], "x", color=COLOURS[condition], alpha=0.6)
                if key in found:
                    e = found[key].score
                    bar = None if e.low is None or e.high is None else [[e.value - e.low], [e.high - e.value]]
                    panel.errorbar(beside, e.value, bar, fmt="o", capsize=2, color=COLOURS[condition])
    for row_of_panels in panels:
        row_of_panels[0].set_ylabel("score")
    marks = [panels[0, 0].plot([], [], "o", color=COLOURS[name], label=name)[0] for name in shown]
    marks += panels[0, 0].plot([], [], "x", color="#444444", label="the seeds'")
    figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(study.terms(), fontsize=8, wrap=True)
    return figure


# -- blocks -------------------------------------------------------------------------------------------------


def _augmentation(study: Study, found: Mapping[Key, Score], task: str, algorithm: str) -> Table:
    columns = ("10T", "1T", "union", "dara", "constant", "oracle")
    cells = [(name, AGAINST.get(name, "")) for name in columns]
    return _block("Body mass shift", study, found, task, algorithm, cells)


def _tuning(study: Study, found: Mapping[Key, Score], task: str, algorithm: str) -> Table:
    cells = [("tune", ""), ("dara", "tune")]
    return _block("Body mass shift, Tune against DARA", study, found, task, algorithm, cells)


def _block(
    title: str,
    study: Study,
    found: Mapping[Key, Score],
    task: str,
    algorithm: str,
    cells: Sequence[tuple[str, str]],
) -> Table:
    """A row for each data set; `cells` are conditions, and what their arrows compare them with."""
    rows = [
        (
            DATA_SET_NAMES[data_set],
            *(_cell(found, (task, data_set, algorithm, name), other) for name, other in cells),
        )
        for data_set in study.data_sets
    ]
    return Table(f"{title}: {task}, {algorithm}", ("", *(HEADINGS[name] for name, _ in cells)), tuple(rows))


def _mabe(study: Study, found: Mapping[Key, Score], task: str) -> Table:
    """Which of the seeds' columns is which of our modes is not known: they stand apart."""
    rows = []
    for data_set in study.data_sets:
        ours = [_ours(found, (task, data_set, "mabe", mode), "") for mode in MABE_MODES]
        theirs = [f"{published()[task, data_set, 'mabe', column]:.1f}" for column in MABE_COLUMNS]
        rows.append((DATA_SET_NAMES[data_set], *ours, *theirs))
    head = ("", *(mode.replace("_", " ") for mode in MABE_MODES), *(f"seeds: {c}" for c in MABE_COLUMNS))
    return Table(f"Body mass shift: {task}, mabe", head, tuple(rows))


def _cell(found: Mapping[Key, Score], key: Key, other: str) -> str:
    ours = _ours(found, key, other)
    if key not in published():
        return ours
    return f"{ours} | {published()[key]:.1f} {arrow(published(), key, other)}".rstrip()


def _ours(found: Mapping[Key, Score], key: Key, other: str) -> str:
    if key not in found:
        return NOT_RUN
    return f"{found[key].score.text(1)} {arrow(values(found), key, other)}".rstrip()


def _counted(count: Count) -> str:
    name, other = NAMES[count.condition], NAMES[count.other]
    theirs, cells = count.published_difference, count.published_cells
    paper = f" (paper: {count.published_above} of {cells}, by {theirs:.1f})" if cells else ""
    who = f"  {count.algorithm}:" if count.algorithm else f"{name[0].upper()}{name[1:]} above {other}"
    by = f", by {count.difference.text(1)} on average" if count.difference else ""
    pairs = f"; seed by seed in {count.pairs_above} of {count.pairs}" if count.pairs else ""
    if count.pairs_median is not None:
        pairs += f", by {count.pairs_median:.1f} in the median"
    return f"{who} in {count.above} of {count.cells} cells{paper}{by}{pairs}"
