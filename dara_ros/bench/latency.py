"""State-to-command latency through DDS, robot and controller as processes, in lock-step and real time."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from dara_ros.bench import machine, positive_int
from dara_ros.hardware.safety import Mode
from dara_ros.processes import Processes, free_domain_id
from dara_ros.session import CONTROLLER, ROBOT, RobotClient


def measure(mode: str, policy: str, steps: int, priority: int) -> dict[str, float]:
    """Figures of one walk of `steps` control periods.

    Returns:
        answer_ms_*: from the first of a state's messages published to its command received, at the robot
            node; loop_ms_*: the controller's share, from a state's last message taken to its command
            published; inference_ms_*: the policy's share of that; steps_per_s; late: answers that came
            after the control period (real time).
    """
    domain = free_domain_id()
    with tempfile.TemporaryDirectory() as logs, Processes(Path(logs), domain) as processes:
        processes.start(ROBOT, {"mode": mode, "walk_steps": steps, "priority": priority})
        processes.start(CONTROLLER, {"policy": policy, "priority": priority})
        with RobotClient(domain, check=processes.check) as client:
            client.wait_for_nodes((ROBOT, CONTROLLER))
            client.configure()
            client.activate()
            client.stand()
            client.wait_for_mode(Mode.READY)
            begin = time.perf_counter()
            client.walk(timeout=600.0)
            seconds = time.perf_counter() - begin
            robot = client.diagnostics(ROBOT, newer=True)
            controller = client.diagnostics(CONTROLLER, newer=True)
    names = [
        f"{part}_ms_{share}" for part in ("answer", "loop", "inference") for share in ("p50", "p99", "max")
    ]
    figures = {name: float((robot | controller)[name]) for name in names}
    return figures | {"steps_per_s": round(steps / seconds, 1), "late": int(robot["late"])}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="trot", help="ONNX file, shipped behaviour, trot or random")
    parser.add_argument("--steps", type=positive_int, default=1000)
    parser.add_argument("--priority", type=int, default=0, help="SCHED_FIFO priority of both nodes; 0: none")
    chosen = parser.parse_args()
    figures = {
        mode: measure(mode, chosen.policy, chosen.steps, chosen.priority)
        for mode in ("lock_step", "real_time")
    }
    print(json.dumps({"machine": machine(), **figures}, indent=1))


if __name__ == "__main__":
    main()
