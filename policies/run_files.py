"""What a training run leaves in its directory, each file written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from .whole_files import replaced_when_whole


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` make the file at `path`; see `replaced_when_whole`."""
    with replaced_when_whole(path) as to:
        write(to)


def write_text(path: Path, text: str) -> None:
    """Write a text whole."""
    write_whole(path, lambda to: to.write_text(text))


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole."""
    write_text(path, json.dumps(value, indent=1))


def save_tensors(path: Path, value: dict[str, Any]) -> None:
    """Write tensors and plain values whole."""
    write_whole(path, lambda to: torch.save(value, to))


def load_tensors(path: Path) -> dict[str, Any]:
    """Read what `save_tensors` wrote; no code in the file is ever run.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        tensors = torch.load(path, weights_only=True)
        if not isinstance(tensors, dict):
            raise ValueError(f"holds one {type(tensors).__name__}")
        return tensors
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: there is nothing to resume, train without --resume") from error
    except Exception as error:  # of any type: torch unpickles by itself, with plain types only
        raise UserError(f"{path} is damaged or not a checkpoint: train anew in another --out") from error


class ScalarLog:
    """TensorBoard scalars in a directory."""

    def __init__(self, directory: Path, first_step: int) -> None:
        """Open a new event file; points after `first_step` of an earlier, interrupted run are hidden.

        Raises:
            UserError: tensorboard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("tensorboard is missing: pip install 'dara_ros[train]'") from error
        purge = {"purge_step": first_step + 1} if first_step else {}
        self._writer = SummaryWriter(str(directory), **purge)

    def add(self, step: int, figures: dict[str, float], prefix: str) -> None:
        """One point for each figure."""
        for name, value in figures.items():
            self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
