"""What the tests of model-based algorithms share: small settings, twins, and the questions put to each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from learner_checks import copy_into
from small_runs import run_of, union_batch
from training_data import small_config

from dara_ros.bench.textbook.mopo import TextbookModelBased
from dara_ros.bench.train import random_batch
from dara_ros.policies.learning import TensorBatch
from dara_ros.policies.model_based import ModelBased
from dara_ros.policies.networks import Layer
from dara_ros.policies.runtime import Policy
from dara_ros.policies.training import train

STATES, ACTIONS, ROWS = 5, 2, 20

#: Of networks that an update takes milliseconds for.
TINY = {
    "batch_size": ROWS,
    "model_hidden": (16, 12),
    "model_decay": (1e-3, 2e-3, 3e-3),
    "members": 3,
    "model_steps": 10,
    "rollout_length": 3,
    "real_ratio": 0.2,
    "tau": 0.1,
    "actor_hidden": (16, 12),
    "critic_hidden": (16, 12),
    "learning_rate": 1e-3,
}

#: With which the crossing is learnt in seconds.
CROSSING = {
    "batch_size": 64,
    "model_hidden": (32, 32),
    "model_decay": (1e-5, 1e-5, 1e-5),
    "members": 3,
    "model_learning_rate": 3e-3,
    "model_steps": 150,
    "rollout_length": 2,
    "actor_hidden": (24, 24),
    "critic_hidden": (24, 24),
    "discount": 0.1,
    "learning_rate": 3e-3,
}


def constant(outputs: list[list[float]], inputs: int) -> list[Layer]:
    """Networks that give the same whatever they are shown, one for each list of outputs."""
    bias = torch.tensor(outputs).unsqueeze(1)
    return [
        (torch.zeros(len(outputs), inputs, 1), torch.zeros(len(outputs), 1, 1)),
        (torch.ones(len(outputs), 1, bias.shape[-1]), bias),
    ]


def single(outputs: list[float], inputs: int) -> list[Layer]:
    """One such network."""
    return [(weight[0], bias[0]) for weight, bias in constant([outputs], inputs)]


def batch_of(seed: int) -> TensorBatch:
    """Noise, about half of it the target's."""
    generator = torch.Generator().manual_seed(seed)
    is_target = (torch.rand(ROWS, generator=generator) < 0.5).float()
    return random_batch(ROWS, STATES, ACTIONS, seed)._replace(is_target=is_target)


def learners(kind: type[ModelBased], config: Any, *seeds: int) -> ModelBased:
    return kind(ACTIONS, [run_of(config, STATES, seed) for seed in seeds])


def copy_shared(plain: TextbookModelBased, ours: ModelBased) -> None:
    """Give a textbook the weights of our model, actor and critics."""
    for number, net in enumerate(plain.model.nets):
        copy_into(net, ours.model, number)
    for number, critic in enumerate(plain.critics):
        copy_into(critic, ours.critic, number)
        copy_into(plain.critic_targets[number], ours.critic, number)
    copy_into(plain.ending, ours.ending)
    copy_into(plain.actor.net, ours.actor)


def same_curve(ours: ModelBased, plain: Any, steps: int = 30) -> set[str]:
    """Compare both after every update; the names of the figures that were compared."""
    names: set[str] = set()
    for number in range(steps):
        batch, noise = batch_of(number), ours.draw_noise(ROWS)
        mine, theirs = ours.update(batch, noise), plain.update(batch, noise)
        for name, value in theirs.items():
            torch.testing.assert_close(mine[name], value, rtol=1e-3, atol=1e-5, msg=f"{number}: {name}")
        names |= set(theirs)
    return names


def weights(learner: ModelBased, run: int = 0) -> dict[str, torch.Tensor]:
    return learner.state_dict(run)["networks"]


def resumes(kind: type[ModelBased], config: Any, path: Path) -> None:
    """Stopped in the warm-up, at its end and after it, a run ends with the same bits."""
    straight = learners(kind, config, 3)
    for number in range(16):
        straight.update(batch_of(number))
    for stop in (4, 10, 13):
        stopped = learners(kind, config, 3)
        for number in range(stop):
            stopped.update(batch_of(number))
        torch.save(stopped.state_dict(), path)
        resumed = learners(kind, config, 99)
        resumed.load_state_dict(torch.load(path, weights_only=True))
        for number in range(stop, 16):
            resumed.update(batch_of(number))
        for name, value in weights(straight).items():
            assert torch.equal(value, weights(resumed)[name]), (stop, name)


def together_as_alone(kind: type[ModelBased], config: Any) -> None:
    """Two runs at once are each as if alone, and the same bits when done again."""

    def both() -> ModelBased:
        pair = learners(kind, config, 3, 4)
        for number in range(16):
            batches = batch_of(number), batch_of(100 + number)
            pair.update(TensorBatch(*(torch.stack(column) for column in zip(*batches, strict=True))))
        return pair

    pair, again = both(), both()
    for run, seed in enumerate((3, 4)):
        alone = learners(kind, config, seed)
        for number in range(16):
            alone.update(batch_of(100 * run + number))
        for name, value in weights(alone).items():
            torch.testing.assert_close(weights(pair, run)[name], value, rtol=1e-3, atol=1e-4)
            assert torch.equal(weights(pair, run)[name], weights(again, run)[name]), name


def value_of_staying(kind: type[ModelBased], config: Any, terminal: bool) -> float:
    """Q where every step earns 1 and leads to the same state, or ends."""
    agent = kind(1, [run_of(config)])
    if "log_temperature" in agent.networks:
        agent.networks["log_temperature"].leaves[0].data.fill_(-10.0)  # entropy earns nothing
    rng = np.random.default_rng(0)
    state, ends = np.zeros((32, 1)), np.full(32, terminal)
    for _ in range(config.model_steps + 250):
        actions = rng.uniform(-1, 1, (32, 1))
        figures = agent.update(agent.batch(union_batch(state, actions, np.ones(32), state, ends)))
    return float(figures["q_data"])


def sides_taken(
    algorithm: str, settings: Any, files: tuple[Path, Path], out: Path, steps: int
) -> list[float]:
    """How many of the states the policies trained with eta 0 go right in, and with eta 1 left."""
    states = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    shares = []
    for eta, side in ((0.0, 1.0), (1.0, -1.0)):
        config = small_config(
            *files,
            out / f"eta{eta}",
            algorithm=algorithm,
            settings=settings,
            eta=eta,
            steps=steps,
            mix=0.1,
            seed=1,
        )
        policy = Policy.load(train(config).policy)
        policy.check_golden()
        shares.append(float(np.mean(side * policy(states) > 0.3)))
    return shares
