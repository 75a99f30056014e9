"""Deadlines, and real-time measures that the kernel grants or refuses."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy

from dara_ros.bench.paced import IdealRobot
from dara_ros.errors import UserError
from dara_ros.hardware.driver import never
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.state import MotorCommand, RobotState
from dara_ros.network import LOCALHOST, middleware_environment
from dara_ros.processes import free_domain_id
from dara_ros.real_time import Deadlines, prepare
from dara_ros.robot_node import RobotNode

PERIOD = 0.02
CORE = min(os.sched_getaffinity(0))
PR_CAPBSET_DROP = 24  # linux/prctl.h
REAL_TIME_CAPABILITIES = (14, 23, 24)  # CAP_IPC_LOCK, CAP_SYS_NICE, CAP_SYS_RESOURCE


def test_deadlines_stay_on_their_grid_and_never_bunch() -> None:
    rng = np.random.default_rng(0)
    deadlines, now = Deadlines(PERIOD), 100.0
    deadlines.begin(now)
    passed = 0
    for _ in range(2000):
        before = deadlines.at
        work = rng.exponential(PERIOD * rng.choice([0.1, 0.9, 5.0]))
        now = max(now, deadlines.at) + work
        missed = deadlines.advance(now)
        passed += 1 + missed
        assert deadlines.at == pytest.approx(100.0 + passed * PERIOD, abs=1e-9)
        assert deadlines.at == pytest.approx(before + (1 + missed) * PERIOD, abs=1e-9)
        assert now <= deadlines.at  # no deadline lies in the past: nothing is caught up
        assert missed == 0 or deadlines.at - now <= PERIOD  # and none more than needed is left out


class StallingRobot(IdealRobot):
    """Holds the loop up once, and stops it a little later."""

    def __init__(self, spec: RobotSpec, stop: threading.Event) -> None:
        super().__init__(spec)
        self._stop = stop
        self._reads = 0

    def read(self) -> RobotState:
        self._reads += 1
        if self._reads == 5:
            time.sleep(6 * PERIOD)
        if self._reads == 10:
            self._stop.set()
        return super().read()


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A context on this machine alone."""
    for name, value in middleware_environment(LOCALHOST).items():
        monkeypatch.setenv(name, value)
    rclpy.init(domain_id=free_domain_id())
    yield
    rclpy.try_shutdown()


def test_the_loop_leaves_out_what_a_stall_cost(ros: None) -> None:
    stop = threading.Event()
    node = RobotNode(lambda name, spec, world, seed: StallingRobot(spec, stop))
    begin = time.monotonic()
    node.run(stop)
    periods = (time.monotonic() - begin) / PERIOD
    _, figures = node._describe()
    node.close()
    node.destroy_node()
    assert figures["overruns"] >= 5
    assert figures["ticks"] + figures["overruns"] <= periods + 1  # a burst would have made more


class SilentRobot(IdealRobot):
    """Its host takes two and a half periods for each; it says nothing new any more when it is told so."""

    def __init__(self, spec: RobotSpec) -> None:
        super().__init__(spec)
        self.silent = False
        self._said: RobotState | None = None

    def read(self) -> RobotState:
        time.sleep(2.5 * PERIOD)
        if self._said is None or not self.silent:
            self._said = super().read()
        return self._said


def test_a_slow_host_hears_silence_no_later_than_a_fast_one(ros: None) -> None:
    stop = threading.Event()
    node = RobotNode(lambda name, spec, world, seed: SilentRobot(spec))
    loop = threading.Thread(target=node.run, args=(stop,))
    loop.start()
    while node._figures["ticks"] < 3:
        time.sleep(0.001)
    with node._changed:
        node._robot.supervisor.mode = Mode.READY  # who is energised is damped for silence
        node._driver.silent = True
        before = node._figures["ticks"]
    while node._robot.supervisor.mode is not Mode.DAMPED and node._figures["ticks"] < before + 10:
        time.sleep(0.001)
    ticks = node._figures["ticks"] - before
    stop.set()
    loop.join()
    node.close()
    node.destroy_node()
    # Three periods each: 100 ms are over after two, and a turn was under way.
    assert ticks <= 3


