"""Several files and folders as one data set: read, refused, repaired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from dara_ros.errors import UserError
from dara_ros.policies.dataset import DataSet, DataSetInfo, DataSetWriter, Transition, recover

S, A = 3, 2
INFO = DataSetInfo(
    robot="a1",
    world="yard",
    domain="target",
    control_period=0.02,
    observation_names=tuple(f"s{i}" for i in range(S)),
    action_names=tuple(f"a{i}" for i in range(A)),
    spec_hash="spec",
    task_hash="task",
    made_by="test",
)


def write(path: Path, first: int, stop: int, info: DataSetInfo = INFO, lost: int = 0, **infos: float) -> Path:
    """Rows first to stop - 1; every tenth ends an episode, and the last one does not."""
    with DataSetWriter(path, info) as writer:
        writer.lost_rows = lost
        for n in range(first, stop):
            over = n % 10 == 9
            state, following = np.full(S, n), np.full(S, n + 1)
            row = Transition(
                state, np.full(A, -n), n / 2, following, timeout=over, infos={"stamp": n, **infos}
            )
            writer.append(row)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rows 0 to 2499 in three files, and what does not count in a folder."""
    folder = tmp_path / "monday"
    write(folder / "walk.h5", 0, 1205, lost=2)
    write(folder / "walk_0001.h5", 1205, 1300, replace(INFO, world="street"), lost=3)
    write(folder / "walk_0002.hdf5", 1300, 2500)
    (folder / ".walk_0003.h5.part").write_bytes(b"torn")
    (folder / "notes.txt").write_text("it rained")
    return folder


@pytest.mark.parametrize("cache_bytes", [2**20, 0], ids=["in memory", "from disk"])
def test_files_of_a_folder_read_as_one(folder: Path, tmp_path: Path, cache_bytes: int) -> None:
    whole = DataSet(write(tmp_path / "whole.h5", 0, 2500), cache_bytes)
    data = DataSet(folder, cache_bytes)
    assert (len(data), len(data.paths), data.lost_rows) == (2500, 3, 5)
    assert data.info == replace(INFO, world="yard, street")
    assert data.name.endswith("walk.h5 and 2 more")
    assert data.column_names() == whole.column_names()
    for name in whole.column_names():
        for start, stop in ((0, 2500), (1200, 1301), (1250, 1260), (1300, 1300)):
            np.testing.assert_array_equal(data.column(name, start, stop), whole.column(name, start, stop))
    indices = np.concatenate(
        [np.random.default_rng(0).integers(0, 2500, 300), [0, 1204, 1205, 1299, 1300, 2499]]
    )
    for asked in (indices, indices[:0], indices[-1:]):
        for name, values in vars(data.rows(asked)).items():
            np.testing.assert_array_equal(values, getattr(whole.rows(asked), name))
    for name, statistics in data.statistics().items():
        np.testing.assert_allclose(statistics.std, whole.statistics()[name].std)
    assert [len(block) for block in data.blocks(1000)] == [1000, 1000, 500]


def test_no_episode_goes_on_from_one_file_into_the_next(folder: Path) -> None:
    starts, ends = DataSet(folder).episodes()
    assert {1205}.issubset(starts.tolist()) and {1205}.issubset(ends.tolist())
    assert ends.tolist() == sorted({*range(10, 2501, 10), 1205})


def test_paths_may_be_mixed_and_count_once(folder: Path, tmp_path: Path) -> None:
    more = write(tmp_path / "tuesday.h5", 2500, 2600)
    data = DataSet([more, folder, folder / "walk.h5", str(more)])
    assert [path.name for path in data.paths] == ["tuesday.h5", "walk.h5", "walk_0001.h5", "walk_0002.hdf5"]
    assert data.column("infos/stamp")[[0, 100]].tolist() == [2500, 0]


def test_the_hash_is_of_all_files(folder: Path, tmp_path: Path) -> None:
    one = DataSet(folder / "walk.h5").sha256
    assert DataSet([folder / "walk.h5"]).sha256 == one
    assert len({one, DataSet(folder).sha256, DataSet([folder / "walk_0001.h5", folder]).sha256}) == 3


def test_columns_that_not_all_files_have_are_left_out(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.h5", 0, 5), write(tmp_path / "b.h5", 5, 9, forward=1.0)]
    assert "infos/forward" not in DataSet(paths).column_names()
    assert "infos/forward" in DataSet(paths[1]).column_names()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"robot": "go1"}, "different robots"),
        ({"domain": "source"}, "different domains"),
        ({"action_names": ("a0", "x")}, "action_names: column 1 is 'a1'.*'x'"),
        ({"control_period": 0.01}, "control_period"),
        ({"task_hash": "other"}, "task_hash"),
    ],
)
def test_files_that_are_not_one_data_set(folder: Path, change: dict[str, object], named: str) -> None:
    write(folder / "zz.h5", 0, 3, replace(INFO, **change))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"walk.h5 and .*zz.h5 .*{named}") as error:
        DataSet(folder)
    assert "\n" not in str(error.value)


