"""What other dynamics cost MuJoCo's plain experts: the evidence for what sim/mujoco/*_shifted.yaml change."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from dara_ros.action_sources import BEHAVIOURS
from dara_ros.bench import positive_int, print_table
from dara_ros.mujoco_rollouts import evaluate
from dara_ros.sim.mujoco_tasks import MujocoTask, load_task

TASKS = ("hopper", "walker2d")
SEED = 70_000  # of the first episode; nothing is trained or chosen on these


@dataclass(frozen=True)
class Change:
    """A factor of the mass and inertia of a part, of both legs where there are two."""

    part: str = ""
    factor: float = 1.0
    action_noise: float = 0.0  # as MujocoTask has it

    @property
    def name(self) -> str:
        """For the table."""
        mass = f"{self.part} x {self.factor:g}" if self.part else ""
        noise = f"noise {self.action_noise:g}" if self.action_noise else ""
        return mass or noise or "plain"

    def of(self, plain: MujocoTask) -> MujocoTask:
        """The task with the change."""
        two_legs = plain.environment.startswith("Walker2d") and self.part != "torso"
        parts = (self.part, f"{self.part}_left") if two_legs else (self.part,)
        masses = dict.fromkeys(parts, self.factor) if self.part else {}
        return plain.model_copy(update={"mass_factors": masses, "action_noise": self.action_noise})


CHANGES = (
    Change(),
    *(Change("foot", factor) for factor in (0.4, 0.5, 0.6, 0.7, 0.8, 1.5)),
    *(Change("leg", factor) for factor in (0.5, 1.5)),
    *(Change("thigh", factor) for factor in (0.5, 1.5)),
    *(Change("torso", factor) for factor in (0.7, 1.3)),
    Change(action_noise=0.1),
)


@dataclass(frozen=True)
class Row:
    """How the expert walked under a change: means, and the standard deviation of single returns."""

    task: str
    change: str
    episodes: int
    mean_return: float
    deviation: float
    mean_steps: float  # until a fall, or 1,000
    falls: int


def measure(task: str, change: Change, episodes: int) -> Row:
    """Walk the expert of the plain task, without noise of its own."""
    dynamics = change.of(load_task(f"{task}_plain"))
    walks = evaluate(BEHAVIOURS / f"{task}_plain_expert.onnx", dynamics, episodes, SEED)
    returns = [float(walk.rewards.sum()) for walk in walks]
    return Row(
        task,
        change.name,
        episodes,
        mean_return=round(float(np.mean(returns)), 1),
        deviation=round(float(np.std(returns)), 1),
        mean_steps=round(float(np.mean([len(walk) for walk in walks])), 1),
        falls=sum(walk.fell for walk in walks),
    )


def main() -> None:
    """Print the table as CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=positive_int, default=12, help="walks per task and change")
    arguments = parser.parse_args()
    print_table(Row, (measure(task, change, arguments.episodes) for task in TASKS for change in CHANGES))


if __name__ == "__main__":
    main()
