"""The table that compares policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .dry_run import DryRunResult


@dataclass(frozen=True)
class ResultRow:
    """How one policy walked through the nodes."""

    policy: str
    distance_m: list[float]  # one per episode
    falls: int
    episodes: int
    loop_ms: dict[str, float]  # state in to command out: p50, p99, max


def row_of(policy: str, walked: DryRunResult) -> ResultRow:
    """The row of a dry run."""
    return ResultRow(
        policy, list(walked.distance_m), sum(walked.falls), len(walked.distance_m), dict(walked.loop_ms)
    )


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; 0 for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def as_table(rows: Sequence[ResultRow]) -> str:
    """The rows for people."""
    width = max(6, *(len(row.policy) for row in rows))
    loop = "  ".join(f"{'loop ' + name:>8s}" for name in ("p50", "p99", "max"))
    lines = [f"{'policy':{width}s}  {'distance (m)':>15s}  {'falls':>5s}  {'episodes':>8s}  {loop}"]
    for row in rows:
        distance = f"{np.mean(row.distance_m):.2f} +- {standard_error(row.distance_m):.2f}"
        times = "  ".join(f"{row.loop_ms[name]:5.2f} ms" for name in ("p50", "p99", "max"))
        lines.append(f"{row.policy:{width}s}  {distance:>15s}  {row.falls:5d}  {row.episodes:8d}  {times}")
    return "\n".join([*lines, "distance: mean over the episodes +- standard error"])
