"""Runs that train together: each is as if alone, the same again, and on its own when it fails or goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import run_of
from training_data import SMALL_BCQ, small_config, write_crossing

from dara_ros.bench.train import random_batch
from dara_ros.errors import UserError
from dara_ros.policies import side_by_side, training
from dara_ros.policies.algorithms import algorithms
from dara_ros.policies.algorithms.bcq import BCQ
from dara_ros.policies.learning import TensorBatch
from dara_ros.policies.onnx import ExportReport, export_policy
from dara_ros.policies.runtime import Policy
from dara_ros.policies.train_config import TrainConfig
from dara_ros.policies.training import train, train_many

CONFIG = replace(SMALL_BCQ, precision="float32", batch_size=16)
STATES, ACTIONS = 4, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    return (
        write_crossing(folder / "source.h5", "source", 2000, seed=0),
        write_crossing(folder / "target.h5", "target", 400, seed=1),
    )


def updated(learner: BCQ, batches: list[TensorBatch]) -> BCQ:
    for batch in batches:
        learner.update(batch)
    return learner


def stacked(*of_runs: TensorBatch) -> TensorBatch:
    return TensorBatch(*(torch.stack(columns) for columns in zip(*of_runs, strict=True)))


def test_each_of_three_is_as_if_alone() -> None:
    """They differ in seed, observations' scale, data and learning rate."""
    runs = [
        replace(run_of(CONFIG, STATES, seed), observation_std=np.full(STATES, 1.0 + seed))
        for seed in range(3)
    ]
    runs[1] = replace(runs[1], config=replace(CONFIG, learning_rate=1e-4))
    data = [[random_batch(16, STATES, ACTIONS, 100 * run + step) for step in range(12)] for run in range(3)]
    together = updated(BCQ(ACTIONS, runs), [stacked(*batches) for batches in zip(*data, strict=True)])
    again = updated(BCQ(ACTIONS, runs), [stacked(*batches) for batches in zip(*data, strict=True)])
    observations = torch.randn(6, STATES, generator=torch.Generator().manual_seed(1))
    for number, (run, batches) in enumerate(zip(runs, data, strict=True)):
        alone = updated(BCQ(ACTIONS, [run]), batches).state_dict()
        mine, theirs = together.state_dict(number), again.state_dict(number)
        for name, weights in alone["networks"].items():
            assert torch.equal(mine["networks"][name], theirs["networks"][name])
            torch.testing.assert_close(mine["networks"][name], weights, rtol=0, atol=2e-5)
        assert torch.equal(mine["generator"], alone["generator"])
        assert torch.equal(together.policy(number)(observations), again.policy(number)(observations))


def test_runs_that_are_not_alike_do_not_train_together() -> None:
    other = replace(CONFIG, discount=0.5)
    with pytest.raises(UserError, match="one discount, not 0.1 and 0.5"):
        BCQ(ACTIONS, [run_of(CONFIG, STATES), run_of(other, STATES)])


def configs_of(files: tuple[Path, Path], folder: Path, **changes: object) -> list[TrainConfig]:
    """Target alone, source alone, and the union with two etas and two seeds."""
    conditions = [{"mix": 1.0, "eta": 0.0}, {"mix": 0.0, "eta": 0.0}, {"eta": 0.3}, {"eta": 1.0, "seed": 5}]
    return [small_config(*files, folder / str(i), **(c | changes)) for i, c in enumerate(conditions)]


def networks(out: str) -> dict[str, torch.Tensor]:
    return torch.load(Path(out) / "checkpoint.pt", weights_only=True)["learner"]["networks"]


def test_from_files_to_a_policy_of_each_stopped_and_resumed(files: tuple[Path, Path], tmp_path: Path) -> None:
    straight = configs_of(files, tmp_path / "straight")
    split = configs_of(files, tmp_path / "split", steps=30)
    results = train_many(straight)
    train_many(split)
    train_many([replace(config, steps=60, resume=True) for config in split])
    for result, one, other in zip(results, straight, split, strict=True):
        assert result.policy is not None and not result.failed
        Policy.load(result.policy).check_golden()
        mine, theirs = networks(one.out), networks(other.out)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    figures = [json.loads((Path(config.out) / "figures.json").read_text()) for config in straight]
    assert [f["target_fraction"] for f in figures] == [1.0, 0.0, pytest.approx(1 / 6), pytest.approx(1 / 6)]
    assert [len(f["curve"]) for f in figures] == [6, 6, 6, 6]
    assert ["classifiers" in f for f in figures] == [False, False, True, True]


def test_a_run_that_diverges_loses_no_other(files: tuple[Path, Path], tmp_path: Path) -> None:
    healthy, sick = configs_of(files, tmp_path)[:2]
    sick = replace(sick, settings=replace(SMALL_BCQ, learning_rate=1e30))
    one, other = train_many([healthy, sick])
    assert one.policy is not None and not one.failed
    assert other.failed and other.policy is None and "diverged at step" in other.message
    assert not (tmp_path / "1" / "policy.onnx").exists()
    with pytest.raises(UserError, match="diverged"):
        train(replace(sick, out=str(tmp_path / "alone")))


