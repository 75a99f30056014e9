"""The offline node as a real process over real DDS: start, progress, cancel, refusals, start again."""

from __future__ import annotations

import importlib.util
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
if importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed", allow_module_level=True)

import yaml

from dara_ros.policies.dataset import DataSetInfo, DataSetWriter, Transition
from dara_ros.policies.runtime import Policy
from dara_ros.processes import Processes, free_domain_id
from dara_ros.session import OFFLINE, Refused, RobotClient

TASK = {
    "joint_names": ["a", "b"],
    "stand_pose": [0.0, 0.0],
    "action_scale": [1.0, 1.0],
    "kp": [1.0, 1.0],
    "kd": [1.0, 1.0],
    "action_low": [-1.0, -1.0],
    "action_high": [1.0, 1.0],
    "observation": [{"name": "x", "size": 3, "scale": 1.0, "unit": "1"}],
}
SMALL = {
    "log_interval": 10,
    "classifiers": {"hidden": [16, 16], "max_steps": 50},
    "settings": {
        "critic_hidden": [16, 16],
        "perturbation_hidden": [16, 16],
        "vae_hidden": [16, 16],
        "batch_size": 32,
        "vae_steps": 0,
    },
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two small data sets, and settings that make networks small."""
    folder = tmp_path_factory.mktemp("data")
    paths = {domain: str(folder / f"{domain}.h5") for domain in ("source", "target")}
    for number, (domain, path) in enumerate(paths.items()):
        write_data_set(path, domain, rng=np.random.default_rng(number))
    (folder / "settings.yaml").write_text(yaml.safe_dump(SMALL))
    return paths | {"settings": str(folder / "settings.yaml")}


def write_data_set(path: str, domain: str, rng: np.random.Generator, rows: int = 300) -> None:
    info = DataSetInfo(
        robot="r",
        world="w",
        domain=domain,
        control_period=0.02,
        observation_names=("x", "y", "z"),
        action_names=("a", "b"),
        spec_hash="s",
        task_hash="t",
        task=TASK,
    )
    with DataSetWriter(path, info) as writer:
        for row in range(rows):
            s, s2 = rng.standard_normal((2, 3)).astype(np.float32)
            writer.append(
                Transition(s, rng.uniform(-1, 1, 2).astype(np.float32), 1.0, s2, timeout=row % 30 == 29)
            )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]) -> Iterator[RobotClient]:
    """One node for all tests; in the end SIGTERM must stop it cleanly while it trains."""
    domain = free_domain_id()
    out = tmp_path_factory.mktemp("runs") / "run"
    with Processes(tmp_path_factory.mktemp("logs"), domain) as processes:
        offline = processes.start(OFFLINE)
        with RobotClient(domain, check=processes.check) as client:
            client.wait_for_nodes([OFFLINE], 60.0)
            yield client
            begin(client, **files, out=str(out), algorithm="bcq", eta=0.0, steps=10**6)
            client.wait_for_progress(lambda p: p.get("out") == str(out) and p["stage"] == "train", 60.0)
        offline.process.send_signal(signal.SIGTERM)
        assert offline.process.wait(30.0) == 0
        assert "Traceback" not in offline.log.read_text()
    assert (out / "checkpoint.pt").exists()


def begin(client: RobotClient, **parameters: bool | int | float | str) -> None:
    client.set_parameters(OFFLINE, parameters)
    client.trigger(OFFLINE, "start")


def ended(out: Path, state: str):
    return lambda progress: progress.get("state") == state and progress.get("out") == str(out)


def test_trains_twice_in_a_row(node: RobotClient, files, tmp_path) -> None:
    client = node
    more = str(tmp_path / "more.h5")
    write_data_set(more, "target", np.random.default_rng(2), rows=60)
    several = files | {"target": f"{files['target']}:{more}"}
    for eta in (0.0, 0.1):
        out = tmp_path / f"eta{eta}"
        begin(client, **several, out=str(out), eta=eta, steps=30)
        progress = client.wait_for_progress(ended(out, "done"), 60.0)
        assert Policy.load(progress["policy"]).metadata.eta == eta
        figures = json.loads((out / "figures.json").read_text())
        assert (figures["steps"], figures["data_sets"]["target"]["rows"]) == (30, 360)
    assert client.diagnostics(OFFLINE, newer=True)["state"] == "done"


def test_cancel_leaves_a_checkpoint_that_resumes(node: RobotClient, files, tmp_path) -> None:
    client = node
    with pytest.raises(Refused, match="nothing is being trained"):
        client.trigger(OFFLINE, "cancel")
    begin(client, **files, out=str(tmp_path / "run"), eta=0.0, steps=10**6)
    client.wait_for_progress(lambda p: p["stage"] == "train" and p["done"] > 0, 60.0)
    with pytest.raises(Refused, match="runs already"):
        client.trigger(OFFLINE, "start")
    client.trigger(OFFLINE, "cancel")
    stopped = client.wait_for_progress(ended(tmp_path / "run", "cancelled"), 30.0)
    steps = json.loads((tmp_path / "run/figures.json").read_text())["steps"]
    assert (tmp_path / "run/checkpoint.pt").exists() and stopped["policy"]

    begin(client, resume=True, steps=steps + 5)
    client.wait_for_progress(ended(tmp_path / "run", "done"), 30.0)
    client.set_parameters(OFFLINE, {"resume": False})
    assert json.loads((tmp_path / "run/figures.json").read_text())["steps"] == steps + 5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": ""}, "parameter source is empty"),
        ({"source": "missing.h5"}, "missing.h5: no such file"),
        ({"algorithm": "magic"}, "algorithm is 'magic'"),
        ({"eta": -0.1}, "eta"),
        ({"settings": "missing.yaml"}, "cannot read missing.yaml"),
    ],
)
def test_bad_parameters_refuse_with_one_line(node: RobotClient, files, tmp_path, change, reason) -> None:
    client = node
    sound = files | {"out": str(tmp_path / "run"), "algorithm": "bcq", "eta": 0.0}
    client.set_parameters(OFFLINE, sound)
    with pytest.raises(Refused, match=reason) as refusal:
        begin(client, **change)
    client.set_parameters(OFFLINE, sound)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_swapped_files_are_refused(node: RobotClient, files, tmp_path) -> None:
    client = node
    swapped = files | {"source": files["target"], "target": files["source"]}
    with pytest.raises(Refused, match="was given as source data"):
        begin(client, **swapped, out=str(tmp_path / "run"), eta=0.0, algorithm="bcq")


def test_a_parameter_out_of_range_ends_with_status_2(tmp_path) -> None:
    with Processes(tmp_path, free_domain_id()) as processes:
        node = processes.start(OFFLINE, {"eta": -1.0})
        assert node.process.wait(60.0) == 2
        assert "eta" in node.last_line() and "Traceback" not in node.log.read_text()
