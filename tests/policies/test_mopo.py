"""MOPO is the textbook's, values what it should, and turns away from what only the source can do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from model_based_runs import (
    ACTIONS,
    CROSSING,
    STATES,
    TINY,
    batch_of,
    copy_shared,
    learners,
    resumes,
    same_curve,
    sides_taken,
    together_as_alone,
    value_of_staying,
)
from small_runs import run_of, union_batch
from training_data import small_config, write_crossing

from dara_ros.bench.textbook.mopo import TextbookMOPO
from dara_ros.errors import UserError
from dara_ros.policies.algorithms.mopo import MOPO, MOPOConfig
from dara_ros.policies.dataset import DataSet
from dara_ros.policies.runtime import Policy
from dara_ros.policies.training import train

SMALL = MOPOConfig(**TINY)


@pytest.mark.parametrize(("model_from", "uncertainty"), [("union", "sigma"), ("target", "mixture")])
def test_learning_curve_equals_the_textbook(model_from: str, uncertainty: str) -> None:
    ours = learners(MOPO, replace(SMALL, model_from=model_from, uncertainty=uncertainty), 3)
    plain = TextbookMOPO(STATES, ACTIONS, ours.config, ours.tables[0]["bootstrap"])
    copy_shared(plain, ours)
    assert same_curve(ours, plain) == {"model_loss", "ending_loss", "critic_loss", "entropy", "temperature"}


def test_rollouts_start_anywhere_in_the_batch_and_real_rows_are_others() -> None:
    """The sampler may put the target's rows first in every batch."""
    agent = learners(MOPO, SMALL, 3)
    starts, real = set(), set()
    for _ in range(20):
        noise = agent.draw_noise(20)  # 20 % real rows, the rest in rollouts of 3
        assert len(noise.starts) == 5 and len(noise.real) == 4
        assert not set(noise.starts.tolist()) & set(noise.real.tolist())
        starts |= set(noise.starts.tolist())
        real |= set(noise.real.tolist())
    assert starts == real == set(range(20))
    assert set(noise.rollouts.members.reshape(-1).tolist()) == {0, 1, 2}


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    resumes(MOPO, SMALL, tmp_path / "state.pt")


def test_runs_together_are_each_as_if_alone() -> None:
    together_as_alone(MOPO, SMALL)


def test_a_later_phase_fits_the_model_again_and_keeps_the_policy() -> None:
    agent = learners(MOPO, SMALL, 3)
    for number in range(13):
        figures = agent.update(batch_of(number))
    assert "critic_loss" in figures
    agent.begin_phase()
    actor = agent.actor.flat.clone()
    assert "model_loss" in agent.update(batch_of(13)) and torch.equal(actor, agent.actor.flat)


def test_a_timeout_bootstraps_and_a_terminal_does_not() -> None:
    config = MOPOConfig(
        **{**TINY, "batch_size": 32, "model_steps": 200, "discount": 0.8, "tau": 0.2},
        model_learning_rate=3e-3,
        uncertainty_penalty=0.0,
    )
    config = replace(config, learning_rate=3e-3)
    assert value_of_staying(MOPO, config, terminal=True) == pytest.approx(1.0, abs=0.15)
    assert value_of_staying(MOPO, config, terminal=False) == pytest.approx(5.0, rel=0.1)


def test_the_penalty_keeps_the_policy_where_the_data_are() -> None:
    """More reward the further right, but only the left is in the data."""
    rng = np.random.default_rng(0)
    reached = []
    for penalty in (0.0, 5.0):
        agent = MOPO(1, [run_of(MOPOConfig(**CROSSING, uncertainty_penalty=penalty, uncertainty="mixture"))])
        for _ in range(500):
            states, actions = rng.normal(size=(64, 1)), rng.uniform(-1, -0.2, (64, 1))
            agent.update(agent.batch(union_batch(states, actions, actions[:, 0], states + actions)))
        reached.append(float(agent.policy()(torch.zeros(1, 1))))
    assert reached[0] > 0.5 and -0.5 < reached[1] < 0.2, reached


def test_dara_turns_away_from_what_only_the_source_can_do(tmp_path: Path) -> None:
    files = (
        write_crossing(tmp_path / "source.h5", "source", 3000, seed=0),
        write_crossing(tmp_path / "target.h5", "target", 400, seed=1),
    )
    settings = MOPOConfig(**(CROSSING | {"learning_rate": 6e-3}), uncertainty_penalty=0.1)
    assert min(sides_taken("mopo", settings, files, tmp_path, steps=250)) > 0.9


def test_the_policy_file_is_the_policy(tmp_path: Path) -> None:
    files = [write_crossing(tmp_path / f"{name}.h5", name, 300, seed=0) for name in ("source", "target")]
    config = small_config(*files, tmp_path / "run", algorithm="mopo", settings=SMALL, eta=0.0, steps=5)
    saved = Policy.load(train(config).policy)
    state = torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)["learner"]
    assert state["steps"] == 15  # the model's updates come on top
    agent = MOPO(1, [run_of(SMALL, states=2)])
    agent.load_state_dict(state)
    actor = agent.policy()  # on normalised observations
    observations = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    with DataSet(files[0]) as one, DataSet(files[1]) as other:
        rows = np.concatenate(
            [one.rows(np.arange(300)).observations, other.rows(np.arange(300)).observations]
        )
    normalised = torch.from_numpy((observations - rows.mean(0)) / rows.std(0))
    np.testing.assert_allclose(saved(observations), actor(normalised).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model_steps", 0),
        ("model_hidden", ()),
        ("model_decay", (1e-4,)),
        ("rollout_length", 300),
        ("real_ratio", 1.5),
        ("real_ratio", 1.0),
        ("uncertainty_penalty", -1.0),
        ("model_learning_rate", 0.0),
        ("model_from", "robot"),
        ("uncertainty", "none"),
    ],
)
def test_senseless_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(UserError, match=f"mopo.{setting if value != 1.0 else 'rollout_length'}"):
        MOPOConfig(**{setting: value})
