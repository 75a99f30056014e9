"""D4RL's layout: no row joins two episodes, what can be known comes along, and d3rlpy reads what we write."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from dara_ros.errors import UserError
from dara_ros.policies.conversion import (
    NO_ROBOT,
    Rows,
    check_finite,
    end_episodes,
    episodes,
    read_dara,
    write_dara,
)
from dara_ros.policies.d4rl import counted_timeouts, kept_rows, read_d4rl, write_d4rl
from dara_ros.policies.dataset_format import DataSetInfo
from dara_ros.policies.runtime import PolicyMetadata

FAILS, CUT, UNFINISHED = "fails", "is cut", "is unfinished"
INFO = DataSetInfo(
    robot="a1",
    world="yard",
    domain="target",
    control_period=0.02,
    observation_names=("episode", "step", "noise"),
    action_names=("push",),
    spec_hash="spec",
    task_hash="task",
    task={"kp": [80.0]},
    made_by="a test",
)


def make_rows(*ends: tuple[int, str]) -> Rows:
    """Episodes of (length, end); every state says which episode and step it is of, the last s' included."""
    parts = []
    for number, (length, end) in enumerate(ends):
        rng = np.random.default_rng(number)
        states = np.column_stack([np.full(length + 1, number), np.arange(length + 1), rng.random(length + 1)])
        states = states.astype(np.float32)
        last = np.arange(length) == length - 1
        parts.append(
            Rows(
                states[:-1],
                rng.uniform(-1, 1, (length, 1)).astype(np.float32),
                rng.normal(size=length).astype(np.float32),
                states[1:],
                last & (end == FAILS),
                last & (end == CUT),
                {"stamp": 1000 * number + np.arange(length), "place": rng.random((length, 2))},
            )
        )
    return Rows.joined(parts)


def write_foreign(path: Path, rows: Rows, without: Sequence[str] = (), **changes: Any) -> Path:
    """As others write such files: float64, and columns of numbers as (N, 1)."""
    with h5py.File(path, "w") as file:
        for name, values in (rows.columns() | changes).items():
            if name in without or name.startswith("infos/"):
                continue
            wide = values.astype(np.float64) if values.dtype.kind == "f" else values
            file[name] = wide.reshape(len(rows), -1) if name in ("rewards", "terminals") else wide
        file["infos/qpos"] = np.arange(3.0 * len(rows)).reshape(-1, 3)
        file["metadata/algorithm"] = "SAC"
    return path


def read_all(reading: Any) -> Rows:
    return Rows.joined(list(end_episodes(reading.blocks)))


def assert_equal(left: Rows, right: Rows) -> None:
    a, b = left.columns(), right.columns()
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


ROWS = make_rows((4, FAILS), (1, FAILS), (5, CUT), (1, CUT), (3, FAILS), (6, UNFINISHED))


# -- which rows are of use --------------------------------------------------------------------------------


def test_rows_whose_next_state_is_unknown_are_left_out() -> None:
    terminals = np.array([0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0], bool)
    timeouts = np.array([0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0], bool)
    keep, cut = kept_rows(terminals, timeouts)
    assert keep.astype(int).tolist() == [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0]
    assert cut.astype(int).tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def test_failure_at_the_end_of_the_file_is_kept() -> None:
    keep, cut = kept_rows(np.array([False, True]), np.array([False, False]))
    assert keep.all() and not cut.any()


def test_steps_are_counted_anew_after_a_failure_and_after_a_cut() -> None:
    """D4RL's reader of files without timeouts miscounts after a failure, and joins the episodes after it."""
    terminals = np.array([0, 1, 0, 0, 0, 0, 0, 0, 1, 0], bool)
    assert np.flatnonzero(counted_timeouts(terminals, 3)).tolist() == [4, 7]
    assert not counted_timeouts(np.array([False, False, True]), 3).any()  # failed in its last step


@pytest.mark.parametrize("without", [("next_observations",), ("timeouts",), ()])
def test_no_row_joins_two_episodes(tmp_path: Path, without: Sequence[str]) -> None:
    ends = [(1 + length, (FAILS, CUT)[length % 2]) for length in np.random.default_rng(0).permutation(30)]
    rows = make_rows(*ends)
    got = read_all(read_d4rl(write_foreign(tmp_path / "f.hdf5", rows, without)))
    same = got.next_observations[:, 0] == got.observations[:, 0]
    step = got.next_observations[:, 1] - got.observations[:, 1]
    assert same.all()
    known = "next_observations" not in without
    np.testing.assert_array_equal(step, np.where(got.terminals & (not known), 0, 1))
    cuts = sum(end == CUT for _, end in ends)
    assert len(got) == len(rows) - (0 if known else cuts)
    assert got.terminals.sum() == 30 - cuts
    ended = got.terminals | got.timeouts
    np.testing.assert_array_equal(ended[:-1], got.observations[1:, 0] != got.observations[:-1, 0])
    assert ended[-1] and not (got.terminals & got.timeouts).any()


