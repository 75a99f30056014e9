"""AWR: losses by hand, the update is the textbook's, and what it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_checks import (
    STATES,
    check_dara_turns,
    check_resumes_with_the_same_bits,
    check_runs_together,
    copy_into,
    write_crossings,
)
from small_runs import run_of, tensor_batch
from training_data import INFO, small_config

from dara_ros.bench.textbook.awr import TextbookAWR
from dara_ros.errors import UserError
from dara_ros.policies.algorithms import awr as awr_module
from dara_ros.policies.algorithms.awr import AWR, AWRConfig, critic_loss, policy_loss, values
from dara_ros.policies.dataset import DataSet, DataSetWriter
from dara_ros.policies.learning import Learner, TensorBatch
from dara_ros.policies.networks import Layer
from dara_ros.policies.sampling import UnionSampler

SMALL = AWRConfig(
    critic_hidden=(16, 16),
    policy_hidden=(16, 16),
    batch_size=32,
    refresh=10,
    discount=0.1,
    learning_rate=3e-3,
    critic_learning_rate=3e-3,
)


def test_losses_by_hand() -> None:
    # relu(2 s + 1) / 2 + 1/4 is 0.75 and 1.75 in the states 0 and 1
    layers: list[Layer] = [
        (torch.tensor([[2.0]]), torch.tensor([[1.0]])),
        (torch.tensor([[0.5]]), torch.tensor([[0.25]])),
    ]
    batch = tensor_batch([[0.0], [1.0]], [[0.5], [-1.0]])
    # gamma = 1/2: V = 1.5 and 3.5, G = 1 and 4; both errors are 1/2, and 1/4 in the critic's units
    loss, figures = critic_loss(layers, batch, torch.tensor([1.0, 4.0]), 0.5)
    assert (float(loss), float(figures["value_error"])) == pytest.approx((1 / 16, 1 / 4))
    # means tanh(0.75) = 0.635149 and tanh(1.75) = 0.941376: errors 0.018265 / 2 and 3.768941 / 2
    loss, _ = policy_loss(layers, batch, torch.tensor([3.0, 0.5]))
    assert float(loss) == pytest.approx((3 * 0.0091326 + 0.5 * 1.8844704) / 2, abs=1e-5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_crossings(tmp_path_factory.mktemp("data"))


def test_learning_curve_equals_the_textbook(files: tuple[Path, Path]) -> None:
    config = replace(SMALL, discount=0.9)
    union = UnionSampler(DataSet(files[0]), DataSet(files[1]), None, 0.0, None, 32, 0)
    ours, plain = AWR(1, [run_of(config, states=2)]), TextbookAWR(2, 1, config)
    copy_into(plain.critic, ours.critic)
    copy_into(plain.actor, ours.actor)
    blocks = [ours.batch(block) for block in union.in_order()]
    rows = TensorBatch(*(torch.cat(columns) for columns in zip(*blocks, strict=True)))
    batches = union.batches()
    for step in range(30):
        ours.look([union])
        if step % 10 == 0:
            plain.look(rows, list(zip(*union.episodes(), strict=True)))
        batch = ours.batch(next(batches))
        mine, theirs = ours.update(batch), plain.update(batch)
        assert ("policy_error" in mine) == (step >= 10)
        for name, value in theirs.items():
            assert float(mine[name]) == pytest.approx(float(value), rel=2e-3, abs=1e-5), (step, name)
    for network, other in ((ours.critic, plain.critic), (ours.actor, plain.actor)):
        torch.testing.assert_close(network.layers[1][0].T, other[2].weight, rtol=0, atol=1e-3)


def test_two_runs_together_are_each_as_if_alone(tmp_path: Path) -> None:
    # Each run's data are of its own length.
    unions = [sampler(tmp_path / f"{rows}.h5", rows) for rows in (60, 40)]

    def look(learner: Learner) -> None:
        learner.look([unions[run.seed] for run in learner.runs])

    config = replace(SMALL, refresh=5)
    check_runs_together(AWR, (config, replace(config, learning_rate=1e-3)), 12, look)


@pytest.mark.parametrize(("mix", "held"), [(1.0, slice(60, 120)), (0.0, slice(0, 60))])
def test_rows_that_no_batch_holds_are_not_looked_at(tmp_path: Path, mix: float, held: slice) -> None:
    both = sampler(tmp_path / "data.h5", 60)  # twice the same file: what counts among all counts in each half
    alone = UnionSampler(both.source, both.target, None, 0.0, mix, 20, 0)
    found, expected = (table_of(union) for union in (alone, both))
    for name in ("returns", "weights"):
        torch.testing.assert_close(found[name][held], expected[name][held])
        assert expected[name].all() and found[name].count_nonzero() == 60


@pytest.mark.parametrize(("chained", "asked"), [(False, 120), (True, 60 + 9)])
def test_the_value_of_a_next_state_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chained: bool, asked: int
) -> None:
    """It is that of the next row but where an episode ends, here every seven rows."""
    union = sampler(tmp_path / "data.h5", 60, chained)
    counts = []
    monkeypatch.setattr(awr_module, "values", lambda *given: counts.append(len(given[1])) or values(*given))
    table_of(union)
    assert sum(counts) == 2 * asked  # the file is source and target
    agent, block = AWR(1, [run_of(SMALL, states=STATES)]), next(union.in_order())
    *_, there = agent._valued(0, block)
    plain = agent.batch(block).next_states
    torch.testing.assert_close(there.float(), values(agent.critic.layers, plain, SMALL.discount))


def table_of(union: UnionSampler) -> dict[str, torch.Tensor]:
    agent = AWR(1, [run_of(SMALL, states=union.source.rows(np.array([0])).observations.shape[1])])
    agent.look([union])
    return agent.tables[0]


def sampler(path: Path, rows: int, chained: bool = False) -> UnionSampler:
    """Noise in the shape that the checks' batches have, as source and target; or walks of such steps."""
    rng = np.random.default_rng(rows)
    names = tuple(f"o{i}" for i in range(STATES))
    task = INFO.task | {"observation": [{"name": "state", "size": STATES, "scale": 1.0, "unit": "m"}]}
    with DataSetWriter(path, replace(INFO, observation_names=names, task=task)) as writer:
        states, following = rng.normal(size=(2, rows, STATES))
        ends = np.arange(rows) % 7 == 6
        if chained:
            following[:-1][~ends[:-1]] = states[1:][~ends[:-1]]
        writer.extend(
            states,
            rng.uniform(-1, 1, (rows, 1)),
            rng.normal(size=rows),
            following,
            ends,
            np.zeros(rows, bool),
        )
    data = DataSet(path)
    return UnionSampler(data, data, None, 0.0, None, 20, 0)


def test_it_resumes_with_the_same_bits(files: tuple[Path, Path], tmp_path: Path) -> None:
    config = small_config(*files, tmp_path / "run", algorithm="awr", settings=SMALL, eta=0.0)
    # at new returns, and in the warm-up of the fine-tuning, which began at 25
    check_resumes_with_the_same_bits(replace(config, tune=15, steps=10), 20, 29)


def test_it_turns_away_from_what_only_the_source_can_do(tmp_path: Path) -> None:
    settings = replace(SMALL, temperature=0.5, refresh=50)
    check_dara_turns("awr", settings, tmp_path, steps=300)


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"refresh": 0}, {"policy_hidden": ()}, {"discount": 1.0}, {"trace": 1.1}]
    + [{"temperature": 0.0}, {"largest_weight": 0.0}, {"critic_learning_rate": 0.0}],
)
def test_wrong_settings(wrong: dict) -> None:
    with pytest.raises(UserError, match=f"awr.{next(iter(wrong))}"):
        AWRConfig(**wrong)
