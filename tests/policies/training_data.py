"""Small data set files with a known answer, for the training tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dara_ros.policies.algorithms.bcq import BCQConfig
from dara_ros.policies.classifiers import ClassifierConfig
from dara_ros.policies.dataset import DataSetInfo, DataSetWriter
from dara_ros.policies.train_config import TrainConfig

INFO = DataSetInfo(
    robot="slider",
    world="flat",
    domain="source",
    control_period=0.02,
    observation_names=("position", "speed"),
    action_names=("push",),
    spec_hash="spec",
    task_hash="task",
    task={
        "joint_names": ["push"],
        "stand_pose": [0.0],
        "action_scale": [1.0],
        "kp": [1.0],
        "kd": [1.0],
        "action_low": [-1.0],
        "action_high": [1.0],
        "observation": [{"name": "state", "size": 2, "scale": 1.0, "unit": "m"}],
    },
    made_by="tests",
)

EPISODE = 25


def write_crossing(path: Path, domain: str, rows: int, seed: int, scale: float = 1.0) -> Path:
    """A choice between two ways, made anew in every row; states are drawn afresh, so it bears no fruit later.

    Going right (a near 0.6) earns 1 and going left (a near -0.6) 0.7, in both domains. In the source both
    ways lead somewhere; in the target something stands on the right, and the state stays as it was. `scale`
    multiplies the action that is stored.
    """
    rng = np.random.default_rng(seed)
    right = rng.uniform(size=rows) < 0.5
    action = np.where(right, 0.6, -0.6) + 0.1 * rng.normal(size=rows)
    action = np.clip(action, -1, 1)[:, None]
    state = rng.normal(size=(rows, 2))
    moved = action[:, 0] * (1.0 if domain == "source" else ~right)
    following = state + np.stack((moved, np.zeros(rows)), axis=1)
    info = replace(INFO, domain=domain, world="flat" if domain == "source" else "blocked")
    with DataSetWriter(path, info) as writer:
        for start in range(0, rows, EPISODE):
            part = slice(start, start + EPISODE)
            count = len(state[part])
            writer.extend(
                state[part],
                scale * action[part],
                np.where(right, 1.0, 0.7)[part],
                following[part],
                np.arange(count) == count - 1,
                np.zeros(count, bool),
            )
    return path


SMALL_BCQ = BCQConfig(
    critic_hidden=(24, 24),
    perturbation_hidden=(16, 16),
    vae_hidden=(32, 32),
    batch_size=32,
    candidates=4,
    latent_samples=20,
    kl_weight=0.05,
    discount=0.1,
    learning_rate=3e-3,
)

SMALL_CLASSIFIERS = ClassifierConfig(
    hidden=(32, 32), max_steps=300, batch_size=64, learning_rate=3e-3, input_noise=0.1, evaluate_every=25
)


def small_config(source: Path, target: Path, out: Path, **changes: object) -> TrainConfig:
    """Settings under which a run takes a second or two."""
    config = TrainConfig(
        source=str(source),
        target=str(target),
        out=str(out),
        steps=60,
        log_interval=10,
        checkpoint_interval=1000,
        settings=SMALL_BCQ,
        classifiers=SMALL_CLASSIFIERS,
    )
    return replace(config, **changes)
