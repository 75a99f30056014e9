"""An emulated A1 through its UDP driver and the nodes: it stands up, walks by a policy, and ends damped."""

from __future__ import annotations

import math
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulators.driving import calm_robot
from emulators.unitree import Status, UnitreeEmulator
from nav_msgs.msg import Odometry
from running_nodes import Nodes, run_nodes, write_linear_policy

from dara_ros import qos
from dara_ros.hardware.safety import Mode
from dara_ros.processes import Processes, free_domain_id
from dara_ros.session import CONTROLLER, ROBOT

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

WALK = 0.1  # m that say that it walks
MILD = 0.02  # of a random policy: it changes the gait a little


@pytest.fixture
def emulator() -> Iterator[UnitreeEmulator]:
    """One for each test: it begins upright and looks along x, whatever became of the one before."""
    with UnitreeEmulator("a1") as running:
        running.set(watchdog=1.0)  # a busy machine may hold up a driver that is alive
        yield running


@pytest.fixture
def environment(emulator: UnitreeEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = emulator.address
    monkeypatch.setenv("DARA_ROBOT_ADDRESS", f"{host}:{port}")
    monkeypatch.setenv("DARA_LOCAL_PORT", "0")


@pytest.fixture
def nodes(environment: None, emulator: UnitreeEmulator, tmp_path: Path) -> Iterator[Nodes]:
    """A robot that stands, and a controller that answers with a policy."""
    a1 = calm_robot(tmp_path)
    policy = write_linear_policy(tmp_path / "mild.onnx", MILD, robot=a1)
    with run_nodes(tmp_path, CONTROLLER, robot=a1, driver="unitree_a1", priority=10) as nodes:
        assert emulator.status().motors != "servo"  # nobody said that it should move
        nodes.engage(policy)
        nodes.stand()
        yield nodes


def go_on(emulator: UnitreeEmulator) -> Status:
    """Wait until the robot has come further: in slow motion, on a busy machine, also to the side."""
    start = emulator.status().position
    return emulator.wait_until(lambda s: math.dist(s.position[:2], start[:2]) > WALK, timeout=60.0)


def walk(nodes: Nodes, emulator: UnitreeEmulator) -> None:
    nodes.client.enable(True)
    walking = go_on(emulator)
    assert walking.motors == "servo" and walking.up > 0.9
    assert nodes.client.mode is Mode.WALKING, nodes.log(ROBOT)


def test_stands_walks_and_is_damped_by_the_emergency_stop(nodes: Nodes, emulator: UnitreeEmulator) -> None:
    odometry: list[Odometry] = []
    nodes.client.node.create_subscription(Odometry, "odom", odometry.append, qos.SENSOR)
    walk(nodes, emulator)
    emulator.wait_until(lambda _: bool(odometry))  # the driver's own: without it the logger writes no rows
    assert emulator.set(loss=0.2).motors == "servo"
    go_on(emulator)
    emulator.set(loss=0.0)
    nodes.client.estop()
    assert emulator.wait_until(lambda s: s.motors == "damped").by == "command"
    assert nodes.client.wait_for_mode(Mode.DAMPED, timeout=5.0) is Mode.DAMPED
    nodes.wait_for_log(ROBOT, "emergency stop")
    robot = nodes.processes.nodes.pop(ROBOT).process
    robot.send_signal(signal.SIGINT)
    assert robot.wait(timeout=20.0) == 0
    assert emulator.status().motors == "damped"
    assert emulator.status().refused == {}


def test_a_killed_robot_node_leaves_a_damped_robot(nodes: Nodes, emulator: UnitreeEmulator) -> None:
    walk(nodes, emulator)
    before = time.monotonic()
    robot = nodes.processes.nodes.pop(ROBOT).process
    robot.kill()
    robot.wait(timeout=60.0)
    stopped = emulator.wait_until(lambda s: s.motors == "damped")
    assert stopped.by == "watchdog" and stopped.since > before


def test_without_a_robot_the_node_ends_with_a_line(
    environment: None, emulator: UnitreeEmulator, tmp_path: Path
) -> None:
    emulator.set(mute=True)
    with Processes(tmp_path, free_domain_id()) as processes:
        robot = processes.start(ROBOT, {"driver": "unitree_a1"})
        assert robot.process.wait(timeout=30.0) == 2  # not a failure: something that the user can mend
        last = robot.last_line()
    assert "Error" not in last
    assert re.search(r"no state from 127.0.0.1:\d+ .* low-level mode\?", last), last
    assert emulator.status().motors == "damped"
