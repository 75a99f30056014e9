"""The controller without ROS: one answer per state, silence where something is not finite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dara_ros.hardware.state import RobotState
from dara_ros.hardware.task import ACTION_SIZE, OBSERVATION_SIZE, WalkingTask
from dara_ros.responder import Responder, SeededActions

StateAt = Callable[[int], RobotState]
LAST_ACTION = slice(37, 49)


@pytest.fixture
def seen() -> list[np.ndarray]:
    """The observations that the policy was given."""
    return []


class Scripted:
    """Actions by a rule, the same in every walk."""

    def __init__(self, act: Callable[[np.ndarray], np.ndarray]) -> None:
        self._act = act

    def begin(self) -> None:
        pass

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        return self._act(observation)


@pytest.fixture
def responder(task: WalkingTask, seen: list[np.ndarray]) -> Responder:
    def act(observation: np.ndarray) -> np.ndarray:
        seen.append(observation)
        return np.full(ACTION_SIZE, 0.1 * len(seen) if len(seen) < 5 else 7.0)

    return Responder(task, Scripted(act))


def test_repeated_state_gets_the_same_answer_and_the_walk_does_not_move(
    responder: Responder, seen: list[np.ndarray], task: WalkingTask, state_at: StateAt
) -> None:
    first, again = responder.answer(state_at(0)), responder.answer(state_at(0))
    assert first is again
    assert len(seen) == responder.repeated == 1
    responder.answer(state_at(task.spec.period_ns))
    np.testing.assert_allclose(seen[1][LAST_ACTION], 0.1, rtol=1e-6)


def test_new_walk_remembers_nothing(
    responder: Responder, seen: list[np.ndarray], task: WalkingTask, state_at: StateAt
) -> None:
    for stamp in (0, task.spec.period_ns):
        responder.answer(state_at(stamp))
    responder.begin()
    responder.answer(state_at(2 * task.spec.period_ns))
    np.testing.assert_array_equal(seen[2][LAST_ACTION], 0.0)


def test_actions_are_clipped(responder: Responder, task: WalkingTask, state_at: StateAt) -> None:
    for k in range(5):
        command = responder.answer(state_at(k * task.spec.period_ns))
    walk = task.begin(state_at(0))
    action = task.action(walk, state_at(4 * task.spec.period_ns), command)
    np.testing.assert_allclose(action, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["joint_positions", "orientation", "angular_velocity"])
def test_state_that_is_not_finite_gets_no_answer(
    responder: Responder, seen: list[np.ndarray], state_at: StateAt, field: str, value: float
) -> None:
    good = state_at(0)
    assert responder.answer(replace(good, **{field: np.full_like(getattr(good, field), value)})) is None
    assert responder.not_finite == 1
    assert seen == []
    assert responder.answer(state_at(0)) is not None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_action_that_is_not_finite_is_not_sent(task: WalkingTask, state_at: StateAt, value: float) -> None:
    responder = Responder(task, Scripted(lambda observation: np.full(ACTION_SIZE, value)))
    assert responder.answer(state_at(0)) is None
    assert responder.not_finite == 1


@pytest.mark.parametrize(("name", "noise"), [("trot", 0.3), ("random", 0.0), ("random", 0.3)])
def test_noise_and_random_actions_follow_from_seed_and_walk_alone(
    task: WalkingTask, state_at: StateAt, name: str, noise: float
) -> None:
    def first_commands(seed: int, answered: int) -> list[np.ndarray]:
        """Of two walks of which each answers so many states."""
        responder = Responder(task, SeededActions(name, task, noise, seed))
        commands = []
        for _ in range(2):
            responder.begin()
            commands.append(responder.answer(state_at(0)).positions)
            for k in range(1, answered):
                responder.answer(state_at(k * task.spec.period_ns))
        return commands

    np.testing.assert_array_equal(first_commands(seed=1, answered=3), first_commands(seed=1, answered=7))

    def first_actions(seed: int) -> list[np.ndarray]:
        """Of two walks; unlike positions they stop at no limit."""
        act, actions = SeededActions(name, task, noise, seed), []
        for _ in range(2):
            act.begin()
            actions.append(act(np.zeros(OBSERVATION_SIZE, np.float32)))
        return actions

    one, two = first_actions(seed=1)
    assert (one != two).all()
    assert (one != first_actions(seed=2)[0]).all()


def test_no_noise_is_none(task: WalkingTask) -> None:
    observation = np.zeros(OBSERVATION_SIZE, np.float32)
    np.testing.assert_array_equal(SeededActions("trot", task, 0.0, 0)(observation), 0.0)