def test_file_with_everything_comes_along_whole(tmp_path: Path) -> None:
    reading = read_d4rl(write_foreign(tmp_path / "f.hdf5", ROWS))
    assert reading.total == len(ROWS)
    expected = Rows.joined(list(end_episodes([replace(ROWS, infos={"qpos": reading_qpos(len(ROWS))})])))
    assert_equal(read_all(reading), expected)


def reading_qpos(count: int) -> np.ndarray:
    return np.arange(3.0 * count).reshape(-1, 3)


def test_infos_stay_with_their_rows(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "f.hdf5", ROWS, ["next_observations"])
    got = read_all(read_d4rl(path))
    kept = [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 18]
    np.testing.assert_array_equal(got.infos["qpos"], reading_qpos(len(ROWS))[kept])
    np.testing.assert_array_equal(got.rewards, ROWS.rewards[kept])


def test_blocks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_foreign(tmp_path / "f.hdf5", ROWS, ["next_observations"])
    whole = read_all(read_d4rl(path))
    for size in range(1, len(ROWS) + 1):
        monkeypatch.setattr("dara_ros.policies.d4rl.BLOCK_ROWS", size)
        assert_equal(read_all(read_d4rl(path)), whole)


def test_old_file_needs_the_length_of_its_episodes(tmp_path: Path) -> None:
    rows = make_rows((2, FAILS), (3, CUT), (3, CUT), (1, FAILS))
    path = write_foreign(tmp_path / "v0.hdf5", rows, ["next_observations", "timeouts"])
    with pytest.raises(UserError, match="--episode-steps"):
        read_d4rl(path)
    got = read_all(read_d4rl(path, episode_steps=3))
    assert got.observations[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert (got.terminals | got.timeouts).astype(int).tolist() == [0, 1, 0, 1, 0, 1, 1]


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "f.hdf5", ROWS, ["next_observations"], goal=np.zeros(3))
    with h5py.File(path, "a") as file:
        file["infos/text"] = "once"
    notes = "\n".join(read_d4rl(path).notes)
    for part in ("3 rows", "3 failures", "goal", "infos/text", "float64", "no robot"):
        assert part in notes
    assert "qpos" not in notes and "algorithm" not in notes


def test_data_without_a_robot_gets_a_header_that_a_policy_can_be_made_from(tmp_path: Path) -> None:
    info = read_d4rl(write_foreign(tmp_path / "hopper.hdf5", ROWS)).info
    assert (info.robot, info.world, info.domain) == (NO_ROBOT, "hopper", "source")
    assert (info.observation_size, info.action_size) == (3, 1)
    metadata = PolicyMetadata.from_task(
        info.task,
        robot=info.robot,
        control_period=info.control_period,
        spec_hash=info.spec_hash,
        task_hash=info.task_hash,
        algorithm="bcq",
        eta=0.0,
        data_set_hashes={},
    )
    assert (metadata.observation_size, metadata.action_size) == (3, 1)


# -- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (lambda file: file.pop("rewards"), "no column 'rewards'"),
        (lambda file: change(file, "actions", np.zeros((3, 1))), "column actions"),
        (lambda file: change(file, "observations", np.zeros((len(ROWS), 2, 2))), "flat vectors"),
        (lambda file: change(file, "rewards", np.float32(1.0)), "column observations"),
        (lambda file: change(file, "rewards", np.zeros(0)), "empty"),
        (lambda file: change(file, "terminals", np.array([b"no"] * len(ROWS))), "column terminals"),
        (lambda file: change(file, "next_observations", np.zeros((len(ROWS), 2))), "differ in width"),
        (lambda file: (file.pop("actions"), file.create_group("actions")), "column actions"),
        (lambda file: claim(file, "observations", (len(ROWS), 2**40)), "column observations"),
        (lambda file: claim(file, "rewards", (2**40,)), "column rewards"),
    ],
)
def test_bad_file_is_refused(tmp_path: Path, spoil: Callable[[h5py.File], Any], wanted: str) -> None:
    path = write_foreign(tmp_path / "f.hdf5", ROWS)
    with h5py.File(path, "a") as file:
        spoil(file)
    with pytest.raises(UserError, match="f.hdf5") as refusal:
        read_d4rl(path)
    assert wanted in str(refusal.value)


def change(file: h5py.File, name: str, values: Any) -> None:
    del file[name]
    file[name] = values


