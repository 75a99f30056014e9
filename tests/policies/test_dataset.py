"""The data set file: what is written is what is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from dara_ros.errors import UserError
from dara_ros.policies.dataset import (
    DataSet,
    DataSetInfo,
    DataSetWriter,
    Transition,
    check_compatible,
    recover,
)

S, A = 5, 2
INFO = DataSetInfo(
    robot="a1",
    world="flat",
    domain="source",
    control_period=0.02,
    observation_names=tuple(f"s{i}" for i in range(S)),
    action_names=tuple(f"a{i}" for i in range(A)),
    spec_hash="spec",
    task_hash="task",
    task={"joint_names": ["FR_hip"], "kp": [80.0]},
    made_by="test, seed 0",
)


def make_row(number: int, **changes: object) -> Transition:
    """A row whose every value follows from its number, so that any mix-up shows."""
    row = Transition(
        observation=np.arange(S, dtype=np.float32) + 10 * number,
        action=np.array([number, -number], np.float32),
        reward=0.5 * number,
        next_observation=np.arange(S, dtype=np.float32) + 10 * (number + 1),
        infos={"stamp": 10**18 + number, "base_position": np.array([number, 0.1, 1 / 3])},
    )
    return replace(row, **changes)


def write(path: Path, count: int, info: DataSetInfo = INFO, **last: object) -> Path:
    """A file of ``count`` rows; the last one with changes."""
    with DataSetWriter(path, info) as writer:
        for number in range(count):
            writer.append(make_row(number, **(last if number == count - 1 else {})))
    return path


def test_everything_written_is_read_back(tmp_path: Path) -> None:
    data = DataSet(write(tmp_path / "new" / "d.h5", 2500, terminal=True))
    assert data.info == INFO
    assert (len(data), data.observation_size, data.action_size) == (2500, S, A)
    batch = data.rows(np.arange(2500))
    numbers = np.arange(2500)
    np.testing.assert_array_equal(batch.observations, numbers[:, None] * 10 + np.arange(S))
    np.testing.assert_array_equal(batch.next_observations, (numbers[:, None] + 1) * 10 + np.arange(S))
    np.testing.assert_array_equal(batch.actions, np.stack([numbers, -numbers], axis=1))
    np.testing.assert_array_equal(batch.rewards, numbers * 0.5)
    assert batch.terminals.tolist() == [False] * 2499 + [True]
    assert {batch.observations.dtype, batch.actions.dtype, batch.rewards.dtype} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(data.column("infos/stamp"), 10**18 + numbers)  # int64, no float in between
    assert data.column("infos/base_position", 7, 8).tolist() == [[7.0, 0.1, 1 / 3]]  # float64 stays


@pytest.mark.parametrize("cache_bytes", [2**20, 0], ids=["in memory", "from disk"])
def test_rows_come_in_the_order_asked_for(tmp_path: Path, cache_bytes: int) -> None:
    data = DataSet(write(tmp_path / "d.h5", 2500), cache_bytes=cache_bytes)
    for dtype in (np.int64, np.int32, np.uint16):
        indices = np.array([2499, 0, 1023, 1024, 7, 7, 2048], dtype)
        batch = data.rows(indices)
        assert batch.rewards.tolist() == (indices * 0.5).tolist()
        assert batch.observations[:, 0].tolist() == (indices.astype(int) * 10).tolist()
    assert len(data.rows(np.zeros(0, np.int64))) == 0
    for wrong in (np.array([2500]), np.array([-1]), np.array([0.5]), np.array([True])):
        with pytest.raises(IndexError):
            data.rows(wrong)


def test_foreign_layout_reads_the_same(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "d.h5", 1500), tmp_path / "packed.h5"
    with h5py.File(plain) as source, h5py.File(packed, "w") as target:
        target.attrs.update(source.attrs)
        for name in [*DataSet(plain).column_names(), "meta/committed_rows"]:
            values = source[name][()]
            target.create_dataset(name, data=values, compression="gzip" if values.shape else None)
    indices = np.random.default_rng(0).integers(0, 1500, 64)
    left, right = DataSet(plain).rows(indices), DataSet(packed, cache_bytes=0).rows(indices)
    for name, values in vars(left).items():
        np.testing.assert_array_equal(values, getattr(right, name))


def test_extend_equals_append(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", 2500)
    whole = DataSet(tmp_path / "a.h5")
    names = ["observations", "actions", "rewards", "next_observations", "terminals", "timeouts"]
    timeouts = np.zeros(2500, bool)
    timeouts[[99, 1899]] = True
    columns = [*(whole.column(n) for n in names[:-1]), timeouts]
    infos = {n: whole.column("infos/" + n) for n in ("stamp", "base_position")}
    with DataSetWriter(tmp_path / "b.h5", INFO) as writer:
        for start, stop in ((0, 3), (3, 3), (3, 2500)):
            writer.extend(
                *(c[start:stop] for c in columns), infos={n: v[start:stop] for n, v in infos.items()}
            )
        assert (writer.rows, writer.rows_in_episode) == (2500, 600)
    blocks = DataSet(tmp_path / "b.h5")
    for name in whole.column_names():
        if name != "timeouts":
            np.testing.assert_array_equal(blocks.column(name), whole.column(name))
    assert [part.tolist() for part in blocks.episodes()] == [[0, 100, 1900], [100, 1900, 2500]]


def test_blocks_cover_all_rows_in_order(tmp_path: Path) -> None:
    data = DataSet(write(tmp_path / "d.h5", 2500))
    blocks = list(data.blocks(999))
    assert [len(block) for block in blocks] == [999, 999, 502]
    assert np.concatenate([block.rewards for block in blocks]).tolist() == [0.5 * n for n in range(2500)]


@pytest.mark.parametrize("flushed", [False, True])
def test_end_episode_marks_the_last_row_and_only_it(tmp_path: Path, flushed: bool) -> None:
    with DataSetWriter(tmp_path / "d.h5", INFO, flush_interval=1e9) as writer:
        writer.end_episode()  # nothing to end: no effect
        for number in range(6):
            writer.append(make_row(number, terminal=number == 5))
            if number == 2:
                if flushed:
                    writer.flush()
                assert writer.rows_in_episode == 3
                writer.end_episode()
                assert writer.rows_in_episode == 0
        writer.end_episode()  # the row is terminal: not a timeout too
    data = DataSet(tmp_path / "d.h5")
    assert data.column("timeouts").tolist() == [False, False, True, False, False, False]
    assert [part.tolist() for part in data.episodes()] == [[0, 3], [3, 6]]


def test_an_unfinished_episode_counts(tmp_path: Path) -> None:
    with DataSetWriter(tmp_path / "d.h5", INFO) as writer:
        for number in range(5):
            writer.append(make_row(number, timeout=number == 2))
    assert [part.tolist() for part in DataSet(tmp_path / "d.h5").episodes()] == [[0, 3], [3, 5]]


@pytest.mark.parametrize("flushed", [False, True])
def test_discarded_rows_leave_no_trace(tmp_path: Path, flushed: bool) -> None:
    with DataSetWriter(tmp_path / "d.h5", INFO, flush_interval=1e9) as writer:
        for number in range(2000):
            writer.append(make_row(number, timeout=number == 2))
        if flushed:
            writer.flush()
        writer.discard_episode()
        assert (writer.rows, writer.rows_in_episode) == (3, 0)
        assert not flushed or len(DataSet(tmp_path / "d.h5")) == 3  # while it is being written, too
        writer.append(make_row(77))
    rewards = [0.0, 0.5, 1.0, 38.5]
    assert DataSet(tmp_path / "d.h5").column("rewards").tolist() == rewards
    with h5py.File(tmp_path / "d.h5") as file:  # what another library sees
        assert file["rewards"][:].tolist() == rewards
        assert file["observations"].shape == (4, S)


def test_next_observation_is_never_of_the_next_episode(tmp_path: Path) -> None:
    with DataSetWriter(tmp_path / "d.h5", INFO) as writer:
        for start in (0, 1000):
            for number in range(start, start + 3):
                writer.append(make_row(number))
            writer.end_episode()
    data = DataSet(tmp_path / "d.h5")
    _, ends = data.episodes()
    batch = data.rows(ends - 1)
    np.testing.assert_array_equal(batch.next_observations, batch.observations + 10)


def test_statistics_match_numpy_for_large_means(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(1000, 0.01, (3000, S)).astype(np.float32)
    with DataSetWriter(tmp_path / "d.h5", INFO) as writer:
        zeros = np.zeros(3000)
        writer.extend(values, np.zeros((3000, A)), zeros, values, zeros, zeros)
    found = DataSet(tmp_path / "d.h5").statistics()["observations"]
    exact = values.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, exact.std(axis=0), rtol=1e-9)
    np.testing.assert_array_equal(found.minimum, exact.min(axis=0))
    np.testing.assert_array_equal(found.maximum, exact.max(axis=0))


def test_hash_follows_the_content(tmp_path: Path) -> None:
    a, b, c = (DataSet(write(tmp_path / n, k)) for n, k in (("a.h5", 5), ("b.h5", 5), ("c.h5", 6)))
    assert a.sha256 == b.sha256 != c.sha256  # no clock in the file: the same data, the same bytes


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"observation": np.full(S, np.nan)}, "observations"),
        ({"next_observation": np.full(S, 1e39)}, "next_observations"),  # beyond float32
        ({"action": np.array([0, np.inf])}, "actions"),
        ({"reward": float("nan")}, "rewards"),
        ({"observation": np.zeros(S + 1)}, "observations"),
        ({"action": np.float32(0)}, "actions"),  # would broadcast
        ({"infos": {"stamp": 1, "base_position": np.array([0, 0, np.nan])}}, "infos/base_position"),
        ({"infos": {"stamp": 1}}, "infos/base_position"),
        ({"infos": {"stamp": 1, "base_position": np.zeros(3), "new": 1}}, "infos/new"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_bad_row_is_refused_and_the_writer_goes_on(tmp_path: Path, change: dict, named: str) -> None:
    with DataSetWriter(tmp_path / "d.h5", INFO) as writer:
        writer.append(make_row(0))
        with pytest.raises(UserError, match=f"column {named} "):
            writer.append(make_row(1, **change))
        writer.append(make_row(2))
    data = DataSet(tmp_path / "d.h5")
    data.check()
    assert data.column("rewards").tolist() == [0.0, 1.0]


def test_a_bad_block_is_refused_whole(tmp_path: Path) -> None:
    rows, flags = np.zeros((4, S)), np.zeros(4, bool)
    rows[3, 1] = np.nan
    with DataSetWriter(tmp_path / "d.h5", INFO) as writer:
        writer.append(make_row(0, infos={}))
        with pytest.raises(UserError, match="column next_observations "):
            writer.extend(np.zeros((4, S)), np.zeros((4, A)), np.zeros(4), rows, flags, flags)
        with pytest.raises(UserError, match="column actions "):
            writer.extend(np.zeros((4, S)), np.zeros((4, A + 1)), np.zeros(4), np.zeros((4, S)), flags, flags)
    assert len(DataSet(tmp_path / "d.h5")) == 1


def test_an_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    path = write(tmp_path / "d.h5", 3)
    with pytest.raises(UserError, match="exists already"):
        DataSetWriter(path, INFO)
    assert len(DataSet(path)) == 3
    with DataSetWriter(path, INFO, overwrite=True) as writer:
        writer.append(make_row(0))
    assert len(DataSet(path)) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"domain": "both"}, "domain"),
        ({"control_period": 0.0}, "control_period"),
        ({"control_period": float("nan")}, "control_period"),
        ({"robot": None}, "robot"),
        ({"observation_names": ("a", "a")}, "observation_names"),
        ({"action_names": ()}, "action_names"),
        ({"task": {"kp": {1, 2}}}, "task"),
        ({"task": {"kp": float("nan")}}, "task"),
    ],
)
def test_the_header_is_validated(change: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        replace(INFO, **change)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text and ": " in text
    return text


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file") as error:
        DataSet(tmp_path / "none.h5")
    one_line(error)
    for content in (b"", b"PK\3\4 some zip", b"\x89HDF\r\n\x1a\n" + b"\0" * 500):
        (tmp_path / "foreign").write_bytes(content)
        with pytest.raises(UserError, match="not an HDF5 file|damaged") as error:
            DataSet(tmp_path / "foreign")
        one_line(error)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["observations"] = np.zeros((3, S))
    with pytest.raises(UserError, match="not a dara_ros data set"):
        DataSet(tmp_path / "other.h5")


def test_an_empty_file(tmp_path: Path) -> None:
    DataSetWriter(tmp_path / "d.h5", INFO).close()
    with pytest.raises(UserError, match="empty") as error:
        DataSet(tmp_path / "d.h5")
    one_line(error)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda file: file.attrs.modify("schema_version", 99), "schema version 99"),
        (lambda file: file.attrs.__delitem__("task_hash"), "task_hash"),
        (lambda file: file.attrs.modify("task", "{"), "damaged header"),
        (lambda file: file.attrs.__setitem__("observation_names", ["a", "b"]), "observations"),
        (lambda file: file.__delitem__("rewards"), "rewards"),
        (lambda file: file["actions"].resize(4, axis=0), "actions holds 4 of 9 rows"),
        (lambda file: file["infos/stamp"].resize(4, axis=0), "infos/stamp holds 4 of 9 rows"),
    ],
)
def test_a_damaged_file_is_refused_with_one_line(tmp_path: Path, damage, named: str) -> None:
    path = write(tmp_path / "d.h5", 9)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(UserError, match=named) as error:
        DataSet(path)
    one_line(error)


def test_check_finds_nan(tmp_path: Path) -> None:
    path = write(tmp_path / "d.h5", 9)
    DataSet(path).check()
    with h5py.File(path, "r+") as file:
        file["next_observations"][6, 2] = np.nan
    with pytest.raises(UserError, match="next_observations is NaN or infinite in row 6"):
        DataSet(path).check()


def test_an_unknown_column(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'infos/stomp'.*infos/stamp"):
        DataSet(write(tmp_path / "d.h5", 3)).column("infos/stomp")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"robot": "go1"}, "different robots"),
        ({"observation_names": ("s0", "s1", "x", "s3", "s4")}, "observation_names: column 2 is 's2'.*'x'"),
        ({"control_period": 0.01}, "control_period"),
        ({"task_hash": "other"}, "task_hash"),
        ({"spec_hash": "other"}, "spec_hash"),
        ({"domain": "source"}, "given as target"),
    ],
)
def test_files_that_do_not_go_together(tmp_path: Path, change: dict, named: str) -> None:
    source = DataSet(write(tmp_path / "s.h5", 3))
    target_info = replace(INFO, domain="target", world="obstructive")
    check_compatible(source, DataSet(write(tmp_path / "t.h5", 3, target_info)))
    with pytest.raises(UserError, match=named) as error:
        check_compatible(source, DataSet(write(tmp_path / "u.h5", 3, replace(target_info, **change))))
    one_line(error)


def test_recover_saves_the_whole_rows_of_a_cut_file(tmp_path: Path) -> None:
    path = write(tmp_path / "d.h5", 5000)
    whole = DataSet(path)
    content = path.read_bytes()
    for part in (0.3, 0.6, 0.9):
        cut, saved = tmp_path / "cut.h5", tmp_path / f"saved{part}.h5"
        cut.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(UserError, match="dara recover") as error:
            DataSet(cut)
        one_line(error)
        result = recover(cut, saved)
        data = DataSet(saved)
        data.check()
        assert len(data) == result.rows == 5000 - result.lost > 4000 * part - 1024
        assert data.info == INFO
        for name in whole.column_names():
            np.testing.assert_array_equal(data.column(name), whole.column(name, 0, result.rows))
        with pytest.raises(UserError, match="exists already"):
            recover(cut, saved)


def test_any_cut_ends_in_one_line_or_in_data(tmp_path: Path) -> None:
    content = write(tmp_path / "d.h5", 40).read_bytes()
    cut = tmp_path / "cut.h5"
    for length in np.linspace(0, len(content) - 1, 25).astype(int):
        cut.write_bytes(content[:length])
        try:
            data = DataSet(cut)
        except UserError as error:
            assert "\n" not in str(error)
        else:  # only the unused end of the last chunk is gone
            data.check()
            assert data.column("rewards").tolist() == [0.5 * number for number in range(40)]


def test_attributes_are_readable_by_others(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "d.h5", 3)) as file:
        assert list(file.attrs["observation_names"]) == list(INFO.observation_names)
        assert json.loads(file.attrs["task"]) == INFO.task
        assert file.attrs["control_period"] == 0.02
