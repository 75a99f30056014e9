"""Whatever ends, the robot ends damped: dead controllers, the e-stop, signals to every node."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from running_nodes import Nodes, run_nodes

from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import ROBOTS
from dara_ros.policies.dataset import DataSet
from dara_ros.session import CONTROLLER, LOGGER, ROBOT, Refused

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")


ROWS = 5  # that are logged before anything is stopped


@pytest.fixture(params=["lock_step", "real_time"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nodes]:
    """A robot that walks to the controller's trot, and a logger that records."""
    a1 = (ROBOTS / "a1.yaml").read_text()
    patient = tmp_path / "patient.yaml"  # a busy machine may hold up a controller that is alive
    patient.write_text(re.sub(r"command_timeout: [\d.]+", "command_timeout: 1.0", a1))
    parameters = {"robot": patient, "mode": request.param, "answer_timeout": 0.05, "priority": 10}
    with run_nodes(tmp_path, CONTROLLER, LOGGER, **parameters) as nodes:
        nodes.engage("trot")
        nodes.record(tmp_path / "walk.h5", world="flat")
        nodes.stand()
        nodes.client.enable(True)
        deadline = time.monotonic() + 30.0
        while int(nodes.client.diagnostics(LOGGER, newer=True)["rows"]) < ROWS:
            assert nodes.client.mode is Mode.WALKING, nodes.log(ROBOT)
            assert time.monotonic() < deadline, nodes.log(LOGGER)
        yield nodes


def test_priority_is_real_or_said_not_to_be(tmp_path: Path) -> None:
    with run_nodes(tmp_path, priority=10) as nodes:
        robot = nodes.processes.nodes[ROBOT].process.pid
        threads = [int(thread) for thread in os.listdir(f"/proc/{robot}/task")]
        real = {os.sched_getscheduler(thread) == os.SCHED_FIFO for thread in threads}
        assert len(threads) > 2
        assert real == {True} or "no SCHED_FIFO" in nodes.log(ROBOT)


def stop(nodes: Nodes, node: str, number: signal.Signals) -> int:
    """Send a signal; the exit status."""
    process = nodes.processes.nodes.pop(node).process
    process.send_signal(number)
    return process.wait(timeout=20.0)


def test_killed_controller_leaves_a_damped_robot_and_all_stop_cleanly(nodes: Nodes, tmp_path: Path) -> None:
    stop(nodes, CONTROLLER, signal.SIGKILL)
    nodes.client.wait_for_mode(Mode.DAMPED, timeout=20.0)
    # Where the robot holds its last target for a second it may fall before.
    nodes.wait_for_log(ROBOT, "damped: (no command for|tilt beyond|base lower)")
    with pytest.raises(Refused, match="damped"):
        nodes.client.enable(True)
    assert stop(nodes, LOGGER, signal.SIGINT) == 0
    assert stop(nodes, ROBOT, signal.SIGHUP) == 0  # the terminal is gone
    check_logs_and_file(nodes, tmp_path / "walk.h5", CONTROLLER)


def test_signals_and_the_emergency_stop_while_walking(nodes: Nodes, tmp_path: Path) -> None:
    nodes.client.estop()
    nodes.client.wait_for_mode(Mode.DAMPED, timeout=5.0)
    nodes.wait_for_log(ROBOT, "emergency stop")
    nodes.client.reset()
    nodes.client.wait_for_mode(Mode.PASSIVE, timeout=5.0)
    nodes.client.restart(1)
    nodes.stand()
    nodes.client.enable(True)
    time.sleep(0.3)
    assert nodes.client.mode is Mode.WALKING
    assert stop(nodes, ROBOT, signal.SIGTERM) == 0
    assert nodes.client.wait_for_mode(Mode.DAMPED, timeout=5.0) is Mode.DAMPED  # its last word
    assert stop(nodes, CONTROLLER, signal.SIGTERM) == 0
    assert stop(nodes, LOGGER, signal.SIGTERM) == 0
    check_logs_and_file(nodes, tmp_path / "walk.h5")


def check_logs_and_file(nodes: Nodes, file: Path, *killed: str) -> None:
    for node in {ROBOT, CONTROLLER, LOGGER} - set(killed):
        log = nodes.log(node)
        assert "Traceback" not in log
        assert log.strip().splitlines()[-1].count("stopped: ") == 1
    with DataSet(file) as data:
        assert len(data) >= ROWS
        stamps, timeouts = data.column("infos/stamp"), data.column("timeouts")
    # The file was closed in order: its last row ends an episode, and episodes hold consecutive periods.
    assert timeouts[-1]
    assert set(np.diff(stamps)[~timeouts[:-1]].tolist()) == {20_000_000}
