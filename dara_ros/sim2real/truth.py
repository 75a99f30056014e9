"""How well delta r is told: beside the truth, which a simulation can find and a robot cannot.

At random moments of walks in the source world the same action is taken from the same state in the dynamics
of a target world. How far the two outcomes are apart is what delta r should rank rows by: exactly, for
Gaussian dynamics, log T_source / T_target is half their squared distance in units of the noise. Then both
walks go on as the behaviour wants: how far apart they are HORIZON steps on is what delta r with that horizon
should rank rows by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr

from ..action_sources import ActionSource, action_source
from ..collection import EXPLORATION_NOISE
from ..hardware.task import ACTION_SIZE
from ..policies.classifiers import ClassifierConfig, train_classifiers
from ..policies.dara import DEFAULT_CLIP, Estimator
from ..policies.dataset import Batch, DataSet
from ..policies.dynamics_gap import GapConfig, train_gap
from ..policies.steps_ahead import StepsAhead
from ..rollouts import environment_class
from ..sim import EPISODE_STEPS
from ..sim.world import World, load_world
from .study import AHEAD, ROBOT, SOURCE_WORLD, behaviours

if TYPE_CHECKING:
    from ..sim.environment import Situation, WalkingEnv

WALKS = 60
SHARE = 0.2  # of their moments
TRUTH_SEED = 40_000  # of worlds and noise that nothing else uses
CORE = ("joint_position", "joint_velocity", "angular_velocity")  # what the motors and the ground move first
HORIZON: int = AHEAD["horizon"]
NO_SAG = 1e-30  # 1/W: the battery of the source is not weak, but what was drawn from it is remembered


@dataclass(frozen=True)
class Truth:
    """N rows of the source, and how far the target's outcome is from theirs.

    Attributes:
        rows: what the estimators see.
        apart: (N,) mean over the columns of CORE of the squared difference of the two next observations, in
            variances of the source's steps.
        apart_ahead: (N,) the same HORIZON steps on, in the same unit; a walk that ends before stays there.
        jerk: (N,) squared change of the action, which latency and weak motors punish: a rank for nothing.
        expert: (N,) bool, whether the expert took the step.
    """

    rows: Batch
    apart: np.ndarray
    apart_ahead: np.ndarray
    jerk: np.ndarray
    expert: np.ndarray


@dataclass(frozen=True)
class Told:
    """One estimator's delta r beside the truth.

    Attributes:
        estimator: its name; an ensemble is the mean of all seeds' delta r. Or what is in Truth: `truth`,
            `truth_ahead`, `jerk`.
        seed: of the estimator, and of the collection that it learned from.
        rank_correlation, rank_correlation_ahead: Spearman's, with the truth of one step, and of HORIZON.
        agreement: Spearman's, with the same estimator of seed 0.
        mean: of delta r over the rows.
        of_expert, of_others: the same over the expert's rows and the others'; None where there are none. Only
            what differs here can make one way of walking worth less than the other.
    """

    world: str
    data_set: str
    estimator: str
    seed: int
    rank_correlation: float
    rank_correlation_ahead: float
    agreement: float
    mean: float
    of_expert: float | None
    of_others: float | None


class _Step(NamedTuple):
    """One moment of a walk in the source world."""

    observation: np.ndarray
    action: np.ndarray
    last_action: np.ndarray
    next_observation: np.ndarray  # as measured
    outcomes: list[np.ndarray]  # in the source world and in every other, as _outcomes has them
    by_expert: bool


def truths(worlds: tuple[str, ...], data_set: str, walks: int = WALKS) -> dict[str, Truth]:
    """The truth of each target world, about the same rows."""
    source = load_world(SOURCE_WORLD)
    source = source.model_copy(update={"motor": source.motor.model_copy(update={"sag": NO_SAG})})
    others = [load_world(name).model_copy(update={"noise": source.noise}) for name in worlds]
    env = environment_class()(source, ROBOT)
    every, names = [source, *others], behaviours(data_set)
    steps = [step for number in range(walks) for step in _walk(env, every, names, number)]
    env.close()
    observations, actions, last, following = (np.stack([step[i] for step in steps]) for i in range(4))
    nothing = np.zeros(len(steps), np.float32)
    batch = Batch(observations, actions, nothing, following, nothing > 0)
    core = [i for i, name in enumerate(env.task.observation_names()) if name.startswith(CORE)]
    outcomes = np.stack([step.outcomes for step in steps])[..., core]  # (N, worlds, 2, columns)
    spread = (following - observations)[:, core].std(0)
    apart = np.square((outcomes[:, 1:] - outcomes[:, :1]) / spread).mean(3)
    jerk = np.square(actions - last).sum(1)
    expert = np.array([step.by_expert for step in steps])
    return {
        name: Truth(batch, apart[:, at, 0], apart[:, at, 1], jerk, expert) for at, name in enumerate(worlds)
    }


def _walk(env: WalkingEnv, worlds: list[World], names: tuple[str, ...], number: int) -> Iterator[_Step]:
    rng = np.random.default_rng((TRUTH_SEED, number))
    behaviour = names[number % len(names)]
    act = action_source(behaviour, env.task, rng)
    noise = float(rng.choice(EXPLORATION_NOISE))
    observation, _ = env.reset(seed=TRUTH_SEED + number)
    last: np.ndarray = np.zeros(ACTION_SIZE, np.float32)
    for _ in range(EPISODE_STEPS):
        action = act(observation) + noise * rng.standard_normal(ACTION_SIZE)
        action = np.clip(action, -1.0, 1.0).astype(np.float32)
        situation = env.situation()
        following, _, fell, stopped, _ = env.step(action)
        if rng.random() < SHARE and not stopped:
            outcomes = [_outcomes(env, situation, world, action, act) for world in worlds]
            yield _Step(observation, action, last, following, outcomes, behaviour == "expert")
        env.driver.forget(situation.moment)
        if fell or stopped:
            return
        observation, last = following, action


def _outcomes(
    env: WalkingEnv, situation: Situation, world: World, action: np.ndarray, act: ActionSource
) -> np.ndarray:
    """(2, observation) one step and HORIZON steps on in `world`; sensors' noise is the same in all worlds."""
    with env.elsewhere(situation, world):
        first, _, fell, stopped, _ = env.step(action)
        later = first
        for _ in range(HORIZON - 1):
            if fell or stopped:
                break
            later, _, fell, stopped, _ = env.step(act(later))
        return np.stack([first, later])


