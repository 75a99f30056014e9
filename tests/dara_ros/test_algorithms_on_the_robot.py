"""The policies of all algorithms, trained on the A1's data, walk it through the controller node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from running_nodes import Nodes, run_nodes

from dara_ros.hardware.safety import Mode
from dara_ros.policies.algorithms import algorithms
from dara_ros.policies.dataset import DataSet
from dara_ros.policies.runtime import Policy
from dara_ros.policies.train_config import TrainConfig
from dara_ros.policies.training import train
from dara_ros.session import CONTROLLER, LOGGER

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

from dara_ros.bench.train import SHORTEST
from dara_ros.collection import collect
from dara_ros.rollouts import Setup

STEPS = 25  # of a walk: half a second


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    source, target = folder / "source.h5", folder / "target.h5"
    collect(Setup("flat", "a1", ("medium",)), 620, source, "source", 0, 1)
    collect(Setup("obstructive", "a1", ("medium",)), 620, target, "target", 1, 1)
    return source, target


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    parameters = {"world": "obstructive", "mode": "lock_step", "walk_steps": STEPS, "answer_timeout": 5.0}
    with run_nodes(tmp_path_factory.mktemp("logs"), CONTROLLER, LOGGER, **parameters) as nodes:
        yield nodes


@pytest.mark.parametrize("name", sorted(algorithms()))
def test_it_walks(name: str, nodes: Nodes, files: tuple[Path, Path], tmp_path: Path) -> None:
    settings = replace(algorithms()[name].Config(), **SHORTEST.get(name, {}), batch_size=32)
    out = tmp_path / "run"
    config = TrainConfig(str(files[0]), str(files[1]), str(out), name, eta=0.0, steps=2, settings=settings)
    policy = train(config).policy
    assert policy is not None
    walk = tmp_path / "walk.h5"
    nodes.engage(policy)
    nodes.record(walk)
    nodes.client.restart(0)
    nodes.stand()
    assert nodes.client.walk(timeout=30.0) in (Mode.READY, Mode.DAMPED)
    nodes.client.trigger(LOGGER, "stop")
    nodes.release()
    with DataSet(walk) as data:
        rows = data.rows(np.arange(len(data)))
    assert 5 <= len(rows) <= STEPS
    expected = np.clip(Policy.load(policy)(rows.observations), -1.0, 1.0)
    np.testing.assert_allclose(rows.actions, expected, atol=1e-4)
