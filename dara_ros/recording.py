"""Log a running robot: the logger node as a process, watched until it is told to stop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .hardware.spec import load_robot
from .messages import unpublished
from .network import require_domain
from .processes import NodeDied, Processes, log_folder
from .session import LOGGER, Refused, RobotClient, SessionTimeout

LOOK_INTERVAL = 0.2  # s between two looks at how far it is


@dataclass(frozen=True)
class Recorded:
    """What a recording gave.

    Attributes:
        files: that it went into; none where no row came.
        rows: of these files.
        lost: rows that messages lost on the way, or commands that came late, cost.
        dropped: rows that the disk did not take while there was room in memory.
        refused: rows that were not finite.
        problem: why not all is in the files; empty: all is.
        nodes: what every node of the robot last said of itself on /diagnostics.
    """

    files: list[str]
    rows: int
    episodes: int
    lost: int
    dropped: int
    refused: int
    problem: str
    nodes: dict[str, dict[str, str]]


def record(
    out: Path,
    robot: str = "a1",
    world: str = "real",
    domain: str = "target",
    namespace: str = "",
    seconds: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Mapping[str, str]], None] = lambda figures: None,
    asked: Callable[[], Iterable[str]] = lambda: (),
    said: Callable[[str], None] = lambda answer: None,
) -> Recorded:
    """Log transitions of the robot in `namespace` of this environment's ROS domain into `out`.

    Rows come whenever the robot walks; every one is in the file within a fraction of a second, whatever
    happens then.

    Args:
        seconds: when to stop; None: when `should_stop` says so.
        progress: called with what the logger says of itself: rows, episodes, lost, paused and so on.
        asked: called often; gives the names of services of the logger to call: pause, resume, discard.
        said: called with each answer.

    Raises:
        UserError: the logger refuses its parameters; or no row came, as nobody publishes what one needs.
    """
    load_robot(robot)
    require_domain()
    parameters = {"out": str(out), "robot": robot, "world": world, "domain": domain, "made_by": "dara record"}
    end = None if seconds is None else time.monotonic() + seconds
    with (
        log_folder() as logs,
        Processes(logs, namespace=namespace, loopback=False) as processes,
    ):
        try:
            processes.start(LOGGER, parameters)
            with RobotClient(namespace=namespace, loopback=False, check=processes.check) as client:
                client.wait_for_nodes([LOGGER])
                client.trigger(LOGGER, "start")
                while not should_stop() and (end is None or time.monotonic() < end):
                    progress(client.diagnostics(LOGGER))
                    for service in asked():
                        said(_answer(client, service))
                    time.sleep(LOOK_INTERVAL)
                silent = unpublished(client.node)
                _answer(client, "stop")  # its figures tell what is wrong with the files
                nodes = client.all_diagnostics([LOGGER])
        except (Refused, NodeDied) as error:
            raise UserError(str(error)) from error
        except SessionTimeout as error:
            raise RuntimeError(f"{error}; rows up to then are in {out}") from error
    recorded = _recorded(nodes)
    if silent and not recorded.files and not recorded.problem:
        raise UserError(
            f"{out}: not one row, nobody publishes {', '.join(silent)}; are robot node and controller "
            "running, with the same ROS_DOMAIN_ID, DARA_NETWORK and namespace?"
        )
    return recorded


def _answer(client: RobotClient, service: str) -> str:
    """What the logger says to a request, refused or not."""
    try:
        return client.trigger(LOGGER, service)
    except Refused as error:
        return str(error)


def _recorded(nodes: dict[str, dict[str, str]]) -> Recorded:
    told = nodes[LOGGER]
    return Recorded(
        files=[file for file in told["files"].split(os.pathsep) if file],
        rows=int(told["rows"]),
        episodes=int(told["episodes"]),
        lost=int(told["lost"]) + int(told["late"]),
        dropped=int(told["dropped"]),
        refused=int(told["refused_rows"]),
        problem=told["problem"],
        nodes=nodes,
    )


def as_text(recorded: Recorded) -> str:
    """The recording in a line for people."""
    r = recorded
    text = (
        f"{', '.join(r.files) or 'no file'}: {r.rows} rows, {r.episodes} episodes, {r.lost} lost on the way"
    )
    text += f", {r.dropped} dropped, {r.refused} refused"
    if not (r.files or r.refused or r.problem):
        text += "; no walk began meanwhile, and one that goes on already counts for nothing: enable it anew"
    return f"{text}; {r.problem}" if r.problem else text
