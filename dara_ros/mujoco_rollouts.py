"""Walks in MuJoCo's tasks: what data sets, judgements and scores are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import UserError
from .policies.runtime import Policy
from .rollouts import Steps
from .sim.mujoco_tasks import MujocoTask, make_environment

if TYPE_CHECKING:
    import gymnasium

# D4RL's reference returns (Fu et al. 2020, d4rl/infos.py): of uniform actions, and of its SAC expert.
# They were walked in the MuJoCo of its day, whose bodies weigh some per cent less than gymnasium's v5.
REFERENCE_RETURNS = {"hopper": (-20.272305, 3234.3), "walker2d": (1.629008, 4592.3)}

ActionSource = Callable[[np.ndarray], np.ndarray]
"""Observation (S,) float32 -> action (A,), not yet clipped."""


@dataclass(frozen=True, eq=False)
class Walk(Steps):
    """One episode of a task; actions and rewards are float32 too."""

    fell: bool
    distance: float  # m

    def columns(self, rows: int) -> dict[str, Any]:
        """As `first`."""
        return self.first(rows, self.fell)


def walk(environment: gymnasium.Env[np.ndarray, np.ndarray], source: ActionSource, seed: int) -> Walk:
    """One episode that starts as `seed` says."""
    observation, info = environment.reset(seed=seed)
    start = info["x_position"]
    observations, actions, rewards = [np.float32(observation)], [], []
    fell = cut = False
    while not (fell or cut):
        action = np.clip(source(observations[-1]), -1.0, 1.0).astype(np.float32)
        observation, reward, fell, cut, info = environment.step(action)
        observations.append(np.float32(observation))
        actions.append(action)
        rewards.append(reward)
    return Walk(
        observations=np.array(observations[:-1]),
        actions=np.array(actions),
        rewards=np.array(rewards, np.float32),
        next_observations=np.array(observations[1:]),
        fell=fell,
        distance=float(info["x_position"] - start),
    )


def evaluate(policy: Path, task: MujocoTask, episodes: int, seed: int) -> list[Walk]:
    """`episodes` walks without noise, from seed, seed + 1, ...

    Raises:
        UserError: MuJoCo is not installed, or the policy is damaged or not for this task.
    """
    environment = make_environment(task)
    source = load_policy(policy, environment)
    return [walk(environment, source, seed + number) for number in range(episodes)]


def load_policy(path: Path, environment: gymnasium.Env[np.ndarray, np.ndarray]) -> Policy:
    """A policy that fits the environment.

    Raises:
        UserError: it is damaged, or its sizes are others.
    """
    policy = Policy.load(path)
    its, here = (policy.metadata.observation_size, policy.metadata.action_size), sizes(environment)
    if its != here:
        raise UserError(
            f"{path}: maps {its[0]} numbers to {its[1]}, the task needs {here[0]} to {here[1]}: give another"
        )
    return policy


def sizes(environment: gymnasium.Env[np.ndarray, np.ndarray]) -> tuple[int, int]:
    """(S, A), how many numbers an observation and an action have."""
    spaces = environment.observation_space, environment.action_space
    observation, action = (int(np.prod(space.shape or ())) for space in spaces)
    return observation, action


def normalised_score(task: str, value: float) -> float:
    """D4RL's score of a return: 0 is a random policy's, 100 its expert's."""
    random, expert = REFERENCE_RETURNS[task]
    return 100.0 * (value - random) / (expert - random)
