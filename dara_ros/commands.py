"""The commands behind `dara`: each turns its arguments into one call, and the answer into text or JSON.

What a command found goes to stdout, progress and errors to stderr. Modules that are slow to import, or that
an extra installs, are imported by the command that needs them.
"""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import UserError
from .progress import progress_bars

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
behaviours_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(behaviours_app, name="behaviours", help="List behaviour policies, or train new ones.")


class Domain(str, Enum):
    """Where data comes from."""

    source = "source"
    target = "target"


class Mode(str, Enum):
    """How the nodes keep time."""

    lock_step = "lock_step"
    real_time = "real_time"


Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Robot = Annotated[str, typer.Option(help="Robot: a1, go1, go2, or a YAML file.")]
World = Annotated[str, typer.Option(help="World: flat, obstructive, or a YAML file.")]
Workers = Annotated[int | None, typer.Option(help="Processes; all cores unless given.", min=1)]
PolicyFile = Annotated[str, typer.Argument(help="ONNX policy, or a shipped one: medium, expert.")]


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Sim-to-real for legged robots: log on the robot, train with DARA, export to ONNX, run through ROS 2."""


# -- the main job -----------------------------------------------------------------------------------------


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for all that it makes.")] = Path("runs/demo"),
    fast: Annotated[bool, typer.Option("--fast", help="A thin version, within two minutes.")] = False,
    seed: Seed = 0,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Run the main job with PyBullet in place of the robot: log, train with and without DARA, compare.

    \b
    Example:
      dara demo --fast --out runs/quick
    """
    from .results import as_table
    from .rollouts import environment_class

    environment_class()
    from .demo import run_demo

    results = run_demo(out, fast=fast, seed=seed, workers=workers, say=_say)
    _emit(results, as_json, f"{as_table(results['rows'])}\n\n{out}/report.html tells the rest")


@app.command()
def collect(
    out: Annotated[Path, typer.Option(help="Data set file to make (HDF5).")],
    world: World = "flat",
    behaviour: Annotated[
        list[str] | None,
        typer.Option(help="trot, random, medium, expert or an ONNX policy; several take turns."),
    ] = None,
    transitions: Annotated[int, typer.Option(help="Rows to write.")] = 100_000,
    noise: Annotated[
        list[float] | None,
        typer.Option(help="Standard deviation of the noise on actions, one drawn per episode. [0.1 0.2 0.3]"),
    ] = None,
    domain: Annotated[Domain, typer.Option(help="What the file is for in training.")] = Domain.source,
    robot: Robot = "a1",
    seed: Seed = 0,
    workers: Workers = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: Json = False,
) -> None:
    """Collect transitions in simulation over many processes; the file depends on the seed alone.

    \b
    Example:
      dara collect --world flat --behaviour medium --transitions 100000 --out source.h5
    """
    from .collection import EXPLORATION_NOISE
    from .collection import collect as collect_rows
    from .rollouts import Setup

    setup = Setup(world, robot, tuple(behaviour or ("medium",)), tuple(noise or EXPLORATION_NOISE))
    with progress_bars() as report:
        got = collect_rows(
            setup,
            transitions,
            out,
            domain.value,
            seed,
            workers,
            overwrite,
            lambda done, total: report("collecting", done, total),
        )
    text = (
        f"{got.file}: {got.rows} rows, {got.episodes} episodes, {got.falls} falls, "
        f"{got.mean_distance_m:.2f} m and return {got.mean_return:.1f} per episode"
    )
    _emit(got, as_json, text)


@app.command()
def inspect(file: Annotated[Path, typer.Argument(help="Data set file.")], as_json: Json = False) -> None:
    """Read a data set file through and tell what it holds.

    \b
    Example:
      dara inspect source.h5
    """
    from . import inspection

    found = inspection.inspect(file)
    _emit(found, as_json, inspection.as_text(found))


@app.command()
def recover(
    file: Annotated[Path, typer.Argument(help="Damaged data set file; it is left as it is.")],
    out: Annotated[Path, typer.Option(help="File for the rows that can be saved.")],
    as_json: Json = False,
) -> None:
    """Save every whole row of a damaged data set file.

    \b
    Example:
      dara recover torn.h5 --out saved.h5
    """
    from .policies.dataset import recover as recover_rows

    saved = recover_rows(file, out)
    _emit(saved, as_json, f"{out}: {saved.rows} rows saved, {saved.lost} lost")


