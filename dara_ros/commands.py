"""The commands around data and training: each turns its arguments into one call, and the answer into text.

Modules that are slow to import, or that an extra installs, are imported by the command that needs them.
"""

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from .command_line import (
    INTERRUPTED,
    Domain,
    Json,
    PolicyFile,
    Robot,
    Seed,
    Workers,
    World,
    app,
    behaviours_app,
    emit,
    make_folder_of,
    refuse_existing,
    say,
)
from .errors import UserError
from .interrupts import stop_on_interrupt
from .progress import progress_bars


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Sim-to-real for legged robots: log on the robot, train with DARA, export to ONNX, run through ROS 2."""


# -- the main job -----------------------------------------------------------------------------------------


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for all that it makes; an earlier demo there is moved aside.")
    ] = Path("runs/demo"),
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

    results = run_demo(out, fast=fast, seed=seed, workers=workers, say=say)
    rest = "interrupted" if results["interrupted"] else f"{out}/report.html tells the rest"
    emit(results, as_json, f"{as_table(results['rows'])}\n\n{rest}")
    if results["interrupted"]:
        raise typer.Exit(INTERRUPTED)


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
        typer.Option(help="Std of the noise on actions, 0 to 1; an episode draws one. [0.1 0.2 0.3]"),
    ] = None,
    domain: Annotated[Domain, typer.Option(help="What the file is for in training.")] = Domain.source,
    robot: Robot = "a1",
    seed: Seed = 0,
    workers: Workers = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file, when all rows have come.")
    ] = False,
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
    try:
        with progress_bars() as report:
            got = collect_rows(
                setup,
                transitions,
                out,
                domain.value,
                seed,
                workers,
                overwrite,
                partial(report, "collecting"),
            )
    except KeyboardInterrupt as interrupt:
        say(f"dara: {str(interrupt) or 'interrupted'}")
        raise typer.Exit(INTERRUPTED) from interrupt
    text = (
        f"{got.file}: {got.rows} rows, {got.episodes} episodes, {got.falls} falls, "
        f"{got.mean_distance_m:.2f} m and return {got.mean_return:.1f} per episode"
    )
    emit(got, as_json, text)


@app.command()
def inspect(
    files: Annotated[list[Path], typer.Argument(help="Data set files and folders, read as one data set.")],
    plot: Annotated[Path | None, typer.Option(help="Draw it too (PNG, SVG or PDF).")] = None,
    as_json: Json = False,
) -> None:
    """Read a data set through and tell what it holds: columns, episodes, gaps, clipped commands, losses.

    \b
    Example:
      dara inspect source.h5
      dara inspect monday/ tuesday.h5 --plot target.png
    """
    from . import inspection

    refuse_existing(plot)
    found = inspection.inspect(files)
    if plot is not None:
        from .inspection_plot import draw

        draw(files, plot)
    emit(found, as_json, inspection.as_text(found))


@app.command()
def recover(
    files: Annotated[
        list[Path], typer.Argument(help="Data set files and folders, damaged or not; they stay as they are.")
    ],
    out: Annotated[Path, typer.Option(help="File for the rows that can be saved.")],
    compress: Annotated[
        bool, typer.Option("--compress", help="Smaller; slower to train on where memory is too small for it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Save every whole row of damaged data set files into one new file; one with NaN or infinity is left out.

    \b
    Example:
      dara recover torn.h5 --out saved.h5
    """
    from .policies.dataset import recover as recover_rows

    saved = recover_rows(files, out, compress)
    lines = [f"{out}: {saved.rows} rows saved, {saved.lost} lost", *saved.refused]
    emit(saved, as_json, "\n".join(lines))


