"""D4RL's layout: one flat HDF5 file, observations, actions, rewards, terminals and, in part, more.

D4RL's own reader takes the next row's observation for s', at a failure that of another episode. Here a row
whose s' the file does not hold is left out where an episode was cut. Where it failed it stays, for its reward
and flag are what counts, and its own state stands for s'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..errors import UserError
from .conversion import BLOCK_ROWS, Reading, Rows, check_finite, robotless_info
from .dataset_format import DataSetInfo, info_from_attributes, info_to_attributes
from .dataset_layout import CHUNK_ROWS
from .dataset_open import damage_named, open_file, plain_dataset
from .whole_files import replaced_when_whole

REQUIRED = ("observations", "actions", "rewards", "terminals")
KNOWN = (*REQUIRED, "next_observations", "timeouts")
HEADER = "metadata"  # D4RL's group for what a file is about; our header is its attributes
FILTERS = {"compression": "gzip", "shuffle": True}


@dataclass(frozen=True, eq=False)
class _Layout:
    """Which of a file's rows are kept, and what they hold."""

    keep: np.ndarray  # (N,) bool
    terminals: np.ndarray  # (N,) bool
    timeouts: np.ndarray  # (N,) bool: of the kept rows
    infos: tuple[str, ...]  # names of the columns in infos/
    known_next: bool  # the file has next_observations


def read_d4rl(path: str | Path, episode_steps: int | None = None) -> Reading:
    """A file in D4RL's layout; one that `write_d4rl` made keeps its header.

    Args:
        path: the HDF5 file.
        episode_steps: steps after which its environment cut an episode. Needed where the file has neither
            `timeouts` nor `next_observations` (D4RL's v0 files: 1000).

    Raises:
        UserError: it is not such a file, or where its episodes end cannot be known.
    """
    path = Path(path)
    with open_file(path) as file, damage_named(path):
        count = _check(file, path)
        notes: list[str] = []
        layout = _layout(file, path, count, episode_steps, notes)
        info = _header(file, path, notes)
    return Reading(info, count, _blocks(path, layout), notes)


def kept_rows(terminals: np.ndarray, timeouts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a file without next observations that are of use.

    Args:
        terminals, timeouts: (N,) bool.

    Returns:
        keep (N,): all but those that end an episode, or the file, without a failure: their s' is unknown.
        timeouts (N,): the rows that are the last of their episode now.
    """
    ends = terminals | timeouts
    ends[-1] = True
    keep = terminals | ~ends
    cut = np.zeros_like(keep)
    cut[:-1] = ~ends[:-1] & ~keep[1:]
    return keep, cut


def counted_timeouts(terminals: np.ndarray, steps: int) -> np.ndarray:
    """(N,) bool: every `steps`-th row since the last end of an episode, unless it is terminal (N,)."""
    rows = np.arange(len(terminals))
    begins = np.zeros(len(terminals), np.int64)
    begins[1:] = np.maximum.accumulate(np.where(terminals[:-1], rows[1:], 0))
    return ((rows - begins + 1) % steps == 0) & ~terminals


def write_d4rl(path: Path, info: DataSetInfo, blocks: Iterable[Rows]) -> None:
    """A file that D4RL's readers take, in place of `path` when it is whole.

    Args:
        blocks: with every episode's end flagged (`end_episodes`).

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_when_whole(path) as to, h5py.File(to, "w") as file:
            file.create_group(HEADER).attrs.update(info_to_attributes(info))
            for rows in blocks:
                _append(file, rows)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error}): check the folder, free some space") from error


def _append(file: h5py.File, rows: Rows) -> None:
    for name, values in rows.columns().items():
        if name in file:
            file[name].resize(len(file[name]) + len(values), axis=0)
            file[name][-len(values) :] = values
        else:
            row = values.shape[1:]
            layout = {"maxshape": (None, *row), "chunks": (CHUNK_ROWS, *row), **FILTERS}
            file.create_dataset(name, data=values, **layout)


