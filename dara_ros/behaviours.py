"""Behaviour policies: the trot, random residuals, and learned ones that come with the package as ONNX.

The learned ones are made here: soft actor-critic (Haarnoja et al. 2018, stable-baselines3's implementation)
in one world, snapshots along the way, each judged over enough episodes to tell them apart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


from .errors import UserError

PARALLEL_ENVIRONMENTS = 8


@dataclass(frozen=True)
class SacConfig:
    """Soft actor-critic for the A1: what was stable over seeds in facts/a1_sim.md section 3."""

    steps: int = 240_000  # environment steps
    snapshot_interval: int = 10_000  # environment steps between two snapshots
    hidden: int = 128  # units in both layers of actor and critics
    batch_size: int = 128
    learning_rate: float = 3e-4
    updates_per_step: float = 0.25  # gradient steps per environment step
    random_steps: int = 5_000  # before learning starts
    initial_temperature: float = 0.02
    reward_scale: float = 0.1


def train_snapshots(
    config: SacConfig, world: str, seed: int, progress: Callable[[int, int], None]
) -> Iterator[tuple[int, "object"]]:
    """Train SAC in `world`; yield (environment steps, stable-baselines3 model) at every snapshot.

    Raises:
        UserError: stable-baselines3 is not installed.
    """
    try:
        import gymnasium
        import torch
        from stable_baselines3 import SAC
        from stable_baselines3.common.vec_env import DummyVecEnv
    except ImportError as error:
        raise UserError("stable-baselines3 is not installed; run: pip install 'dara_ros[behaviours]'") from error
    from .sim.environment import EPISODE_STEPS, WalkingEnv

    torch.set_num_threads(1)

    def environment() -> gymnasium.Env:
        limited = gymnasium.wrappers.TimeLimit(WalkingEnv(world), EPISODE_STEPS)
        return gymnasium.wrappers.TransformReward(limited, lambda reward: config.reward_scale * reward)

    rounds = 8  # steps of every environment between two bursts of learning
    model = SAC(
        "MlpPolicy",
        DummyVecEnv([environment] * PARALLEL_ENVIRONMENTS),
        learning_rate=config.learning_rate,
        buffer_size=config.steps,
        learning_starts=config.random_steps,
        batch_size=config.batch_size,
        train_freq=rounds,
        gradient_steps=int(rounds * PARALLEL_ENVIRONMENTS * config.updates_per_step),
        ent_coef=f"auto_{config.initial_temperature}",
        policy_kwargs={"net_arch": [config.hidden, config.hidden]},
        seed=seed,
    )
    for done in range(config.snapshot_interval, config.steps + 1, config.snapshot_interval):
        model.learn(config.snapshot_interval, reset_num_timesteps=False)
        progress(done, config.steps)
        yield done, model
