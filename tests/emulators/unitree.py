"""A Unitree robot in a process of its own, on loopback, for tests of the driver.

with UnitreeEmulator("a1") as robot:
    driver = UnitreeUdpDriver(load_robot("a1"), robot.address, local_port=0)
    robot.set(loss=0.2)
    assert robot.status().motors == "damped"
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

FOLDER = Path(__file__).resolve().parent
PRIORITY = 11  # above that of the nodes


@dataclass(frozen=True)
class Status:
    """How the robot is.

    Attributes:
        motors: "servo" (stiff), "damped" or "limp".
        by: who made them so: "start", "command", "watchdog", or a Go2's "sport" mode, "released" after it.
        since: when they became so, on this machine's monotonic clock, s.
        effective: when the first state went out (or was kept back) after faults had changed, likewise.
        commands: valid ones so far.
        refused: of the others how many, by what was wrong with them.
        position: of the base, m.
        up: cosine of its tilt.
        joint_positions: rad.
    """

    motors: str
    by: str
    since: float
    effective: float | None
    commands: int
    refused: dict[str, int]
    position: tuple[float, float, float]
    up: float
    joint_positions: list[float]


class UnitreeEmulator:
    """Starts the robot; leaving the context ends it.

    Args:
        robot: whose protocol it speaks, "a1", "go1" or "go2"; the last has no address, but a ROS domain.
        hung: it hangs in the air, as on a lab's stand, and cannot fall.
        domain: that ROS domain; None for that of this process.
    """

    def __init__(self, robot: str = "a1", hung: bool = False, domain: int | None = None) -> None:
        script = FOLDER / ("unitree_go2_robot.py" if robot == "go2" else "unitree_robot.py")
        self._arguments = [str(script), robot, *(["hung"] if hung else [])]
        self._environment = os.environ | {"PYTHONPATH": str(FOLDER.parent)}
        if domain is not None:
            self._environment["ROS_DOMAIN_ID"] = str(domain)

    def __enter__(self) -> UnitreeEmulator:
        self._process = subprocess.Popen(
            [sys.executable, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment,
        )
        with suppress(OSError):  # a robot's board does not compete with our nodes for a processor
            os.sched_setscheduler(self._process.pid, os.SCHED_FIFO, os.sched_param(PRIORITY))
        self.address = ("127.0.0.1", int(json.loads(self._line())))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=10.0)  # closes its stdin, on which it ends

    def set(self, **faults: float | bool | str | None) -> Status:
        """Change faults; see `unitree_robot.Faults`, `unitree_robot.Robot.change`, and `Go2Faults`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(faults) + "\n")
        self._process.stdin.flush()
        return Status(**json.loads(self._line()))

    def heal(self) -> Status:
        """End all faults."""
        return self.set(healed=True)

    def status(self) -> Status:
        """How the robot is now."""
        return self.set()

    def wait_until(self, condition: Callable[[Status], bool], timeout: float = 10.0) -> Status:
        """The first status that satisfies `condition`; fails where none does within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition(status := self.status()):
            assert time.monotonic() < deadline, status
            time.sleep(0.005)
        return status

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the emulator has died"
        return line
