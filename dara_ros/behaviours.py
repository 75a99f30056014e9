"""Learned behaviour policies, which come with the package as ONNX.

They are made here: soft actor-critic (Haarnoja et al. 2018, stable-baselines3's implementation) on one
course, snapshots along the way, each judged over enough episodes to tell them apart.
"""

from __future__ import annotations

import copy
import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .courses import Course
from .errors import UserError

if TYPE_CHECKING:
    import gymnasium

PARALLEL_ENVIRONMENTS = 8
REPLAY = 5  # snapshots that stand for what the medium policy's training saw
SELECTION_EPISODES = 12  # fewer do not tell snapshots apart (facts/a1_sim.md section 3)
SELECTION_SEED = 50_000  # worlds on which nothing else is trained or judged

Progress = Callable[[str, int, int], None]  # stage, done, total


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


@dataclass(frozen=True)
class Snapshot:
    """How a snapshot walks, deterministic, over SELECTION_EPISODES episodes."""

    steps: int  # environment steps of training
    mean_return: float
    mean_distance: float  # m
    falls: int


MUJOCO_SAC = SacConfig(
    steps=300_000,
    # Discounted by 0.99, falling after 180 steps costs but a sixth (0.99^180) of what hopping for ever gives.
    discount=0.995,
    learning_rate=1e-3,
    updates_per_step=0.5,
    initial_temperature=0.1,
)


def train_behaviours(
    course: Course, seed: int, out: Path, config: SacConfig, progress: Progress
) -> list[Snapshot]:
    """Train on `course` and write `out`/{medium,expert,replay_STEPS}.onnx, scores.csv and every snapshot.

    The expert is the snapshot of the greatest mean return; medium is the one that comes closest to half of
    it, and the replay is made by what came up to there, as in D4RL's data sets.

    Raises:
        UserError: stable-baselines3 is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = {}
    for steps, model in train_snapshots(config, course, seed, progress):
        paths[steps] = out / f"{steps}.onnx"
        _export_actor(model, course, seed, paths[steps])
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


def train_snapshots(
    config: SacConfig, course: Course, seed: int, progress: Progress
) -> Iterator[tuple[int, Any]]:
    """Train SAC on `course`; yield (environment steps, stable-baselines3 model) at every snapshot.

    Raises:
        UserError: stable-baselines3 is not installed.
    """
    try:
        import torch
        from stable_baselines3 import SAC
        from stable_baselines3.common.logger import Logger
        from stable_baselines3.common.vec_env import DummyVecEnv
    except ImportError as error:
        raise UserError("stable-baselines3 is missing; run: pip install 'dara_ros[behaviours]'") from error
    torch.set_num_threads(1)
    rounds = 8  # steps of every environment between two bursts of learning
    model = SAC(
        "MlpPolicy",
        DummyVecEnv([lambda: _scaled(course.environment(), config.reward_scale)] * PARALLEL_ENVIRONMENTS),
        learning_rate=config.learning_rate,
        buffer_size=1_000_000,
        learning_starts=config.random_steps,
        batch_size=config.batch_size,
        gamma=config.discount,
        train_freq=rounds,
        gradient_steps=int(rounds * PARALLEL_ENVIRONMENTS * config.updates_per_step),
        ent_coef=f"auto_{config.initial_temperature}",
        policy_kwargs={"net_arch": [config.hidden, config.hidden]},
        seed=seed,
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    _normalise_critics(model)
    for done in range(config.snapshot_interval, config.steps + 1, config.snapshot_interval):
        model.learn(config.snapshot_interval, reset_num_timesteps=False)
        progress("training", done, config.steps)
        yield done, model


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


def _export_actor(model: Any, course: Course, seed: int, path: Path) -> None:
    """The actor's mean action, tanh(mu(latent(s))), as a policy file."""
    import torch

    from .policies.onnx import export_policy
    from .policies.runtime import PolicyMetadata

    actor = model.policy.actor
    info = course.info(made_by=f"sac, {course.name}, seed {seed}, {model.num_timesteps} steps")
    metadata = PolicyMetadata.of_data(info, info.made_by, 0.0, {})
    # Not sampled: that would draw from the learner's random numbers and so change what it learns.
    buffer = model.replay_buffer
    recent = buffer.observations[: buffer.size()].reshape(-1, buffer.obs_shape[0])[-1000:]
    with torch.random.fork_rng(devices=[]):  # nor from torch's
        export_policy(torch.nn.Sequential(actor.latent_pi, actor.mu, torch.nn.Tanh()), recent, metadata, path)


def _write_scores(path: Path, snapshots: Sequence[Snapshot]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(snapshots[0])))
        writer.writeheader()
        writer.writerows(asdict(snapshot) for snapshot in snapshots)
