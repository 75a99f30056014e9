"""`dara record` beside a robot that runs already."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs the extra [ros]")
pytest.importorskip("pybullet", reason="needs the extra [sim]")

from dara_ros.hardware.safety import Mode  # noqa: E402
from dara_ros.policies.dataset import DataSet  # noqa: E402
from dara_ros.processes import Processes  # noqa: E402
from dara_ros.session import CONTROLLER, LOGGER, ROBOT, RobotClient  # noqa: E402

STEPS = 60


@pytest.fixture
def robot(tmp_path: Path) -> Iterator[RobotClient]:
    """A simulated robot that is ready to walk, and its controller, in this session's ROS domain."""
    with Processes(tmp_path / "logs") as processes:
        lock_step = {"driver": "pybullet", "world": "flat", "mode": "lock_step", "walk_steps": STEPS}
        processes.start(ROBOT, lock_step)
        processes.start(CONTROLLER, {"policy": "trot"})
        with RobotClient(int(os.environ["ROS_DOMAIN_ID"]), check=processes.check) as client:
            client.wait_for_nodes((ROBOT, CONTROLLER), timeout=60)
            client.configure()
            client.activate()
            client.stand()
            client.wait_for_mode(Mode.READY)
            yield client


def wait_for(robot: RobotClient, figure: str, value: str) -> None:
    """Wait until the logger says so."""
    deadline = time.monotonic() + 60
    while robot.diagnostics(LOGGER, timeout=60)[figure] != value:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_rows_of_a_walk_are_recorded(robot: RobotClient, tmp_path: Path) -> None:
    out = tmp_path / "recorded.h5"
    keyboard, terminal = os.openpty()
    command = [sys.executable, "-m", "dara_ros.command", "record", "--world", "yard", "--out", str(out)]
    with subprocess.Popen(
        [*command, "--json"], stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(robot, "recording", "True")
        robot.walk(timeout=60)
        wait_for(robot, "episodes", "1")
        os.write(keyboard, b"pd")
        wait_for(robot, "paused", "True")
        wait_for(robot, "episodes", "0")
        os.write(keyboard, b"r")
        wait_for(robot, "paused", "False")
        robot.restart(1)
        robot.stand()
        robot.wait_for_mode(Mode.READY)
        robot.walk(timeout=60)
        process.send_signal(signal.SIGINT)
        answer, said = process.communicate(timeout=60)
    os.close(keyboard)
    os.close(terminal)
    assert process.returncode == 130
    assert "rows discarded" in said
    told = json.loads(answer)
    assert (told["files"], told["dropped"], told["problem"]) == ([str(out)], 0, "")
    for node, figure in ((ROBOT, "period_ms_p50"), (CONTROLLER, "inference_ms_p50"), (LOGGER, "rate_hz")):
        assert float(told["nodes"][node][figure]) > 0.0
    with DataSet(out) as data:
        assert (data.info.world, data.info.domain) == ("yard", "target")
        assert STEPS - told["lost"] <= len(data) == told["rows"] <= STEPS  # of the second walk alone


def test_nobody_to_record_is_said(tmp_path: Path) -> None:
    out = tmp_path / "nothing.h5"
    command = [sys.executable, "-m", "dara_ros.command", "record", "--out", str(out), "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "nobody publishes joint_states, " in done.stderr and "ROS_DOMAIN_ID, DARA_NETWORK" in done.stderr
    assert not out.exists()


def test_a_walk_that_goes_on_already_is_no_success(robot: RobotClient, tmp_path: Path) -> None:
    out = tmp_path / "late.h5"
    command = [sys.executable, "-m", "dara_ros.command", "record", "--out", str(out), "--seconds", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no file: 0 rows" in done.stdout and "no walk began" in done.stdout
    assert not out.exists()
