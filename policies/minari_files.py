"""Minari data sets: episodes of T actions and T + 1 observations, so that every s' is exact."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import minari
import numpy as np
from gymnasium.spaces import Box
from minari import EpisodeData, MinariDataset
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from ..errors import UserError
from .conversion import Reading, Rows, check_finite, episodes, robotless_info
from .dataset_format import DataSetInfo, info_from_attributes, info_to_attributes
from .dataset_open import damage_named

HEADER = "dara_ros"  # the key of our header in the metadata
NAME = re.compile(r"[-\w]+-v\d+")  # of the folder: Minari's ids end so
EPISODES_AT_ONCE = 32


def datasets_root() -> Path:
    """Where Minari keeps its local data sets; their ids are the paths from here."""
    root = os.environ.get("MINARI_DATASETS_PATH")
    return Path(root) if root else Path.home() / ".minari" / "datasets"


def read_minari(path: Path) -> Reading:
    """A data set in Minari's format; one that `write_minari` made keeps its header.

    Args:
        path: its folder, which holds `data`, or its id where Minari keeps it.

    Raises:
        UserError: it is damaged, or observations and actions are not flat vectors.
    """
    folder = path if path.exists() else datasets_root() / path
    if not (folder / "data").is_dir():
        raise UserError(f"{path}: no such folder and no local data set; run: minari download {path}")
    data_set = _open(folder)
    notes: list[str] = []
    info = _header(data_set, folder, notes)
    return Reading(info, data_set.total_steps, _blocks(data_set, folder, notes), notes)


def write_minari(folder: Path, info: DataSetInfo, blocks: Iterable[Rows]) -> None:
    """A data set in Minari's format, at `folder` when it is whole.

    Its id is the path from Minari's root, or elsewhere the folder's name: with MINARI_DATASETS_PATH at the
    folder around it, `minari.load_dataset(name)` finds it.

    Args:
        folder: its name must end as Minari's ids do, in `-v0` or so.
        blocks: with every episode's end flagged (`end_episodes`).

    Raises:
        UserError: the name does not do, or the folder cannot be written.
    """
    if not NAME.fullmatch(folder.name):
        raise UserError(f"{folder}: a Minari data set is named like walk-v0: let --out end in -v0")
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Minari wants it absolute.
        temporary = Path(tempfile.mkdtemp(prefix=".part.", dir=folder.resolve()))
        _write(temporary / "new", folder, info, blocks)
        if (folder / "data").exists():
            os.rename(folder / "data", temporary / "old")
        os.rename(temporary / "new", folder / "data")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error}): check the folder, free some space"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # it is empty where nothing came of it
            folder.rmdir()


def _write(data: Path, folder: Path, info: DataSetInfo, blocks: Iterable[Rows]) -> None:
    limits = (info.task.get(name, limit) for name, limit in (("action_low", -1.0), ("action_high", 1.0)))
    low, high = (np.full(info.action_size, limit, np.float32) for limit in limits)
    storage = MinariStorage.new(
        data,
        observation_space=Box(-np.inf, np.inf, (info.observation_size,), np.float32),
        action_space=Box(low, high, dtype=np.float32),
    )
    identity = folder.resolve()
    if identity.is_relative_to(datasets_root().resolve()):
        name = identity.relative_to(datasets_root().resolve()).as_posix()
    else:
        name = folder.name
    storage.update_metadata(
        {
            "dataset_id": name,
            "minari_version": minari.__version__,
            "algorithm_name": info.made_by,
            "description": f"{info.domain} transitions of robot {info.robot} in world {info.world}",
            HEADER: json.dumps(info_to_attributes(info)),
        }
    )
    whole = episodes(blocks)
    while buffers := [_buffer(rows) for rows in islice(whole, EPISODES_AT_ONCE)]:
        storage.update_episodes(buffers)


def _buffer(rows: Rows) -> EpisodeBuffer:
    return EpisodeBuffer(
        observations=np.concatenate([rows.observations, rows.next_observations[-1:]]),
        actions=rows.actions,
        rewards=rows.rewards,
        terminations=rows.terminals,
        truncations=rows.timeouts,
        infos=dict(rows.infos),
    )


def _open(folder: Path) -> MinariDataset:
    try:
        metadata = json.loads((folder / "data" / "metadata.json").read_text())
        for name in ("observation_space", "action_space"):
            if name not in metadata:  # Minari would make the environment that the file names
                raise ValueError(f"no {name} in its metadata")
        data_set = MinariDataset(folder / "data")
    except ImportError as error:
        raise UserError(f"{folder}: {error}; run: pip install 'minari[arrow]'") from error
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise UserError(f"{folder}: no Minari data set, or damaged ({error}): download it anew") from error
    for name, space in (("observations", data_set.observation_space), ("actions", data_set.action_space)):
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise UserError(f"{folder}: its {name} are {space}: only flat vectors can be converted")
    return data_set


def _header(data_set: MinariDataset, folder: Path, notes: list[str]) -> DataSetInfo:
    kept = data_set.storage.metadata.get(HEADER)
    if kept is not None:
        try:
            return info_from_attributes(json.loads(kept), str(folder))
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{folder}: damaged header ({error}): convert it anew") from error
    notes.append(f"{folder}: names no robot and no control period; its policies will move no robot")
    sizes = data_set.observation_space.shape[0], data_set.action_space.shape[0]
    environment = data_set.env_spec.id if data_set.env_spec else data_set.id
    return robotless_info(*sizes, environment, "source", f"Minari data set {data_set.id}")


def _blocks(data_set: MinariDataset, folder: Path, notes: list[str]) -> Iterator[Rows]:
    left: set[str] = set()
    numbers = iter(range(data_set.total_episodes))
    with damage_named(folder):
        for number, episode in zip(numbers, data_set.iterate_episodes(), strict=False):
            rows = _rows(episode, f"{folder}: episode {number}")
            check_finite(rows, 0, f"{folder}: episode {number}")
            left |= (episode.infos or {}).keys() - rows.infos.keys()
            yield rows
    if left:
        notes.append(f"{folder}: left out infos {', '.join(sorted(left))}: not one row of numbers per step")


def _rows(episode: EpisodeData, name: str) -> Rows:
    """One episode's rows.

    Raises:
        UserError: its arrays do not fit together.
    """
    count = len(episode.rewards)
    columns = (episode.rewards, episode.actions, episode.terminations, episode.truncations)
    if count == 0 or len(episode.observations) != count + 1 or any(len(c) != count for c in columns):
        raise UserError(f"{name} does not have T + 1 observations for T steps: download the data set anew")
    infos = {
        key: values
        for key, values in (episode.infos or {}).items()
        if isinstance(values, np.ndarray) and values.shape[:1] == (count,) and values.dtype.kind in "fiub"
    }
    with np.errstate(over="ignore"):  # what overflows float32 is infinite, and refused as such
        observations = np.asarray(episode.observations, np.float32)
        actions, rewards = np.asarray(episode.actions, np.float32), np.asarray(episode.rewards, np.float32)
    terminals = np.asarray(episode.terminations, bool)
    timeouts = np.asarray(episode.truncations, bool) & ~terminals
    timeouts[-1] = not terminals[-1]
    return Rows(observations[:-1], actions, rewards, observations[1:], terminals, timeouts, infos)
