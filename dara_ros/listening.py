"""What a logger hears, topic by topic, as steps of walks: the same for live topics and for a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .hardware.safety import Mode
from .hardware.spec import RobotSpec
from .hardware.task import WalkingTask
from .parsing import (
    JOINT_COMMANDS,
    JOINT_STATES,
    ROBOT_STATE,
    SENT_COMMANDS,
    STATE_TOPICS,
    SentCommand,
    StateAssembler,
    lease_of,
    parse_command,
    parse_part,
    parse_sent,
)
from .transitions import Step, TransitionBuilder


class WalkListener:
    """Follows every walk of one robot.

    Args:
        spec: the robot.
        sent_is_told: whether somebody says on sent_commands what the motors were sent. Where nobody does,
            what was asked for counts as sent, in the walks that the robot's mode tells.

    Attributes:
        builder: pairs what was heard.
        assembler: puts states together.
        walking: whether the robot walks, by its own word.
    """

    def __init__(self, spec: RobotSpec, sent_is_told: Callable[[], bool]) -> None:
        self.builder = TransitionBuilder(WalkingTask(spec))
        self.assembler = StateAssembler(*STATE_TOPICS)
        self.walking = False
        self._spec = spec
        self._lease = ""  # whose commands the robot obeys; empty where it does not say so
        self._sent_is_told = sent_is_told
        self._walks = self._steps = 0  # counted by the robot's mode

    def hear(self, topic: str, message: Any, receive_time: int) -> None:
        """Take one message of a topic, by its relative name, and when it came (ns of wall clock).

        Raises:
            UserError: it is not what it should be; nothing of it was used.
        """
        if topic == ROBOT_STATE:
            self._follow(message.data)
        elif topic == JOINT_COMMANDS:
            if not message.name or (self._lease and lease_of(message) != self._lease):
                return  # it only keeps a lease or ends one, or the robot does not obey it
            command = parse_command(self._spec, message)
            self.builder.add_command(command)
            if self.walking and not self._sent_is_told():
                sent = SentCommand(command.stamp, command.positions, self._walks, self._steps, in_time=True)
                self.builder.add_sent(sent)
                self._steps += 1
        elif topic == SENT_COMMANDS:
            self.builder.add_sent(parse_sent(self._spec, message))
        else:
            if topic == JOINT_STATES:
                self._lease = lease_of(message)
            state = self.assembler.add(topic, *parse_part(self._spec, topic, message))
            if state is not None:
                self.builder.add_state(state, receive_time)

    def steps(self) -> Iterator[Step]:
        """Those that are complete by now, in order."""
        return self.builder.take()

    def _follow(self, mode: str) -> None:
        walking = mode == Mode.WALKING.value
        if walking and not self.walking:
            self._walks, self._steps = self._walks + 1, 0
        self.walking = walking
