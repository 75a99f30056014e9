"""Spoilt ROS messages: to the logger (up to its rows), to the controller (up to its command), to the robot.

They are made of plain objects with the messages' fields, so that no ROS is needed here.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from dara_ros.errors import UserError
from dara_ros.hardware.safety import Mode, Supervisor
from dara_ros.hardware.spec import load_robot
from dara_ros.hardware.task import WalkingTask
from dara_ros.listening import WalkListener
from dara_ros.parsing import (
    FOOT_CONTACTS,
    IMU,
    JOINT_COMMANDS,
    JOINT_STATES,
    ODOM,
    ROBOT_STATE,
    SENT_COMMANDS,
    STATE_TOPICS,
    StateAssembler,
    is_release,
    lease_of,
    parse_command,
    parse_part,
    walk_of,
)
from dara_ros.responder import Responder, SeededActions
from tests.fuzz.fuzzing import Target

SPEC = load_robot("a1")
TOPICS = (*STATE_TOPICS, JOINT_COMMANDS, SENT_COMMANDS, ROBOT_STATE)
MESSAGES = 40  # in one case
PERIOD = 20_000_000  # ns
NUMBERS = (0.0, -1.0, 1e9, 1e308, -1e308, 5e-324, float("nan"), float("inf"), -float("inf"))
FRAMES = (
    "", "walk=", "walk=x", "walk=-1", "walk=" + "9" * 5000, "walk=1 step=1", "walk=1 step=1 in_time=1 x", "=",
    "walk==", "walk=1 step=9999999999999999999999 in_time=0", "lease=", "lease=a release", "release",
    "walk=٣", "walk=1 step=0 in_time=1", "walk=²", "\x00", "x" * 100_000,
)  # fmt: skip


def target() -> Target:
    task = WalkingTask(SPEC)

    def spoil(rng: np.random.Generator) -> bytes:
        return json.dumps([_message(rng, number // len(TOPICS)) for number in range(MESSAGES)]).encode()

    def use(path: Path) -> None:
        listener = WalkListener(SPEC, lambda: bool(path.stat().st_size % 2))
        responder = Responder(task, SeededActions("random", task, 0.1, 0))
        assembler, supervisor = StateAssembler(JOINT_STATES, IMU, FOOT_CONTACTS), Supervisor(SPEC)
        refusals = []
        for topic, content in json.loads(path.read_bytes()):
            message = _object(content)
            try:
                _to_logger(listener, topic, message)
                _to_controller(responder, assembler, supervisor, topic, message)
            except UserError as error:
                refusals.append(error)
        if len(refusals) == MESSAGES:
            raise refusals[0]

    return Target(spoil, use)


def _to_logger(listener: WalkListener, topic: str, message: Any) -> None:
    listener.hear(topic, message, 0)
    for step in listener.steps():
        row = step.transition
        assert row.observation.shape == row.next_observation.shape == (55,)


def _to_controller(
    responder: Responder, assembler: StateAssembler, supervisor: Supervisor, topic: str, message: Any
) -> None:
    if topic == JOINT_COMMANDS:
        assert isinstance(lease_of(message), str) and is_release(message) in (True, False)
        supervisor.mode = Mode.WALKING
        if message.name:
            parse_command(SPEC, message)
    if topic in (JOINT_STATES, IMU, FOOT_CONTACTS):
        if topic == JOINT_STATES and walk_of(message) is not None:
            responder.begin()
        state = assembler.add(topic, *parse_part(SPEC, topic, message))
        if state is not None:
            command = responder.answer(state)
            decision = supervisor.step(state, command)
            targets = decision.motors.positions
            assert np.isfinite(targets).all()
            assert (targets >= SPEC.lower).all() and (targets <= SPEC.upper).all()


def _message(rng: np.random.Generator, step: int) -> tuple[str, Any]:
    """A topic and a message on it, as JSON; about half are whole."""
    topic = TOPICS[rng.integers(len(TOPICS))]
    stamp = step * PERIOD
    header = {"stamp": {"sec": stamp // 10**9, "nanosec": stamp % 10**9}, "frame_id": f"walk={step // 8}"}
    if topic == ROBOT_STATE:
        return topic, {"data": ("walking", "ready", "", "x" * 1000)[rng.integers(4)]}
    if topic == FOOT_CONTACTS:
        content: dict[str, Any] = {
            "data": [30.0] * 4,
            "layout": {"dim": [{"label": f"foot stamp={stamp}", "size": 4}]},
        }
    elif topic == IMU:
        content = {
            "header": header,
            "orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0},
            "angular_velocity": {"x": 0.0, "y": 0.0, "z": 0.0},
            "linear_acceleration": {"x": 0.0, "y": 0.0, "z": 9.81},
        }
    elif topic == ODOM:
        content = {"header": header, "pose": {"pose": {"position": {"x": 0.0, "y": 0.0, "z": 0.3}}}}
    else:
        if topic == SENT_COMMANDS:
            header["frame_id"] += f" step={step} in_time=1"
        content = {"header": header, "name": list(SPEC.joint_names), "position": SPEC.stand_pose.tolist()}
        content |= {"velocity": [0.0] * 12, "effort": [0.0] * 12}
    return topic, _spoilt(rng, content) if rng.random() < 0.5 else content


def _spoilt(rng: np.random.Generator, value: Any) -> Any:
    """`value` with something odd in it that its type permits."""
    if isinstance(value, dict):
        key = list(value)[rng.integers(len(value))]
        return value | {key: _spoilt(rng, value[key])}
    if isinstance(value, str):
        return FRAMES[rng.integers(len(FRAMES))].replace("walk=", ("walk=", "foot stamp=")[rng.integers(2)])
    if isinstance(value, list):
        match rng.integers(5):
            case 0:
                return value[: rng.integers(len(value) + 1)]
            case 1:
                return value + value[: rng.integers(len(value) + 1)]
            case 2:
                return value * 200
            case 3:
                return [value[i] for i in rng.permutation(len(value))]
        place = int(rng.integers(len(value))) if value else 0
        return [_spoilt(rng, v) if n == place else v for n, v in enumerate(value)]
    if isinstance(value, int):
        return (0, -1, 2**31 - 1, -(2**31), 999_999_999, 4_000_000_000)[rng.integers(6)]
    return NUMBERS[rng.integers(len(NUMBERS))]


def _object(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{key: _object(entry) for key, entry in value.items()})
    return [_object(entry) for entry in value] if isinstance(value, list) else value