def _of_classifiers(source: DataSet, target: DataSet, seed: int) -> Estimator | None:
    return train_classifiers(source, target, ClassifierConfig(), seed)


def _of_dynamics(source: DataSet, target: DataSet, seed: int) -> Estimator | None:
    return train_gap(source, target, GapConfig(), seed)


def _of_outcomes(source: DataSet, target: DataSet, seed: int) -> Estimator | None:
    return train_gap(StepsAhead(source, HORIZON), StepsAhead(target, HORIZON), GapConfig(), seed)


TRAINED = {"classifiers": _of_classifiers, "dynamics": _of_dynamics, "ahead": _of_outcomes}


def judge(
    truth: Truth,
    files: Callable[[int], tuple[Path, Path]],
    world: str,
    data_set: str,
    seeds: int,
    progress: Callable[[], None] = lambda: None,
) -> list[Told]:
    """Train every estimator on the files of each seed, and compare.

    Args:
        files: source and target file of a seed.
        progress: called after each estimator.
    """
    torch.set_num_threads(1)
    known = {"truth": truth.apart, "truth_ahead": truth.apart_ahead, "jerk": truth.jerk}
    told = [_told(world, data_set, name, 0, truth, ranks, ranks) for name, ranks in known.items()]
    for name, train in TRAINED.items():
        every: list[np.ndarray] = []
        for seed in range(seeds):
            with DataSet(files(seed)[0]) as source, DataSet(files(seed)[1]) as target:
                estimator = train(source, target, seed)
            assert estimator is not None  # nobody stops them
            every.append(np.clip(estimator.raw_delta_r(truth.rows), -DEFAULT_CLIP, DEFAULT_CLIP))
            told.append(_told(world, data_set, name, seed, truth, every[-1], every[0]))
            progress()
        if seeds > 1:
            mean = np.mean(every, axis=0)
            told.append(_told(world, data_set, f"{name}_ensemble", 0, truth, mean, every[0]))
    return told


def _told(
    world: str, data_set: str, name: str, seed: int, truth: Truth, delta: np.ndarray, first: np.ndarray
) -> Told:
    others = (truth.apart, truth.apart_ahead, first)
    rank, ahead, agreement = (float(spearmanr(delta, other).statistic) for other in others)
    of_expert, of_others = (
        float(delta[rows].mean()) if rows.any() else None for rows in (truth.expert, ~truth.expert)
    )
    mean = float(delta.mean())
    return Told(world, data_set, name, seed, rank, ahead, agreement, mean, of_expert, of_others)
