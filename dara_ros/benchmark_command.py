"""The commands that compare methods on data: long runs that stop, resume and use all cores."""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .command_line import INTERRUPTED, Json, Workers, benchmark_app, emit, say
from .interrupts import stop_on_interrupt
from .progress import progress_bars


@benchmark_app.command()
def sim2real(
    out: Annotated[
        Path, typer.Option(help="Folder for data sets, runs, report.html and distance.png.")
    ] = Path("runs/sim2real"),
    csv: Annotated[
        Path | None,
        typer.Option(help="Results; a trial that is in it is not run again. [results.csv in --out]"),
    ] = None,
    world: Annotated[list[str] | None, typer.Option(help="Target world. [all three]")] = None,
    data_set: Annotated[
        list[str] | None, typer.Option(help="medium, medium-expert, medium-replay-expert. [all]")
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(help="target, source, bc, union, dara, and so on: docs/sim2real.md. [eight of them]"),
    ] = None,
    eta: Annotated[
        list[float] | None, typer.Option(help="Weight of delta r. [of each condition: 0.1, 1]")
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
    ray: Annotated[
        str | None, typer.Option(help="Run on this Ray cluster instead (address; local starts one).")
    ] = None,
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
    from .sim2real.schedule import over_processes, over_ray
    from .sim2real.scores import scores
    from .sim2real.study import COMPARED, DATA_SETS, WORLDS, Study, missing, read_rows, write_rows
    from .sim2real.trials import data_files

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
    rows = read_rows(results)
    work = list(missing(study, rows))
    asked = set(study.trials())
    left, total = sum(len(trials) for _, trials in work), len(asked)
    say(f"{total - left} of {total} trials are in {results}")
    with stop_on_interrupt() as interrupted, progress_bars() as report:
        if ray is None:
            for number, (cell, _) in enumerate(work):
                report("data sets", number, len(work))
                data_files(study, cell, out, workers)
        run = partial(over_processes, workers=workers) if ray is None else partial(over_ray, address=ray)
        for number, row in enumerate(run(study, work, out, should_stop=interrupted) if work else (), 1):
            rows.append(row)
            write_rows(results, rows)
            report("trials", total - left + number, total)
    if found := scores(row for row in rows if row.trial in asked):  # a file may hold other studies too
        out.mkdir(parents=True, exist_ok=True)
        page = write_report(out / "report.html", found, shlex.join(["dara", *sys.argv[1:]]))
        plot(found).savefig(out / "distance.png", dpi=110)
        emit(found, as_json, f"{as_text(found)}\n\n{results}, {page}")
    if interrupted():
        raise typer.Exit(INTERRUPTED)


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

    The truth is simulated: the same command from the same state in both worlds.

    \b
    Example:
      dara benchmark delta-r --world low_battery --csv runs/delta_r.csv
    """
    from .rollouts import environment_class

    environment_class()
    from dataclasses import replace
    from itertools import count

    from .sim2real.study import WORLDS, Cell, Study, write_table
    from .sim2real.trials import data_files
    from .sim2real.truth import as_text, judge, truths

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
    total = len(study.worlds) * len(study.data_sets) * 2 * seeds
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
    emit(told, as_json, as_text(told))
