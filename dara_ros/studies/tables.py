"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for every row, its cells below one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in lines]


def of_rows(rows: Sequence[Any]) -> str:
    """Dataclasses of one kind below one another, their fields' names above; None is left empty."""
    lines = [[_cell(value) for value in vars(row).values()] for row in rows]
    return "\n".join(in_columns([[field.name for field in fields(rows[0])], *lines]))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