@app.command()
def train(
    source: Annotated[
        list[Path] | None, typer.Option(help="Files and folders of the source domain (simulator).")
    ] = None,
    target: Annotated[
        list[Path] | None, typer.Option(help="Files and folders of the target domain (robot).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for policy.onnx, report.html and so on.")] = None,
    algorithm: Annotated[
        str | None, typer.Option(help="awr, bc, bcq, bear, brac-p, cql, mabe or mopo. [bcq]")
    ] = None,
    eta: Annotated[float | None, typer.Option(help="Weight of delta r; 0: no augmentation. [0.1]")] = None,
    estimator: Annotated[
        str | None,
        typer.Option(help="What tells delta r: classifiers, the paper's, or dynamics. [classifiers]"),
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(help="Steps until the outcome that delta r compares; the paper's: 1. [1]")
    ] = None,
    penalty: Annotated[
        str | None,
        typer.Option(help="rows: each its own delta r; constant: the mean, a control; centred. [rows]"),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="Of delta r: none, or returns: at eta 1 as the target's own returns say. [none]"),
    ] = None,
    mix: Annotated[
        float | None,
        typer.Option(help="Fraction of target rows in a batch. [bcq 0.5, others as the files are]"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Gradient steps, after those of a warm-up: bcq's are 5000, of its model. [100000]"),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            help="So many more steps on the source come first, the rest on the target: fine-tuning."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. [0]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch. [1]")] = None,
    device: Annotated[str | None, typer.Option(help="Where the algorithm trains: cpu or cuda. [cpu]")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings, as in a run's config.yaml; flags win over it.")
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="The papers' settings, not those that did best here.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Train a policy on a source and a target data set: delta r, augmented rewards, offline RL, ONNX.

    \b
    Example:
      dara train --source source.h5 --target target.h5 --algorithm bcq --eta 0.1 --out runs/dara
      dara train --source s.h5 --target t.h5 --estimator dynamics --horizon 10 --scale returns --eta 1 --out a
      dara train --source source.h5 --target monday/ tuesday.h5 --out runs/week
      dara train --source source.h5 --target target.h5 --eta 0 --tune 100000 --steps 50000 --out runs/tuned
    """
    from .policies.run_files import writing
    from .policies.train_config import configure
    from .policies.training import train as train_policy
    from .report import write_training_report

    given = {
        "source": source, "target": target, "out": out, "algorithm": algorithm, "eta": eta,
        "estimator": estimator, "horizon": horizon, "penalty": penalty, "scale": scale,
        "mix": mix, "steps": steps, "tune": tune, "seed": seed, "threads": threads, "device": device,
    }  # fmt: skip
    asked = {name: _plain_paths(value) for name, value in given.items() if value is not None}
    settings = configure(asked | {"resume": resume}, config, paper)
    with stop_on_interrupt() as interrupted, progress_bars() as report:
        result = train_policy(settings, lambda stage, done, n, _: report(stage, done, n), interrupted)
    if result.policy is not None:
        with writing(result.out / "report.html"):
            write_training_report(result.out)
    answer = {"out": result.out, "policy": result.policy, "steps": result.steps, "stopped": result.stopped}
    emit(answer, as_json, result.message)
    if interrupted():
        raise typer.Exit(INTERRUPTED)


@app.command()
def evaluate(
    policy: PolicyFile,
    world: World = "obstructive",
    episodes: Annotated[int, typer.Option(help="Episodes of 300 steps.")] = 20,
    seed: Annotated[int, typer.Option(help="Episode i lays the world with seed + i.", min=0)] = 1000,
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

    refuse_existing(out)
    make_folder_of(out)
    with progress_bars() as report:
        result = evaluation.evaluate(
            policy, world, episodes, seed, robot, workers, partial(report, "evaluating")
        )
    emit(result, as_json, evaluation.as_text(result))  # first: the disk may be full
    if out is not None:
        out.write_text(json.dumps(asdict(result), indent=1))


@behaviours_app.command("list")
def list_behaviours(robot: Robot = "a1", as_json: Json = False) -> None:
    """Name the behaviours that `dara collect` knows.

    \b
    Example:
      dara behaviours list
    """
    from .action_sources import shipped_behaviours
    from .hardware.spec import load_robot

    names = ["trot", "random", *shipped_behaviours(load_robot(robot).name)]
    emit(names, as_json, "\n".join(names))


@behaviours_app.command("train")
def train_behaviours(
    out: Annotated[
        Path, typer.Option(help="Folder for medium.onnx, expert.onnx, replay_*.onnx and all snapshots.")
    ],
    world: World = "flat",
    task: Annotated[
        str | None,
        typer.Option(help="Instead of the A1 and its world: hopper_plain or another MuJoCo task, or YAML."),
    ] = None,
    seed: Seed = 0,
    steps: Annotated[
        int | None, typer.Option(min=10_000, help="Environment steps. [240000, in MuJoCo 300000]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train the medium, the expert and the replay behaviours: by SAC on the A1, by PPO in MuJoCo.

    \b
    Example:
      dara behaviours train --world flat --seed 0 --out runs/behaviours
    """
    from .behaviours import train_behaviours as train_snapshots
    from .behaviours_ppo import PpoConfig
    from .behaviours_sac import SacConfig
    from .courses import MujocoCourse, WalkingCourse

    course = WalkingCourse(world) if task is None else MujocoCourse(task)
    config = SacConfig() if task is None else PpoConfig()
    if steps is not None:
        config = replace(config, steps=steps)
    if config.steps < config.snapshot_interval:
        raise UserError(
            f"--steps {steps}: the first snapshot comes after {config.snapshot_interval}; give that or more"
        )
    if not out.is_dir() or any(out.iterdir()):
        refuse_existing(out)
    with progress_bars() as report:
        snapshots = train_snapshots(course, seed, out, config, report)
    lines = [
        f"{s.steps:8d} steps  {s.mean_distance:6.2f} m  return {s.mean_return:7.1f}  {s.falls} falls"
        for s in snapshots
    ]
    emit(snapshots, as_json, "\n".join([*lines, f"{out}/medium.onnx, {out}/expert.onnx"]))


def _plain_paths(value: Any) -> Any:
    """Paths as strings, as YAML would hold them."""
    if isinstance(value, list):
        return [str(path) for path in value]
    return str(value) if isinstance(value, Path) else value
