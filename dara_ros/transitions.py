"""From what the robot and its controller say to the transitions of the MDP.

Pure: no ROS, no clock, no file. Everything is paired by stamp: row k is state k, the command that answers
it, what the motors were sent, and state k + 1 exactly one control period later. Messages of one topic keep
their order, so a stamp is lost as soon as a newer one has come on the same topic; nothing waits for a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .hardware.safety import fall
from .hardware.state import Array, JointCommand, RobotState
from .hardware.task import ACTION_SIZE, WINDOW, Walk, WalkingTask
from .parsing import SentCommand
from .policies.dataset_format import Transition

MOST_RECORDS = 200  # control periods that wait for their missing parts
ROUNDING = 1e-9  # of an action: an inverse that is off the bounds by no more was on them


@dataclass(frozen=True, eq=False)
class Step:
    """One row. `first`: it begins an episode, so the row before it is cut (a timeout, unless terminal)."""

    transition: Transition
    first: bool


@dataclass(eq=False)
class _Record:
    """What is known of one control period."""

    state: RobotState | None = None
    receive_time: int = 0
    command: JointCommand | None = None
    sent: SentCommand | None = None

    def period(self, following: RobotState | None) -> _Period | None:
        """The whole period, if nothing is missing."""
        if self.state is None or self.command is None or self.sent is None or following is None:
            return None
        return _Period(self.state, self.receive_time, self.command, self.sent, following)


@dataclass(frozen=True, eq=False)
class _Period:
    """One control period of which everything is known."""

    state: RobotState
    receive_time: int
    command: JointCommand
    sent: SentCommand
    following: RobotState

    def infos(self) -> dict[str, Any]:
        return {
            "stamp": self.state.stamp,
            "receive_time": self.receive_time,
            "requested_command": self.command.positions,
            "sent_command": self.sent.positions,
            "base_position": self.following.position,
        }


class TransitionBuilder:
    """Turns states, commands and sent commands, in any order between topics, into steps.

    A lost message ends the episode; the walk goes on in a new one as soon as all that an observation and a
    reward remember (WINDOW periods) has been seen again. A period whose command came late is left out: its
    action is not what moved the robot. Of a walk whose beginning was not seen nothing is used, since its
    heading is unknown.

    Attributes:
        lost: periods of a walk that a lost message cost.
        late: periods of a walk in which the robot acted on an older command.
    """

    def __init__(self, task: WalkingTask) -> None:
        self.lost = 0
        self.late = 0
        self._task = task
        self._period = task.spec.period_ns
        self._clear()

    def _clear(self) -> None:
        self._records: dict[int, _Record] = {}
        self._newest = {"state": -1, "command": -1, "sent": -1}
        self._done = -1  # no older period is looked at any more
        self._number: int | None = None  # of the walk below
        self._walk: Walk | None = None  # at the state of stamp `_expected`; None: of no use
        self._expected = -1
        self._origin = 0.0  # m along the heading, where the walk began
        self._unknown = 0  # periods until the walk's memory is whole again
        self._first = True

    # -- what comes in --------------------------------------------------------------------------------------

    def add_state(self, state: RobotState, receive_time: int) -> None:
        """A complete state with its position, and when it came (ns of wall clock)."""
        record = self._record("state", state.stamp)
        if record is not None and record.state is None:
            record.state, record.receive_time = state, receive_time

    def add_command(self, command: JointCommand) -> None:
        """What the controller asked for."""
        record = self._record("command", command.stamp)
        if record is not None and record.command is None:
            record.command = command

    def add_sent(self, sent: SentCommand) -> None:
        """What the motors were sent."""
        record = self._record("sent", sent.stamp)
        if record is not None and record.sent is None:
            record.sent = sent

    def skip_walk(self) -> None:
        """Use nothing more of the walk that goes on."""
        self._walk = None

    @property
    def waiting(self) -> bool:
        """Whether a period of a walk still waits for a part."""
        return any(record.sent is not None for record in self._records.values())

    def _record(self, topic: str, stamp: int) -> _Record | None:
        if stamp < self._done - MOST_RECORDS * self._period:
            self._clear()  # the robot node was started anew: its clock began again
        if stamp <= self._done:
            return None
        self._newest[topic] = max(self._newest[topic], stamp)
        return self._records.setdefault(stamp, _Record())

    # -- what comes out -------------------------------------------------------------------------------------

    def take(self) -> Iterator[Step]:
        """The steps that are complete by now, in order."""
        while self._records:
            stamp = min(self._records)
            record = self._records[stamp]
            period = record.period(self._records.get(stamp + self._period, _Record()).state)
            if period is None and self._may_come(stamp, record) and len(self._records) <= MOST_RECORDS:
                return
            del self._records[stamp]
            self._done = stamp
            if period is not None:
                step = self._step(period)
                if step is not None:
                    yield step
            elif record.sent is not None:
                self._lose(record.sent)

    def _may_come(self, stamp: int, record: _Record) -> bool:
        """Whether all that is missing of a record can still come: nothing newer of its topic has."""
        last_state = stamp if record.state is None else stamp + self._period
        missing = {"state": last_state} if self._records.get(last_state, _Record()).state is None else {}
        if record.sent is None:
            missing["sent"] = stamp
        if record.command is None:
            missing["command"] = stamp
        return all(self._newest[topic] <= last for topic, last in missing.items())

    def _lose(self, sent: SentCommand) -> None:
        self.lost += 1
        self._first = True
        if sent.walk != self._number:
            self._number, self._walk = sent.walk, None

    def _step(self, period: _Period) -> Step | None:
        """One period of a walk of which everything is known."""
        walk, task = self._walk_at(period), self._task
        if walk is None:
            return None
        action = _within_bounds(task.action(walk, period.state, period.command))
        after = task.advance(walk, action, period.following)
        reason = fall(task.spec, period.state, period.following)
        self._expected = period.following.stamp
        # A fall ends the walk, though the robot takes one more period to damp.
        self._walk = None if reason else after
        if not period.sent.in_time:
            self.late += 1
            self._first = True
            return None
        if self._unknown > 0:
            self._unknown -= 1
            return None
        transition = Transition(
            observation=task.observation(walk, period.state),
            action=action,
            reward=task.reward(after, period.following, bool(reason)),
            next_observation=task.observation(after, period.following),
            terminal=bool(reason),
            infos=period.infos() | {"forward": after.forward[-1] - self._origin},
        )
        first, self._first = self._first, False
        return Step(transition, first)

    def _walk_at(self, period: _Period) -> Walk | None:
        """What the walk remembers when the period begins; None where the walk is of no use."""
        if period.sent.walk != self._number:
            self._begin(period.sent, period.state)
        elif self._walk is not None and period.state.stamp != self._expected:
            self._resume(self._walk, period.state)
        return self._walk

    def _begin(self, sent: SentCommand, state: RobotState) -> None:
        """A new walk, if this is its first period."""
        self._number, self._first, self._unknown = sent.walk, True, 0
        self._walk = self._task.begin(state) if sent.step == 0 else None
        if self._walk is not None:
            self._origin = self._walk.forward[-1]

    def _resume(self, walk: Walk, state: RobotState) -> None:
        """Go on after a gap: the heading is known, and everything else will be after WINDOW periods."""
        forgotten = replace(walk, forward=())
        self._walk = self._task.advance(forgotten, np.zeros(ACTION_SIZE), state)
        self._first, self._unknown = True, WINDOW


def _within_bounds(action: Array) -> Array:
    clipped = np.clip(action, -1.0, 1.0)
    return np.where(np.abs(action - clipped) <= ROUNDING, clipped, action)
