"""Behaviours by proximal policy optimisation (Schulman et al. 2017, stable-baselines3's implementation)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .behaviours import Learned, Progress, snapshots_of, stable_baselines
from .courses import Course

LIMIT = 10.0  # where normalised observations and rewards are clipped, standard deviations


@dataclass(frozen=True)
class PpoConfig:
    """Proximal policy optimisation; the defaults learn to walk in MuJoCo (sim/behaviours/README.md)."""

    steps: int = 300_000  # environment steps
    snapshot_interval: int = 20_000  # environment steps between two snapshots
    hidden: int = 64  # units in both layers of actor and critic
    environments: int = 8
    rollout: int = 250  # steps of every environment between two bursts of learning
    epochs: int = 10  # passes over these steps in a burst
    batch_size: int = 50
    discount: float = 0.99
    trace: float = 0.95  # lambda of the advantages
    clip: float = 0.2  # how far a burst may move an action's probability, relative
    learning_rate: float = 3e-4  # at first
    decay_steps: int = 1_000_000  # environment steps over which it falls to 0, in a straight line

    @property
    def name(self) -> str:
        """What files call it."""
        return "ppo"

    def learn(self, course: Course, seed: int, progress: Progress) -> Iterator[Learned]:
        """As `Learner`."""
        model = new_model(self, course, seed)
        for done in snapshots_of(model, self.steps, self.snapshot_interval, progress):
            yield Learned(done, model.num_timesteps, mean_action(model), _recent(model))


def new_model(config: PpoConfig, course: Course, seed: int) -> Any:
    """stable-baselines3's model, untrained.

    Raises:
        UserError: stable-baselines3 is not installed.
    """
    with stable_baselines():
        import torch
        from stable_baselines3 import PPO
        from stable_baselines3.common.logger import Logger
        from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
    torch.set_num_threads(1)
    environments = DummyVecEnv([course.environment] * config.environments)
    model = PPO(
        "MlpPolicy",
        VecNormalize(environments, gamma=config.discount, clip_obs=LIMIT, clip_reward=LIMIT),
        n_steps=config.rollout,
        n_epochs=config.epochs,
        batch_size=config.batch_size,
        gamma=config.discount,
        gae_lambda=config.trace,
        clip_range=config.clip,
        policy_kwargs={"net_arch": [config.hidden, config.hidden]},
        seed=seed,
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    # stable-baselines3's own schedule counts from one snapshot to the next.
    model.lr_schedule = lambda _: config.learning_rate * (1.0 - model.num_timesteps / config.decay_steps)
    return model


def mean_action(model: Any) -> Any:
    """The network from observations (B, S), as the task gives them, to mean actions (B, A) in [-1, 1]."""
    import torch

    environments, policy = model.get_vec_normalize_env(), model.policy
    statistics = environments.obs_rms
    mean = torch.tensor(statistics.mean, dtype=torch.float32)
    deviation = torch.tensor(np.sqrt(statistics.var + environments.epsilon), dtype=torch.float32)

    class Normalised(torch.nn.Module):
        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return ((observations - mean) / deviation).clamp(-LIMIT, LIMIT)

    return torch.nn.Sequential(
        Normalised(), policy.mlp_extractor.policy_net, policy.action_net, torch.nn.Hardtanh()
    )


def _recent(model: Any) -> np.ndarray:
    """Of the last observations (N, S), as the task gives them."""
    normalised = model.rollout_buffer.observations
    recent = normalised.reshape(-1, normalised.shape[-1])[-1000:]
    observations: np.ndarray = model.get_vec_normalize_env().unnormalize_obs(recent)
    return observations
