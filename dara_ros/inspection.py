"""What a data set holds, for `dara inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .policies.dataset import BLOCK_ROWS, DataSet

BREAK = 1.0  # s: a walk that pauses longer is over, and what lies between two walks is no gap
CLIPPED = 1e-6  # rad by which a sent command differs from the requested one


@dataclass(frozen=True)
class Gaps:
    """Steps between the stamps of rows that are not one control period: what was lost on the way.

    Attributes:
        count: gaps within a walk (a longer one than BREAK counts as its end).
        missing_periods: how many rows would fill them.
        longest_s: the longest.
    """

    count: int
    missing_periods: int
    longest_s: float


@dataclass(frozen=True)
class Inspection:
    """The figures of one data set; returns and lengths are per episode."""

    file: str
    files: int
    robot: str
    world: str
    domain: str
    control_period_s: float
    rows: int
    episodes: int
    falls: int
    mean_length: float
    lengths: dict[str, int]  # min, median, max
    mean_return: float
    std_return: float
    mean_reward: float
    mean_forward_m: float | None  # distance walked, where the file tells it
    gaps: Gaps | None  # where rows have stamps
    clipped_rows: int | None  # whose command the supervisor changed, where both commands are there
    lost_rows: int | None  # walked and in no file, as the logger counted; None: the files do not tell
    made_by: str
    spec_hash: str
    task_hash: str
    columns: dict[str, dict[str, float]]  # name -> mean, std, min, max of observations, actions, reward


def inspect(paths: str | Path | Iterable[str | Path]) -> Inspection:
    """Read all files of a data set through.

    Raises:
        UserError: a file is missing, damaged, empty, does not belong to the others, or holds NaN or infinity.
    """
    with DataSet(paths) as data:
        data.check()
        starts, ends = data.episodes()
        rewards = data.column("rewards").astype(np.float64)
        returns = np.add.reduceat(rewards, starts)
        info, lengths = data.info, ends - starts
        return Inspection(
            file=data.name,
            files=len(data.paths),
            robot=info.robot,
            world=info.world,
            domain=info.domain,
            control_period_s=info.control_period,
            rows=len(data),
            episodes=len(starts),
            falls=int(data.column("terminals").sum()),
            mean_length=float(lengths.mean()),
            lengths={
                "min": int(lengths.min()),
                "median": int(np.median(lengths)),
                "max": int(lengths.max()),
            },
            mean_return=float(returns.mean()),
            std_return=float(returns.std()),
            mean_reward=float(rewards.mean()),
            mean_forward_m=_mean_forward(data, ends),
            gaps=_gaps(data),
            clipped_rows=_clipped_rows(data),
            lost_rows=data.lost_rows,
            made_by=info.made_by,
            spec_hash=info.spec_hash,
            task_hash=info.task_hash,
            columns=_columns(data),
        )


def _mean_forward(data: DataSet, ends: np.ndarray) -> float | None:
    if "infos/forward" not in data.column_names():
        return None
    return float(data.column("infos/forward")[ends - 1].mean())


def stamp_steps(data: DataSet) -> np.ndarray:
    """(N - 1,) s between the stamps of a row and the next; infinite where a walk ends between them.

    Raises:
        UserError: rows have no stamps.
    """
    steps = np.diff(data.column("infos/stamp")) * 1e-9
    return np.where((steps <= 0) | (steps > BREAK), np.inf, steps)


def _gaps(data: DataSet) -> Gaps | None:
    if "infos/stamp" not in data.column_names():
        return None
    steps, period = stamp_steps(data), data.info.control_period
    gaps = steps[np.isfinite(steps) & (np.abs(steps - period) > 0.5 * period)]
    missing = np.rint(gaps / period) - 1
    return Gaps(len(gaps), int(missing.sum()), float(gaps.max(initial=0.0)))


def command_changes(data: DataSet) -> Iterator[np.ndarray]:
    """(B,) rad by which the supervisor changed a command most, for all rows in blocks."""
    for start in range(0, len(data), BLOCK_ROWS):
        stop = start + BLOCK_ROWS
        requested = data.column("infos/requested_command", start, stop)
        yield np.abs(requested - data.column("infos/sent_command", start, stop)).max(axis=1)


def _clipped_rows(data: DataSet) -> int | None:
    if not {"infos/requested_command", "infos/sent_command"} <= set(data.column_names()):
        return None
    return sum(int((part > CLIPPED).sum()) for part in command_changes(data))


def _columns(data: DataSet) -> dict[str, dict[str, float]]:
    statistics, info = data.statistics(), data.info
    named = (
        ("observations", info.observation_names),
        ("actions", info.action_names),
        ("rewards", ("reward",)),
    )
    return {
        name: {"mean": float(mean), "std": float(std), "min": float(low), "max": float(high)}
        for part, names in named
        for name, mean, std, low, high in zip(
            names, *map(np.atleast_1d, vars(statistics[part]).values()), strict=True
        )
    }


def _losses(i: Inspection) -> str:
    """What is missing or was changed, in words."""
    gaps = "no stamps"
    if i.gaps is not None:
        gaps = f"{i.gaps.count} gaps within walks ({i.gaps.missing_periods} periods missing"
        gaps += f", longest {i.gaps.longest_s:.3f} s)" if i.gaps.count else ")"
    clipped = "unknown" if i.clipped_rows is None else f"{i.clipped_rows} ({i.clipped_rows / i.rows:.1%})"
    return (
        f"{gaps}; commands clipped: {clipped}; rows lost: {'unknown' if i.lost_rows is None else i.lost_rows}"
    )


def as_text(inspection: Inspection) -> str:
    """The inspection for people."""
    i = inspection
    forward = "unknown" if i.mean_forward_m is None else f"{i.mean_forward_m:.2f} m"
    lines = [
        f"{i.file}: {i.rows} rows, {i.episodes} episodes of {i.mean_length:.1f} steps, {i.falls} falls",
        f"  robot {i.robot}, world {i.world}, {i.domain} domain, {1 / i.control_period_s:.0f} Hz",
        f"  per episode: return {i.mean_return:.1f} +- {i.std_return:.1f}, distance {forward}, "
        f"length {i.lengths['min']} to {i.lengths['max']}, median {i.lengths['median']}",
        f"  {_losses(i)}",
        f"  made by {i.made_by or 'unknown'}",
        f"  spec {i.spec_hash[:12]}, task {i.task_hash[:12]}; no NaN, no infinity",
        f"  {'column':28s} {'mean':>9s} {'std':>9s} {'min':>9s} {'max':>9s}",
    ]
    lines += [
        f"  {name:28s} {c['mean']:9.3f} {c['std']:9.3f} {c['min']:9.3f} {c['max']:9.3f}"
        for name, c in i.columns.items()
    ]
    return "\n".join(lines)
