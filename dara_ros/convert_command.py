"""`dara convert`: data sets from one format into another."""

from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .command_line import Domain, Json, app, emit
from .progress import progress_bars


class Target(str, Enum):
    """What can be written."""

    dara = "dara"
    d4rl = "d4rl"
    minari = "minari"


class Format(str, Enum):
    """What can be read."""

    dara = "dara"
    d4rl = "d4rl"
    minari = "minari"
    rosbag = "rosbag"


@app.command()
def convert(
    inputs: Annotated[
        list[Path], typer.Argument(help="Files or folders; several become one. Minari: a local id too.")
    ],
    out: Annotated[Path, typer.Option(help="File to make (HDF5); for Minari a folder NAME-v0.")],
    to: Annotated[Target, typer.Option(help="Format to write.")] = Target.dara,
    source_format: Annotated[
        Format | None, typer.Option("--from", help="Format of the input. [guessed]")
    ] = None,
    robot: Annotated[
        str | None, typer.Option(help="rosbag: the recorded robot, by name or YAML file. [a1]")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="rosbag: ROS namespace of the robot.")] = None,
    episode_steps: Annotated[
        int | None,
        typer.Option(help="d4rl: steps of a cut episode, where the file does not tell (v0).", min=1),
    ] = None,
    world: Annotated[str | None, typer.Option(help="Name of the place. [as the input says]")] = None,
    domain: Annotated[
        Domain | None,
        typer.Option(help="What it is for in training. [as the input says; rosbag: target, else source]"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing data set.")] = False,
    as_json: Json = False,
) -> None:
    """Convert from D4RL's HDF5, Minari, rosbag2 recordings or our own files, to D4RL's, Minari or ours.

    \b
    Example:
      dara convert walk_bag/ --robot a1 --world yard --out target.h5
      dara convert hopper_medium.hdf5 --domain source --out hopper.h5
      dara convert target.h5 --to minari --out yard-v0
    """
    from .convert import Choices
    from .convert import convert as convert_files

    choices = Choices(
        format=None if source_format is None else source_format.value,
        robot=robot,
        namespace=namespace,
        world=world,
        domain=None if domain is None else domain.value,
        episode_steps=episode_steps,
    )
    with progress_bars() as report:
        done = convert_files(inputs, to.value, out, choices, overwrite, partial(report, "converting"))
    text = (
        f"{done.file}: {done.rows} rows, {done.episodes} episodes, {done.failures} failures, "
        f"robot {done.robot}, {done.domain} domain, as {done.format}"
    )
    emit(done, as_json, "\n".join([text, *(f"  {note}" for note in done.notes)]))
