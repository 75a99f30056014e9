"""What every algorithm's tests ask of its learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_runs import run_of, tensor_batch, union_batch
from training_data import small_config, write_crossing

from dara_ros.policies.learning import Learner, Run
from dara_ros.policies.networks import Layer, Mlp
from dara_ros.policies.runtime import Policy
from dara_ros.policies.sampling import UnionBatch
from dara_ros.policies.train_config import TrainConfig
from dara_ros.policies.training import train

STATES, ACTIONS, ROWS = 5, 2, 20


def linears(module: torch.nn.Module) -> list[torch.nn.Linear]:
    """Its affine layers, from input to output."""
    return [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)]


def copy_into(plain: torch.nn.Module, network: Mlp, copy: int | None = None) -> None:
    """Give a textbook perceptron the weights of ours, or of one of its copies."""
    with torch.no_grad():
        for linear, (weight, bias) in zip(linears(plain), network.layers, strict=True):
            linear.weight.copy_((weight if copy is None else weight[copy]).T)
            linear.bias.copy_((bias if copy is None else bias[copy]).view(-1))


def copy_critics(textbook: Any, ours: Any) -> None:
    """Both critics and their targets into the textbook's."""
    for theirs, mine in ((textbook.critic, ours.critic), (textbook.critic_target, ours.critic_target)):
        copy_into(theirs.q1_net, mine, 0)
        copy_into(theirs.q2_net, mine, 1)


def affine_network(weights: list[list[float]], biases: list[float]) -> list[Layer]:
    """inputs @ weights + biases as a network with a hidden layer: x = relu(x) - relu(-x)."""
    matrix, bias = torch.tensor(weights), torch.tensor([biases])
    identity = torch.eye(len(matrix))
    hidden = torch.cat((identity, -identity), 1), torch.zeros(1, 2 * len(matrix))
    return [hidden, (torch.cat((matrix, -matrix)), bias)]


def affine_critics(*critics: tuple[list[float], float]) -> list[Layer]:
    """Critics Q_j(s, a) = [s, a] @ weights + bias in one network."""
    networks = [affine_network([[w] for w in weights], [bias]) for weights, bias in critics]
    layers = zip(*networks, strict=True)
    return [(torch.stack([w for w, _ in one]), torch.stack([b for _, b in one])) for one in layers]


def random_rows(seed: int, states: int, actions: int, rows: int = 20) -> UnionBatch:
    rng = np.random.default_rng(seed)
    return union_batch(
        rng.normal(size=(rows, states)),
        rng.uniform(-1, 1, (rows, actions)),
        rng.normal(size=rows),
        rng.normal(size=(rows, states)),
        rng.uniform(size=rows) < 0.1,
    )


def same_bits(one: Learner, other: Learner, run: int = 0) -> bool:
    mine, theirs = one.state_dict(run)["networks"], other.state_dict(run)["networks"]
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def check_resume(kind: type[Learner], config: Any, stops: Sequence[int], tmp_path: Path) -> None:
    """A learner that was saved at these updates and loaded ends with the bits of one that was not."""
    batches = [random_rows(seed, 5, 2) for seed in range(max(stops) + 3)]

    def trained(learner: Learner, some: Sequence[UnionBatch]) -> Learner:
        for batch in some:
            learner.update(learner.batch(batch))
        return learner

    straight = trained(kind(2, [run_of(config, 5, seed=3)]), batches)
    for stop in stops:
        stopped = trained(kind(2, [run_of(config, 5, seed=3)]), batches[:stop])
        torch.save(stopped.state_dict(), tmp_path / "state.pt")
        resumed = kind(2, [run_of(config, 5, seed=99)])
        resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert same_bits(straight, trained(resumed, batches[stop:])), stop


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


def check_runs_together(
    kind: type[Learner],
    configs: Sequence[Any],
    steps: int,
    look: Callable[[Learner], None] = lambda learner: None,
) -> None:
    """Runs of other seeds, data and statistics, together: the same bits when repeated, and as if alone."""
    runs = [
        Run(np.full(5, 0.1 * number), np.full(5, 1.0 + number), config, seed=number)
        for number, config in enumerate(configs)
    ]

    def trained(chosen: Sequence[int]) -> tuple[Learner, dict[str, torch.Tensor]]:
        learner = kind(2, [runs[number] for number in chosen])
        for step in range(steps):
            rows = [random_rows(100 * number + step, 5, 2) for number in chosen]
            look(learner)
            figures = learner.update(learner.batch(*rows))
        return learner, figures

    everything = range(len(runs))
    (together, figures), (again, _) = trained(everything), trained(everything)
    observations = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    for number in everything:
        assert same_bits(together, again, number)
        alone, own = trained([number])
        for name, weights in alone.state_dict()["networks"].items():
            mine = together.state_dict(number)["networks"][name]
            torch.testing.assert_close(mine, weights, rtol=1e-4, atol=1e-4, msg=f"{number}: {name}")
        for name, value in own.items():
            torch.testing.assert_close(figures[name][number], value, rtol=1e-3, atol=1e-4)
        actions = together.policy(number)(observations)
        torch.testing.assert_close(actions, alone.policy()(observations), rtol=0, atol=1e-3)
    assert not same_bits(together, kind(2, runs), 0)


def value_of_reward_one(learner: Learner, terminal: float, updates: int) -> float:
    """Q where every step earns 1 and leads back: 1 if it is terminal, else 1 / (1 - gamma)."""
    rng = torch.Generator().manual_seed(0)
    state = torch.zeros(32, 1).tolist()
    for _ in range(updates):
        actions = (torch.rand(32, 1, generator=rng) * 2 - 1).tolist()
        batch = tensor_batch(state, actions, rewards=[1.0] * 32, terminals=[terminal] * 32)
        figures = learner.update(batch)
    return float(figures["q_data"])


def check_dara_turns(algorithm: str, settings: Any, folder: Path, clear: float = 0.3, **changes: Any) -> None:
    """The policy file goes right without augmentation and left with it: only the source can go right."""
    files = write_crossings(folder)
    states = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    for eta, side in ((0.0, 1.0), (1.0, -1.0)):
        config = small_config(
            *files,
            folder / f"eta{eta}",
            **{"algorithm": algorithm, "settings": settings, "eta": eta, "mix": 0.1, "seed": 1} | changes,
        )
        result = train(config)
        assert result.figures["export"]["largest_difference"] <= 1e-5
        policy = Policy.load(result.policy)
        policy.check_golden()
        assert policy.metadata.algorithm == algorithm
        actions = policy(states)
        assert np.mean(side * actions > clear) > 0.9, (eta, actions.mean())
