"""What MuJoCo's behaviours are worth in the other dynamics, and so what imitating the source would be."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import product

import numpy as np

from dara_ros.action_sources import BEHAVIOURS
from dara_ros.bench import machine, positive_int
from dara_ros.mujoco_rollouts import evaluate, normalised_score
from dara_ros.sim.mujoco_tasks import load_task

TASKS = ("hopper", "walker2d")
DYNAMICS = ("plain", "shifted")  # the target's and the source's
SEED = 70_000  # of the first episode; nothing is trained or chosen on these


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
    for task, trained_in, behaviour, walks_in in product(TASKS, DYNAMICS, ("medium", "expert"), DYNAMICS):
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
    print(machine(), file=sys.stderr)
    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in measure(arguments.episodes):
        writer.writerow(asdict(row))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
