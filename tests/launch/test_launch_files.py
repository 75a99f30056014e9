"""The launch files: what they name exists, and, where launch_ros is there, they start what they promise."""

from __future__ import annotations

import ast
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
NODES = {
    "robot_node": "RobotNode",
    "controller_node": "ControllerNode",
    "logger_node": "LoggerNode",
    "offline_node": "OfflineNode",
}
COMMON_ARGUMENTS = {"namespace", "use_sim_time", "parameters", "network", "enclave"}
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
path, *arguments = sys.argv[1:]
source = PythonLaunchDescriptionSource(path)
service = LaunchService()
service.include_launch_description(LaunchDescription([
    IncludeLaunchDescription(source, launch_arguments=[tuple(a.split(":=", 1)) for a in arguments])
]))
sys.exit(service.run())
"""


def calls(path: Path) -> list[ast.Call]:
    """Calls of plain names in a launch file."""
    return [
        found
        for found in ast.walk(ast.parse(path.read_text()))
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Name)
    ]


def declared_arguments(path: Path) -> set[str]:
    named = {call.args[0].value for call in calls(path) if call.func.id == "argument"}
    started = {call.func.id for call in calls(path)}
    return named | COMMON_ARGUMENTS | ({"autostart"} if "controller" in started else set())


def given_parameters(path: Path) -> dict[str, set[str]]:
    """Node -> its parameters that come from launch arguments."""
    given = {}
    for call in calls(path):
        if call.func.id in ("robot", "controller"):
            given[f"{call.func.id}_node"] = {keyword.arg for keyword in call.keywords}
        elif call.func.id == "node":
            given[call.args[0].value] = {keyword.arg for keyword in call.keywords}
    return given


def configured_parameters(path: Path) -> dict[str, dict[str, object]]:
    """Node -> its parameters in the file's YAML."""
    config = path.parent / "config" / path.name.replace(".launch.py", ".yaml")
    content = yaml.safe_load(config.read_text())
    return {key.removeprefix("/**/"): value["ros__parameters"] for key, value in content.items()}


@pytest.fixture(scope="module")
def parameters_of() -> dict[str, set[str]]:
    """Node -> names of all parameters that it declares."""
    rclpy = pytest.importorskip("rclpy")
    pytest.importorskip("torch")
    rclpy.init()
    declared = {}
    for module, name in NODES.items():
        node = getattr(importlib.import_module(f"dara_ros.{module}"), name)()
        declared[module] = set(node._parameters)
        node.destroy_node()
    rclpy.shutdown()
    return declared


def test_there_are_four() -> None:
    names = [path.name.removesuffix(".launch.py") for path in LAUNCH_FILES]
    assert names == ["collect", "deploy", "dry_run", "train"]


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_name_exists(path: Path, parameters_of: dict[str, set[str]]) -> None:
    compile(path.read_text(), path.name, "exec")
    given, configured = given_parameters(path), configured_parameters(path)
    assert set(configured) <= set(given) <= set(NODES)
    for node, names in given.items():
        assert names <= declared_arguments(path)
        assert names <= parameters_of[node]
        assert set(configured.get(node, {})) <= parameters_of[node]
        assert not names & set(configured.get(node, {})), "a launch argument would hide it"


def test_train_knows_every_algorithm() -> None:
    pytest.importorskip("torch")
    from dara_ros.policies.algorithms import algorithms

    tree = ast.parse((ROOT / "launch/train.launch.py").read_text())
    (known,) = [
        ast.literal_eval(found.value)
        for found in tree.body
        if isinstance(found, ast.Assign) and found.targets[0].id == "ALGORITHMS"
    ]
    assert sorted(known) == sorted(algorithms())


