"""The table that compares policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .dry_run import DryRunResult


# Of what a node says on /diagnostics, what a report repeats beside its durations.
COUNTS = ("rate_hz", "rows", "late", "drops", "lost", "overruns", "clamps", "real_time")


@dataclass(frozen=True)
class ResultRow:
    """How one policy walked through the nodes."""

    policy: str
    distance_m: list[float]  # one per episode
    falls: int
    episodes: int
    loop_ms: dict[str, float]  # state in to command out: p50, p99, max
    nodes: dict[str, dict[str, str]]  # what each node last said on /diagnostics


def row_of(policy: str, walked: DryRunResult) -> ResultRow:
    """The row of a dry run."""
    episodes, falls = len(walked.distance_m), sum(walked.falls)
    return ResultRow(policy, list(walked.distance_m), falls, episodes, walked.loop_ms, walked.nodes)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; 0 for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def as_table(rows: Sequence[ResultRow]) -> str:
    """The rows for people."""
    width = max(6, *(len(row.policy) for row in rows))
    loop = "  ".join(f"{'loop ' + name:>8s}" for name in ("p50", "p99", "max"))
    lines = [f"{'policy':{width}s}  {'distance (m)':>15s}  {'falls':>5s}  {'episodes':>8s}  {loop}"]
    for row in rows:
        distance = distance_text(row, "+-")
        times = "  ".join(f"{row.loop_ms[name]:5.2f} ms" for name in ("p50", "p99", "max"))
        lines.append(f"{row.policy:{width}s}  {distance:>15s}  {row.falls:5d}  {row.episodes:8d}  {times}")
    lines.append("distance: mean over the episodes +- standard error")
    return "\n".join([*lines, *(node_lines(rows[-1].nodes) if rows else [])])


def distance_text(row: ResultRow, plus_minus: str) -> str:
    """Mean distance and its standard error, m."""
    if not row.distance_m:
        return "no walk"
    return f"{np.mean(row.distance_m):.2f} {plus_minus} {standard_error(row.distance_m):.2f}"


def node_lines(nodes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What the nodes said of their timing, for people: `diagnostics` explains the names."""
    lines = []
    for node, figures in nodes.items():
        counts = ", ".join(f"{name} {figures[name]}" for name in COUNTS if name in figures)
        lines.append(f"{node}: {counts}")
        for name in (key.removesuffix("_p50") for key in figures if key.endswith("_p50")):
            values = "".join(f"  {share} {figures[f'{name}_{share}']:>8s}" for share in ("p50", "p99", "max"))
            lines.append(f"  {name:12s} {values}")
    return lines
