"""Lateness of the control loop beside a bare sleep's: 50, 200, 500 Hz, idle and loaded, real time or not.

The robot node's loop and the sleep take turns of two seconds, so that whatever else the machine does hits
them alike. A period is missed when it has not ended by the next deadline. With --walking a controller node
answers every state; then the loop also goes on while the sleep is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from dara_ros.bench import machine, paced, positive
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import ROBOTS
from dara_ros.network import LOCALHOST, middleware_environment
from dara_ros.processes import Parameter, Processes, die_with_parent, free_domain_id
from dara_ros.session import CONTROLLER, ROBOT, RobotClient

RATES = (50, 200, 500)
IDLE, BUSY = "idle", "busy"
PLAIN, REAL_TIME = "plain", "real_time"
SLICE = 2.0  # s of each turn


def measure(rate: int, load: str, measures: str, seconds: float, walking: bool) -> dict[str, Any]:
    """One row: the figures of the loop and of the bare sleep, each over `seconds`.

    Args:
        rate: Hz.
        load: IDLE, or BUSY: a process on every core that computes all the time.
        measures: PLAIN, or REAL_TIME: SCHED_FIFO and locked memory, for both.

    Returns:
        For "loop" and "sleep": periods, late_ms_{p50,p99,p99.9,max}, missed.
    """
    slices, domain = max(1, round(seconds / SLICE)), free_domain_id()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        robot = _robot(Path(folder), rate)
        processes = {}
        for kind in (paced.LOOP, paced.SLEEP):
            job = paced.Job(kind, str(robot), measures == REAL_TIME, slices, seconds / slices, walking)
            processes[kind] = running.enter_context(_process(paced.start(job), domain))
        for process in processes.values():
            _line(process)
        if walking:
            running.enter_context(_walk(Path(folder), robot, domain, measures == REAL_TIME))
        if load == BUSY:
            for _ in os.sched_getaffinity(0):
                running.enter_context(_process([sys.executable, "-c", "while True: pass"], domain))
        first = time.monotonic() + 0.5
        for turn, process in enumerate(processes.values()):
            assert process.stdin is not None
            process.stdin.write(f"{first + turn * seconds / slices}\n")
            process.stdin.flush()
        return {kind: json.loads(_line(process)) for kind, process in processes.items()}


def _robot(folder: Path, rate: int) -> Path:
    """The A1 with another control period."""
    text = (ROBOTS / "a1.yaml").read_text()
    path = folder / "robot.yaml"
    path.write_text(re.sub(r"^control_period: [\d.]+", f"control_period: {1.0 / rate}", text, flags=re.M))
    return path


@contextmanager
def _walk(folder: Path, robot: Path, domain: int, real_time: bool) -> Iterator[None]:
    """Let the robot walk to a controller's trot."""
    measures: dict[str, Parameter] = {"priority": paced.PRIORITY, "lock_memory": True} if real_time else {}
    with Processes(folder, domain) as processes:
        processes.start(CONTROLLER, {"robot": str(robot), "policy": "trot", **measures})
        with RobotClient(domain, check=processes.check) as client:
            client.wait_for_nodes((ROBOT, CONTROLLER))
            client.configure()
            client.activate()
            client.stand()
            client.wait_for_mode(Mode.READY)
            client.enable(True)
        yield


@contextmanager
def _process(command: list[str], domain: int) -> Iterator[subprocess.Popen[str]]:
    """A process that outlives neither its context nor this process, however that ends."""
    environment = os.environ | middleware_environment(LOCALHOST) | {"ROS_DOMAIN_ID": str(domain)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=environment, preexec_fn=die_with_parent
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a measuring process ended with status {process.wait()}")
    return line


def _text(row: dict[str, Any], kind: str) -> str:
    figures = row[kind]
    lateness = "".join(f"{figures[f'late_ms_{name}']:9.3f}" for name in ("p50", "p99", "p99.9", "max"))
    head = f"{row['rate']:4d} Hz  {row['load']:4s}  {row['measures']:9s}  {kind:5s}"
    return f"{head}{lateness}{figures['missed']:8d} of {figures['missed'] + figures['periods']}"


def main() -> None:
    """Print a row for every combination."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=positive, default=10.0, help="of each row, for loop and sleep")
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, metavar="HZ")
    parser.add_argument("--loads", nargs="+", default=(IDLE, BUSY), choices=(IDLE, BUSY))
    parser.add_argument("--measures", nargs="+", default=(PLAIN, REAL_TIME), choices=(PLAIN, REAL_TIME))
    parser.add_argument("--walking", action="store_true", help="with a controller that answers every state")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if not chosen.json:
        print(machine())
        head = "".join(f"{name:>9s}" for name in ("p50", "p99", "p99.9", "max"))
        print(f"{'lateness, ms':32s}{head}  missed periods")
    rows = []
    for rate, load, measures in product(chosen.rates, chosen.loads, chosen.measures):
        row = {"rate": rate, "load": load, "measures": measures, "walking": chosen.walking}
        rows.append(row | measure(rate, load, measures, chosen.seconds, chosen.walking))
        if not chosen.json:
            print("\n".join(_text(rows[-1], kind) for kind in (paced.LOOP, paced.SLEEP)), flush=True)
    if chosen.json:
        print(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
