"""What the nodes of a walking robot say of their timing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from running_nodes import Nodes, run_nodes

from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import ROBOTS
from dara_ros.session import CONTROLLER, LOGGER, ROBOT

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

STEPS = 60  # control periods of a walk
CORE = min(os.sched_getaffinity(0))


def durations(figures: dict[str, str], name: str) -> list[float]:
    """p50, p99 and the largest, ms."""
    return [float(figures[f"{name}_{share}"]) for share in ("p50", "p99", "max")]


def walk(nodes: Nodes) -> dict[str, dict[str, str]]:
    """Walk, and tell the figures of every node."""
    nodes.engage("trot")
    nodes.record(nodes.processes.logs / "walk.h5")
    nodes.stand()
    assert nodes.client.walk(timeout=60.0) is Mode.READY
    return {node: nodes.client.diagnostics(node, newer=True) for node in (ROBOT, CONTROLLER, LOGGER)}


def test_every_node_tells_its_figures(tmp_path: Path) -> None:
    hosted = {"mode": "real_time", "walk_steps": STEPS, "cpus": str(CORE), "robot": patient(tmp_path)}
    with run_nodes(tmp_path, CONTROLLER, LOGGER, **hosted) as nodes:
        figures = walk(nodes)
    robot, controller, logger = figures[ROBOT], figures[CONTROLLER], figures[LOGGER]
    for node, names in (
        (robot, ("jitter_ms", "period_ms", "answer_ms", "state_age_ms")),
        (controller, ("jitter_ms", "loop_ms", "inference_ms", "state_age_ms")),
        (logger, ("jitter_ms",)),
    ):
        for name in names:
            p50, p99, largest = durations(node, name)
            assert 0.0 < p50 <= p99 <= largest, (name, node)
    # In real time nothing can be quicker than the clock; how much slower this machine is, is no matter.
    assert 0.0 < float(robot["rate_hz"]) < 51.0
    for node in (controller, logger):
        assert 0.0 < float(node["rate_hz"]) < 75.0
    assert durations(controller, "inference_ms")[0] <= durations(controller, "loop_ms")[0]
    assert durations(controller, "loop_ms")[0] <= 1.05 * durations(controller, "state_age_ms")[0]
    assert int(robot["late"]) >= int(robot["drops"]) >= 0
    assert int(robot["commands"]) + int(robot["drops"]) >= STEPS
    assert {"overruns", "clamps"} <= robot.keys()
    assert int(controller["drops"]) + int(controller["commands"]) >= STEPS - 1
    assert int(logger["drops"]) < STEPS
    assert robot["real_time"] == ("none" if os.cpu_count() == 1 else f"cores {CORE}")
    assert controller["real_time"] == logger["real_time"]


def patient(folder: Path) -> str:
    """An A1 that forgives a busy machine a late controller."""
    text = (ROBOTS / "a1.yaml").read_text()
    path = folder / "patient.yaml"
    path.write_text(re.sub(r"command_timeout: [\d.]+", "command_timeout: 1.0", text))
    return str(path)
