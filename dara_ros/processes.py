"""ROS nodes as processes of this one: started, watched, stopped, and never left behind.

    with Processes(Path("runs/logs"), domain_id=free_domain_id()) as processes:
        processes.start("robot_node", {"world": "obstructive"})
        ...
        processes.check()  # raises, with its last log line, where a node has died

A node lives in a session of its own, so that Ctrl-C in a terminal reaches only the parent, which then stops
the nodes in order. Should the parent die without doing so (SIGKILL), every node notices by itself.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from .network import LOCALHOST, middleware_environment

Parameter = bool | int | float | str

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
ORPHAN_POLL = 0.5  # s between two looks at whether the parent still lives
ORPHAN_GRACE = 10.0  # s that an orphan has to shut down by itself
PR_SET_PDEATHSIG = 1  # linux/prctl.h
LAST_DOMAIN = 101  # above, DDS ports reach into Linux's ephemeral ones


class NodeDied(Exception):  # noqa: N818 (says what happened)
    """A node ended by itself; the one line names it, its exit status and the last line of its log.

    Attributes:
        status: its exit status; 2 where it found its parameters wrong.
    """

    def __init__(self, node: NodeProcess, status: int) -> None:
        self.status = status
        last = node.last_line() or "it said nothing"
        super().__init__(f"{node.name} ended with status {status}: {last} (log: {node.log})")


@contextmanager
def log_folder() -> Iterator[Path]:
    """A temporary folder; it stays where a node died, for the error names its log."""
    folder = Path(tempfile.mkdtemp(prefix="dara_"))
    died = False
    try:
        yield folder
    except Exception as error:
        died = isinstance(error, NodeDied) or isinstance(error.__cause__, NodeDied)
        raise
    finally:
        if not died:
            shutil.rmtree(folder)


@dataclass(frozen=True)
class NodeProcess:
    """One running node and the file that its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_line(self) -> str:
        """The last line of its log that says something, or an empty string."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")


class Processes:
    """The nodes that this process has started; leaving the context stops them all.

    Args:
        logs: folder of the log files, NAME.log each.
        domain_id: ROS_DOMAIN_ID of the nodes; None leaves the environment's.
        namespace: ROS namespace of every node.
        loopback: keep discovery and data on this machine; else what the environment says counts.
    """

    def __init__(
        self, logs: Path, domain_id: int | None = None, namespace: str = "", loopback: bool = True
    ) -> None:
        self.logs = Path(logs)
        self.namespace = namespace
        self.nodes: dict[str, NodeProcess] = {}
        self._environment = os.environ | middleware_environment(LOCALHOST if loopback else None)
        if domain_id is not None:
            self._environment["ROS_DOMAIN_ID"] = str(domain_id)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, node: str, parameters: Mapping[str, Parameter] | None = None) -> NodeProcess:
        """Start `dara_ros.<node>` with ROS parameters; its output is appended to logs/<node>.log."""
        if node in self.nodes:
            raise ValueError(f"{node} has been started already")
        arguments = ros_arguments(parameters or {}, self.namespace)
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{node}.log"
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(os.getpid()), f"{__package__}.{node}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        self.nodes[node] = NodeProcess(node, process, log)
        return self.nodes[node]

    def check(self) -> None:
        """See that all nodes still run.

        Raises:
            NodeDied: the first one that does not.
        """
        for node in self.nodes.values():
            status = node.process.poll()
            if status is not None:
                raise NodeDied(node, status)

    def stop(self, patience: float = 5.0) -> dict[str, int]:
        """Stop all nodes: SIGINT, after `patience` seconds SIGTERM, after as many SIGKILL.

        Returns:
            The exit status of each, in order of their start.
        """
        running = [node for node in self.nodes.values() if node.process.poll() is None]
        for number in STOP_SIGNALS:
            for node in running:
                node.process.send_signal(number)
            running = _still_running(running, patience)
        statuses = {name: node.process.wait() for name, node in self.nodes.items()}
        self.nodes.clear()
        return statuses


def ros_arguments(parameters: Mapping[str, Parameter], namespace: str = "") -> list[str]:
    """Command-line arguments that give a node its parameters and namespace.

    Values are written as JSON, which YAML reads with the same types: a policy called "1" stays a string.
    """
    arguments = ["--ros-args"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={json.dumps(value)}"]
    if namespace:
        arguments += ["-r", f"__ns:=/{namespace.strip('/')}"]
    return arguments


def free_domain_id() -> int:
    """A ROS_DOMAIN_ID that nobody on this machine uses at the moment.

    DDS's first participant of domain d listens on UDP port 7410 + 250 d: where that is taken, so is d.
    """
    for domain in random.SystemRandom().sample(range(1, LAST_DOMAIN + 1), LAST_DOMAIN):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7410 + 250 * domain))
            except OSError:
                continue
            return domain
    raise OSError(f"all ROS domains from 1 to {LAST_DOMAIN} are in use on this machine; stop some nodes")


def _still_running(nodes: list[NodeProcess], patience: float) -> list[NodeProcess]:
    """Those that have not ended within `patience` seconds."""
    deadline = time.monotonic() + patience
    while nodes and time.monotonic() < deadline:
        nodes = [node for node in nodes if node.process.poll() is None]
        time.sleep(0.02 if nodes else 0.0)
    return nodes


# -- in the node's process ----------------------------------------------------------------------------------


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def end_with(parent: int) -> None:
    """Make this process end when `parent` does: SIGTERM, and SIGKILL where that does not help.

    A thread looks at the parent's id: `die_with_parent` gives no time to damp motors, and a caller may well
    start nodes from a worker thread that ends before them.
    """

    def watch() -> NoReturn:
        while os.getppid() == parent:
            time.sleep(ORPHAN_POLL)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_GRACE)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    threading.Thread(target=watch, name="end_with_parent", daemon=True).start()


def main() -> int:
    """Run the node `argv[2]` with the arguments after it, as long as the process `argv[1]` lives."""
    parent, module, *arguments = sys.argv[1:]
    end_with(int(parent))
    sys.argv = [module, *arguments]
    return importlib.import_module(module).main()


if __name__ == "__main__":
    sys.exit(main())
