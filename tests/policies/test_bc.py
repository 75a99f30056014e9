"""Behaviour cloning takes the mean action, and its policy file says the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import run_of, tensor_batch, union_batch
from training_data import small_config, write_crossing

from dara_ros.errors import UserError
from dara_ros.policies.algorithms.bc import BC, BCConfig, bc_loss
from dara_ros.policies.networks import Layer
from dara_ros.policies.runtime import Policy
from dara_ros.policies.training import train

SMALL = BCConfig(batch_size=64, hidden=(16, 16), learning_rate=3e-3)


def test_loss_by_hand() -> None:
    # pi(s) = tanh(0.5 relu(2 s + 1) + 0.25): tanh(0.75) = 0.635149 and tanh(1.75) = 0.941376
    layers: list[Layer] = [
        (torch.tensor([[2.0]]), torch.tensor([[1.0]])),
        (torch.tensor([[0.5]]), torch.tensor([[0.25]])),
    ]
    batch = tensor_batch([[0.0], [1.0]], [[0.5], [-1.0]])
    loss, _ = bc_loss(layers, batch)
    assert float(loss) == pytest.approx(((0.635149 - 0.5) ** 2 + 1.941376**2) / 2, abs=1e-5)


def test_it_learns_the_mean_action_of_a_state() -> None:
    rng = np.random.default_rng(0)
    agent = BC(1, [run_of(SMALL)])
    for _ in range(600):
        states = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
        actions = (0.5 * states + rng.choice((-0.3, 0.3), (64, 1))).astype(np.float32)
        agent.update(agent.batch(union_batch(states, actions, np.zeros(64), states)))
    states = torch.linspace(-1, 1, 9)[:, None]
    assert (agent.policy()(states) - 0.5 * states).abs().max() < 0.06


def test_from_files_to_a_policy_file(tmp_path: Path) -> None:
    source = write_crossing(tmp_path / "source.h5", "source", 400, seed=0)
    target = write_crossing(tmp_path / "target.h5", "target", 200, seed=1)
    config = small_config(source, target, tmp_path / "run", algorithm="bc", settings=SMALL, eta=0.0, steps=40)
    halves = replace(config, out=str(tmp_path / "halves"), steps=20)
    train(config)
    train(halves)
    train(replace(halves, steps=40, resume=True))
    policies = [Policy.load(Path(out) / "policy.onnx") for out in (config.out, halves.out)]
    assert policies[0].metadata.algorithm == "bc"
    observations = np.random.default_rng(2).normal(size=(20, 2)).astype(np.float32)
    np.testing.assert_array_equal(policies[0](observations), policies[1](observations))


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"hidden": ()}, {"learning_rate": 0.0}])
def test_wrong_settings(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"bc.{next(iter(wrong))}"):
        BCConfig(**wrong)


def test_a_checkpoint_of_another_size() -> None:
    state = BC(1, [run_of(SMALL)]).state_dict()
    with pytest.raises(UserError, match="another size"):
        BC(1, [run_of(SMALL, states=2)]).load_state_dict(state)
