"""Data sets of MuJoCo's tasks, in D4RL's senses of the words (Fu et al. 2020), made here.

`plain` is the target and `shifted` the source, unless said otherwise. `10T` is the `data_set` of the target,
`10S` that of the source, and `1T` is `tenth` of 10T.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
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

SHIFTS = ("plain", "shifted")
BEHAVIOURS_OF = ("own", "target")
QUALITIES = ("random", "medium", "medium-replay", "medium-expert")
# Standard deviations of the Gaussian noise on a behaviour's mean action; each episode draws one of them. It
# stands for D4RL's sampling of the policies' own distributions, which the shipped files do not hold.
EXPLORATION_NOISE = (0.0, 0.1, 0.2)


@dataclass(frozen=True)
class Recipe:
    """What a data set follows from, beside the behaviours that come with the package.

    Attributes:
        task: `hopper` or `walker2d`.
        shift: `plain` or `shifted`.
        quality: `random` (uniform actions), `medium`, `medium-replay` (snapshots of the training up to
            medium), or `medium-expert` (half each).
        rows: how many; the last episode is cut to fit.
        behaviours: whose walk: the shift's `own`, which were trained in it, or the `target`'s.
        target: whose dynamics are the target's, `plain` or `shifted`; the others are the source's.

    Raises:
        UserError: there is no such thing.
    """

    task: str
    shift: str
    quality: str
    rows: int
    seed: int
    behaviours: str = "own"
    target: str = "plain"

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise UserError(f"cannot collect {self.rows} transitions; give at least 1")
        for kind, value, known in (
            ("shift", self.shift, SHIFTS),
            ("target", self.target, SHIFTS),
            ("quality", self.quality, QUALITIES),
            ("choice of behaviours", self.behaviours, BEHAVIOURS_OF),
        ):
            if value not in known:
                raise UserError(f"{value}: no such {kind}; there are: {', '.join(known)}")

    def __str__(self) -> str:
        by = "" if self.behaviours == "own" else f" by the {self.behaviours}'s behaviours"
        return f"data set {self.world} {self.quality}{by}"

    @property
    def world(self) -> str:
        """Name of the task with its dynamics."""
        return f"{self.task}_{self.shift}"

    @property
    def domain(self) -> Literal["source", "target"]:
        """Which of the two it is data of."""
        return "target" if self.shift == self.target else "source"

    def file(self, folder: Path) -> Path:
        """Where `data_set` puts it."""
        walkers = "" if self.behaviours == "own" else f"_by_{self.behaviours}"
        role = "" if self.target == "plain" else f"_as_{self.domain}"
        return folder / f"{self.world}{walkers}{role}_{self.quality}_{self.rows}_{self.seed}.h5"

    def behaviour_files(self) -> list[Path | None]:
        """The policies that take turns; None is uniform actions."""
        if self.quality == "random":
            return [None]
        trained_in = self.world if self.behaviours == "own" else f"{self.task}_{self.target}"
        shipped = shipped_behaviours(trained_in)
        if "medium" not in shipped:
            raise UserError(
                f"{trained_in}: has no trained behaviours yet, and so no {self.quality} data; choose random"
            )
        replay = [behaviour for behaviour in shipped if behaviour.startswith("replay_")]
        behaviours = {"medium": ["medium"], "medium-replay": replay, "medium-expert": ["medium", "expert"]}
        return [BEHAVIOURS / f"{trained_in}_{behaviour}.onnx" for behaviour in behaviours[self.quality]]

    def provenance(self) -> str:
        """All that the file depends on, as JSON; its header says it.

        Raises:
            UserError: no such task, or no behaviours of it.
        """
        files = self.behaviour_files()
        return json.dumps(
            {
                "command": "mujoco data set",
                **{"quality": self.quality, "rows": self.rows, "seed": self.seed, "noise": EXPLORATION_NOISE},
                **({} if self.target == "plain" else {"domain": self.domain}),
                "task": load_task(self.world).model_dump(),
                "behaviours": [file and hashlib.sha256(file.read_bytes()).hexdigest() for file in files],
            }
        )


def data_set(
    recipe: Recipe, folder: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """The file in `folder`; it is made unless it is there.

    It depends on the recipe, and on the behaviours that come with the package, alone. Several behaviours
    take turns from episode to episode, so that each gives as many rows: any part of the file is a fair one.

    Raises:
        UserError: no such task, no behaviours of it, or MuJoCo is not installed.
    """
    made_by = recipe.provenance()
    path = recipe.file(folder)
    if path.exists() and _made_by(path) == made_by:
        return path
    environment = make_environment(load_task(recipe.world))
    policies = [load_policy(file, environment) if file else None for file in recipe.behaviour_files()]
    info = robotless_info(*sizes(environment), world=recipe.world, domain=recipe.domain, made_by=made_by)
    folder.mkdir(parents=True, exist_ok=True)
    # No two data sets share the randomness of their episodes.
    seeds = episode_seeds(recipe.seed << 32 | zlib.crc32(f"{recipe.world}_{recipe.quality}".encode()))
    written = np.zeros(len(policies), int)
    with replaced_when_whole(path) as to, DataSetWriter(to, info, overwrite=True) as writer:
        while writer.rows < recipe.rows:
            turn = int(written.argmin())
            episode_seed = next(seeds)
            episode = walk(environment, _source(policies[turn], info.action_size, episode_seed), episode_seed)
            kept = min(len(episode), recipe.rows - writer.rows)
            writer.extend(**episode.columns(kept))
            written[turn] += kept
            progress(writer.rows, recipe.rows)
    return path


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


def _source(policy: Policy | None, size: int, seed: int) -> ActionSource:
    rng = np.random.default_rng((seed, 1))
    if policy is None:
        return lambda observation: rng.uniform(-1.0, 1.0, size)
    noise = rng.choice(EXPLORATION_NOISE)
    return lambda observation: policy(observation) + noise * rng.standard_normal(size)


def _made_by(path: Path) -> str:
    with DataSet(path) as data:
        return data.info.made_by
