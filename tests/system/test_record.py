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


def test_rows_of_a_walk_are_recorded(robot: RobotClient, tmp_path: Path) -> None:
    out = tmp_path / "recorded.h5"
    command = [sys.executable, "-m", "dara_ros.command", "record", "--world", "yard", "--out", str(out)]
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while robot.diagnostics(LOGGER, timeout=60)["recording"] != "True":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    robot.walk(timeout=60)
    process.send_signal(signal.SIGINT)
    answer, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    told = json.loads(answer)
    for node, figure in ((ROBOT, "period_ms_p50"), (CONTROLLER, "inference_ms_p50"), (LOGGER, "rate_hz")):
        assert float(told["nodes"][node][figure]) > 0.0
    with DataSet(out) as data:
        assert (data.info.world, data.info.domain) == ("yard", "target")
        assert len(data) == told["rows"] == STEPS - told["lost"]
