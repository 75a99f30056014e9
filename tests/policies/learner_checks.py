"""What the tests of several algorithms ask of a learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_data import write_crossing

from dara_ros.bench.bcq import random_batch
from dara_ros.policies.learning import Learner, Run, TensorBatch
from dara_ros.policies.networks import Mlp
from dara_ros.policies.runtime import Policy
from dara_ros.policies.train_config import TrainConfig
from dara_ros.policies.training import train

STATES, ACTIONS, ROWS = 5, 2, 20


def copy_into(plain: torch.nn.Module, network: Mlp, copy: int | None = None) -> None:
    """Give a textbook perceptron the weights of ours, or of one of its copies."""
    linears = [module for module in plain.modules() if isinstance(module, torch.nn.Linear)]
    with torch.no_grad():
        for linear, (weight, bias) in zip(linears, network.layers, strict=True):
            linear.weight.copy_((weight if copy is None else weight[copy]).T)
            linear.bias.copy_((bias if copy is None else bias[copy]).view(-1))


def check_together_as_alone(
    kind: type[Learner], configs: Sequence[Any], look: Callable[[Learner], None] = lambda learner: None
) -> None:
    """Two runs together are each as if alone, and the same bits again."""
    together, again = _updated(kind, configs, (0, 1), look), _updated(kind, configs, (0, 1), look)
    for run in (0, 1):
        alone = _updated(kind, configs, (run,), look).state_dict()["networks"]
        mine, repeated = together.state_dict(run)["networks"], again.state_dict(run)["networks"]
        for name in alone:
            assert torch.equal(mine[name], repeated[name]), name
            torch.testing.assert_close(mine[name], alone[name], rtol=0, atol=2e-4)


def _updated(
    kind: type[Learner], configs: Sequence[Any], runs: Sequence[int], look: Callable[[Learner], None]
) -> Learner:
    scale = np.ones(STATES)
    learner = kind(ACTIONS, [Run(0.1 * scale, (1.0 + run) * scale, configs[run], seed=run) for run in runs])
    for step in range(12):
        batches = [random_batch(ROWS, STATES, ACTIONS, seed=100 * run + step) for run in runs]
        stacked = TensorBatch(*(learner.stack(columns) for columns in zip(*batches, strict=True)))
        look(learner)
        learner.update(stacked)
    return learner


def check_resumes_with_the_same_bits(config: TrainConfig, *stops: int) -> None:
    """A run that is stopped after so many updates and resumed ends as one that went through."""
    split = replace(config, out=config.out + "-split")
    train(config)
    for begins, ends in zip((0, *stops), (*stops, None), strict=True):
        asked = count(begins)
        result = train(
            replace(split, resume=begins > 0),
            should_stop=lambda a=asked, e=ends: e is not None and next(a) >= e,
        )
        assert result.stopped == (ends is not None) and result.steps == (ends or result.steps)
    learners = [
        torch.load(f"{run.out}/checkpoint.pt", weights_only=True)["learner"] for run in (config, split)
    ]
    assert learners[0]["steps"] == learners[1]["steps"]
    for name, weights in learners[0]["networks"].items():
        assert torch.equal(weights, learners[1]["networks"][name]), name


def write_crossings(folder: Path) -> tuple[Path, Path]:
    """The source and the target of `write_crossing`, for `small_config`."""
    return (
        write_crossing(folder / "source.h5", "source", 3000, seed=0),
        write_crossing(folder / "target.h5", "target", 400, seed=1),
    )


def check_turns_away(config: TrainConfig) -> None:
    """On `write_crossing`: right without augmentation, left with it; the policy files say what torch says."""
    states = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    for eta, side in ((0.0, 1.0), (1.0, -1.0)):
        result = train(replace(config, eta=eta, out=f"{config.out}-{eta}", mix=0.1, seed=1))
        policy = Policy.load(Path(result.policy))
        actions = policy(states)
        assert np.mean(side * actions > 0.3) > 0.9, (eta, actions.mean(), np.abs(actions).min())
        policy.check_golden()
        assert policy.metadata.algorithm == config.algorithm
        # over a thousand observations of the data
        assert result.figures["export"]["largest_difference"] < 1e-5
