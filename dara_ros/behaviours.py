"""Learned behaviour policies, which come with the package as ONNX.

They are made here: a learner (behaviours_sac.py, behaviours_ppo.py) trains on one course, and leaves
snapshots along the way, each of which is judged over enough episodes to tell them apart.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .courses import Course
from .errors import UserError

if TYPE_CHECKING:
    from .policies.dataset import DataSetInfo

REPLAY = 5  # snapshots that stand for what the medium policy's training saw
SELECTION_EPISODES = 12  # fewer do not tell snapshots apart (facts/a1_sim.md section 3)
SELECTION_SEED = 50_000  # worlds on which nothing else is trained or judged

Progress = Callable[[str, int, int], None]  # stage, done, total


@dataclass(frozen=True, eq=False)
class Learned:
    """What a learner knew at a snapshot."""

    steps: int  # environment steps that the snapshot is named after
    trained_steps: int  # in truth: a learner's last round may go beyond
    network: Any  # torch module, observations (B, S) -> the policy's mean actions (B, A) in [-1, 1]
    observations: np.ndarray  # (N, S), what it met of late; N up to 1,000


class Learner(Protocol):
    """The settings of an algorithm, and how it learns with them."""

    @property
    def name(self) -> str:
        """What files call it."""

    def learn(self, course: Course, seed: int, progress: Progress) -> Iterator[Learned]:
        """Train on `course` and give what was learnt at every snapshot; each holds until the next.

        Raises:
            UserError: stable-baselines3 is not installed.
        """


@dataclass(frozen=True)
class Snapshot:
    """How a snapshot walks, deterministic, over SELECTION_EPISODES episodes."""

    steps: int  # environment steps of training
    mean_return: float
    mean_distance: float  # m
    falls: int


def train_behaviours(
    course: Course, seed: int, out: Path, config: Learner, progress: Progress
) -> list[Snapshot]:
    """Train on `course` and write `out`/{medium,expert,replay_STEPS}.onnx, scores.csv and every snapshot.

    The expert is the snapshot of the greatest mean return; medium is the one that comes closest to half of
    it, and the replay is made by what came up to there, as in D4RL's data sets.

    Raises:
        UserError: stable-baselines3 is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = {}
    for learned in config.learn(course, seed, progress):
        paths[learned.steps] = out / f"{learned.steps}.onnx"
        made_by = f"{config.name}, {course.name}, seed {seed}, {learned.trained_steps} steps"
        _export(learned, course.info(made_by), paths[learned.steps])
    snapshots = []
    for steps, path in paths.items():
        returns, distances, falls = course.judge(path, SELECTION_EPISODES, SELECTION_SEED)
        snapshots.append(Snapshot(steps, float(np.mean(returns)), float(np.mean(distances)), falls))
        progress("judging snapshots", len(snapshots), len(paths))
    medium, expert = choose(snapshots)
    shutil.copy(paths[medium.steps], out / "medium.onnx")
    shutil.copy(paths[expert.steps], out / "expert.onnx")
    for snapshot in replay(snapshots, medium):
        shutil.copy(paths[snapshot.steps], out / f"replay_{snapshot.steps:06d}.onnx")
    _write_scores(out / "scores.csv", snapshots)
    return snapshots


def choose(snapshots: Sequence[Snapshot]) -> tuple[Snapshot, Snapshot]:
    """(medium, expert): of the greatest mean return, and what came closest to half of it on the way there."""
    expert = max(snapshots, key=lambda snapshot: snapshot.mean_return)
    before = [snapshot for snapshot in snapshots if snapshot.steps <= expert.steps]
    medium = min(before, key=lambda snapshot: abs(snapshot.mean_return - 0.5 * expert.mean_return))
    return medium, expert


def replay(snapshots: Sequence[Snapshot], medium: Snapshot) -> list[Snapshot]:
    """At most REPLAY snapshots from the first to `medium`, evenly apart."""
    before = [snapshot for snapshot in snapshots if snapshot.steps <= medium.steps]
    picked = np.linspace(0, len(before) - 1, min(REPLAY, len(before))).round().astype(int)
    return [before[index] for index in picked]


@contextmanager
def stable_baselines() -> Iterator[None]:
    """For imports of the extra [behaviours].

    Raises:
        UserError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise UserError("stable-baselines3 is missing; run: pip install 'dara_ros[behaviours]'") from error


def snapshots_of(model: Any, steps: int, interval: int, progress: Progress) -> Iterator[int]:
    """Train stable-baselines3's model and stop at every snapshot; gives the environment steps up to there."""
    for done in range(interval, steps + 1, interval):
        model.learn(interval, reset_num_timesteps=False)
        progress("training", done, steps)
        yield done


def _export(learned: Learned, info: DataSetInfo, path: Path) -> None:
    import torch

    from .policies.onnx import export_policy
    from .policies.runtime import PolicyMetadata

    metadata = PolicyMetadata.of_data(info, info.made_by, 0.0, {})
    with torch.random.fork_rng(devices=[]):  # drawing from the learner's numbers would change what it learns
        export_policy(learned.network, learned.observations, metadata, path)


def _write_scores(path: Path, snapshots: Sequence[Snapshot]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(snapshots[0])))
        writer.writeheader()
        writer.writerows(asdict(snapshot) for snapshot in snapshots)