def test_empty_files_among_others_are_left_out(folder: Path, tmp_path: Path) -> None:
    write(folder / "nothing.h5", 0, 0)
    assert len(DataSet(folder)) == 2500
    with pytest.raises(UserError, match="empty"):
        DataSet(folder / "nothing.h5")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="no data set file"):
        DataSet(tmp_path / "bare")


def test_a_damaged_file_among_others_is_named(folder: Path) -> None:
    path = folder / "walk_0001.h5"
    with h5py.File(path, "r+") as file:
        file["rewards"][7] = np.nan
    with pytest.raises(UserError, match=r"walk_0001.h5: column rewards .* row 7: .*`dara recover"):
        DataSet(folder).check()
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="walk_0001.h5"):
        DataSet(folder)


@pytest.mark.parametrize("compress", [False, True])
def test_recover_joins_what_is_whole(folder: Path, tmp_path: Path, compress: bool) -> None:
    expected = DataSet([folder / "walk.h5", folder / "walk_0002.hdf5"])
    (folder / "walk_0001.h5").write_bytes(b"torn")
    saved = recover(folder, tmp_path / "saved.h5", compress)
    assert (saved.rows, saved.lost) == (2405, 0)
    assert len(saved.refused) == 1 and "walk_0001.h5" in saved.refused[0]
    data = DataSet(tmp_path / "saved.h5", cache_bytes=0)
    for name in set(expected.column_names()) - {"timeouts"}:
        np.testing.assert_array_equal(data.column(name), expected.column(name))
    np.testing.assert_array_equal(data.episodes(), expected.episodes())
    assert data.lost_rows == 2
    indices = np.arange(2404, 0, -7)
    np.testing.assert_array_equal(data.rows(indices).observations, expected.rows(indices).observations)
    with h5py.File(tmp_path / "saved.h5") as file:
        assert file["observations"].compression == ("gzip" if compress else None)


def test_recover_leaves_out_rows_that_are_not_finite(folder: Path, tmp_path: Path) -> None:
    """Row 1253 in the middle of an episode, 1260 at the beginning of one, and no row of a whole file."""
    with h5py.File(folder / "walk_0001.h5", "r+") as file:
        file["rewards"][48] = np.nan
        file["infos/stamp"][48] = 0
        file["next_observations"][55, 1] = np.inf
    bad = write(folder / "walk_0003.h5", 2500, 2520, lost=4)
    with h5py.File(bad, "r+") as file:
        file["actions"][...] = np.nan
    saved = recover(folder, tmp_path / "saved.h5")
    assert (saved.rows, saved.lost) == (2498, 22)
    assert saved.refused == [f"{bad}: not one whole row is left: collect or record it anew"]
    data = DataSet(tmp_path / "saved.h5")
    data.check()
    stamps = data.column("infos/stamp")
    assert stamps.tolist() == [n for n in range(2500) if n not in (1253, 1260)]
    ends = stamps[data.episodes()[1] - 1].tolist()
    assert ends == sorted({*range(9, 2500, 10), 1204, 1252})
    assert not data.column("terminals").any()
    assert data.lost_rows == 2 + 3 + 4 + 22

    with pytest.raises(UserError, match="walk_0003.h5: not one whole row"):
        recover(bad, tmp_path / "nothing.h5")
    assert [path.name for path in tmp_path.glob("nothing*")] == []


@pytest.mark.parametrize("compress", [False, True])
def test_recover_goes_on_behind_a_flipped_block(tmp_path: Path, compress: bool) -> None:
    path = write(tmp_path / "walk.h5", 0, 5000)
    if compress:
        recover(path, tmp_path / "small.h5", compress=True)
        path = tmp_path / "small.h5"
    with h5py.File(path) as file:
        stored = file["terminals" if not compress else "rewards"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    piece = slice(stored.byte_offset, stored.byte_offset + min(stored.size, 4096))
    content[piece] = bytes(byte ^ 0xFF for byte in content[piece])
    path.write_bytes(content)
    if compress:
        with pytest.raises(UserError, match=f"{path.name}: damaged .* `dara recover"):
            DataSet(path, cache_bytes=0).check()
    saved = recover(path, tmp_path / "saved.h5")
    assert (saved.rows, saved.lost, saved.refused) == (5000 - 1024, 1024, [])
    data = DataSet(tmp_path / "saved.h5")
    assert data.column("infos/stamp").tolist() == [*range(2048), *range(3072, 5000)]
    assert 2048 in data.episodes()[1]


def test_files_of_the_first_version_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "old.h5", 0, 20)
    with h5py.File(path, "r+") as file:
        del file["meta/lost_rows"]
    data = DataSet([path, write(tmp_path / "new.h5", 20, 30, lost=1)])
    assert (DataSet(path).lost_rows, data.lost_rows, len(data)) == (None, 1, 30)
