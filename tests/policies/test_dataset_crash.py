"""What a writer leaves behind when it is killed, and what a large file costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from dara_ros.errors import UserError
from dara_ros.policies.dataset import DataSet, DataSetInfo, DataSetWriter, recover

S, A = 30, 12

INFO = DataSetInfo(
    robot="a1",
    world="flat",
    domain="target",
    control_period=0.02,
    observation_names=tuple(f"s{i}" for i in range(S)),
    action_names=tuple(f"a{i}" for i in range(A)),
    spec_hash="spec",
    task_hash="task",
)

# Writes rows for ever and says, after every flush, how many are safe. A row's values follow from its number.
WRITER = """
import itertools, os, sys
import numpy as np
from dara_ros.policies.dataset import DataSetInfo, DataSetWriter, Transition
from tests.policies.test_dataset_crash import INFO, S, A
writer = DataSetWriter(sys.argv[1], INFO, flush_interval=1e9)
for n in itertools.count():
    writer.append(Transition(np.full(S, n), np.full(A, n), n, np.full(S, n + 1), infos={"stamp": n}))
    if n % 7 == 6:
        writer.end_episode()
    if n % 13 == 12:
        writer.flush()
        os.write(1, writer.rows.to_bytes(8, "little"))
"""


def test_sigkill_at_any_moment_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    root = Path(__file__).parents[2]
    for trial in range(4):
        path = tmp_path / f"{trial}.h5"
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert writer.stdout is not None
        for _ in range(random.integers(1, 80)):  # a moment that the load of the machine does not decide
            writer.stdout.read(8)
        live = DataSet(path)  # being written at this moment
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read()
        writer.wait()
        whole = len(said) // 8 * 8
        safe = int.from_bytes(said[whole - 8 : whole], "little") if whole else 0

        for data in (live, DataSet(path)):
            data.check()
            numbers = np.arange(len(data))
            np.testing.assert_array_equal(data.column("rewards"), numbers)
            np.testing.assert_array_equal(data.column("next_observations")[:, -1], numbers + 1)
            np.testing.assert_array_equal(data.column("infos/stamp"), numbers)
        assert len(data) >= max(safe, len(live)), f"trial {trial}: {len(data)} rows left of {safe}"
        ends = np.arange(7, safe + 1, 7)
        np.testing.assert_array_equal(data.episodes()[1][: len(ends)], ends)

        recovered = recover(path, tmp_path / f"{trial}.saved.h5")
        assert (recovered.rows, recovered.lost) == (len(data), 0)
        with h5py.File(tmp_path / f"{trial}.saved.h5") as file:  # any library opens it now
            np.testing.assert_array_equal(file["rewards"][:], numbers)


def test_a_writer_killed_before_its_first_row(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    code = (
        "import os, sys; from dara_ros.policies.dataset import DataSetWriter; "
        "from tests.policies.test_dataset_crash import INFO; "
        "DataSetWriter(sys.argv[1], INFO); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "d.h5"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, env=environment, check=False)
    assert path.exists()
    with pytest.raises(UserError, match="empty|lacks"):
        DataSet(path)


def test_a_file_of_ten_million_rows_costs_a_batch_and_an_index(tmp_path: Path) -> None:
    """The file is sparse: all chunks of its rows have their place, next to nothing is on the disk."""
    rows, small, path = 10_000_000, tmp_path / "small.h5", tmp_path / "large.h5"
    with DataSetWriter(small, INFO) as writer:
        flags = np.zeros(9, bool)
        writer.extend(np.ones((9, S)), np.ones((9, A)), flags, np.ones((9, S)), flags, flags)
    with h5py.File(small) as pattern, h5py.File(path, "w", libver=("v110", "v110"), rdcc_nbytes=0) as file:
        file.attrs.update(pattern.attrs)
        file["meta/committed_rows"] = np.int64(rows)
        for name in ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts"):
            _create_sparse(file, pattern[name], rows)
            file[name][-1] = 1
    assert path.stat().st_size > 2e9 > 50 * path.stat().st_blocks * 512

    tracemalloc.start()
    data = DataSet(path)
    data.rows(np.random.default_rng(0).integers(0, rows, 256))
    batch = data.rows(np.array([rows - 1, 0]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) == rows
    assert (batch.rewards.tolist(), batch.observations[:, 0].tolist()) == ([1.0, 0.0], [1.0, 0.0])
    assert peak < 4e6  # bytes; the columns hold 2.9e9


def _create_sparse(file: h5py.File, pattern: h5py.Dataset, rows: int) -> None:
    """A column like ``pattern``, ``rows`` long: every chunk gets its place in the file, none is written."""
    properties = pattern.id.get_create_plist().copy()
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space = h5py.h5s.create_simple((rows, *pattern.shape[1:]), (h5py.h5s.UNLIMITED, *pattern.shape[1:]))
    h5py.h5d.create(file.id, pattern.name.encode(), pattern.id.get_type(), space, properties)
