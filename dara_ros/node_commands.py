"""The commands around nodes and machines: dry runs, recordings, examination, benchmarks."""

import math
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .command_line import (
    INTERRUPTED,
    Domain,
    Json,
    PolicyFile,
    Robot,
    World,
    app,
    emit,
    make_folder_of,
    refuse_existing,
    say,
)
from .errors import UserError
from .interrupts import stop_on_interrupt
from .keys import pressed_keys
from .progress import progress_bars, status_line

if TYPE_CHECKING:
    from .dry_run import DryRunResult


class Driver(str, Enum):
    """What `dara record` logs."""

    running = "running"
    pybullet = "pybullet"


class Mode(str, Enum):
    """How the nodes keep time."""

    lock_step = "lock_step"
    real_time = "real_time"


@app.command("dry-run")
def dry_run(
    policy: PolicyFile,
    world: World = "obstructive",
    episodes: Annotated[int, typer.Option(help="Episodes of 300 steps.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="Episode i lays the world with seed + i.", min=0)] = 1000,
    mode: Annotated[Mode, typer.Option(help="As fast as the machine allows, or as on the robot.")] = (
        Mode.lock_step
    ),
    robot: Robot = "a1",
    out: Annotated[Path | None, typer.Option(help="Log the walks into this data set file.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Animated GIF of the first walk; needs --out.")] = None,
    as_json: Json = False,
) -> None:
    """Walk a policy through the ROS 2 nodes, with PyBullet in place of the robot.

    \b
    Example:
      dara dry-run runs/dara/policy.onnx --world obstructive --episodes 3 --out walk.h5 --picture walk.gif
    """
    from .results import as_table, row_of

    if picture is not None and out is None:
        raise UserError("--picture needs the logged walk; give --out FILE.h5 too")
    if picture is not None and picture.suffix.lower() != ".gif":
        raise UserError(f"--picture {picture}: it is an animated GIF; give a name that ends in .gif")
    refuse_existing(out)
    refuse_existing(picture)
    make_folder_of(picture)
    walked = _walk(policy, robot, world, range(seed, seed + episodes), out, mode=mode.value)
    if picture is not None and out is not None and walked.steps:
        from .pictures import make_gif

        make_gif(out, episode=0, seed=seed, world=world, path=picture, robot=robot)
    row = row_of(policy, walked)
    emit(row, as_json, as_table([row]))
    if walked.interrupted:
        raise typer.Exit(INTERRUPTED)


RECORDING_KEYS = {"p": "pause", "r": "resume", "d": "discard"}  # key -> service of the logger


@app.command()
def record(
    out: Annotated[Path, typer.Option(help="Data set file to make (HDF5).")],
    robot: Robot = "a1",
    world: Annotated[str, typer.Option(help="Name of the place; with --driver pybullet a world.")] = "real",
    domain: Annotated[Domain, typer.Option(help="What the file is for in training.")] = Domain.target,
    seconds: Annotated[float | None, typer.Option(help="running: stop after so long, or at Ctrl-C.")] = None,
    namespace: Annotated[str, typer.Option(help="ROS namespace of the robot.")] = "",
    driver: Annotated[
        Driver, typer.Option(help="running: a robot that runs already; pybullet: start a simulated one.")
    ] = Driver.running,
    policy: Annotated[str, typer.Option(help="pybullet: what drives it.")] = "medium",
    noise: Annotated[float, typer.Option(help="pybullet: std of the noise on actions.", min=0.0)] = 0.2,
    episodes: Annotated[int, typer.Option(help="pybullet: walks of 300 steps.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="pybullet: walk i lays the world with seed + i.")] = 500,
    as_json: Json = False,
) -> None:
    """Log the transitions of a running robot, or of a simulated one, through the logger node.

    On a terminal: p pauses, r resumes, d discards the last episode, Ctrl-C ends.

    \b
    Example:
      dara record --out target.h5 --world yard --seconds 600
      dara record --driver pybullet --world obstructive --policy medium --episodes 10 --out target.h5
    """
    from .results import node_lines

    refuse_existing(out)
    if seconds is not None and not 0.0 < seconds < math.inf:
        raise UserError(f"--seconds {seconds:g}: no time to record; give more than 0, or leave it to Ctrl-C")
    if driver is Driver.pybullet:
        if seconds is not None:
            raise UserError("--seconds goes with a robot that runs; with --driver pybullet give --episodes")
        seeds = range(seed, seed + episodes)
        walked = _walk(policy, robot, world, seeds, out, noise=noise, domain=domain.value)
        walked = replace(walked, file=out if out.exists() else None)  # the logger makes it with the first row
        rows = walked.nodes["logger_node"]["rows"]  # those of a walk that was cut short are in the file too
        text = f"{walked.file or 'no file'}: {rows} rows, {len(walked.steps)} whole walks, "
        text += f"{sum(walked.falls)} falls"
        emit(walked, as_json, "\n".join([text, *node_lines(walked.nodes)]))
        if walked.interrupted:
            raise typer.Exit(INTERRUPTED)
        return
    from .recording import as_text
    from .recording import record as record_rows

    with stop_on_interrupt() as interrupted, pressed_keys() as keys, status_line() as show:
        recorded = record_rows(
            out, robot, world, domain.value, namespace, seconds, interrupted,
            lambda figures: show(_recording_line(figures)),
            lambda: [RECORDING_KEYS[key] for key in keys() if key in RECORDING_KEYS],
            say,
        )  # fmt: skip
    emit(recorded, as_json, "\n".join([as_text(recorded), *node_lines(recorded.nodes)]))
    if recorded.problem:
        raise typer.Exit(1)
    if interrupted():
        raise typer.Exit(INTERRUPTED)
    if not recorded.files:
        raise typer.Exit(1)


@app.command()
def doctor(
    robot: Annotated[
        str | None, typer.Option(help="Examine this robot instead: a1, go1, go2, or a YAML file of one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what this machine has of ROS, torch, PyBullet and real-time permissions, and how to mend the rest.

    With --robot, tell what a robot says of itself before anything moves. The motors of an a1 or go1 are
    damped meanwhile, never energised; a go2 is only listened to (DARA_NETWORK: this computer's address in
    its network). Exit status 2 where something must be mended first.

    \b
    Example:
      dara doctor
      dara doctor --robot a1
      DARA_NETWORK=192.168.123.99 dara doctor --robot go2
    """
    from . import doctor as machine

    if robot is not None:
        from .robot_doctor import examine_robot

        checks = examine_robot(robot)
        emit(checks, as_json, machine.as_text(checks))
        if any(check.status == "missing" for check in checks):
            raise typer.Exit(2)
        return
    checks = machine.examine()
    emit(checks, as_json, machine.as_text(checks))
    if any(check.part == "core" and check.status == "missing" for check in checks):
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "allow_interspersed_args": False})
def bench(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Benchmark, or all; without one, they are listed.")
    ] = None,
) -> None:
    """List the benchmarks, run one, or run them all; what follows the name goes to each.

    \b
    Example:
      dara bench env --seconds 5
      dara bench env --help
    """
    from .bench import benchmarks, run

    if name is None:
        emit(None, False, "\n".join(f"{known:12s} {purpose}" for known, purpose in benchmarks().items()))
        return
    statuses = [run(one, context.args) for one in (benchmarks() if name == "all" else [name])]
    if any(statuses):
        raise typer.Exit(max(statuses))


def _recording_line(figures: Mapping[str, str]) -> str:
    """How a recording goes, and what may be done about it."""
    counts = ", ".join(f"{figures[name]} {name}" for name in ("rows", "episodes", "lost", "late", "dropped"))
    keys = ", ".join(f"{key} {service}" for key, service in RECORDING_KEYS.items())
    paused = "PAUSED, " if figures["paused"] == "True" else ""
    return f"{paused}{counts} ({keys}, Ctrl-C end) {figures['problem']}"


def _walk(
    policy: str,
    robot: str,
    world: str,
    seeds: range,
    out: Path | None,
    mode: str = "lock_step",
    noise: float = 0.0,
    domain: str = "target",
) -> "DryRunResult":
    """Walk through the nodes, with PyBullet in place of the robot."""
    from .rollouts import Setup, check

    check(Setup(world, robot, (policy,), (noise,)))
    from .dry_run import run_episodes

    with stop_on_interrupt() as interrupted, progress_bars() as report:
        return run_episodes(
            policy, robot, world, seeds, mode=mode, out=out, exploration_noise=noise, domain=domain,
            progress=partial(report, "walking"), should_stop=interrupted,
        )  # fmt: skip
