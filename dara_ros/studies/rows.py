"""Dataclasses as the lines of a CSV file: what a study has found so far."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UserError
from ..policies.whole_files import replaced_when_whole

Line = TypeVar("Line")
CHOSEN = ("eta", "size", "mix")  # floats that were set, not measured


def read_table(path: Path, kind: type[Line]) -> list[Line]:
    """Dataclasses of int, float and str from a file that `write_table` wrote; none where there is no file.

    Raises:
        UserError: it is no such file.
    """
    if not path.exists():
        return []
    kinds = {"int": int, "float": float, "str": str}
    columns = {field.name: kinds[str(field.type)] for field in fields(kind)}  # type: ignore[arg-type]
    try:
        with open(path, newline="") as file:
            lines = csv.DictReader(file)
            if absent := set(map(_heading, columns)) - set(lines.fieldnames or ()):
                raise ValueError(f"no column {min(absent)}")
            return [
                kind(**{name: type_(line[_heading(name)]) for name, type_ in columns.items()})
                for line in lines
            ]
    except (TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: no results of this benchmark ({error}); name another --csv") from error


def write_table(path: Path, rows: Sequence[Any]) -> None:
    """Dataclasses of one kind, whole or not at all; measured figures to four places."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_heading(field.name) for field in fields(rows[0]))
    for row in rows:
        writer.writerow(
            f"{value:.4f}" if isinstance(value, float) and name not in CHOSEN else value
            for name, value in vars(row).items()
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_whole(path) as to:
        to.write_text(text.getvalue())


def write_rows(path: Path, rows: Iterable[Any]) -> None:
    """As `write_table`, in an order that does not depend on which trial came first."""
    write_table(path, sorted(rows, key=lambda row: tuple(vars(row).values())))


def _heading(name: str) -> str:
    """What a field is called in the file: `return_` is no word of Python's there."""
    return name.rstrip("_")