def test_a_policy_that_cannot_be_written_loses_no_other(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(
        module: torch.nn.Module, observations: np.ndarray, metadata: Any, path: Path
    ) -> ExportReport:
        if path.parent.name == "0":
            raise UserError("policy not written: it jumps")
        return export_policy(module, observations, metadata, path)

    monkeypatch.setattr(training, "export_policy", refusing)
    one, other = train_many(configs_of(files, tmp_path)[:2])
    assert (one.failed, one.policy, one.message) == (True, None, "policy not written: it jumps")
    assert (tmp_path / "0" / "checkpoint.pt").exists()
    assert other.policy is not None and not other.failed


def test_policies_exported_in_other_processes_have_the_same_bytes(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "FEW", 1)
    configs = [replace(config, steps=20) for config in configs_of(files, tmp_path)[:2]]
    one, other = train_many(configs)
    assert one.figures["export"]["observations"] == other.figures["export"]["observations"] == 1000
    assert one.policy is not None
    written = one.policy.read_bytes()
    one.policy.unlink()
    train_many([replace(configs[0], resume=True)])  # alone, so in this one
    assert one.policy.read_bytes() == written


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"steps": 10}, "one steps"), ({"algorithm": "bc", "settings": None}, "one algorithm")],
)
def test_what_cannot_train_together_is_refused(
    files: tuple[Path, Path], tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    first, second = configs_of(files, tmp_path)[:2]
    with pytest.raises(UserError, match=message):
        train_many([first, replace(second, **changes)])
    with pytest.raises(UserError, match="one and the same out"):
        train_many([first, replace(second, out=first.out)])
    assert not any(tmp_path.iterdir())


# -- tuning -------------------------------------------------------------------------------------------------


def test_tuning_forgets_the_source(files: tuple[Path, Path], tmp_path: Path) -> None:
    """The source's way leads nowhere in the target; nothing of it is left after tuning."""
    states = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    changes = {"eta": 0.0, "seed": 1, "tune": 300, "steps": 500}
    tuned = train(small_config(*files, tmp_path / "tuned", **changes))
    assert tuned.steps == 800
    only = train(small_config(*files, tmp_path / "only", eta=0.0, seed=1, steps=500, mix=1.0))
    assert only.policy is not None and tuned.policy is not None
    sides = [np.sign(np.median(Policy.load(policy)(states))) for policy in (only.policy, tuned.policy)]
    assert sides[0] == sides[1]


@pytest.mark.parametrize("first", [20, 40, 55])  # in the source's steps, between the two, in the target's
def test_tuning_goes_on_with_the_same_bits(files: tuple[Path, Path], tmp_path: Path, first: int) -> None:
    straight = small_config(*files, tmp_path / "straight", eta=0.0, tune=40, steps=30)
    train(straight)
    split = replace(straight, out=str(tmp_path / "split"))
    asked = count()
    stop = train(split, should_stop=lambda: next(asked) >= first)
    assert stop.stopped and stop.steps == first
    train(replace(split, resume=True))
    mine, theirs = networks(straight.out), networks(split.out)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


# -- one more algorithm is one more file --------------------------------------------------------------------

TOY = '''
"""The best of the data: copies the action of the richest row seen, whatever the state."""

from dataclasses import dataclass

import torch

from dara_ros.policies.learning import Learner


@dataclass(frozen=True)
class ToyConfig:
    batch_size: int = 8


class Toy(Learner):
    NAME = "toy"
    Config = ToyConfig
    optimisers = ()

    def __init__(self, action_size, runs, device="cpu"):
        super().__init__(action_size, runs, device)
        self.networks = {}
        self.tables = [{"reward": torch.tensor(-1e9), "action": torch.zeros(action_size)} for _ in runs]

    def update(self, batch):
        self.steps += 1
        best = batch.rewards.argmax()
        if batch.rewards[best] > self.tables[0]["reward"]:
            self.tables[0] = {"reward": batch.rewards[best], "action": batch.actions[best]}
        return {"best": self.tables[0]["reward"].clone()}

    def policy(self, run=0):
        return Constant(self.tables[run]["action"])


class Constant(torch.nn.Module):
    def __init__(self, action):
        super().__init__()
        self.register_buffer("best", action.clone())

    def forward(self, observation):
        return self.best + 0.0 * observation[:, :1]
'''


def test_a_new_algorithm_is_one_file(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    from dara_ros.policies import algorithms as package

    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    algorithms.cache_clear()
    try:
        config = small_config(*files, tmp_path / "run", algorithm="toy", settings=None, eta=1.0, steps=20)
        assert TrainConfig.from_yaml(config.to_yaml()) == config
        result = train(config)
        assert result.policy is not None
        policy = Policy.load(result.policy)
    finally:
        monkeypatch.undo()
        algorithms.cache_clear()
    # With eta 1 the source's rows that the target cannot follow lost more than they had earned.
    assert policy.metadata.algorithm == "toy" and policy(np.zeros((1, 2), np.float32))[0, 0] < 0.0
