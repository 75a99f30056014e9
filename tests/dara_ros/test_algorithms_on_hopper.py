"""Every algorithm, a short run on a fixed data set of Hopper's, beside uniform actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs MuJoCo: pip install 'dara_ros[mujoco]'")

from dara_ros.mujoco_data import Recipe, data_set
from dara_ros.mujoco_rollouts import evaluate, walk
from dara_ros.policies.algorithms import algorithms
from dara_ros.policies.train_config import TrainConfig
from dara_ros.policies.training import train
from dara_ros.sim.mujoco_tasks import load_task, make_environment

SMALL = (64, 64)
MODEL: dict[str, Any] = {
    "model_hidden": SMALL, "model_decay": (1e-5,) * 3, "actor_hidden": SMALL, "critic_hidden": SMALL,
    "learning_rate": 1e-3, "rollout_length": 2,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "awr": {"refresh": 200},
    "bc": {"hidden": SMALL},
    "bcq": {"critic_hidden": SMALL, "perturbation_hidden": SMALL, "vae_hidden": (128, 128)},
    "bear": {
        "critic_hidden": SMALL, "policy_hidden": SMALL, "vae_hidden": (128, 128), "warm_up": 700,
        "policy_learning_rate": 1e-3, "multiplier_learning_rate": 1e-2,
    },
    "brac-p": {
        "critic_hidden": SMALL, "policy_hidden": SMALL, "clone_steps": 700, "critic_steps": 300,
        "policy_learning_rate": 3e-4, "prior_learning_rate": 1e-3,
    },
    "cql": {
        "critic_hidden": SMALL, "policy_hidden": SMALL, "cloning_steps": 500, "samples": 4,
        "policy_learning_rate": 1e-3,
    },
    "mabe": {**MODEL, "model_steps": 1200, "value_hidden": SMALL},
    "mopo": {
        **MODEL, "model_steps": 800, "real_ratio": 0.5, "uncertainty": "mixture",
        "uncertainty_penalty": 20.0,
    },
}  # fmt: skip
STEPS = {"mopo": 1500, "bear": 400, "cql": 300, "mabe": 500}
EPISODES = 5


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    return (
        data_set(Recipe("hopper", "shifted", "random", 2_000, 0), folder),
        data_set(Recipe("hopper", "plain", "medium", 20_000, 0), folder),
    )


@pytest.fixture(scope="module")
def by_chance() -> float:
    """Mean return of uniform actions."""
    environment = make_environment(load_task("hopper_plain"))
    rng = np.random.default_rng(0)
    walks = [walk(environment, lambda _: rng.uniform(-1.0, 1.0, 3), seed) for seed in range(100)]
    return float(np.mean([each.rewards.sum() for each in walks]))


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_it_walks_much_farther_than_chance(
    name: str, files: tuple[Path, Path], by_chance: float, tmp_path: Path
) -> None:
    settings = algorithms()[name].Config(**SETTINGS[name])
    source, target = map(str, files)
    config = TrainConfig(
        source, target, str(tmp_path / "run"), name,
        eta=0.0, mix=1.0, steps=STEPS.get(name, 800), settings=settings,
    )  # fmt: skip
    policy = train(config).policy
    assert policy is not None
    walks = evaluate(policy, load_task("hopper_plain"), EPISODES, 0)
    assert np.mean([each.rewards.sum() for each in walks]) > 5.0 * by_chance > 50.0


def test_none_is_left_out() -> None:
    assert set(SETTINGS) == set(algorithms())
