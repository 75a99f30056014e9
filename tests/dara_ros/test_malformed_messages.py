"""Malformed messages over DDS: no node dies of one, and the robot stays as safe as it was."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("pybullet")
pytest.importorskip("onnx")

from running_nodes import Nodes, run_nodes
from sensor_msgs.msg import Imu, JointState, Joy
from std_msgs.msg import Float32MultiArray, MultiArrayDimension

from dara_ros.hardware.safety import Mode
from dara_ros.session import CONTROLLER, LOGGER, ROBOT
from tests.fuzz.ros_messages import FRAMES, NUMBERS, SPEC

TOPICS = {
    "joint_commands": JointState,
    "sent_commands": JointState,
    "joint_states": JointState,
    "imu/data": Imu,
}
TOPICS |= {"foot_contacts": Float32MultiArray, "joy": Joy}
ROUNDS = 60


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with run_nodes(
        tmp_path_factory.mktemp("logs"), CONTROLLER, LOGGER, world="flat", mode="lock_step", walk_steps=20
    ) as running:
        yield running


def odd(rng: np.random.Generator) -> float:
    return NUMBERS[rng.integers(len(NUMBERS))]


def malformed(rng: np.random.Generator, kind: type) -> JointState | Imu | Float32MultiArray | Joy:
    message = kind()
    frame = FRAMES[rng.integers(len(FRAMES))].replace("\x00", "")
    if kind is Float32MultiArray:
        message.data = array("f", [30.0] * int(rng.integers(9)))
        message.layout.dim = [MultiArrayDimension(label=frame.replace("walk=", "foot stamp="))]
        return message
    message.header.frame_id = frame
    message.header.stamp.sec = (0, -1, 2**31 - 1, -(2**31))[rng.integers(4)]
    message.header.stamp.nanosec = (0, 2**32 - 1)[rng.integers(2)]
    if kind is Joy:
        message.buttons, message.axes = [int(rng.integers(-5, 5))] * int(rng.integers(4)), [odd(rng)]
    elif kind is Imu:
        message.orientation.w, message.linear_acceleration.z = odd(rng), odd(rng)
    else:
        names = list(SPEC.joint_names)
        message.name = [
            names,
            names[:5],
            names * 50,
            [],
            ["\udcff".encode("utf-8", "replace").decode()] * 12,
        ][rng.integers(5)]
        message.position = array("d", [odd(rng)] * int((12, 0, 11, 5000)[rng.integers(4)]))
        message.velocity = array("d", [odd(rng)] * int((12, 0)[rng.integers(2)]))
    return message


def test_they_harm_nobody(nodes: Nodes, mild_policy: Path, tmp_path: Path) -> None:
    """While a controller holds the robot, and by who holds it; then it walks as if nothing had been."""
    client, rng = nodes.client, np.random.default_rng(0)
    publishers = {topic: client.node.create_publisher(kind, topic, 10) for topic, kind in TOPICS.items()}

    def throw(lease: str = "") -> None:
        for _ in range(ROUNDS):
            for topic, kind in TOPICS.items():
                message = malformed(rng, kind)
                if topic == "joint_commands" and lease:
                    message.header.frame_id = f"lease={lease}"
                publishers[topic].publish(message)
        for node in (ROBOT, CONTROLLER, LOGGER):
            assert client.get_parameters(node, ["use_sim_time"]) == [False]  # it still answers
        nodes.processes.check()

    nodes.engage(mild_policy)
    nodes.record(tmp_path / "walk.h5")
    nodes.stand()
    client.enable(True)
    throw()
    client.wait_for_mode(Mode.READY, Mode.DAMPED)
    nodes.release()
    client.restart(1)
    nodes.stand()
    lease = client.trigger(ROBOT, "lease")
    client.enable(True)
    throw(lease)
    client.wait_for_mode(Mode.READY, Mode.DAMPED)
    figures = client.diagnostics(ROBOT, newer=True)
    assert int(figures["refused"]) > 0 and int(figures["foreign_commands"]) > 0

    for publisher in publishers.values():
        client.node.destroy_publisher(publisher)
    client.restart(2)
    nodes.engage(mild_policy)
    nodes.stand()
    assert client.walk(60.0) is Mode.READY
    for node in (ROBOT, CONTROLLER, LOGGER):
        assert "Traceback" not in nodes.log(node)
