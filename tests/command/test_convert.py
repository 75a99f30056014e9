"""`dara convert`: from format to format through the command, and one line for whatever is wrong."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from dara_ros import convert as conversion
from dara_ros.policies.conversion import Rows, end_episodes
from dara_ros.policies.dataset import DataSet, DataSetWriter

pytest.importorskip("minari", reason="needs minari: pip install 'dara_ros[convert]'")
pytest.importorskip("rosbags", reason="needs rosbags: pip install 'dara_ros[convert]'")

Dara = Callable[..., tuple[int, str, str]]


def refused(result: tuple[int, str, str], *wanted: str) -> None:
    """The command refused in one line that says all of `wanted`."""
    status, out, err = result
    assert status == 2, err
    assert out == ""
    assert err.count("\n") == 1, err
    for part in ("dara: ", *wanted):
        assert part in err


def columns(path: Path) -> dict[str, np.ndarray]:
    with DataSet(path) as data:
        return {name: data.column(name) for name in data.column_names()}


@pytest.fixture
def hopper(tmp_path: Path) -> Path:
    """A file in D4RL's layout without next observations: two episodes of 5 rows, the first one cut."""
    with h5py.File(tmp_path / "hopper.hdf5", "w") as file:
        file["observations"] = np.arange(30.0).reshape(10, 3)
        file["actions"] = np.zeros((10, 2))
        file["rewards"] = np.ones(10)
        file["terminals"] = np.arange(10) == 9
        file["timeouts"] = np.arange(10) == 4
    return tmp_path / "hopper.hdf5"


def test_round_trip_through_every_format(dara: Dara, source: Path, tmp_path: Path) -> None:
    """Ours -> D4RL -> Minari -> ours, formats guessed; only the ends of episodes are more than they were."""
    steps = [("--to", "d4rl", "a.hdf5"), ("--to", "minari", "a-v0"), ("--to", "dara", "a.h5")]
    path = source
    for *flags, name in steps:
        status, _, err = dara("convert", path, *flags, "--out", tmp_path / name)
        assert (status, err) == (0, "")
        path = tmp_path / name
    before, after = columns(source), columns(path)
    assert before.keys() == after.keys()
    for name in before.keys() - {"timeouts"}:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    with DataSet(source) as left, DataSet(path) as right:
        assert left.info == right.info


def test_answer_says_what_was_lost(dara: Dara, hopper: Path, tmp_path: Path) -> None:
    status, out, _ = dara("convert", hopper, "--out", tmp_path / "h.h5", "--json")
    answer = json.loads(out)
    assert status == 0
    assert answer["rows"] == 9 and answer["episodes"] == 2 and answer["failures"] == 1
    assert (answer["robot"], answer["domain"]) == ("none", "source")
    assert len(answer["notes"]) == 3
    more = ("--domain", "target", "--world", "gym")
    status, out, _ = dara("convert", hopper, "--out", tmp_path / "g.h5", *more)
    assert "9 rows, 2 episodes, 1 failures, robot none, target domain" in out and "left out 1 rows" in out
    with DataSet(tmp_path / "g.h5") as data:
        assert (data.info.domain, data.info.world) == ("target", "gym")
    assert dara("inspect", tmp_path / "g.h5")[0] == 0


def test_several_inputs_become_one(dara: Dara, source: Path, tmp_path: Path) -> None:
    status, out, _ = dara("convert", source, source, "--out", tmp_path / "two.h5")
    assert status == 0 and "160 rows" in out
    twice = np.tile(columns(source)["rewards"], 2)
    np.testing.assert_array_equal(columns(tmp_path / "two.h5")["rewards"], twice)


def test_folder_of_files_is_one_data_set(dara: Dara, source: Path, tmp_path: Path) -> None:
    (tmp_path / "walks").mkdir()
    for name in ("a.h5", "b.h5"):
        (tmp_path / "walks" / name).write_bytes(source.read_bytes())
    status, out, _ = dara("convert", tmp_path / "walks", "--out", tmp_path / "all.h5")
    assert status == 0 and "160 rows" in out


def test_file_of_a_killed_writer(dara: Dara, source: Path, tmp_path: Path) -> None:
    """Its flushed rows come along; D4RL's readers could not even open it."""
    with DataSet(source) as data:
        rows = {name: data.column(name) for name in data.column_names()}
        writer = DataSetWriter(tmp_path / "live.h5", data.info)
    writer.extend(**rows)
    writer.flush()
    (tmp_path / "killed.h5").write_bytes((tmp_path / "live.h5").read_bytes())
    writer.close()
    status, out, _ = dara("convert", tmp_path / "killed.h5", "--to", "d4rl", "--out", tmp_path / "k.hdf5")
    assert status == 0 and "80 rows" in out
    with h5py.File(tmp_path / "k.hdf5") as file:
        np.testing.assert_array_equal(file["observations"], rows["observations"])


