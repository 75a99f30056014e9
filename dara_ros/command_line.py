"""What the commands share: the application, options of the same meaning, and how answers are printed."""

import json
import os
import sys
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import UserError

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
behaviours_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
benchmark_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(benchmark_app, name="benchmark", help="Compare methods: data sets, many trainings, one table.")
app.add_typer(behaviours_app, name="behaviours", help="List behaviour policies, or train new ones.")


class Domain(str, Enum):
    """Where data comes from."""

    source = "source"
    target = "target"


Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
Robot = Annotated[str, typer.Option(help="Robot: a1, go1, go2, or a YAML file.")]
World = Annotated[str, typer.Option(help="World: flat, obstructive, or a YAML file.")]
Workers = Annotated[int | None, typer.Option(help="Processes; all cores unless given.", min=1)]
PolicyFile = Annotated[str, typer.Argument(help="ONNX policy, or a behaviour: trot, medium, expert.")]


def refuse_existing(path: Path | None) -> None:
    if path is not None and path.exists():
        raise UserError(f"{path}: exists already: choose another name, or remove it")


def make_folder_of(path: Path | None) -> None:
    """So that a name that cannot be written costs no work."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: {path.parent} cannot be made ({error.strerror}): choose another") from error
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: {path.parent} may not be written: choose another, or mend its permissions")


def emit(answer: Any, as_json: bool, text: str) -> None:
    """Print the answer, for a program or for people."""
    print(json.dumps(answer, default=_plain, indent=1) if as_json else text)


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
