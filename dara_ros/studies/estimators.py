"""What tells delta r depends on data and seed alone: whoever has trained it leaves it for other trials."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..policies.whole_files import replaced_when_whole


@contextmanager
def shared_estimator(shared: Path, run: Path) -> Iterator[None]:
    """A training into the folder `run`, within, finds the estimator in `shared`, or leaves its own there.

    It leaves its own too where it had no use for what it found: an older version's.
    """
    own = run / "delta_r.pt"
    run.mkdir(parents=True, exist_ok=True)
    if shared.exists():
        shutil.copy(shared, own)
    yield
    if own.exists() and not (shared.exists() and filecmp.cmp(own, shared, shallow=False)):
        shared.parent.mkdir(parents=True, exist_ok=True)
        with replaced_when_whole(shared) as to:
            shutil.copy(own, to)
    own.unlink(missing_ok=True)