# -- with the ROS launch packages -----------------------------------------------------------------------


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An install prefix, as colcon makes it, whose nodes are those of this checkout."""
    pytest.importorskip("launch_ros", reason="the ROS launch packages are not on PyPI")
    pytest.importorskip("rclpy")
    marker = tmp_path / "share/ament_index/resource_index/packages/dara_ros"
    marker.parent.mkdir(parents=True)
    marker.touch()
    for node in NODES:
        script = tmp_path / "lib/dara_ros" / node
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m dara_ros.{node} "$@"\n')
        script.chmod(0o755)
    path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    return tmp_path


class Launched:
    """A launch file that runs, and a client in its domain."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        from dara_ros.network import middleware_environment
        from dara_ros.processes import free_domain_id
        from dara_ros.session import RobotClient

        domain = free_domain_id()
        ours = middleware_environment()  # which launch is to find out by itself
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        environment["ROS_DOMAIN_ID"] = str(domain)
        self.log = folder / "launch.log"
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(ROOT / f"launch/{name}.launch.py"), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
        self.client = RobotClient(domain, namespace="dog", check=self.check)

    def check(self) -> None:
        assert self.process.poll() is None, self.log.read_text()

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20.0)
            finally:
                if self.process.poll() is None:
                    os.killpg(self.process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_train_starts_the_offline_node_in_its_namespace(prefix: Path) -> None:
    from dara_ros.session import OFFLINE, Refused

    parameters = prefix / "parameters.yaml"
    parameters.write_text("/**/offline_node: {ros__parameters: {steps: 7, eta: 0.5}}")
    arguments = ("source:=missing.h5", "target:=t.h5", "out:=run", "eta:=0.25", f"parameters:={parameters}")
    with Launched(prefix, "train", "namespace:=dog", "enclave:=/kennel", *arguments) as launched:
        launched.client.wait_for_nodes([OFFLINE], 60.0)
        command = Path(f"/proc/{pid_of('dara_ros.offline_node', prefix)}/cmdline").read_bytes()
        assert b"--enclave\0/kennel/offline_node\0" in command
        with pytest.raises(Refused, match=r"missing.h5: no such file"):
            launched.client.trigger(OFFLINE, "start")
        assert launched.client.get_parameters(OFFLINE, ["eta", "steps"]) == [0.25, 7]
    assert launched.process.returncode == 0, launched.log.read_text()


@pytest.mark.slow
def test_a_missing_argument_and_a_wrong_choice_are_refused(prefix: Path) -> None:
    files = ("source:=s.h5", "target:=t.h5", "out:=run")
    wrong = (
        ((), "source"),
        ((*files, "algorithm:=magic"), "magic"),
        ((*files, "network:=203.0.113.7"), "203.0"),
    )
    for arguments, named in wrong:
        result = subprocess.run(
            [sys.executable, "-c", RUN, str(ROOT / "launch/train.launch.py"), *arguments],
            capture_output=True,
            text=True,
            timeout=60.0,
        )
        assert result.returncode != 0
        assert named in result.stderr + result.stdout


@pytest.mark.slow
def test_dry_run_walks_and_ends_with_its_robot_node(prefix: Path) -> None:
    from dara_ros.hardware.safety import Mode
    from dara_ros.session import CONTROLLER, ROBOT

    arguments = ("namespace:=dog", "policy:=trot", "world:=flat", "mode:=lock_step", "use_sim_time:=true")
    with Launched(prefix, "dry_run", *arguments) as launched:
        client = launched.client
        client.wait_for_nodes([ROBOT, CONTROLLER], 60.0)
        client.set_parameters(ROBOT, {"walk_steps": 20})
        client.stand()
        client.wait_for_mode(Mode.READY)
        while client.diagnostics(CONTROLLER, newer=True)["active"] != "True":
            launched.check()
        assert client.walk(30.0) is Mode.READY
        loopback = {"127.0.0.1", "239.255.0.1"}
        family = psutil.Process(launched.process.pid)  # launch itself takes part in ROS too
        for process in (family, *family.children(recursive=True)):
            assert {connection.laddr.ip for connection in process.net_connections("udp4")} <= loopback

        os.kill(pid_of("dara_ros.robot_node", prefix), signal.SIGKILL)
        assert launched.process.wait(30.0) is not None
    assert "controller_node-2]: process has finished cleanly" in launched.log.read_text()


@pytest.mark.slow
def test_collect_logs_what_walks(prefix: Path) -> None:
    from dara_ros.hardware.safety import Mode
    from dara_ros.policies.dataset import DataSet
    from dara_ros.session import CONTROLLER, LOGGER, ROBOT

    out = prefix / "target.h5"
    arguments = ("namespace:=dog", "policy:=trot", "world:=flat", "mode:=lock_step", f"out:={out}")
    with Launched(prefix, "collect", *arguments) as launched:
        client = launched.client
        client.wait_for_nodes([ROBOT, CONTROLLER, LOGGER], 60.0)
        client.set_parameters(ROBOT, {"walk_steps": 20})
        client.stand()
        client.wait_for_mode(Mode.READY)
        while client.diagnostics(CONTROLLER, newer=True)["active"] != "True":
            launched.check()
        assert client.walk(30.0) is Mode.READY
        client.trigger(LOGGER, "stop")
    with DataSet(out) as data:
        assert len(data) == 20 and data.info.made_by == "collect.launch.py"


def pid_of(module: str, prefix: Path) -> int:
    """The process that runs `module` as started from `prefix`."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            environment = (path.parent / "environ").read_bytes()
            if module.encode() in path.read_bytes().split(b"\0") and str(prefix).encode() in environment:
                return int(path.parent.name)
        except OSError:  # it has ended, or is another user's
            continue
    raise AssertionError(f"{module} does not run")
