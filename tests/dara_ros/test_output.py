"""Nobody reads what a node says: it goes on all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dara_ros.hardware.safety import Mode
from dara_ros.network import LOCALHOST, middleware_environment
from dara_ros.processes import free_domain_id, ros_arguments
from dara_ros.session import ROBOT, RobotClient

SPEAKER = """
import logging, os, sys
from dara_ros import output
with output.never_waited_for():
    for _ in range(100):
        os.write(1, b"first\\n")
    print("second", flush=True)
    for _ in range(int(sys.argv[1])):
        logging.error("x" * 1000)
print("third", flush=True)
"""


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """What writes into it waits for ever."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


def test_all_that_is_read_arrives_in_order() -> None:
    speaker = subprocess.run(
        [sys.executable, "-c", SPEAKER, "500"], capture_output=True, text=True, check=True, timeout=60.0
    )
    assert speaker.stdout.splitlines() == ["first"] * 100 + ["second", "third"]
    assert speaker.stderr.count("x" * 1000) == 500


def test_nobody_waits_for_who_does_not_read(full_pipe: int) -> None:
    speaker = [sys.executable, "-c", SPEAKER, "5000"]  # more than finds room
    with subprocess.Popen(speaker, stdout=subprocess.PIPE, stderr=full_pipe, text=True) as process:
        said, _ = process.communicate(timeout=60.0)
    assert process.returncode == 0
    assert said.splitlines()[-1] == "third"


def test_a_robot_whose_terminal_was_stopped_still_obeys(full_pipe: int) -> None:
    pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")
    domain = free_domain_id()
    process = subprocess.Popen(
        [sys.executable, "-m", f"dara_ros.{ROBOT}", *ros_arguments({"mode": "real_time"}, "")],
        stdout=full_pipe,
        stderr=full_pipe,
        env=os.environ | middleware_environment(LOCALHOST) | {"ROS_DOMAIN_ID": str(domain)},
    )
    try:
        with RobotClient(domain) as client:
            client.wait_for_nodes([ROBOT])
            client.stand()
            client.wait_for_mode(Mode.READY)
            client.estop()  # of which it says a line
            client.wait_for_mode(Mode.DAMPED)
            client.reset()
            client.wait_for_mode(Mode.PASSIVE)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20.0) == 0
    finally:
        process.kill()
        process.wait()