@app.command()
def train(
    source: Annotated[Path | None, typer.Option(help="Data set of the source domain (simulator).")] = None,
    target: Annotated[Path | None, typer.Option(help="Data set of the target domain (robot).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for policy.onnx, report.html and so on.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="Offline RL algorithm. [bcq]")] = None,
    eta: Annotated[float | None, typer.Option(help="Weight of delta r; 0: no augmentation. [0.1]")] = None,
    mix: Annotated[
        float | None, typer.Option(help="Fraction of target rows in a batch. [proportional to the files]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps. [100000]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. [0]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch. [1]")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings as a run's config.yaml; flags win over it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Train a policy on a source and a target data set: classifiers, augmented rewards, offline RL, ONNX.

    \b
    Example:
      dara train --source source.h5 --target target.h5 --algorithm bcq --eta 0.1 --out runs/dara
    """
    from .policies.training import train as train_policy
    from .report import write_training_report

    given = {
        "source": source, "target": target, "out": out, "algorithm": algorithm, "eta": eta, "mix": mix,
        "steps": steps, "seed": seed, "threads": threads,
    }  # fmt: skip
    settings = _train_config(config, {k: v for k, v in given.items() if v is not None} | {"resume": resume})
    with _stop_on_interrupt() as interrupted, progress_bars() as report:
        result = train_policy(settings, lambda stage, done, n, _: report(stage, done, n), interrupted)
    if result.policy is not None:
        write_training_report(result.out)
    answer = {"out": result.out, "policy": result.policy, "steps": result.steps, "stopped": result.stopped}
    _emit(answer, as_json, result.message)
    if interrupted():
        raise typer.Exit(INTERRUPTED)


@app.command()
def evaluate(
    policy: PolicyFile,
    world: World = "obstructive",
    episodes: Annotated[int, typer.Option(help="Episodes of 300 steps.")] = 20,
    seed: Annotated[int, typer.Option(help="Episode i lays the world with seed + i.")] = 1000,
    robot: Robot = "a1",
    workers: Workers = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures here too (JSON).")] = None,
    as_json: Json = False,
) -> None:
    """Walk a policy in the Gymnasium environment.

    \b
    Example:
      dara evaluate runs/dara/policy.onnx --world obstructive --episodes 20
    """
    from . import evaluation

    with progress_bars() as report:
        result = evaluation.evaluate(
            policy, world, episodes, seed, robot, workers, lambda d, t: report("evaluating", d, t)
        )
    if out is not None:
        out.write_text(json.dumps(asdict(result), indent=1))
    _emit(result, as_json, evaluation.as_text(result))


@app.command("dry-run")
def dry_run(
    policy: PolicyFile,
    world: World = "obstructive",
    episodes: Annotated[int, typer.Option(help="Episodes of 300 steps.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="Episode i lays the world with seed + i.")] = 1000,
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
    from .rollouts import behaviour_path, environment_class

    environment_class()
    from . import dry_run as nodes

    if picture is not None and out is None:
        raise UserError("--picture needs the logged walk; give --out FILE.h5 too")
    _refuse_existing(out)
    policy_file = behaviour_path(policy, robot)
    seeds = range(seed, seed + episodes)
    with progress_bars() as report:
        walked = nodes.run_episodes(
            policy_file, robot, world, seeds, mode=mode.value, out=out,
            progress=lambda done, total: report("walking", done, total),
        )  # fmt: skip
    if picture is not None and out is not None:
        nodes.make_gif(out, episode=0, seed=seed, world=world, path=picture)
    row = row_of(policy, walked)
    _emit(row, as_json, as_table([row]))


@app.command()
def record(
    out: Annotated[Path, typer.Option(help="Data set file to make (HDF5).")],
    robot: Robot = "a1",
    world: Annotated[str, typer.Option(help="Name of the place, as it shall stand in the file.")] = "real",
    domain: Annotated[Domain, typer.Option(help="What the file is for in training.")] = Domain.target,
    seconds: Annotated[float | None, typer.Option(help="Stop after so long; else Ctrl-C stops.")] = None,
    namespace: Annotated[str, typer.Option(help="ROS namespace of the robot.")] = "",
    as_json: Json = False,
) -> None:
    """Log the transitions of a running robot: starts the logger node beside it.

    \b
    Example:
      dara record --out target.h5 --world yard --seconds 600
    """
    from .recording import record as record_rows

    _refuse_existing(out)
    with _stop_on_interrupt() as interrupted, progress_bars() as report:
        recorded = record_rows(
            out, robot, world, domain.value, namespace, seconds, interrupted,
            lambda rows: report("rows", rows, 0),
        )  # fmt: skip
    _emit(recorded, as_json, f"{out}: {recorded.rows} rows, {recorded.drops} states or commands lost")
    if interrupted():
        raise typer.Exit(INTERRUPTED)


# -- behaviours -------------------------------------------------------------------------------------------


@behaviours_app.command("list")
def list_behaviours(robot: Robot = "a1", as_json: Json = False) -> None:
    """Name the behaviours that `dara collect` knows.

    \b
    Example:
      dara behaviours list
    """
    from .rollouts import shipped_behaviours

    names = ["trot", "random", *shipped_behaviours(robot)]
    _emit(names, as_json, "\n".join(names))


@behaviours_app.command("train")
def train_behaviours(
    out: Annotated[Path, typer.Option(help="Folder for medium.onnx, expert.onnx and all snapshots.")],
    world: World = "flat",
    seed: Seed = 0,
    steps: Annotated[int, typer.Option(help="Environment steps.")] = 240_000,
    as_json: Json = False,
) -> None:
    """Train the medium and the expert behaviour with soft actor-critic.

    \b
    Example:
      dara behaviours train --world flat --seed 0 --out runs/behaviours
    """
    from .behaviours import SacConfig
    from .behaviours import train_behaviours as train_snapshots

    with progress_bars() as report:
        snapshots = train_snapshots(world, seed, out, SacConfig(steps=steps), report)
    lines = [
        f"{s.steps:8d} steps  {s.mean_distance:6.2f} m  return {s.mean_return:7.1f}  {s.falls} falls"
        for s in snapshots
    ]
    _emit(snapshots, as_json, "\n".join([*lines, f"{out}/medium.onnx, {out}/expert.onnx"]))


# -- the machine ------------------------------------------------------------------------------------------


@app.command()
def doctor(as_json: Json = False) -> None:
    """Tell what this machine has of ROS, torch, PyBullet and real-time permissions, and how to mend the rest.

    \b
    Example:
      dara doctor
    """
    from . import doctor as machine

    checks = machine.examine()
    _emit(checks, as_json, machine.as_text(checks))
    if any(check.part == "core" and check.status == "missing" for check in checks):
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Benchmark; without one, all are listed.")] = None,
) -> None:
    """List the benchmarks, or run one; what follows its name goes to it.

    \b
    Example:
      dara bench env --seconds 5
    """
    from .bench import benchmarks, run

    if name is None:
        _emit(None, False, "\n".join(f"{known:12s} {purpose}" for known, purpose in benchmarks().items()))
        return
    status = run(name, context.args)
    if status:
        raise typer.Exit(status)


# -- help for the commands ----------------------------------------------------------------------------------


def _train_config(file: Path | None, given: dict[str, Any]) -> Any:
    """Settings from a file and, over them, from flags.

    Raises:
        UserError: the file is wrong, a setting is missing or makes no sense.
    """
    import yaml

    from .policies.train_config import TrainConfig, read_config

    settings = {} if file is None else yaml.safe_load(read_config(file).to_yaml())
    settings |= {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    for name in ("source", "target", "out"):
        if name not in settings:
            raise UserError(f"--{name} is missing; see `dara train --help`")
    return TrainConfig.from_yaml(yaml.safe_dump(settings), str(file or "flags"))


def _refuse_existing(path: Path | None) -> None:
    if path is not None and path.exists():
        raise UserError(f"{path}: exists already: choose another name, or remove it")


@contextmanager
def _stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks for a clean end, through the yielded function; the second one interrupts."""
    asked: list[int] = []

    def handler(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


def _emit(answer: Any, as_json: bool, text: str) -> None:
    """Print the answer, for a program or for people."""
    print(json.dumps(answer, default=_plain, indent=1) if as_json else text)


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
