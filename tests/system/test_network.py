"""Who can reach our nodes: by their sockets, and by a strange machine on a network of this one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dara_ros.errors import UserError
from dara_ros.network import ANY, LOCALHOST, VARIABLE, middleware_environment
from dara_ros.processes import free_domain_id

pytest.importorskip("rclpy")

ROBOT_ADDRESS, STRANGER_ADDRESS = "10.77.0.1", "10.77.0.2"
PATIENCE = 60.0  # s
OURS = (VARIABLE, "FASTRTPS_", "FASTDDS_", "ROS_")

# Waits for a node, calls its ~/stop, waits for others; one line of JSON: what it said, and all names seen.
STRANGER = """
import json, sys, time
import rclpy
from std_srvs.srv import Trigger
rclpy.init()
node = rclpy.create_node("stranger")
client = node.create_client(Trigger, sys.argv[1] + "/stop")
assert client.wait_for_service(float(sys.argv[2])), "no such service"
future = client.call_async(Trigger.Request())
rclpy.spin_until_future_complete(node, future, timeout_sec=float(sys.argv[2]))
names, begin = [], time.monotonic()
while True:  # a second at least: those that are not to be seen must have had their chance
    rclpy.spin_once(node, timeout_sec=0.1)
    names = [space.rstrip("/") + "/" + name for name, space in node.get_node_names_and_namespaces()]
    waited = time.monotonic() - begin
    if waited > float(sys.argv[2]) or (waited > 1.0 and set(sys.argv[3:]) <= set(names)):
        break
print(json.dumps({"said": future.result().message, "names": names}))
"""


def bare(**more: str) -> dict[str, str]:
    """An environment that says nothing about networks, but for `more`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)} | more


@contextlib.contextmanager
def logger(log: Path, environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A logger node, started as `ros2 run` does, until it is stopped."""
    *inside, namespace = arguments
    command = [
        *inside,
        sys.executable,
        "-m",
        "dara_ros.logger_node",
        "--ros-args",
        "-r",
        f"__ns:={namespace}",
    ]
    with open(log, "wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


def bound_addresses(process: int) -> set[str]:
    """Local addresses of the UDP sockets of a process."""
    return {connection.laddr.ip for connection in psutil.Process(process).net_connections("udp4")}


@pytest.mark.parametrize(
    ("said", "bound"),
    [({}, {"127.0.0.1", "239.255.0.1"}), ({VARIABLE: ANY}, {"0.0.0.0"})],
    ids=["bare", "any"],
)
def test_what_a_node_binds_to(said: dict[str, str], bound: set[str], tmp_path: Path) -> None:
    """`any` shows that the test sees an open socket when there is one."""
    environment = bare(ROS_DOMAIN_ID=str(free_domain_id()), **said)
    with logger(tmp_path / "log", environment, "/alone") as process:
        deadline = time.monotonic() + PATIENCE
        while not bound_addresses(process.pid) & bound - {"239.255.0.1"}:
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        answer = ask(environment | {VARIABLE: ANY}, "/alone/logger_node")  # every socket is there now
        assert "nothing is being recorded" in answer["said"]
        found = bound_addresses(process.pid)
    assert found == bound if not said else bound <= found


def ask(
    environment: dict[str, str], name: str, *inside: str, others: tuple[str, ...] = ()
) -> dict[str, object]:
    """What a stranger, stock ROS without any setting of ours, hears of the node `name`, and whom it sees."""
    command = [*inside, sys.executable, "-c", STRANGER, name, str(PATIENCE), *others]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3 * PATIENCE)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def cable() -> Iterator[tuple[list[str], list[str]]]:
    """Two machines (network namespaces) and a cable between them: the prefixes of commands on either."""
    robot, stranger = f"dara-{os.getpid()}-robot", f"dara-{os.getpid()}-other"
    ends = ((robot, "robot", ROBOT_ADDRESS), (stranger, "other", STRANGER_ADDRESS))
    commands = [f"netns add {robot}", f"netns add {stranger}"]
    commands += [f"link add robot netns {robot} type veth peer name other netns {stranger}"]
    for space, device, address in ends:
        commands += [f"-n {space} addr add {address}/24 dev {device}"]
        commands += [f"-n {space} link set {link} up" for link in ("lo", device)]
    try:
        for command in commands:
            made = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
            if made.returncode != 0:
                pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
        yield ["ip", "netns", "exec", robot], ["ip", "netns", "exec", stranger]
    finally:
        for space in (robot, stranger):
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)


def test_a_strange_machine_sees_only_what_was_told_to_be_seen(
    cable: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    """It knows the robot's address and names it as a static peer, which LOCALHOST discovery lets in."""
    on_robot, elsewhere = cable
    environment = bare(ROS_DOMAIN_ID="7")
    told = environment | {VARIABLE: ROBOT_ADDRESS}
    with (
        logger(tmp_path / "inner", environment, *on_robot, "/inner"),
        logger(tmp_path / "outer", told, *on_robot, "/outer"),
    ):
        here = ask(environment, "/inner/logger_node", *on_robot, others=("/outer/logger_node",))
        there = ask(environment | {"ROS_STATIC_PEERS": ROBOT_ADDRESS}, "/outer/logger_node", *elsewhere)
    assert {"/inner/logger_node", "/outer/logger_node"} <= set(here["names"])
    assert "/outer/logger_node" in there["names"]
    assert "/inner/logger_node" not in there["names"]


# -- the environment, without ROS --------------------------------------------------------------------------

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"


@pytest.mark.parametrize(
    ("network", "given", "wanted"),
    [
        (None, {}, LOCALHOST),
        (None, {RANGE: "LOCALHOST"}, LOCALHOST),
        (None, {RANGE: "SUBNET"}, ANY),
        (None, {RANGE: "SUBNET", VARIABLE: LOCALHOST}, LOCALHOST),
        (LOCALHOST, {RANGE: "SUBNET", VARIABLE: ANY}, LOCALHOST),
        (None, {VARIABLE: "127.0.0.1"}, "127.0.0.1"),
        (None, {VARIABLE: ANY}, ANY),
    ],
)
def test_who_decides(network: str | None, given: dict[str, str], wanted: str) -> None:
    chosen = middleware_environment(network, given=given)
    profile = Path(chosen["FASTRTPS_DEFAULT_PROFILES_FILE"])
    assert chosen[VARIABLE] == wanted and profile.is_file()
    assert ("interfaceWhiteList" in profile.read_text()) == (wanted != ANY)
    assert middleware_environment(given=given | chosen) == chosen, "a child process decides otherwise"


def test_discovery_that_is_switched_off_stays_off() -> None:
    assert middleware_environment(given={RANGE: "OFF"})[RANGE] == "OFF"


@pytest.mark.parametrize(
    "given", [{"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"}, {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}]
)
def test_a_middleware_that_is_not_ours_stays_within_localhost(given: dict[str, str]) -> None:
    assert middleware_environment(given=given) == {VARIABLE: LOCALHOST, RANGE: "LOCALHOST"}
    with pytest.raises(UserError, match="decides about interfaces"):
        middleware_environment("127.0.0.1", given=given)


@pytest.mark.parametrize("network", ["203.0.113.7", "0.0.0.0", "239.255.0.1", "eth0", "127.0.0.1:7400", " "])
def test_what_is_no_address_of_this_machine_is_refused(network: str) -> None:
    with pytest.raises(UserError, match="no IPv4 address of this machine"):
        middleware_environment(network, given={})
