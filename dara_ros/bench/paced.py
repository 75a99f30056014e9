"""One paced process of `dara bench control`: the robot node's loop, or a bare sleep, slice by slice."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from dara_ros import real_time
from dara_ros.diagnostics import Durations
from dara_ros.hardware.driver import never
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import RobotSpec, load_robot
from dara_ros.hardware.state import MotorCommand, RobotState
from dara_ros.processes import Parameter, ros_arguments
from dara_ros.robot_node import RobotNode
from dara_ros.running import run_node

LOOP, SLEEP = "loop", "sleep"
PRIORITY = 50


@dataclass(frozen=True)
class Job:
    """What a process does.

    Attributes:
        kind: LOOP or SLEEP.
        robot: YAML file, whose control period is the period.
        real_time: take the real-time measures.
        slices: how often it is measured for `slice_seconds`, and then not, for as long.
        walking: the loop goes on between slices, as a robot that walks must not pause.
    """

    kind: str
    robot: str
    real_time: bool
    slices: int
    slice_seconds: float
    walking: bool = False

    def turns(self, first: float) -> Iterator[tuple[float, float]]:
        """Begin and end of each slice, of which the first begins at `first`."""
        for number in range(self.slices):
            begin = first + 2 * number * self.slice_seconds
            yield begin, begin + self.slice_seconds


class IdealRobot:
    """A Driver whose joints are where they were told to be, at once and at no cost."""

    def __init__(self, spec: RobotSpec) -> None:
        self._period = spec.period_ns
        self._stamp = 0
        self._positions = spec.stand_pose
        self._rng = np.random.default_rng(0)

    def open(self, called_off: Callable[[], bool] = never) -> None:
        """Nothing to connect."""

    def read(self) -> RobotState:
        """Upright, with sensors that live: the supervisor damps on frozen ones."""
        noise = self._rng.normal(0.0, 1e-3, 30)
        return RobotState(
            stamp=self._stamp,
            joint_positions=self._positions,
            joint_velocities=noise[:12],
            joint_torques=noise[12:24],
            orientation=np.array([0.0, 0.0, 0.0, 1.0]),
            angular_velocity=noise[24:27],
            linear_acceleration=np.array([0.0, 0.0, 9.81]) + noise[27:],
            foot_forces=np.full(4, 30.0),
            position=np.array([0.0, 0.0, 0.3]),
        )

    def write(self, command: MotorCommand) -> None:
        """One period on."""
        self._stamp += self._period
        self._positions = command.positions

    def damp(self) -> None:
        """It never moves by itself."""

    def close(self) -> None:
        """Nothing to disconnect."""


class _Until(threading.Event):
    """Set from a time on."""

    def __init__(self, end: float) -> None:
        super().__init__()
        self._end = end

    def is_set(self) -> bool:
        return time.monotonic() >= self._end


class _Told(threading.Event):
    """Set as soon as the parent has said when the first slice is to begin."""

    def __init__(self) -> None:
        super().__init__()
        self.first = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        self.first = _told()
        self.set()


class _SlicedRobotNode(RobotNode):
    """The robot node, measured slice by slice."""

    def __init__(self, job: Job) -> None:
        super().__init__(lambda name, spec, world, seed: IdealRobot(spec))
        self._job = job

    def run(self, stop: threading.Event) -> None:
        told, lateness, missed = _Told(), Durations(), 0
        super().run(told)
        for begin, end in self._job.turns(told.first):
            if self._job.walking:
                super().run(_Until(begin))
            _sleep_till(begin)
            self._jitter, before = lateness, self._figures["overruns"]
            super().run(_Until(end))
            self._jitter, missed = Durations(), missed + self._figures["overruns"] - before
        if self._job.walking and self._robot.supervisor.mode is not Mode.WALKING:
            raise RuntimeError(f"the walk ended: {self._robot.supervisor.reason}")
        _tell(lateness, missed)


def _bare_sleep(job: Job) -> None:
    if job.real_time:
        real_time.prepare(PRIORITY, lock_memory=True)
    deadlines, lateness, missed = real_time.Deadlines(load_robot(job.robot).control_period), Durations(), 0
    for begin, end in job.turns(_told()):
        _sleep_till(begin)
        deadlines.begin(time.monotonic())
        while (now := time.monotonic()) < end:
            lateness.add(1e3 * (now - deadlines.at))
            missed += deadlines.advance(time.monotonic())
            deadlines.sleep()
    _tell(lateness, missed)


def _sleep_till(begin: float) -> None:
    time.sleep(max(0.0, begin - time.monotonic()))


def _told() -> float:
    """Tell the parent that all is ready; returns when it wants the first slice to begin."""
    print("ready", flush=True)
    return float(sys.stdin.readline())


def _tell(lateness: Durations, missed: int) -> None:
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    figures = {f"late_ms_{name}": round(lateness.quantile(share), 4) for name, share in shares.items()}
    print(json.dumps({"periods": lateness.count, **figures, "missed": missed}), flush=True)


def start(job: Job) -> list[str]:
    """The command line that does `job`."""
    return [sys.executable, "-m", __name__, json.dumps(asdict(job))]


if __name__ == "__main__":
    chosen = Job(**json.loads(sys.argv[1]))
    if chosen.kind == SLEEP:
        _bare_sleep(chosen)
    else:
        parameters: dict[str, Parameter] = {"robot": chosen.robot}
        if chosen.real_time:
            parameters |= {"priority": PRIORITY, "lock_memory": True}
        arguments = [__name__, *ros_arguments(parameters), "--log-level", "warn"]
        sys.exit(run_node("robot_node", partial(_SlicedRobotNode, chosen), arguments))