def _check(file: h5py.File, path: Path) -> int:
    """N, after a look at names, shapes and types; what the columns hold is not read."""
    if missing := [name for name in REQUIRED if name not in file]:
        raise UserError(f"{path}: has no column {missing[0]!r}: D4RL's layout has {', '.join(REQUIRED)}")
    count = int(plain_dataset(file, "rewards", path).size)
    if count == 0:
        raise UserError(f"{path}: empty: give a file with rows in it")
    for name in (name for name in KNOWN if name in file):
        shape = plain_dataset(file, name, path).shape
        wide = name.endswith(("observations", "actions"))
        fits = len(shape) == 2 and shape[0] == count and shape[1] if wide else shape in ((count,), (count, 1))
        if not fits:
            raise UserError(
                f"{path}: column {name} is {shape}, not {count} {'flat vectors' if wide else 'numbers'}: "
                "no file in D4RL's layout"
            )
    if "next_observations" in file and file["next_observations"].shape != file["observations"].shape:
        raise UserError(f"{path}: next_observations and observations differ in width: take another file")
    return count


def _layout(file: h5py.File, path: Path, count: int, episode_steps: int | None, notes: list[str]) -> _Layout:
    terminals, timeouts = _flags(file, "terminals", count), _flags(file, "timeouts", count)
    known_next = "next_observations" in file
    if episode_steps is not None:
        timeouts |= counted_timeouts(terminals, episode_steps)
    elif "timeouts" not in file and not known_next:
        raise UserError(
            f"{path}: has neither timeouts nor next_observations, so where its episodes end is not known: "
            "give --episode-steps (1000 for D4RL's MuJoCo data)"
        )
    keep = np.ones(count, bool)
    if not known_next:
        keep, timeouts = kept_rows(terminals, timeouts)
        notes.append(
            f"{path}: has no next_observations: left out {count - int(keep.sum())} rows whose next state it "
            f"does not hold; kept {int(terminals.sum())} failures, with their own state in its place"
        )
    group = file.get("infos")
    names = tuple(group) if isinstance(group, h5py.Group) else ()
    infos = tuple(name for name in names if _is_column(file, f"infos/{name}", path, count))
    left = [name for name in file if name not in (*KNOWN, "infos", HEADER, "meta")]
    left += [f"infos/{name}" for name in names if name not in infos]
    if left:
        notes.append(f"{path}: left out {', '.join(left)}: not one row of numbers per transition")
    if any(file[name].dtype.itemsize > 4 for name in ("observations", "actions", "rewards")):
        notes.append(f"{path}: float64 became float32")
    return _Layout(keep, terminals, timeouts, infos, known_next)


def _header(file: h5py.File, path: Path, notes: list[str]) -> DataSetInfo:
    attributes: Mapping[str, object] = file[HEADER].attrs if HEADER in file else {}
    if "schema_version" in attributes:
        return info_from_attributes(attributes, str(path))
    notes.append(f"{path}: names no robot, no units and no control period; its policies will move no robot")
    sizes = file["observations"].shape[1], file["actions"].shape[1]
    return robotless_info(*sizes, path.stem, "source", f"D4RL file {path.name}")


def _blocks(path: Path, layout: _Layout) -> Iterator[Rows]:
    with open_file(path) as file, damage_named(path):
        count = len(layout.keep)
        for start in range(0, count, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, count)
            span = slice(start, stop)
            observations = _floats(file["observations"][start : stop + 1])
            if layout.known_next:
                following = _floats(file["next_observations"][span])
            else:
                following = np.concatenate([observations[1:], observations[-1:]])[: stop - start]
                failed = layout.terminals[span]
                following[failed] = observations[: stop - start][failed]
            infos = {name: file["infos"][name][span] for name in layout.infos}
            rows = Rows(
                observations[: stop - start],
                _floats(file["actions"][span]),
                _floats(file["rewards"][span]).reshape(-1),
                following,
                layout.terminals[span],
                layout.timeouts[span],
                infos,
            )
            check_finite(rows, start, path)
            yield rows.take(layout.keep[span])


def _flags(file: h5py.File, name: str, count: int) -> np.ndarray:
    return file[name][:].reshape(count).astype(bool) if name in file else np.zeros(count, bool)


def _floats(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what overflows float32 is infinite, and refused as such
        return values.astype(np.float32)


def _is_column(file: h5py.File, name: str, path: Path, count: int) -> bool:
    """Whether it holds a number or several for each of the rows."""
    with suppress(UserError):
        dataset = plain_dataset(file, name, path)
        return dataset.shape[:1] == (count,) and dataset.size > 0
    return False
