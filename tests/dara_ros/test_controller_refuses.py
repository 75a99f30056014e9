"""The controller refuses what does not fit the robot, with one line, and can be configured after that."""

from __future__ import annotations

import gc
import importlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from running_nodes import Nodes

from dara_ros.processes import Processes, free_domain_id
from dara_ros.session import CONTROLLER, LOGGER, Refused, RobotClient


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    domain = free_domain_id()
    with Processes(tmp_path_factory.mktemp("logs"), domain) as processes:
        processes.start(CONTROLLER)
        processes.start(LOGGER)
        with RobotClient(domain, check=processes.check) as client:
            client.wait_for_nodes((CONTROLLER, LOGGER))
            yield Nodes(processes, client, domain)


def refusal(nodes: Nodes, policy: object) -> str:
    """The line with which configure is refused."""
    with pytest.raises(Refused) as error:
        nodes.engage(policy)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    assert "Traceback" not in nodes.log(CONTROLLER)
    return line


def rewrite(path: Path, name: str, change: object) -> None:
    """Change one entry of a policy file's metadata."""
    model = onnx.load(path)
    entry = next(prop for prop in model.metadata_props if prop.key == name)
    entry.value = json.dumps(change(json.loads(entry.value)))
    onnx.save(model, path)


def test_no_policy(nodes: Nodes) -> None:
    assert "policy is empty" in refusal(nodes, "")


def test_missing_policy(nodes: Nodes, tmp_path: Path) -> None:
    assert "missing.onnx" in refusal(nodes, tmp_path / "missing.onnx")


def test_file_that_is_no_policy(nodes: Nodes, tmp_path: Path) -> None:
    path = tmp_path / "noise.onnx"
    path.write_bytes(b"not a model at all")
    assert "not an ONNX file" in refusal(nodes, path)


def test_policy_for_another_robot(nodes: Nodes, policy_copy: Path) -> None:
    rewrite(policy_copy, "robot", lambda _: "go1")
    line = refusal(nodes, policy_copy)
    assert "go1" in line
    assert "a1" in line


def test_policy_for_another_task(nodes: Nodes, policy_copy: Path) -> None:
    rewrite(policy_copy, "task_hash", lambda _: "0" * 64)
    assert "task_hash" in refusal(nodes, policy_copy)


def test_changed_golden_pair(nodes: Nodes, policy_copy: Path) -> None:
    rewrite(policy_copy, "golden_actions", lambda pairs: (np.array(pairs) + 0.01).tolist())
    assert "golden pair" in refusal(nodes, policy_copy)


def test_unknown_robot(nodes: Nodes, mild_policy: Path) -> None:
    nodes.client.set_parameters(CONTROLLER, {"robot": "a9"})
    try:
        assert "a9" in refusal(nodes, mild_policy)
    finally:
        nodes.client.set_parameters(CONTROLLER, {"robot": "a1"})


def test_noise_out_of_range(nodes: Nodes) -> None:
    with pytest.raises(Refused, match="exploration_noise"):
        nodes.client.set_parameters(CONTROLLER, {"exploration_noise": -0.5})


def test_refused_controller_takes_a_good_policy_after_that(nodes: Nodes, mild_policy: Path) -> None:
    refusal(nodes, "")
    nodes.client.set_parameters(CONTROLLER, {"policy": str(mild_policy)})
    nodes.client.configure()
    nodes.client.cleanup()


@pytest.mark.parametrize(
    ("parameters", "line"),
    [({"out": ""}, "out is empty"), ({"out": __file__}, "exists"), ({"domain": "moon"}, "domain")],
)
def test_logger_refuses_to_start(nodes: Nodes, parameters: dict[str, str], line: str, tmp_path: Path) -> None:
    nodes.client.set_parameters(LOGGER, {"out": str(tmp_path / "data.h5"), "domain": "target"} | parameters)
    with pytest.raises(Refused, match=line) as error:
        nodes.client.trigger(LOGGER, "start")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "data.h5").exists()


def test_logger_says_which_topics_nobody_publishes(nodes: Nodes, tmp_path: Path) -> None:
    nodes.client.set_parameters(LOGGER, {"out": str(tmp_path / "data.h5"), "domain": "target"})
    nodes.client.trigger(LOGGER, "start")
    nodes.client.diagnostics(LOGGER, newer=True)
    nodes.client.trigger(LOGGER, "stop")
    # The controller is there, the robot is not.
    line = "no rows while nobody publishes joint_states, imu/data, foot_contacts, odom\n"
    nodes.wait_for_log(LOGGER, line)


@pytest.mark.parametrize(
    ("node", "parameter", "names"),
    [
        ("robot_node", "robot:=a9", "a9"),
        ("robot_node", "world:=mars", "mars"),
        ("robot_node", "mode:=warp", "warp"),
        ("robot_node", "driver:=hal", "hal"),
        ("robot_node", "seed:=-1", "seed"),
        ("robot_node", "walk_steps:=many", "walk_steps"),
        ("controller_node", "exploration_noise:=7.0", "exploration_noise"),
        ("logger_node", "robot:=a9", "a9"),
        ("logger_node", "start:=true", "out is empty"),
    ],
)
def test_wrong_parameter_at_the_start_is_status_2_and_one_line(
    node: str, parameter: str, names: str, capfd: pytest.CaptureFixture[str], own_signals: None
) -> None:
    main = importlib.import_module(f"dara_ros.{node}").main
    assert main(["--ros-args", "-p", parameter]) == 2
    error = capfd.readouterr().err
    assert names in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("node", ["robot_node", "controller_node", "logger_node", "offline_node"])
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--params-file", "nosuch.yaml"], "nosuch.yaml"),
        (["--params-file", "broken.yaml"], "broken.yaml"),
        (["-p"], "trailing -p"),
        (["--nosuch"], "--nosuch"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value[-1],
)
def test_wrong_ros_arguments_are_status_2_and_one_line(
    node: str,
    arguments: list[str],
    names: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    own_signals: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text("a: [b")
    assert importlib.import_module(f"dara_ros.{node}").main(["--ros-args", *arguments]) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"{node}: wrong arguments: ") and error.count("\n") == 1
    assert names in error and "--ros-args" in error and ".c:" not in error


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Puts back what a node's `main` changes in its process, and lets no node of an earlier one live on."""
    gc.collect()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interval = sys.getswitchinterval()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.setswitchinterval(interval)
