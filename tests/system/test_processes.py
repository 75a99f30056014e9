"""Nodes as processes: none outlives its parent, a dead one is named, one that hangs is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dara_ros import processes as processes_module
from dara_ros.processes import NodeDied, Processes, ros_arguments

STUBBORN = """
import signal, time
def main():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(600)
"""
FAILING = """
def main():
    print("first line")
    print("no such policy: x.onnx")
    return 2
"""
PARENT = """
import sys, signal
from pathlib import Path
from dara_ros import processes
processes.__package__ = "fake_nodes"
print(processes.Processes(Path(sys.argv[1])).start("patient").process.pid, flush=True)
signal.pause()
"""
PATIENT = """
import time
def main():
    time.sleep(600)
"""


@pytest.fixture
def fake_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of nodes that need no ROS, in place of dara_ros."""
    package = tmp_path / "fake_nodes"
    package.mkdir()
    for name, code in (("__init__", ""), ("stubborn", STUBBORN), ("failing", FAILING), ("patient", PATIENT)):
        (package / f"{name}.py").write_text(code)
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), root)))
    monkeypatch.setattr(processes_module, "__package__", "fake_nodes")


def wait_until(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_a_node_that_dies_is_named_with_its_last_line(fake_nodes, tmp_path) -> None:
    with Processes(tmp_path / "logs") as processes:
        node = processes.start("failing")
        assert node.process.wait(20.0) == 2
        with pytest.raises(NodeDied, match=r"failing ended with status 2: no such policy: x.onnx"):
            processes.check()


def test_a_node_that_hangs_is_killed(fake_nodes, tmp_path) -> None:
    processes = Processes(tmp_path / "logs")
    node = processes.start("stubborn")
    assert wait_until(lambda: node.last_line() == "ready")
    assert processes.stop(patience=0.2) == {"stubborn": -signal.SIGKILL}


def test_leaving_the_context_stops_all_nodes(fake_nodes, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt), Processes(tmp_path / "logs") as processes:
        pid = processes.start("patient").process.pid
        raise KeyboardInterrupt
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_parent_leaves_no_node_behind(fake_nodes, tmp_path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "logs")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists())


def test_the_parent_may_die_before_the_node_looks(fake_nodes, tmp_path) -> None:
    node = subprocess.Popen(
        [sys.executable, "-m", "dara_ros.processes", "1", "fake_nodes.patient"], start_new_session=True
    )
    assert node.wait(20.0) == -signal.SIGTERM  # it runs for process 1, and is ours


def test_parameters_keep_their_types() -> None:
    assert ros_arguments({"policy": "1", "eta": 1e-3, "start": True, "steps": 3}, "dog/") == [
        *("--ros-args", "-p", 'policy:="1"', "-p", "eta:=0.001", "-p", "start:=true", "-p", "steps:=3"),
        *("-r", "__ns:=/dog"),
    ]
