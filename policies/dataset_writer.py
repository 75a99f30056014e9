"""Write a data set row by row."""

from __future__ import annotations

from pathlib import Path

from .dataset_format import DataSetInfo, Transition


class DataSetWriter:
    """Interface; the body follows."""

    def __init__(self, path: str | Path, info: DataSetInfo, flush_interval: float = 0.1, overwrite: bool = False):
        ...

    def append(self, transition: Transition) -> None: ...

    def end_episode(self) -> None: ...

    def discard_episode(self) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...
