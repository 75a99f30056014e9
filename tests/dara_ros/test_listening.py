"""Whose commands count as what was asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sensor_msgs.msg import JointState

from dara_ros import messages, parsing
from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.state import JointCommand, RobotState
from dara_ros.listening import WalkListener

StateAt = Callable[[int], RobotState]
STAMP = 5_000_000_000


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[JointCommand]:
    """The commands that were used."""
    commands: list[JointCommand] = []
    monkeypatch.setattr("dara_ros.transitions.TransitionBuilder.add_command", lambda _, c: commands.append(c))
    return commands


def hear(listener: WalkListener, topic: str, *said: JointState) -> None:
    for message in said:
        listener.hear(topic, message, 0)


def test_only_commands_that_the_robot_obeys_are_used(
    a1: RobotSpec, state_at: StateAt, heard: list[JointCommand]
) -> None:
    listener = WalkListener(a1, lambda: True)
    command = JointCommand(STAMP, a1.stand_pose)
    state = messages.joint_states_message(a1, state_at(STAMP), walk=0, lease="ours")
    hear(listener, parsing.JOINT_STATES, state)
    for lease in ("theirs", ""):
        hear(listener, parsing.JOINT_COMMANDS, messages.command_message(a1, command, lease))
    assert heard == []
    hear(listener, parsing.JOINT_COMMANDS, messages.command_message(a1, command, "ours"))
    assert len(heard) == 1


def test_a_robot_without_leases_obeys_everybody(
    a1: RobotSpec, state_at: StateAt, heard: list[JointCommand]
) -> None:
    listener = WalkListener(a1, lambda: True)
    state = messages.joint_states_message(a1, state_at(STAMP))
    state.header.frame_id = "base_link"
    hear(listener, parsing.JOINT_STATES, state)
    command = JointCommand(STAMP, a1.stand_pose)
    hear(listener, parsing.JOINT_COMMANDS, messages.command_message(a1, command))
    assert len(heard) == 1


def test_signs_of_life_are_no_commands(a1: RobotSpec, heard: list[JointCommand]) -> None:
    listener = WalkListener(a1, lambda: True)
    hear(
        listener,
        parsing.JOINT_COMMANDS,
        messages.keep_alive_message("ours"),
        messages.release_message("ours"),
    )
    assert heard == []
