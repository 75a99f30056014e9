"""The command run in this process, and small data set files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dara_ros.collection import data_set_info
from dara_ros.command import main
from dara_ros.hardware.spec import load_robot
from dara_ros.hardware.task import ACTION_SIZE, OBSERVATION_SIZE, WalkingTask
from dara_ros.policies.dataset import DataSetWriter
from dara_ros.policies.runtime import PolicyMetadata

Dara = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dara(capfd: pytest.CaptureFixture[str]) -> Dara:
    """Run `dara ARGUMENTS`; returns (exit status, stdout, stderr), C-level output included."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return status, out, err

    return run


def write_data_set(path: Path, domain: str, episodes: int = 4, length: int = 20) -> Path:
    """A file of noise in the shape of the walking task's data."""
    rng = np.random.default_rng(0)
    rows = episodes * length
    ends = np.arange(1, rows + 1) % length == 0
    observations = rng.normal(size=(rows, OBSERVATION_SIZE)).astype(np.float32)
    with DataSetWriter(path, data_set_info(load_robot("a1"), "flat", domain, "a test")) as writer:
        writer.extend(
            observations=observations,
            actions=rng.uniform(-1, 1, (rows, ACTION_SIZE)),
            rewards=rng.normal(size=rows),
            next_observations=observations + 0.1,
            terminals=np.zeros(rows, bool),
            timeouts=ends,
        )
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source data set."""
    return write_data_set(tmp_path / "source.h5", "source")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A target data set."""
    return write_data_set(tmp_path / "target.h5", "target")


@pytest.fixture(scope="session")
def zero_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy file for the A1 that never leaves the trot."""
    torch = pytest.importorskip("torch")
    from dara_ros.policies.onnx import export_policy

    network = torch.nn.Linear(OBSERVATION_SIZE, ACTION_SIZE)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    task = WalkingTask(load_robot("a1"))
    metadata = PolicyMetadata.from_task(
        task.description(),
        robot="a1",
        control_period=task.spec.control_period,
        spec_hash=task.spec.hash,
        task_hash=task.hash(),
        algorithm="zero",
        eta=0.0,
        data_set_hashes={},
    )
    observations = np.random.default_rng(0).normal(size=(1000, OBSERVATION_SIZE)).astype(np.float32)
    path = tmp_path_factory.mktemp("policy") / "zero.onnx"
    export_policy(network, observations, metadata, path)
    return path


@pytest.fixture
def policy(zero_policy: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copy(zero_policy, tmp_path / "policy.onnx"))
