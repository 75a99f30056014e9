"""Pairing by stamp: nothing is guessed, nothing crosses a gap or the end of a walk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from dara_ros.hardware.state import JointCommand, RobotState
from dara_ros.hardware.task import WINDOW, WalkingTask
from dara_ros.parsing import SentCommand
from dara_ros.transitions import MOST_RECORDS, Step, TransitionBuilder

StateAt = Callable[[int], RobotState]
LENGTH = 40


class Walk:
    """What robot and controller say in one walk of LENGTH periods, and the rows that must come of it."""

    def __init__(self, task: WalkingTask, state_at: StateAt, begin: int = 0, number: int = 0) -> None:
        self.task, self.number = task, number
        period = task.spec.period_ns
        self.states = [state_at(begin + k * period) for k in range(LENGTH + 1)]
        self.actions = np.random.default_rng(begin).uniform(-1, 1, (LENGTH, 12))
        self.commands, self.observations, self.rewards = [], [], []
        walk = task.begin(self.states[0])
        for k in range(LENGTH):
            self.observations.append(task.observation(walk, self.states[k]))
            self.commands.append(task.command(walk, self.states[k], self.actions[k]))
            walk = task.advance(walk, self.actions[k], self.states[k + 1])
            self.rewards.append(task.reward(walk, self.states[k + 1], False))
        self.observations.append(task.observation(walk, self.states[LENGTH]))

    def sent(self, k: int, in_time: bool = True) -> SentCommand:
        command = self.commands[k]
        return SentCommand(command.stamp, command.positions, self.number, k, in_time)

    def tell(
        self,
        builder: TransitionBuilder,
        lost_states: Iterable[int] = (),
        lost_commands: Iterable[int] = (),
        late: Iterable[int] = (),
    ) -> list[Step]:
        """All messages in the order of time; returns the steps."""
        steps = []
        for k, state in enumerate(self.states):
            if k not in lost_states:
                builder.add_state(state, receive_time=k)
            if k < LENGTH:
                if k not in lost_commands:
                    builder.add_command(self.commands[k])
                builder.add_sent(self.sent(k, k not in late))
            steps += builder.take()
        return steps

    def check(self, steps: list[Step], rows: Iterable[int]) -> None:
        """The steps are exactly these rows of the walk."""
        rows = list(rows)
        assert [step.transition.infos["stamp"] for step in steps] == [self.states[k].stamp for k in rows]
        for step, k in zip(steps, rows, strict=True):
            row = step.transition
            np.testing.assert_allclose(row.action, self.actions[k], atol=1e-12)
            np.testing.assert_allclose(row.observation, self.observations[k], atol=1e-6)
            np.testing.assert_allclose(row.next_observation, self.observations[k + 1], atol=1e-6)
            np.testing.assert_allclose(row.reward, self.rewards[k], atol=1e-9)
            np.testing.assert_array_equal(row.infos["base_position"], self.states[k + 1].position)


@pytest.fixture
def walk(task: WalkingTask, state_at: StateAt) -> Walk:
    return Walk(task, state_at)


@pytest.fixture
def builder(task: WalkingTask) -> TransitionBuilder:
    return TransitionBuilder(task)


def firsts(steps: list[Step]) -> list[int]:
    return [number for number, step in enumerate(steps) if step.first]


def test_whole_walk_gives_every_row_once(builder: TransitionBuilder, walk: Walk) -> None:
    steps = walk.tell(builder)
    walk.check(steps, range(LENGTH))
    assert firsts(steps) == [0]
    assert not builder.waiting
    assert builder.lost == builder.late == 0


def test_order_between_topics_does_not_matter(builder: TransitionBuilder, walk: Walk) -> None:
    for k in range(LENGTH):
        builder.add_sent(walk.sent(k))
    assert list(builder.take()) == []
    for state in reversed(walk.states):  # within a topic messages keep their order, but be it so
        builder.add_state(state, 0)
    for command in walk.commands:
        builder.add_command(command)
    walk.check(list(builder.take()), range(LENGTH))


def test_repeated_messages_give_no_second_row(builder: TransitionBuilder, walk: Walk) -> None:
    steps = walk.tell(builder)
    for k in range(LENGTH):
        builder.add_state(walk.states[k], 0)
        builder.add_command(walk.commands[k])
        builder.add_sent(walk.sent(k))
    assert list(builder.take()) == []
    assert len(steps) == LENGTH


@pytest.mark.parametrize("topic", ["lost_states", "lost_commands"])
def test_lost_message_cuts_the_episode_until_memory_is_whole(
    builder: TransitionBuilder, walk: Walk, topic: str
) -> None:
    steps = walk.tell(builder, **{topic: {12}})
    before = 11 if topic == "lost_states" else 12  # without state 12, row 11 has no next state
    walk.check(steps, [*range(before), *range(13 + WINDOW, LENGTH)])
    assert firsts(steps) == [0, before]
    assert builder.lost >= 1


def test_row_whose_command_came_late_is_left_out(builder: TransitionBuilder, walk: Walk) -> None:
    steps = walk.tell(builder, late={7})
    walk.check(steps, [*range(7), *range(8, LENGTH)])
    assert firsts(steps) == [0, 7]
    assert builder.late == 1


def test_walk_whose_first_command_was_late_keeps_its_heading(builder: TransitionBuilder, walk: Walk) -> None:
    steps = walk.tell(builder, late={0})
    walk.check(steps, range(1, LENGTH))


@pytest.mark.parametrize("topic", ["lost_states", "lost_commands"])
def test_walk_whose_beginning_was_lost_is_not_used(
    builder: TransitionBuilder, walk: Walk, topic: str
) -> None:
    assert walk.tell(builder, **{topic: {0}}) == []
    assert builder.lost == 1


def test_fall_ends_the_walk(builder: TransitionBuilder, walk: Walk) -> None:
    on_its_side = np.array([np.sin(0.6), 0.0, 0.0, np.cos(0.6)])
    walk.states[9:11] = [replace(state, orientation=on_its_side) for state in walk.states[9:11]]
    steps = walk.tell(builder)
    assert [step.transition.terminal for step in steps] == [False] * 8 + [True]


def test_a_joint_that_came_fast_to_its_stop_ends_the_walk(builder: TransitionBuilder, walk: Walk) -> None:
    """As it damps the robot: the state alone, at rest on the stop, would not tell."""
    at_stop = walk.states[9].joint_positions.copy()
    at_stop[0] = walk.task.spec.upper[0]
    walk.states[9:] = [
        replace(state, joint_positions=at_stop, joint_velocities=np.zeros(12)) for state in walk.states[9:]
    ]
    steps = walk.tell(builder)
    assert [step.transition.terminal for step in steps] == [False] * 8 + [True]
    assert steps[-1].transition.reward < walk.rewards[8] - 90.0


def test_next_walk_begins_a_new_episode_even_at_the_same_stamp(
    builder: TransitionBuilder, task: WalkingTask, state_at: StateAt
) -> None:
    first = Walk(task, state_at)
    second = Walk(task, state_at, begin=first.states[-1].stamp, number=1)
    steps = first.tell(builder) + second.tell(builder)
    first.check(steps[:LENGTH], range(LENGTH))
    second.check(steps[LENGTH:], range(LENGTH))
    assert firsts(steps) == [0, LENGTH]
    assert steps[LENGTH].transition.infos["forward"] < 0.1  # counted from where this walk began


def test_states_without_a_walk_take_bounded_memory(
    builder: TransitionBuilder, task: WalkingTask, state_at: StateAt
) -> None:
    for k in range(3 * MOST_RECORDS):
        builder.add_state(state_at(k * task.spec.period_ns), 0)
        assert list(builder.take()) == []
    assert len(builder._records) <= MOST_RECORDS
    assert builder.lost == 0


def test_clock_that_begins_again_begins_anew(
    builder: TransitionBuilder, task: WalkingTask, state_at: StateAt
) -> None:
    Walk(task, state_at, begin=10**12).tell(builder)
    again = Walk(task, state_at)
    again.check(again.tell(builder), range(LENGTH))


def test_skipped_walk_gives_no_more_rows(
    builder: TransitionBuilder, task: WalkingTask, state_at: StateAt
) -> None:
    walk = Walk(task, state_at)
    builder.add_state(walk.states[0], 0)
    builder.add_command(walk.commands[0])
    builder.add_sent(walk.sent(0))
    builder.add_state(walk.states[1], 0)
    assert len(list(builder.take())) == 1
    builder.skip_walk()
    assert walk.tell(builder) == []
    following = Walk(task, state_at, begin=10**10, number=1)
    following.check(following.tell(builder), range(LENGTH))


def test_action_just_off_its_bound_is_on_it(
    builder: TransitionBuilder, walk: Walk, task: WalkingTask
) -> None:
    gait = walk.commands[0].positions - task.spec.action_scales * walk.actions[0]
    wanted = np.array([1.0] * 6 + [-1.0] * 6)
    off = JointCommand(0, gait + task.spec.action_scales * wanted * (1 + 1e-10))
    walk.commands[0] = off
    (step, *_) = walk.tell(builder)
    np.testing.assert_array_equal(step.transition.action, wanted)
