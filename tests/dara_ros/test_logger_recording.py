"""The logger node with files that vanish, pauses, discarded episodes, and SIGKILL."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from running_nodes import Nodes, run_nodes

from dara_ros.policies.dataset import DataSet
from dara_ros.processes import Processes
from dara_ros.session import CONTROLLER, LOGGER, RobotClient

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

STEPS = 40
ROBOT_SETTINGS = {"world": "flat", "mode": "lock_step", "walk_steps": STEPS, "answer_timeout": 5.0}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, mild_policy: Path) -> Iterator[Nodes]:
    """A simulated robot with its controller engaged, and a logger."""
    logs = tmp_path_factory.mktemp("logs")
    with run_nodes(logs, CONTROLLER, LOGGER, **ROBOT_SETTINGS) as nodes:
        nodes.engage(mild_policy)
        yield nodes


def walk(nodes: Nodes, seed: int) -> None:
    nodes.client.restart(seed)
    nodes.stand()
    nodes.client.walk(timeout=30.0)


def wait_for(client: RobotClient, found: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """The logger's first figures that satisfy `found`."""
    deadline = time.monotonic() + 60.0
    while not found(figures := client.diagnostics(LOGGER, newer=True, timeout=30.0)):
        assert time.monotonic() < deadline, str(figures)
    return figures


def walk_until_recorded(nodes: Nodes, client: RobotClient) -> dict[str, str]:
    """Walk until a logger that was just started has found everybody; its figures."""
    for _ in range(30):
        walk(nodes, 0)
        figures = client.diagnostics(LOGGER, newer=True, timeout=30.0)
        if int(figures["rows"]) > 0:
            return figures
    raise AssertionError(figures)


def rows_from(before: int) -> Callable[[dict[str, str]], bool]:
    """Whether all rows of one more walk have come."""
    return lambda figures: int(figures["rows"]) == before + STEPS


def walks_in(*files: Path) -> list[int]:
    """Rows of every episode."""
    with DataSet(files) as data:
        data.check()
        starts, ends = data.episodes()
        stamps = data.column("infos/stamp")
        for start, end in zip(starts, ends, strict=True):
            assert set(np.diff(stamps[start:end]).tolist()) <= {20_000_000}
        return (ends - starts).tolist()


def test_pause_resume_and_discard(nodes: Nodes, tmp_path: Path) -> None:
    client, file = nodes.client, tmp_path / "walk.h5"
    nodes.record(file)
    walk(nodes, 0)
    wait_for(nodes.client, rows_from(0))
    assert "40 rows discarded" in client.trigger(LOGGER, "discard")  # it is over, and still the last one
    assert "0 rows discarded" in client.trigger(LOGGER, "discard")
    walk(nodes, 1)
    wait_for(nodes.client, rows_from(0))
    assert "paused" in client.trigger(LOGGER, "pause")
    walk(nodes, 2)
    assert wait_for(nodes.client, lambda figures: int(figures["skipped"]) == STEPS)["paused"] == "True"
    client.trigger(LOGGER, "resume")
    walk(nodes, 3)
    wait_for(nodes.client, rows_from(STEPS))
    client.trigger(LOGGER, "stop")
    assert walks_in(file) == [STEPS, STEPS]


def test_a_folder_that_vanishes_and_returns(nodes: Nodes, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    nodes.record(folder / "walk.h5")
    walk(nodes, 0)
    wait_for(nodes.client, rows_from(0))
    folder.rename(elsewhere)
    walk(nodes, 1)
    gone = "the folder is gone"
    wait_for(nodes.client, lambda figures: figures["waiting"] == str(STEPS) and gone in figures["problem"])
    nodes.wait_for_log(LOGGER, "rows wait in memory")
    elsewhere.rename(folder)
    wait_for(nodes.client, lambda figures: (figures["waiting"], figures["problem"]) == ("0", ""))
    nodes.wait_for_log(LOGGER, "writing again, into")
    nodes.client.trigger(LOGGER, "stop")
    assert walks_in(folder / "walk.h5", folder / "walk_0001.h5") == [STEPS, STEPS]


def test_sigkill_of_the_node(tmp_path: Path, mild_policy: Path) -> None:
    random = np.random.default_rng(0)
    with run_nodes(tmp_path, CONTROLLER, **ROBOT_SETTINGS) as nodes:
        nodes.engage(mild_policy)
        for trial in range(3):
            folder = tmp_path / str(trial)
            with (
                Processes(folder, nodes.domain) as processes,
                RobotClient(nodes.domain, check=processes.check) as client,  # one that knows no dead logger
            ):
                out = {"out": str(folder / "walk.h5"), "roll_minutes": 0.002, "start": True}
                logger = processes.start(LOGGER, out)
                client.wait_for_nodes([LOGGER])
                safe = walk_until_recorded(nodes, client)
                nodes.client.restart(1)
                nodes.stand()
                nodes.client.enable(True)
                time.sleep(random.uniform(0.0, 0.3))
                del processes.nodes[LOGGER]
                logger.process.send_signal(signal.SIGKILL)
                logger.process.wait()
            assert sum(walks_in(folder)) >= int(safe["rows"]) - int(safe["waiting"])
