"""What a data set file holds, for `dara inspect`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .policies.dataset import DataSet


@dataclass(frozen=True)
class Inspection:
    """The figures of one data set file; returns and lengths are per episode."""

    file: str
    robot: str
    world: str
    domain: str
    control_period_s: float
    rows: int
    episodes: int
    falls: int
    mean_length: float
    mean_return: float
    std_return: float
    mean_reward: float
    mean_forward_m: float | None  # distance walked, where the file tells it
    made_by: str
    spec_hash: str
    task_hash: str
    columns: dict[str, dict[str, float]]  # name -> mean, std, min, max of observations and actions


def inspect(path: str | Path) -> Inspection:
    """Read the whole file once, in bounded memory.

    Raises:
        UserError: the file is missing, damaged, empty, or holds NaN or infinity.
    """
    with DataSet(path) as data:
        data.check()
        starts, ends = data.episodes()
        rewards = data.column("rewards").astype(np.float64)
        returns = np.add.reduceat(rewards, starts)
        info = data.info
        return Inspection(
            file=str(path),
            robot=info.robot,
            world=info.world,
            domain=info.domain,
            control_period_s=info.control_period,
            rows=len(data),
            episodes=len(starts),
            falls=int(data.column("terminals").sum()),
            mean_length=float((ends - starts).mean()),
            mean_return=float(returns.mean()),
            std_return=float(returns.std()),
            mean_reward=float(rewards.mean()),
            mean_forward_m=_mean_forward(data, ends),
            made_by=info.made_by,
            spec_hash=info.spec_hash,
            task_hash=info.task_hash,
            columns=_columns(data),
        )


def _mean_forward(data: DataSet, ends: np.ndarray) -> float | None:
    if "infos/forward" not in data.column_names():
        return None
    return float(data.column("infos/forward")[ends - 1].mean())


def _columns(data: DataSet) -> dict[str, dict[str, float]]:
    statistics, info = data.statistics(), data.info
    named = (("observations", info.observation_names), ("actions", info.action_names))
    return {
        name: {"mean": float(mean), "std": float(std), "min": float(low), "max": float(high)}
        for part, names in named
        for name, mean, std, low, high in zip(names, *vars(statistics[part]).values(), strict=True)
    }


def as_text(inspection: Inspection) -> str:
    """The inspection for people."""
    i = inspection
    forward = "unknown" if i.mean_forward_m is None else f"{i.mean_forward_m:.2f} m"
    lines = [
        f"{i.file}: {i.rows} rows, {i.episodes} episodes of {i.mean_length:.1f} steps, {i.falls} falls",
        f"  robot {i.robot}, world {i.world}, {i.domain} domain, {1 / i.control_period_s:.0f} Hz",
        f"  per episode: return {i.mean_return:.1f} +- {i.std_return:.1f}, distance {forward}",
        f"  made by {i.made_by or 'unknown'}",
        f"  spec {i.spec_hash[:12]}, task {i.task_hash[:12]}; no NaN, no infinity",
        f"  {'column':28s} {'mean':>9s} {'std':>9s} {'min':>9s} {'max':>9s}",
    ]
    lines += [
        f"  {name:28s} {c['mean']:9.3f} {c['std']:9.3f} {c['min']:9.3f} {c['max']:9.3f}"
        for name, c in i.columns.items()
    ]
    return "\n".join(lines)
