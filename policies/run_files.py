"""What a training run leaves in its directory, each file written whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from .dataset_layout import StorageError, reason
from .whole_files import replaced_when_whole


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into the one line that a user can act on."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({reason(error)}): make room or mend the disk"
        ) from error


def make_folder(path: Path) -> None:
    """Make a run's directory; one that is there already stays as it is.

    Raises:
        UserError: there can be none.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be made a folder ({reason(error)}): give another --out"
        ) from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` make the file at `path`; see `replaced_when_whole`.

    Raises:
        UserError: the disk does not take it; what was there before stays.
    """
    with writing(path), replaced_when_whole(path) as to:
        write(to)


def write_text(path: Path, text: str) -> None:
    """Write a text whole."""
    write_whole(path, lambda to: to.write_text(text))


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole."""
    write_text(path, json.dumps(value, indent=1))


def read_json(path: Path) -> Any:
    """What `write_json` wrote; None where it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def save_tensors(path: Path, value: dict[str, Any]) -> None:
    """Write tensors and plain values whole."""
    buffer = io.BytesIO()  # torch.save would not say what the disk has against a file
    torch.save(value, buffer)
    write_whole(path, lambda to: to.write_bytes(buffer.getbuffer()))


def load_tensors(path: Path) -> dict[str, Any]:
    """Read what `save_tensors` wrote; no code in the file is ever run.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
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
            UserError: tensorboard is not installed, or the disk does not take the file.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("tensorboard is missing: pip install 'dara_ros[train]'") from error
        purge = {"purge_step": first_step + 1} if first_step else {}
        self._directory = directory
        with writing(directory):
            self._writer = SummaryWriter(str(directory), **purge)

    def add(self, step: int, figures: dict[str, float], prefix: str) -> None:
        """One point for each figure."""
        with writing(self._directory):
            for name, value in figures.items():
                self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        with writing(self._directory):
            self._writer.close()
