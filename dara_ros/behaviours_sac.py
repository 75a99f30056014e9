"""Behaviours by soft actor-critic (Haarnoja et al. 2018, stable-baselines3's implementation)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .behaviours import Learned, Progress, snapshots_of, stable_baselines
from .courses import Course

if TYPE_CHECKING:
    import gymnasium

PARALLEL_ENVIRONMENTS = 8


@dataclass(frozen=True)
class SacConfig:
    """Soft actor-critic; the defaults are what was stable for the A1 (facts/a1_sim.md section 3)."""

    steps: int = 240_000  # environment steps
    snapshot_interval: int = 10_000  # environment steps between two snapshots
    hidden: int = 128  # units in both layers of actor and critics
    batch_size: int = 128
    discount: float = 0.99
    learning_rate: float = 3e-4
    updates_per_step: float = 0.25  # gradient steps per environment step
    random_steps: int = 5_000  # before learning starts
    initial_temperature: float = 0.02
    reward_scale: float = 0.1

    @property
    def name(self) -> str:
        """What files call it."""
        return "sac"

    def learn(self, course: Course, seed: int, progress: Progress) -> Iterator[Learned]:
        """As `Learner`."""
        with stable_baselines():
            import torch
            from stable_baselines3 import SAC
            from stable_baselines3.common.logger import Logger
            from stable_baselines3.common.vec_env import DummyVecEnv
        torch.set_num_threads(1)
        rounds = 8  # steps of every environment between two bursts of learning
        model = SAC(
            "MlpPolicy",
            DummyVecEnv([lambda: _scaled(course.environment(), self.reward_scale)] * PARALLEL_ENVIRONMENTS),
            learning_rate=self.learning_rate,
            buffer_size=1_000_000,
            learning_starts=self.random_steps,
            batch_size=self.batch_size,
            gamma=self.discount,
            train_freq=rounds,
            gradient_steps=int(rounds * PARALLEL_ENVIRONMENTS * self.updates_per_step),
            ent_coef=f"auto_{self.initial_temperature}",
            policy_kwargs={"net_arch": [self.hidden, self.hidden]},
            seed=seed,
        )
        model.set_logger(Logger(folder=None, output_formats=[]))
        _normalise_critics(model)
        for done in snapshots_of(model, self.steps, self.snapshot_interval, progress):
            yield Learned(done, model.num_timesteps, _mean_action(model), _recent(model))


def _mean_action(model: Any) -> Any:
    """tanh(mu(latent(s)))."""
    import torch

    actor = model.policy.actor
    return torch.nn.Sequential(actor.latent_pi, actor.mu, torch.nn.Tanh())


def _recent(model: Any) -> np.ndarray:
    """The last observations (N, S); not sampled, for that would change what the learner draws next."""
    buffer = model.replay_buffer
    observations: np.ndarray = buffer.observations[: buffer.size()].reshape(-1, buffer.obs_shape[0])
    return observations[-1000:]


def _scaled(environment: gymnasium.Env[np.ndarray, np.ndarray], scale: float) -> Any:
    import gymnasium

    return gymnasium.wrappers.TransformReward(environment, lambda reward: scale * float(reward))


def _normalise_critics(model: Any) -> None:
    """Layer normalisation after every hidden layer of the critics: without it the returns run away."""
    from torch import nn

    critic = model.critic
    for index, network in enumerate(critic.q_networks):
        layers: list[nn.Module] = []
        for layer in network:
            layers.append(layer)
            if isinstance(layer, nn.Linear) and layer is not network[-1]:
                layers.append(nn.LayerNorm(layer.out_features))
        critic.q_networks[index] = nn.Sequential(*layers)
        setattr(critic, f"qf{index}", critic.q_networks[index])
    critic.optimizer = critic.optimizer_class(
        critic.parameters(), lr=model.learning_rate, **critic.optimizer_kwargs
    )
    model.critic_target = copy.deepcopy(critic)
    model.critic_target.set_training_mode(False)
