"""The lease over DDS: a second commander is refused and shown, and the lease ends with its holder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.publisher import Publisher
from running_nodes import Nodes, run_nodes
from sensor_msgs.msg import JointState

from dara_ros import messages, parsing, qos
from dara_ros.errors import UserError
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.state import JointCommand
from dara_ros.lease_client import LeaseClient
from dara_ros.processes import Processes, free_domain_id
from dara_ros.session import CONTROLLER, ROBOT, Refused, RobotClient

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

PATIENCE = 30.0  # s


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    logs = tmp_path_factory.mktemp("logs")
    with run_nodes(logs, CONTROLLER, mode="lock_step", answer_timeout=5.0) as nodes:
        nodes.client.set_parameters(CONTROLLER, {"policy": "trot"})
        nodes.client.configure()
        yield nodes


@pytest.fixture
def standing(nodes: Nodes) -> Iterator[Nodes]:
    """A robot that stands, and a controller that is not active."""
    nodes.client.restart(0)
    nodes.stand()
    yield nodes
    if nodes.client.mode is Mode.WALKING:
        nodes.client.enable(False)


@pytest.fixture
def publisher(nodes: Nodes) -> Publisher:
    return nodes.client.node.create_publisher(JointState, parsing.JOINT_COMMANDS, qos.COMMAND)


def wait_until(condition: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
    for _ in range(int(PATIENCE / 0.02)):
        meanwhile()
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it never happened")


def figure(nodes: Nodes, name: str) -> int:
    return int(nodes.client.diagnostics(ROBOT, newer=True)[name])


def test_without_a_controller_the_robot_does_not_walk(standing: Nodes) -> None:
    with pytest.raises(Refused, match="no controller holds the robot; activate one"):
        standing.client.enable(True)
    assert standing.client.mode is Mode.READY


def test_a_second_commander_is_refused_and_shown(
    standing: Nodes, publisher: Publisher, a1: RobotSpec
) -> None:
    shown: list[tuple[bytes, str]] = []

    def see(message: DiagnosticArray) -> None:
        shown.extend((s.level, s.message) for s in message.status if s.name == ROBOT)

    warnings = standing.client.node.create_subscription(DiagnosticArray, "/diagnostics", see, 10)
    standing.client.activate()
    with pytest.raises(Refused, match="another controller holds the robot"):
        standing.client.trigger(ROBOT, "lease")
    standing.client.enable(True)

    def answer(state: JointState) -> None:
        """Were it taken, the walk would end damped."""
        command = JointCommand(parsing.stamp_of(state.header.stamp), np.full(12, np.nan))
        publisher.publish(messages.command_message(a1, command, "made up"))

    answers = standing.client.node.create_subscription(JointState, parsing.JOINT_STATES, answer, qos.SENSOR)
    warning = (DiagnosticStatus.WARN, "commands of a second controller are refused")
    wait_until(lambda: warning in shown)
    assert standing.client.mode is Mode.WALKING
    assert figure(standing, "foreign_commands") > 0
    standing.client.node.destroy_subscription(answers)
    standing.client.enable(False)  # in lock-step it would walk on for minutes, and fall one day
    shown.clear()
    wait_until(lambda: (DiagnosticStatus.OK, "ok") in shown)
    standing.client.node.destroy_subscription(warnings)
    standing.client.deactivate()


def test_a_transition_that_is_not_allowed_is_refused_and_ends_no_walk(standing: Nodes) -> None:
    with pytest.raises(Refused, match="refused to deactivate: no such transition from inactive"):
        standing.client.deactivate()
    standing.client.activate()
    standing.client.enable(True)
    with pytest.raises(Refused, match="refused to activate: no such transition from active"):
        standing.client.activate()
    assert standing.client.mode is Mode.WALKING
    standing.client.enable(False)
    standing.client.deactivate()


def test_a_controller_that_leaves_in_a_walk_leaves_a_robot_that_stands(standing: Nodes) -> None:
    standing.client.set_parameters(ROBOT, {"answer_timeout": 0.02})  # else lock-step waits for its answers
    standing.client.activate()
    standing.client.enable(True)
    standing.client.deactivate()
    standing.client.wait_for_mode(Mode.READY, timeout=5.0)
    time.sleep(0.5)  # silence would have damped it by now
    assert standing.client.mode is Mode.READY


def test_the_lease_ends_with_its_holder(standing: Nodes, publisher: Publisher) -> None:
    standing.client.activate()
    standing.client.deactivate()  # gives it back at once
    token = standing.client.trigger(ROBOT, "lease")
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(0.05):
            publisher.publish(messages.keep_alive_message(token))

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        with pytest.raises(Refused, match="another controller holds the robot"):
            standing.client.activate()
    finally:
        stop.set()
        keeper.join()
    standing.client.activate()  # waits until the silent holder has lost it
    standing.client.deactivate()


def test_commands_for_other_joints_end_the_walk_damped(
    standing: Nodes, publisher: Publisher, a1: RobotSpec
) -> None:
    refused = figure(standing, "refused")
    standing.client.set_parameters(ROBOT, {"answer_timeout": 0.02})
    message = messages.command_message(
        a1, JointCommand(0, a1.stand_pose), standing.client.trigger(ROBOT, "lease")
    )
    message.name = [f"other_{name}" for name in message.name]
    publisher.publish(message)  # a sign of life, even so
    standing.client.enable(True)
    wait_until(lambda: standing.client.mode is Mode.DAMPED, lambda: publisher.publish(message))
    standing.client.set_parameters(ROBOT, {"answer_timeout": 5.0})
    assert figure(standing, "refused") > refused
    standing.wait_for_log(ROBOT, "damped: no command for 100 ms")


def test_without_a_robot_node_there_is_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dara_ros.lease_client.START", 0.3)
    with RobotClient(free_domain_id(), namespace="lab") as client:
        lease = LeaseClient(client.node)
        with pytest.raises(UserError, match="no robot node offers /lab/robot_node/lease; start one"):
            lease.take()
        lease.close()


def test_a_controller_that_comes_first_waits_for_the_robot_node(tmp_path: Path) -> None:
    """As in a launch file, where all nodes start at once."""
    domain = free_domain_id()
    with Processes(tmp_path, domain) as processes:
        processes.start(CONTROLLER, {"policy": "trot"})
        with RobotClient(domain, check=processes.check) as client:
            client.wait_for_nodes((CONTROLLER,))
            client.configure()
            processes.start(ROBOT)
            client.activate()