def test_a_walk_that_is_longer_than_it_may_be_by_now_ends(ros: None) -> None:
    node = RobotNode(lambda name, spec, world, seed: IdealRobot(spec))
    supervisor = node._robot.supervisor
    supervisor.mode, supervisor._heard = Mode.WALKING, 10**9
    node._steps = 50
    node.set_parameters([rclpy.Parameter("walk_steps", value=40)])
    with node._changed:
        node._tick(node._publish_state())
    node.destroy_node()
    assert supervisor.mode is Mode.READY


class ConnectingRobot(IdealRobot):
    """Connects when it may, and stops the loop after some periods."""

    def __init__(self, spec: RobotSpec, stop: threading.Event) -> None:
        super().__init__(spec)
        self.may_connect = threading.Event()
        self.stiff = False
        self._stop = stop
        self._writes = 0

    def open(self, called_off: Callable[[], bool] = never) -> None:
        self.may_connect.wait()
        self.was_called_off = called_off()

    def write(self, command: MotorCommand) -> None:
        super().write(command)
        self.stiff |= command.kp > 0.0
        self._writes += 1
        if self._writes == 10:
            self._stop.set()


def test_an_emergency_stop_waits_for_no_driver_that_connects(ros: None) -> None:
    stop = threading.Event()
    node = RobotNode(lambda name, spec, world, seed: ConnectingRobot(spec, stop))
    loop = threading.Thread(target=node.run, args=(stop,))
    loop.start()
    stand = node._robot.supervisor.stand
    assert node._make(stand) == "the driver has not reached the robot yet"
    assert "will not move it" in node._make(node._estop)  # it would block here
    node._driver.may_connect.set()
    loop.join()
    assert node._driver.was_called_off
    _, figures = node._describe()
    node.close()
    node.destroy_node()
    assert figures["mode"] == "damped" and not node._driver.stiff


def refuse() -> None:
    """In a process that is about to begin: no real-time rights, even for root."""
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (2**20, 2**20))
    for capability in REAL_TIME_CAPABILITIES:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def test_a_node_without_rights_warns_once_per_measure_and_works(tmp_path: Path) -> None:
    asked = ["-p", "priority:=10", "-p", "lock_memory:=true", "-p", "cpus:='4095'"]
    command = [sys.executable, "-m", "dara_ros.robot_node", "--ros-args", *asked]
    environment = os.environ | middleware_environment(LOCALHOST) | {"ROS_DOMAIN_ID": str(free_domain_id())}
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stderr=output, env=environment, preexec_fn=refuse)
    while "SCHED_FIFO" not in log.read_text():  # the last of them
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60.0) == 0
    lines = log.read_text().splitlines()
    for measure, permit in (
        ("SCHED_FIFO priority 10", "rtprio 90"),
        ("locked memory", "memlock unlimited"),
        ("cores 4095", "parameter cpus"),
    ):
        (warning,) = [line for line in lines if f"no {measure} (" in line]
        assert "WARN" in warning and permit in warning
    assert "stopped: mode damped" in lines[-1]


def test_measures_are_in_force_or_refused() -> None:
    code = (
        "import json, gc; from dara_ros.real_time import *;"
        f"print(json.dumps([prepare(10, True, '{CORE}'), in_force(), gc.get_freeze_count()]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    refusals, in_force, frozen = json.loads(answer)
    measures = {"SCHED_FIFO": "SCHED_FIFO 10", "locked memory": "memory locked"}
    if os.cpu_count() != 1:
        measures["cores"] = f"cores {CORE}"
    for measure, told in measures.items():
        assert any(measure in line for line in refusals) != (told in in_force), (refusals, in_force)
    assert frozen > 1000


@pytest.mark.parametrize("cpus", ["one", "0-1", "-1", "0,,1"])
def test_cores_that_are_no_list_are_the_users_to_mend(cpus: str) -> None:
    with pytest.raises(UserError, match="write it as 1 or 0,1"):
        prepare(cpus=cpus)
