"""What MuJoCo's behaviours are worth in the other dynamics, and so what imitating the source is worth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from dara_ros.action_sources import BEHAVIOURS
from dara_ros.bench import positive_int, print_table
from dara_ros.bench.shift import SEED, TASKS
from dara_ros.mujoco_data import SHIFTS
from dara_ros.mujoco_rollouts import evaluate, normalised_score
from dara_ros.sim.mujoco_tasks import load_task


@dataclass(frozen=True)
class Row:
    """How a behaviour walked, without noise: means over the episodes."""

    task: str
    behaviour: str
    trained_in: str
    walks_in: str
    episodes: int
    score: float  # D4RL's
    mean_steps: float  # until a fall, or 1,000
    falls: int


def measure(episodes: int) -> Iterator[Row]:
    """Every medium and expert behaviour in both dynamics."""
    for task, trained_in, behaviour, walks_in in product(TASKS, SHIFTS, ("medium", "expert"), SHIFTS):
        policy = BEHAVIOURS / f"{task}_{trained_in}_{behaviour}.onnx"
        walks = evaluate(policy, load_task(f"{task}_{walks_in}"), episodes, SEED)
        scores = [normalised_score(task, float(walk.rewards.sum())) for walk in walks]
        yield Row(
            task,
            behaviour,
            trained_in,
            walks_in,
            episodes,
            score=round(float(np.mean(scores)), 1),
            mean_steps=round(float(np.mean([len(walk) for walk in walks])), 1),
            falls=sum(walk.fell for walk in walks),
        )


def main() -> None:
    """Print the table as CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=positive_int, default=12, help="walks per behaviour and dynamics")
    arguments = parser.parse_args()
    print_table(Row, measure(arguments.episodes))


if __name__ == "__main__":
    main()
