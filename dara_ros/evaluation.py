"""Judge a policy in the Gymnasium environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import UserError
from .results import standard_error
from .rollouts import Setup, rollouts


@dataclass(frozen=True)
class Evaluation:
    """Figures of every episode, in the order of their seeds (seed, seed + 1, ...)."""

    policy: str
    world: str
    seed: int
    distance_m: list[float]
    returns: list[float]
    steps: list[int]
    reasons: list[str]  # why an episode fell, empty where it did not

    @property
    def episodes(self) -> int:
        """How many."""
        return len(self.distance_m)

    @property
    def falls(self) -> int:
        """How many of them fell."""
        return sum(bool(reason) for reason in self.reasons)


def evaluate(
    policy: str | Path,
    world: str,
    episodes: int = 20,
    seed: int = 1000,
    robot: str = "a1",
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Walk `episodes` episodes without noise; episode i lays the world with seed + i, whatever the policy.

    Args:
        policy: a behaviour's name or the path of an ONNX policy.

    Raises:
        UserError: no such policy, world or robot, or they do not fit together.
    """
    if episodes < 1:
        raise UserError(f"cannot evaluate {episodes} episodes; give at least 1")
    setup = Setup(world, robot, (str(policy),))
    walked = []
    workers = min(workers or os.cpu_count() or 1, episodes)
    for episode in rollouts(setup, range(seed, seed + episodes), workers):
        walked.append(episode)
        progress(len(walked), episodes)
    return Evaluation(
        policy=str(policy),
        world=world,
        seed=seed,
        distance_m=[episode.distance for episode in walked],
        returns=[float(np.sum(episode.rewards)) for episode in walked],
        steps=[len(episode) for episode in walked],
        reasons=[episode.reason for episode in walked],
    )


def as_text(evaluation: Evaluation) -> str:
    """The evaluation for people."""
    e = evaluation
    lines = [
        f"{e.policy} in {e.world}, {e.episodes} episodes from seed {e.seed}: {e.falls} falls",
        f"  distance {np.mean(e.distance_m):.2f} +- {standard_error(e.distance_m):.2f} m",
        f"  return   {np.mean(e.returns):.1f} +- {standard_error(e.returns):.1f} (mean +- standard error)",
    ]
    reasons = sorted({reason for reason in e.reasons if reason})
    return "\n".join([*lines, *(f"  fell: {reason} ({e.reasons.count(reason)})" for reason in reasons)])