def claim(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    """A column that says it is so large, with nothing behind it."""
    del file[name]
    file.create_dataset(name, shape, "f4", chunks=(1, 1024)[: len(shape)])


def test_damaged_file_gives_rows_or_one_line(tmp_path: Path) -> None:
    write_d4rl(tmp_path / "f.hdf5", INFO, end_episodes([ROWS]))
    whole, rng = (tmp_path / "f.hdf5").read_bytes(), np.random.default_rng(0)
    refused = 0
    for trial in range(30):
        content = bytearray(whole)
        if trial % 2:
            del content[rng.integers(len(whole)) :]
        for place in rng.integers(len(content), size=8):
            content[place] ^= 0xFF
        (tmp_path / "f.hdf5").write_bytes(content)
        try:
            read_all(read_d4rl(tmp_path / "f.hdf5"))
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused >= 15  # all that were cut off


def test_numbers_that_are_not_finite_are_named() -> None:
    rewards = ROWS.rewards.copy()
    rewards[7] = np.nan
    with pytest.raises(UserError, match="column rewards .* row 107"):
        check_finite(replace(ROWS, rewards=rewards), 100, "f.hdf5")


# -- episodes ---------------------------------------------------------------------------------------------


def test_episode_ends_where_the_next_row_begins_elsewhere() -> None:
    unflagged = replace(ROWS, timeouts=np.zeros(len(ROWS), bool))
    for size in (1, 3, 7, len(ROWS)):
        blocks = [unflagged.take(slice(start, start + size)) for start in range(0, len(ROWS), size)]
        got = Rows.joined(list(end_episodes(blocks)))
        ends = np.flatnonzero(got.terminals | got.timeouts)
        assert ends.tolist() == [3, 4, 9, 10, 13, 19]
        assert [len(episode) for episode in episodes(end_episodes(blocks))] == [4, 1, 5, 1, 3, 6]
        assert not (got.terminals & got.timeouts).any()


# -- what we write ----------------------------------------------------------------------------------------


def test_there_and_back_is_the_same(tmp_path: Path) -> None:
    """Ours -> D4RL -> ours: every column, and the header."""
    closed = Rows.joined(list(end_episodes([ROWS])))
    write_dara(tmp_path / "one.h5", INFO, [closed])
    one = read_dara(tmp_path / "one.h5")
    write_d4rl(tmp_path / "d4rl.hdf5", one.info, end_episodes(one.blocks))
    back = read_d4rl(tmp_path / "d4rl.hdf5")
    assert back.notes == []
    write_dara(tmp_path / "two.h5", back.info, end_episodes(back.blocks))
    two = read_dara(tmp_path / "two.h5")
    assert two.info == INFO
    assert_equal(read_all(two), closed)


def test_file_of_several_blocks(tmp_path: Path) -> None:
    rows = make_rows(*[(700, CUT)] * 4)
    blocks = [rows.take(slice(start, start + 1000)) for start in range(0, len(rows), 1000)]
    write_d4rl(tmp_path / "f.hdf5", INFO, blocks)
    assert_equal(read_all(read_d4rl(tmp_path / "f.hdf5")), rows)


def test_nothing_is_left_of_a_file_that_failed(tmp_path: Path) -> None:
    def broken() -> Any:
        yield ROWS
        raise KeyboardInterrupt

    (tmp_path / "f.hdf5").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_d4rl(tmp_path / "f.hdf5", INFO, broken())
    assert [path.name for path in tmp_path.iterdir()] == ["f.hdf5"]
    assert (tmp_path / "f.hdf5").read_text() == "old"


@pytest.fixture
def d3rlpy_reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[Any]]:
    """d3rlpy's own `get_d4rl` on a file; d4rl itself, which MuJoCo's old binaries keep from installing, is
    an environment whose get_dataset gives every key of the file, as d4rl's does."""
    datasets = pytest.importorskip("d3rlpy.datasets", reason="the tests' extra installs d3rlpy")
    import gym

    class Environment(gym.Env):
        observation_space, action_space = gym.spaces.Box(-9, 9, (3,)), gym.spaces.Box(-1, 1, (1,))

        def __init__(self, path: Path) -> None:
            self.path = path

        def get_dataset(self) -> dict[str, np.ndarray]:
            found: dict[str, np.ndarray] = {}

            def visit(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    found[name] = item[()]

            with h5py.File(self.path, "r") as file:
                file.visititems(visit)
            return found

    wrappers = {name: type(name, (), {}) for name in ("NormalizedBoxEnv",)}
    for name in ("d4rl", "d4rl.locomotion", "d4rl.locomotion.wrappers", "d4rl.utils", "d4rl.utils.wrappers"):
        module = ModuleType(name)
        vars(module).update(wrappers)
        monkeypatch.setitem(sys.modules, name, module)

    def read(path: Path) -> list[Any]:
        made = Environment(path)
        for _ in range(4):  # the wrappers that d4rl's gym puts around it
            made = gym.Wrapper(made)
        monkeypatch.setattr(datasets.gym, "make", lambda name: made)
        return datasets.get_d4rl("dara-v0")[0].episodes

    return read


@pytest.mark.parametrize("write", [write_d4rl, write_dara])
def test_d3rlpy_reads_our_files(
    d3rlpy_reads: Callable[[Path], list[Any]], tmp_path: Path, write: Callable[..., None]
) -> None:
    rows = make_rows((4, FAILS), (1, FAILS), (5, CUT), (3, FAILS), (6, UNFINISHED))
    write(tmp_path / "f.hdf5", INFO, end_episodes([rows]))
    expected = list(episodes(end_episodes([rows])))
    got = d3rlpy_reads(tmp_path / "f.hdf5")
    assert len(got) == len(expected)
    for episode, part in zip(got, expected, strict=True):
        np.testing.assert_array_equal(episode.observations, part.observations)
        np.testing.assert_array_equal(episode.actions, part.actions)
        np.testing.assert_array_equal(episode.rewards[:, 0], part.rewards)
        assert episode.terminated == part.terminals[-1]
