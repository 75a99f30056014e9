"""Data sets of MuJoCo's tasks, in D4RL's senses of the words (Fu et al. 2020), made here.

`plain` is the target and `shifted` the source. `10T` is `data_set(task, "plain", ...)`, `10S` the same of
`shifted`, and `1T` is `tenth` of 10T.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from .action_sources import BEHAVIOURS, shipped_behaviours
from .collection import episode_seeds
from .errors import UserError
from .mujoco_rollouts import ActionSource, load_policy, sizes, walk
from .policies.conversion import Rows, robotless_info, write_dara
from .policies.dataset import DataSet, DataSetWriter
from .policies.runtime import Policy
from .policies.whole_files import replaced_when_whole
from .sim.mujoco_tasks import load_task, make_environment

DOMAINS: dict[str, Literal["source", "target"]] = {"plain": "target", "shifted": "source"}
QUALITIES = ("random", "medium", "medium-replay", "medium-expert")
# Standard deviations of the Gaussian noise on a behaviour's mean action; each episode draws one of them. It
# stands for D4RL's sampling of the policies' own distributions, which the shipped files do not hold.
EXPLORATION_NOISE = (0.0, 0.1, 0.2)


def data_set(
    task: str,
    shift: str,
    quality: str,
    rows: int,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """The file in `folder` with `rows` rows; it is made unless it is there. The last episode is cut to fit.

    It depends on the arguments, and on the behaviours that come with the package, alone. Several behaviours
    take turns from episode to episode, so that each gives as many rows: any part of the file is a fair one.

    Args:
        task: `hopper` or `walker2d`.
        shift: `plain` or `shifted`.
        quality: `random` (uniform actions), `medium`, `medium-replay` (snapshots of the training up to
            medium), or `medium-expert` (half each).

    Raises:
        UserError: no such task, shift or quality, or MuJoCo is not installed.
    """
    made_by = provenance(task, shift, quality, rows, seed)
    path = file_of(task, shift, quality, rows, seed, folder)
    if path.exists() and _made_by(path) == made_by:
        return path
    name = f"{task}_{shift}"
    environment = make_environment(load_task(name))
    policies = [load_policy(path, environment) if path else None for path in _behaviours(name, quality)]
    info = robotless_info(*sizes(environment), world=name, domain=DOMAINS[shift], made_by=made_by)
    folder.mkdir(parents=True, exist_ok=True)
    # No two data sets share the randomness of their episodes.
    seeds = episode_seeds(seed << 32 | zlib.crc32(f"{name}_{quality}".encode()))
    written = np.zeros(len(policies), int)
    with replaced_when_whole(path) as to, DataSetWriter(to, info, overwrite=True) as writer:
        while writer.rows < rows:
            turn = int(written.argmin())
            episode_seed = next(seeds)
            episode = walk(environment, _source(policies[turn], info.action_size, episode_seed), episode_seed)
            kept = min(len(episode), rows - writer.rows)
            writer.extend(**episode.columns(kept))
            written[turn] += kept
            progress(writer.rows, rows)
    return path


def file_of(task: str, shift: str, quality: str, rows: int, seed: int, folder: Path) -> Path:
    """Where `data_set` puts it."""
    return folder / f"{task}_{shift}_{quality}_{rows}_{seed}.h5"


def provenance(task: str, shift: str, quality: str, rows: int, seed: int) -> str:
    """All that the file of `data_set` depends on, as JSON; its header says it.

    Raises:
        UserError: as `data_set`.
    """
    if rows < 1:
        raise UserError(f"cannot collect {rows} transitions; give at least 1")
    if shift not in DOMAINS:
        raise UserError(f"{shift}: no such shift; known shifts: {', '.join(DOMAINS)}")
    name = f"{task}_{shift}"
    return json.dumps(
        {
            "command": "mujoco data set",
            **{"quality": quality, "rows": rows, "seed": seed, "noise": EXPLORATION_NOISE},
            "task": load_task(name).model_dump(),
            "behaviours": [
                path and hashlib.sha256(path.read_bytes()).hexdigest() for path in _behaviours(name, quality)
            ],
        }
    )


def tenth(path: Path) -> Path:
    """A file beside `path` with its first episodes: up to the first end at or after a tenth of its rows.

    It is made unless it is there.
    """
    with DataSet(path) as data:
        ends = np.flatnonzero(data.column("terminals", 0, len(data)) | data.column("timeouts", 0, len(data)))
        rows = int(ends[np.searchsorted(ends + 1, len(data) / 10)]) + 1
        made_by = json.dumps({"command": "tenth", "of": data.sha256, "rows": rows})
        part = path.with_name(f"{path.stem}_tenth.h5")
        if part.exists() and _made_by(part) == made_by:
            return part
        columns = {name: data.column(name, 0, rows) for name in data.column_names()}
        info = replace(data.info, made_by=made_by)
    write_dara(part, info, [Rows.of(columns)])
    return part


def _behaviours(name: str, quality: str) -> list[Path | None]:
    """The policy files whose rows make up a quality; None is uniform actions."""
    if quality not in QUALITIES:
        raise UserError(f"{quality}: no such quality; known qualities: {', '.join(QUALITIES)}")
    if quality == "random":
        return [None]
    shipped = shipped_behaviours(name)
    if "medium" not in shipped:
        raise UserError(f"{name}: has no trained behaviours yet, and so no {quality} data; choose random")
    replay = [behaviour for behaviour in shipped if behaviour.startswith("replay_")]
    behaviours = {"medium": ["medium"], "medium-replay": replay, "medium-expert": ["medium", "expert"]}
    return [BEHAVIOURS / f"{name}_{behaviour}.onnx" for behaviour in behaviours[quality]]


def _source(policy: Policy | None, size: int, seed: int) -> ActionSource:
    rng = np.random.default_rng((seed, 1))
    if policy is None:
        return lambda observation: rng.uniform(-1.0, 1.0, size)
    noise = rng.choice(EXPLORATION_NOISE)
    return lambda observation: policy(observation) + noise * rng.standard_normal(size)


def _made_by(path: Path) -> str:
    with DataSet(path) as data:
        return data.info.made_by