def test_inputs_that_do_not_fit_together(dara: Dara, source: Path, target: Path, hopper: Path) -> None:
    out = source.parent / "out.h5"
    refused(dara("convert", source, hopper, "--out", out), "different robots")
    refused(dara("convert", source, target, "--out", out), "--domain")
    assert dara("convert", source, target, "--domain", "target", "--out", out)[0] == 0


def test_columns_that_do_not_fit_together(dara: Dara, source: Path, tmp_path: Path) -> None:
    with DataSet(source) as data, DataSetWriter(tmp_path / "more.h5", data.info) as writer:
        rows = {name: data.column(name) for name in data.column_names()}
        writer.extend(**rows, infos={"extra": np.zeros(len(data))})
    for to, name in (("dara", "o.h5"), ("d4rl", "o.hdf5"), ("minari", "o-v0")):
        result = dara("convert", source, tmp_path / "more.h5", "--to", to, "--out", tmp_path / name)
        refused(result, "differ in infos/extra")
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(("to", "name"), [("dara", "o.h5"), ("d4rl", "o.hdf5"), ("minari", "o-v0")])
def test_nothing_is_written_over(dara: Dara, source: Path, tmp_path: Path, to: str, name: str) -> None:
    command = ("convert", source, "--to", to, "--out", tmp_path / name)
    assert dara(*command)[0] == 0
    refused(dara(*command), name, "exists already", "--overwrite")
    assert dara(*command, "--overwrite")[0] == 0
    (tmp_path / "folder" / name).mkdir(parents=True)
    (tmp_path / "folder" / name / "mine").write_text("kept")
    other = ("convert", source, "--to", to, "--out", tmp_path / "folder" / name, "--overwrite")
    refused(dara(*other), name, "could be replaced")
    assert (tmp_path / "folder" / name / "mine").read_text() == "kept"


def test_wrong_input(dara: Dara, source: Path, hopper: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    (tmp_path / "text.h5").write_text("observations")
    (tmp_path / "walk.mcap").write_bytes(b"\x89MCAP0\r\n")
    (tmp_path / "empty").mkdir()
    refused(dara("convert", tmp_path / "none.h5", "--out", out), "none.h5", "no such file")
    refused(dara("convert", tmp_path / "text.h5", "--out", out), "text.h5", "not an HDF5 file")
    refused(dara("convert", tmp_path / "empty", "--out", out), "empty", "no data set file")
    refused(dara("convert", "nobody/has-this-v0", "--out", out), "minari download nobody/has-this-v0")
    refused(dara("convert", tmp_path / "walk.mcap", "--out", out), "walk.mcap", "mcap recover")
    refused(dara("convert", hopper, "--robot", "a1", "--out", out), "--robot")
    refused(dara("convert", source, "--from", "rosbag", "--out", out), "source.h5")
    refused(dara("convert", source, "--from", "minari", "--out", out), "source.h5")
    refused(dara("convert", source, "--to", "minari", "--out", tmp_path / "name"), "-v0")
    refused(dara("convert", source, "--to", "csv", "--out", out), "csv")
    refused(dara("convert", source), "--out")
    assert not out.exists()


def test_numbers_that_are_not_finite(dara: Dara, hopper: Path, tmp_path: Path) -> None:
    with h5py.File(hopper, "a") as file:
        file["rewards"][6] = np.nan
    refused(dara("convert", hopper, "--out", tmp_path / "h.h5"), "column rewards", "row 6")
    with h5py.File(hopper, "a") as file:
        file["rewards"][6] = 1e60  # more than float32 holds
    refused(dara("convert", hopper, "--out", tmp_path / "h.h5"), "column rewards", "float32")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hopper.hdf5"]


def press_before_the_last(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """Ctrl-C in the middle of it."""
    *first, last = end_episodes(blocks)
    yield from first
    signal.raise_signal(signal.SIGINT)
    yield last


def test_interrupt_leaves_what_was_there(
    dara: Dara, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("convert", source, "--out", tmp_path / "out.h5")
    assert dara(*command)[0] == 0
    before = (tmp_path / "out.h5").read_bytes()
    monkeypatch.setattr("dara_ros.policies.conversion.BLOCK_ROWS", 16)
    monkeypatch.setattr(conversion, "end_episodes", press_before_the_last)
    assert dara(*command, "--overwrite")[0] == 130
    assert (tmp_path / "out.h5").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "source.h5"]
