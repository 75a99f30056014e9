"""Walks in a data set file that the logger wrote.

A lost message splits an episode of the file but not the walk. Two walks lie at least as far apart as
standing up takes, or the clock has begun anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .errors import UserError
from .hardware.spec import RobotSpec
from .policies.dataset import DataSet


def walk_ends(data: DataSet, spec: RobotSpec) -> np.ndarray:
    """Last row of every walk, (W,) int64."""
    steps = np.diff(data.column("infos/stamp"))
    between = (steps >= round(spec.safety.stand_duration * 1e9)) | (steps <= 0)
    return np.append(np.flatnonzero(between), len(data) - 1)


def read_walks(
    file: Path, spec: RobotSpec, walks: int, cut: bool = False
) -> tuple[list[float], list[int], list[bool]]:
    """Distance (m), control periods, and whether it fell, of every walk in a file of `walks` walks.

    Args:
        cut: one more walk was cut short; its rows, if there are any, do not count.

    Raises:
        UserError: a walk left no rows.
    """
    if walks == 0:
        return [], [], []
    if not file.exists():  # the logger makes it with its first rows
        raise UserError(f"{file}: {walks} walks were made and none logged; see the nodes' logs for why")
    with DataSet(file) as data:
        last = walk_ends(data, spec)
        last = last[:walks] if cut else last
        first = np.append(0, last[:-1] + 1)
        stamps, forward = data.column("infos/stamp"), data.column("infos/forward")[last]
        terminals = data.column("terminals")[last]
    if len(last) != walks:
        raise UserError(
            f"{file}: {walks} walks were made and {len(last)} logged; "
            "either a controller does not answer, which the nodes' logs tell, or the machine is so busy that "
            "the logger lost a whole walk: start again with less beside it"
        )
    steps = (stamps[last] - stamps[first]) // spec.period_ns + 1
    return forward.tolist(), steps.tolist(), terminals.tolist()
