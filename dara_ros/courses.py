"""What behaviours are trained on: the A1 in a world, or one of MuJoCo's tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import gymnasium

    from .policies.dataset import DataSetInfo

Figures = tuple[list[float], list[float], int]
"""Of some episodes: returns, distances in m, and how many fell."""


class Course(Protocol):
    """Where a behaviour learns and is judged."""

    @property
    def name(self) -> str:
        """What files call it."""

    def environment(self) -> gymnasium.Env[np.ndarray, np.ndarray]:
        """A new environment with the learner's reward and a time limit."""

    def info(self, made_by: str) -> DataSetInfo:
        """The header of data and policies that are made on it."""

    def judge(self, policy: Path, episodes: int, seed: int) -> Figures:
        """Episodes without noise and with the task's own reward, from seed, seed + 1, ..."""


@dataclass(frozen=True)
class WalkingCourse:
    """The A1 in one world."""

    name: str  # of the world, or its YAML file
    # What a fall costs the learner: the task's own 100 guards augmented rewards, but teaches to stand still.
    fall_penalty: float = 20.0

    def environment(self) -> gymnasium.Env[np.ndarray, np.ndarray]:
        """The walking task with the learner's price of a fall."""
        import gymnasium

        from .hardware.task import FALL_PENALTY
        from .sim import EPISODE_STEPS
        from .sim.environment import WalkingEnv

        cheaper = FALL_PENALTY - self.fall_penalty

        class LearnersReward(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
            def step(self, action: np.ndarray) -> Any:
                observation, reward, fell, cut, info = self.env.step(action)
                return observation, float(reward) + cheaper * fell, fell, cut, info

        return LearnersReward(gymnasium.wrappers.TimeLimit(WalkingEnv(self.name), EPISODE_STEPS))

    def info(self, made_by: str) -> DataSetInfo:
        """Of the walking task."""
        from .collection import data_set_info
        from .hardware.spec import load_robot

        return data_set_info(load_robot("a1"), self.name, "source", made_by)

    def judge(self, policy: Path, episodes: int, seed: int) -> Figures:
        """As `dara evaluate` does."""
        from .evaluation import evaluate

        result = evaluate(policy, self.name, episodes, seed)
        return result.returns, result.distance_m, result.falls


@dataclass(frozen=True)
class MujocoCourse:
    """One of MuJoCo's tasks in one dynamics."""

    name: str  # of the task, or its YAML file

    def environment(self) -> gymnasium.Env[np.ndarray, np.ndarray]:
        """The task as it is."""
        from .sim.mujoco_tasks import load_task, make_environment

        return make_environment(load_task(self.name))

    def info(self, made_by: str) -> DataSetInfo:
        """Without a robot of ours."""
        from .mujoco_rollouts import sizes
        from .policies.conversion import robotless_info

        return robotless_info(*sizes(self.environment()), world=self.name, domain="source", made_by=made_by)

    def judge(self, policy: Path, episodes: int, seed: int) -> Figures:
        """Walks of the task."""
        from .mujoco_rollouts import evaluate
        from .sim.mujoco_tasks import load_task

        walks = evaluate(policy, load_task(self.name), episodes, seed)
        returns = [float(walk.rewards.sum()) for walk in walks]
        return returns, [walk.distance for walk in walks], sum(walk.fell for walk in walks)
