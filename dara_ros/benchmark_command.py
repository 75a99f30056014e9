"""The commands that compare methods on data: long runs that stop, resume and use all cores."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .command_line import INTERRUPTED, Json, Workers, benchmark_app, emit, say
from .errors import UserError
from .interrupts import stop_on_interrupt
from .progress import Report, progress_bars

if TYPE_CHECKING:
    from .studies.schedule import Failure, Job

Results = Annotated[
    Path | None, typer.Option(help="Results; a trial that is in it is not run again. [results.csv in --out]")
]
Cluster = Annotated[
    str | None, typer.Option(help="Run on this Ray cluster instead (address; local starts one).")
]
MujocoTasks = Annotated[list[str] | None, typer.Option(help="hopper, walker2d. [both]")]
MujocoDataSets = Annotated[
    list[str] | None,
    typer.Option(help="random, medium, medium-replay, medium-expert. [all]"),
]
CollectionSeed = Annotated[int, typer.Option(help="Seed of all data sets.")]
Behaviours = Annotated[
    str, typer.Option(help="Whose walk in the source: its own, which were trained in it, or the target's.")
]
Target = Annotated[
    str, typer.Option(help="Whose feet are the target's: plain, or shifted; the source has the others.")
]
Size = Annotated[
    float, typer.Option(help="Of all data sets: 1 is the paper's million rows, 0.05 a quick look.")
]
FAILED = 1  # exit status where trials failed, and failed again


class Device(str, Enum):
    """Where networks are trained."""

    cpu = "cpu"
    cuda = "cuda"


def _run(
    jobs: Sequence[Job],
    workers: int | None,
    ray: str | None,
    should_stop: Callable[[], bool],
    take: Callable[[Any], None] = lambda row: None,
) -> list[Failure]:
    """Run the jobs here or on a cluster; what failed twice. `take` is called with every row."""
    from .studies.schedule import over_processes, over_ray

    failed: list[Failure] = []

    def on_failure(failure: Failure) -> None:
        say(str(failure))
        if failure.final:
            failed.append(failure)

    rows = (
        over_processes(jobs, workers, should_stop, on_failure)
        if ray is None
        else over_ray(jobs, ray, should_stop, on_failure)
    )
    for row in rows:
        take(row)
    return failed


def _keeper(rows: list[Any], results: Path, asked: set[Any], report: Report) -> Callable[[Any], None]:
    """Adds a row to `rows` and to the results file, and reports how many of those asked for are there."""
    from .studies.rows import write_rows

    def take(row: Any) -> None:
        rows.append(row)
        write_rows(results, rows)
        report("trials", len(asked & {row.trial for row in rows}), len(asked))

    return take


def _end(interrupted: bool, failed: Sequence[Failure]) -> None:
    """Tell what has failed, and exit accordingly."""
    if failed:
        say(f"{len(failed)} failed twice; the same command tries again:")
        for failure in failed:
            say(f"  {failure.trials[0]}: {failure.reason}")
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if failed:
        raise typer.Exit(FAILED)


@benchmark_app.command()
def sim2real(
    out: Annotated[
        Path, typer.Option(help="Folder for data sets, runs, report.html and distance.png.")
    ] = Path("runs/sim2real"),
    csv: Results = None,
    world: Annotated[list[str] | None, typer.Option(help="Target world. [all three]")] = None,
    data_set: Annotated[
        list[str] | None, typer.Option(help="medium, medium-expert, medium-replay-expert. [all]")
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(help="target, source, bc, union, dara, and so on: docs/sim2real.md. [eight of them]"),
    ] = None,
    eta: Annotated[
        list[float] | None, typer.Option(help="Weight of delta r. [of each condition: 0.1, 1, 10]")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Training seeds.")] = 6,
    collection_seeds: Annotated[
        int, typer.Option(help="Collections of both data sets, by turns of the training seeds.")
    ] = 2,
    source_rows: Annotated[int, typer.Option(help="Rows of the source data set.")] = 100_000,
    target_rows: Annotated[int, typer.Option(help="Rows of the target data set, 50 a second.")] = 10_000,
    steps: Annotated[int, typer.Option(help="Gradient steps of every training.")] = 10_000,
    episodes: Annotated[int, typer.Option(help="Walks of 300 steps that judge a policy.")] = 24,
    validation: Annotated[
        bool, typer.Option("--validation", help="On collections, seeds and worlds of its own: to choose eta.")
    ] = False,
    workers: Workers = None,
    ray: Cluster = None,
    as_json: Json = False,
) -> None:
    """BCQ from a flat simulation to other worlds, with DARA and without: the seeds' table, and its controls.

    Data sets come from shipped behaviours and seeds. Ctrl-C stops it; the same command goes on.

    \b
    Example:
      dara benchmark sim2real --world obstructive --data-set medium-expert --seeds 2
      dara benchmark sim2real --validation --eta 0.1 --eta 0.3 --csv runs/eta.csv
    """
    from .rollouts import environment_class
    from .sim.world import load_world

    environment_class()
    from .sim2real.page import as_text, plot, write_report
    from .sim2real.scores import gains, scores
    from .sim2real.study import COMPARED, DATA_SETS, WORLDS, Row, Study, missing
    from .sim2real.trials import cell_job, data_files
    from .studies.rows import read_table

    study = Study(
        worlds=tuple(world or WORLDS),
        data_sets=tuple(data_set or DATA_SETS),
        conditions=tuple(condition or COMPARED),
        etas=tuple(eta or ()),
        seeds=seeds,
        collection_seeds=collection_seeds,
        validation=validation,
        source_rows=source_rows,
        target_rows=target_rows,
        steps=steps,
        episodes=episodes,
    )
    for name in study.worlds:
        load_world(name)
    results = csv or out / "results.csv"
    rows = read_table(results, Row)
    work = list(missing(study, rows))
    asked = set(study.trials())
    left, total = sum(len(trials) for _, trials in work), len(asked)
    say(f"{total - left} of {total} trials are in {results}")
    with stop_on_interrupt() as interrupted, progress_bars() as report:
        if ray is None:
            for number, (cell, _) in enumerate(work):
                report("data sets", number, len(work))
                data_files(study, cell, out, workers)
        take = _keeper(rows, results, asked, report)
        jobs = [cell_job(study, cell, trials, out) for cell, trials in work]
        failed = _run(jobs, workers, ray, interrupted, take)
    of_study = [row for row in rows if row.trial in asked]  # a file may hold other studies too
    if of_study:
        found, gained = scores(of_study), gains(of_study)
        out.mkdir(parents=True, exist_ok=True)
        page = write_report(out / "report.html", found, gained, shlex.join(["dara", *sys.argv[1:]]))
        plot(found).savefig(out / "distance.png", dpi=110)
        text = f"{as_text(found, gained)}\n\n{results}, {page}"
        emit({"scores": found, "gains": gained}, as_json, text)
    _end(interrupted(), failed)


@benchmark_app.command()
def mujoco(
    out: Annotated[Path, typer.Option(help="Folder for data sets, runs, report.html and scores.png.")] = Path(
        "runs/mujoco"
    ),
    csv: Results = None,
    task: MujocoTasks = None,
    data_set: MujocoDataSets = None,
    algorithm: Annotated[
        list[str] | None, typer.Option(help="bcq, cql, brac-p, awr, bear, mopo, mabe. [all]")
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help="10T, 1T, union, dara, constant, oracle, tune; of mabe prior_from_target, "
            "prior_from_source. [all]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Training seeds.")] = 3,
    collection_seed: CollectionSeed = 0,
    behaviours: Behaviours = "own",
    target: Target = "plain",
    eta: Annotated[float, typer.Option(help="Weight of delta r.")] = 0.1,
    mix: Annotated[
        float, typer.Option(help="Share of target rows in a batch of both domains; 0: as the files are.")
    ] = 0.0,
    size: Size = 1.0,
    networks: Annotated[
        str, typer.Option(help="paper: the papers' widths; small: two layers of 128, for CPUs.")
    ] = "small",
    steps: Annotated[int, typer.Option(help="Gradient steps of every training, warm-ups included.")] = 20_000,
    episodes: Annotated[int, typer.Option(help="Episodes that judge a policy.")] = 10,
    device: Annotated[
        Device, typer.Option(help="cuda: what can be one computation trains together on a GPU.")
    ] = Device.cpu,
    workers: Annotated[
        int | None, typer.Option(help="Processes; all cores unless given, one on a GPU.", min=1)
    ] = None,
    ray: Cluster = None,
    only_print: Annotated[
        bool, typer.Option("--print", help="Train nothing: the tables of what the results hold by now.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Hopper and Walker2d with other masses, with DARA and without: the seeds' tables, and a control.

    Data sets come from shipped behaviours and a seed. Ctrl-C stops it; the same command goes on.

    \b
    Example:
      dara benchmark mujoco --algorithm bcq --task hopper --data-set random --size 0.05 --seeds 2
      dara benchmark mujoco --csv docs/results/mujoco.csv --print
    """
    from .sim.mujoco_tasks import load_task, make_environment

    make_environment(load_task("hopper_plain"))  # says what is missing
    from .mass_shift.page import as_text, plot, write_report
    from .mass_shift.scores import counts, scores
    from .mass_shift.study import ALGORITHMS, CONDITIONS, DATA_SETS, TASKS, Row, Study, missing
    from .mass_shift.trials import check_device, data_jobs, have_files, training_jobs
    from .studies.rows import read_table

    study = Study(
        tasks=tuple(task or TASKS),
        data_sets=tuple(data_set or DATA_SETS),
        algorithms=tuple(algorithm or ALGORITHMS),
        conditions=tuple(condition or CONDITIONS),
        seeds=seeds,
        collection_seed=collection_seed,
        behaviours=behaviours,
        target=target,
        eta=eta,
        mix=mix,
        size=size,
        networks=networks,
        steps=steps,
        episodes=episodes,
    )
    check_device(device.value)
    if ray is not None and device is Device.cuda:
        raise UserError("--ray and --device cuda exclude each other: give one of them")
    results = csv or out / "results.csv"
    rows = read_table(results, Row)
    work, asked = missing(study, rows), set(study.trials())
    there = f"{len(asked) - len(work)} of {len(asked)} trials are in {results}"
    if only_print:
        if len(work) == len(asked):
            raise UserError(f"{there}: nothing to print; choose others, or run some without --print")
        work = []
    say(f"{there}; {study.terms()}")
    failed: list[Failure] = []
    with stop_on_interrupt() as interrupted, progress_bars() as report:
        if ray is None:
            jobs, made = data_jobs(work, out), count(1)
            failed += _run(
                jobs, workers, None, interrupted, lambda file: report("data sets", next(made), len(jobs))
            )
            work = have_files(work, (file for failure in failed for file in failure.trials))

        take = _keeper(rows, results, asked, report)
        trainings = training_jobs(work, out, device.value)
        failed += _run(trainings, workers or (1 if device is Device.cuda else None), ray, interrupted, take)
    found = scores(row for row in rows if row.trial in asked)  # a file may hold other studies too
    if found:
        out.mkdir(parents=True, exist_ok=True)
        page = write_report(out / "report.html", study, found, shlex.join(["dara", *sys.argv[1:]]))
        plot(study, found).savefig(out / "scores.png", dpi=110)
        answer = {"terms": study.terms(), "scores": list(found.values()), "counts": counts(found)}
        emit(answer, as_json, f"{as_text(study, found)}\n\n{results}, {page}")
    _end(interrupted(), failed)


