"""Log a running robot: the logger node as a process, watched until it is told to stop."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .hardware.spec import load_robot
from .processes import NodeDied, Processes
from .session import LOGGER, Refused, RobotClient, SessionTimeout

LOOK_INTERVAL = 0.5  # s between two looks at how far it is


@dataclass(frozen=True)
class Recorded:
    """What a recording gave.

    Attributes:
        rows: of the file.
        lost: rows that messages lost on the way cost.
        nodes: what every node of the robot last said of itself on /diagnostics.
    """

    file: str
    rows: int
    lost: int
    nodes: dict[str, dict[str, str]]


def record(
    out: Path,
    robot: str = "a1",
    world: str = "real",
    domain: str = "target",
    namespace: str = "",
    seconds: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Recorded:
    """Log transitions of the robot in `namespace` of this environment's ROS domain into `out`.

    Rows come whenever the robot walks; every one is in the file within a fraction of a second, whatever
    happens then.

    Args:
        seconds: when to stop; None: when `should_stop` says so.
        progress: called with the number of rows.

    Raises:
        UserError: the logger refuses its parameters.
    """
    load_robot(robot)
    parameters = {"out": str(out), "robot": robot, "world": world, "domain": domain, "made_by": "dara record"}
    end = None if seconds is None else time.monotonic() + seconds
    with (
        tempfile.TemporaryDirectory(prefix="dara_") as logs,
        Processes(Path(logs), namespace=namespace, loopback=False) as processes,
    ):
        try:
            processes.start(LOGGER, parameters)
            with RobotClient(namespace=namespace, loopback=False, check=processes.check) as client:
                client.wait_for_nodes([LOGGER])
                client.trigger(LOGGER, "start")
                while not should_stop() and (end is None or time.monotonic() < end):
                    progress(int(client.diagnostics(LOGGER)["rows"]))
                    time.sleep(LOOK_INTERVAL)
                client.trigger(LOGGER, "stop")
                nodes = client.all_diagnostics([LOGGER])
        except (Refused, NodeDied) as error:
            raise UserError(str(error)) from error
        except SessionTimeout as error:
            raise RuntimeError(f"{error}; rows up to then are in {out}") from error
    return Recorded(str(out), int(nodes[LOGGER]["rows"]), int(nodes[LOGGER]["lost"]), nodes)
