"""The picture of a data set: episodes, stamps, commands, columns."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .errors import UserError
from .inspection import CLIPPED, command_changes, stamp_steps
from .policies.dataset import DataSet

BINS = 60
COLOUR, MARK = "#3b6fb6", "#d1662c"


def draw(paths: str | Path | Iterable[str | Path], to: Path) -> None:
    """Draw the data set of these files into `to`; its suffix says in which format.

    Raises:
        UserError: the data set cannot be read, or the picture not written.
    """
    figure = Figure(figsize=(12, 9), layout="constrained")
    with DataSet(paths) as data:
        parts = (_lengths, _returns, _stamps, _commands, _observations, _rewards)
        for part, axes in zip(parts, figure.subplots(3, 2).flat, strict=True):
            part(data, axes)
        figure.suptitle(f"{data.name}: {len(data)} rows, {data.info.robot}, {data.info.world}")
    try:
        figure.savefig(to, dpi=100)
    except (OSError, ValueError) as error:
        raise UserError(f"{to}: the picture cannot be written ({error}): give a .png in a folder") from error


def _lengths(data: DataSet, axes: Axes) -> None:
    starts, ends = data.episodes()
    falls = data.column("terminals")[ends - 1]
    for which, colour, label in ((~falls, COLOUR, "cut or timeout"), (falls, MARK, "fall")):
        axes.plot(np.flatnonzero(which), (ends - starts)[which], ".", color=colour, label=label)
    axes.set(title="Length of the episodes", xlabel="episode", ylabel="rows", ylim=(0, None))
    axes.legend()


def _returns(data: DataSet, axes: Axes) -> None:
    starts, _ = data.episodes()
    returns = np.add.reduceat(data.column("rewards").astype(np.float64), starts)
    axes.hist(returns, BINS, color=COLOUR)
    axes.set(title="Return of the episodes", xlabel="return", ylabel="episodes")


def _stamps(data: DataSet, axes: Axes) -> None:
    axes.set(title="Time between rows of a walk", xlabel="row", ylabel="ms")
    if "infos/stamp" not in data.column_names():
        axes.set_title("No stamps")
        return
    steps = stamp_steps(data)
    off = np.isfinite(steps) & (np.abs(steps - data.info.control_period) > 1e-6)
    axes.axhline(1e3 * data.info.control_period, color=COLOUR, label="control period")
    axes.plot(np.flatnonzero(off), 1e3 * steps[off], ".", color=MARK, label="other")
    axes.set(xlim=(0, len(data)), ylim=(0, None))
    axes.legend()


def _commands(data: DataSet, axes: Axes) -> None:
    axes.set(title="Rows whose command was clipped", xlabel="row", ylabel="largest change, rad")
    if not {"infos/requested_command", "infos/sent_command"} <= set(data.column_names()):
        axes.set_title("Commands not recorded")
        return
    off = np.concatenate(list(command_changes(data)))
    clipped = np.flatnonzero(off > CLIPPED)
    axes.plot(clipped, off[clipped], ".", color=MARK)
    axes.set(xlim=(0, len(data)), ylim=(0, None))


def _observations(data: DataSet, axes: Axes) -> None:
    statistics = data.statistics()
    values = [statistics["observations"], statistics["actions"]]
    mean, std, low, high = (np.concatenate(parts) for parts in zip(*(vars(v).values() for v in values)))  # noqa: B905
    places = np.arange(len(mean))
    axes.vlines(places, low, high, color="#cccccc", label="smallest to largest")
    axes.errorbar(places, mean, std, fmt=".", color=COLOUR, label="mean and standard deviation")
    axes.axvline(data.observation_size - 0.5, color="#888888", linewidth=0.5)
    axes.set(title="Columns of observation | action", xlabel="column")
    axes.legend()


def _rewards(data: DataSet, axes: Axes) -> None:
    axes.hist(data.column("rewards"), BINS, color=COLOUR)
    axes.set(title="Reward of a row", xlabel="reward", ylabel="rows", yscale="log")