@benchmark_app.command("delta-r")
def delta_r(
    out: Annotated[Path, typer.Option(help="Folder for data sets.")] = Path("runs/sim2real"),
    csv: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
    world: Annotated[list[str] | None, typer.Option(help="Target world. [all three]")] = None,
    data_set: Annotated[
        list[str] | None, typer.Option(help="medium, medium-expert, medium-replay-expert. [medium-expert]")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of estimators; each has a collection of its own.")] = 2,
    source_rows: Annotated[int, typer.Option(help="Rows of the source data set.")] = 100_000,
    target_rows: Annotated[int, typer.Option(help="Rows of the target data set, 50 a second.")] = 10_000,
    walks: Annotated[int, typer.Option(help="Walks in which the truth is looked for.")] = 60,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """How well the classifiers, and the dynamics, rank source rows by how little the target could do them.

    The truth is simulated: the same action from the same state in both worlds, one step on and ten.

    \b
    Example:
      dara benchmark delta-r --world low_battery --csv runs/delta_r.csv
    """
    from .rollouts import environment_class

    environment_class()
    from dataclasses import replace

    from .sim2real.study import WORLDS, Cell, Study
    from .sim2real.trials import data_files
    from .sim2real.truth import TRAINED, judge, truths
    from .studies.rows import write_table
    from .studies.tables import of_rows

    study = Study(
        worlds=tuple(world or WORLDS),
        data_sets=tuple(data_set or ("medium-expert",)),
        conditions=("dara",),
        etas=(),
        seeds=seeds,
        collection_seeds=seeds,
        validation=False,
        source_rows=source_rows,
        target_rows=target_rows,
        steps=1,
        episodes=1,
    )
    told, done = [], count(1)
    total = len(study.worlds) * len(study.data_sets) * len(TRAINED) * seeds
    with progress_bars() as report:
        report("delta r", 0, total)
        for name in study.data_sets:
            for where, truth in truths(study.worlds, name, walks).items():
                cell = Cell(name, where, 0, 0)

                def files(seed: int, cell: Cell = cell) -> tuple[Path, Path]:
                    return data_files(study, replace(cell, collection_seed=seed), out, workers)

                told += judge(truth, files, where, name, seeds, lambda: report("delta r", next(done), total))
    if csv is not None:
        write_table(csv, told)
    emit(told, as_json, of_rows(told))


@benchmark_app.command("mujoco-delta-r")
def mujoco_delta_r(
    out: Annotated[Path, typer.Option(help="Folder of dara benchmark mujoco, for data sets.")] = Path(
        "runs/mujoco"
    ),
    csv: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
    task: MujocoTasks = None,
    data_set: MujocoDataSets = None,
    seeds: Annotated[int, typer.Option(help="Seeds of estimators.")] = 3,
    collection_seed: CollectionSeed = 0,
    behaviours: Behaviours = "own",
    target: Target = "plain",
    size: Size = 1.0,
    as_json: Json = False,
) -> None:
    """How well the classifiers, and the dynamics, rank source rows by how little the target could do them.

    The truth is simulated: a row's action from its state, in both dynamics.

    \b
    Example:
      dara benchmark mujoco-delta-r --task hopper --data-set random --size 0.05
    """
    from .sim.mujoco_tasks import load_task, make_environment

    make_environment(load_task("hopper_plain"))  # says what is missing
    from .mass_shift.study import DATA_SETS, TASKS, Study
    from .mass_shift.truth import judge
    from .studies.rows import write_table
    from .studies.tables import of_rows

    study = Study(
        tasks=tuple(task or TASKS),
        data_sets=tuple(data_set or DATA_SETS),
        algorithms=("bcq",),
        conditions=("dara",),
        seeds=seeds,
        collection_seed=collection_seed,
        behaviours=behaviours,
        target=target,
        size=size,
    )
    cells: dict[tuple[str, str], list[Any]] = {}
    for trial in study.trials():
        cells.setdefault((trial.task, trial.data_set), []).append(trial)
    told = []
    with progress_bars() as report:
        for number, trials in enumerate(cells.values()):
            report("delta r", number, len(cells))
            told += judge(trials, out)
            if csv is not None:
                write_table(csv, told)
    emit(told, as_json, of_rows(told))
