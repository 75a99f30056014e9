"""Collect transitions in the Gymnasium environment into a data set file."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .errors import UserError
from .hardware.spec import RobotSpec, load_robot
from .hardware.task import WalkingTask
from .interrupts import stop_on_interrupt
from .policies.dataset import DataSetInfo, DataSetWriter
from .policies.whole_files import replaced_when_whole
from .rollouts import Setup, check, rollouts

# Enough spread that the classifiers and the critic see what an action does, little enough that it walks.
EXPLORATION_NOISE = (0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Collected:
    """What a collection gave."""

    file: str
    rows: int
    episodes: int
    falls: int
    mean_distance_m: float
    mean_return: float


def collect(
    setup: Setup,
    transitions: int,
    out: Path,
    domain: Literal["source", "target"] = "source",
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Collected:
    """Write `transitions` rows to `out`; the last episode is cut to fit.

    The file depends on the arguments and not on the number of processes. Interrupted (Ctrl-C), it holds
    every episode up to then; there is no file where there is none. A file that is to be overwritten stays
    as it is until all rows have come.

    Args:
        domain: "source" or "target".
        workers: processes; all cores unless given.
        progress: called with (rows, transitions).

    Raises:
        UserError: bad arguments, `out` exists, or it cannot be written.
        KeyboardInterrupt: after Ctrl-C, when the file is closed; tells what is kept.
    """
    if transitions < 1:
        raise UserError(f"cannot collect {transitions} transitions; give at least 1")
    check(setup)
    replaces = overwrite and out.exists()
    if replaces and not out.is_file():
        raise UserError(f"{out}: is no file that could be replaced: choose another name")
    info = data_set_info(load_robot(setup.robot), setup.world, domain, _made_by(setup, transitions, seed))
    episodes = rollouts(setup, episode_seeds(seed), workers or os.cpu_count() or 1)
    falls, distances, returns, rows = 0, [], [], 0
    with replaced_when_whole(out) if replaces else nullcontext(out) as to:
        with stop_on_interrupt() as interrupted, DataSetWriter(to, info, overwrite=replaces) as writer:
            try:
                for episode in episodes:
                    kept = min(len(episode), transitions - rows)
                    writer.extend(**episode.columns(kept))
                    rows += kept
                    falls += bool(episode.reason) and kept == len(episode)
                    distances.append(float(episode.infos["forward"][kept - 1]))
                    returns.append(float(episode.rewards[:kept].sum()))
                    progress(rows, transitions)
                    if rows == transitions or interrupted():
                        break
            finally:
                episodes.close()
                if writer.rows == 0:  # stopped before the first episode: there is nothing to keep
                    writer.close()
                    to.unlink()
        if interrupted():
            raise KeyboardInterrupt(_kept(out, rows, replaces))
    return Collected(
        str(out), rows, len(distances), falls, float(np.mean(distances)), float(np.mean(returns))
    )


def _kept(out: Path, rows: int, replaces: bool) -> str:
    """What an interrupted collection leaves."""
    if replaces:
        return f"interrupted; {out} stays as it was"
    return f"interrupted; {out} holds {rows} rows" if rows else f"interrupted; {out} is not made"


def episode_seeds(seed: int) -> Iterator[int]:
    """A seed for every episode; two collections with different seeds share none (but by chance)."""
    for episode in itertools.count():
        yield int(np.random.SeedSequence((seed, episode)).generate_state(1)[0]) >> 1


def data_set_info(
    spec: RobotSpec, world: str, domain: Literal["source", "target"], made_by: str
) -> DataSetInfo:
    """The header of a data set of the walking task."""
    task = WalkingTask(spec)
    return DataSetInfo(
        robot=spec.name,
        world=world,
        domain=domain,
        control_period=spec.control_period,
        observation_names=task.observation_names(),
        action_names=task.action_names(),
        spec_hash=spec.hash,
        task_hash=task.hash(),
        task=task.description(),
        made_by=made_by,
    )


def _made_by(setup: Setup, transitions: int, seed: int) -> str:
    return json.dumps({"command": "collect", "transitions": transitions, "seed": seed, **asdict(setup)})
