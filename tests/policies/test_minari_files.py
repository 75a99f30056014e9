"""Minari's format: minari reads what we write, and we read what minari writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("minari", reason="needs minari: pip install 'dara_ros[convert]'")

import minari
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer
from test_d4rl import CUT, FAILS, INFO, ROWS, UNFINISHED, assert_equal, make_rows, read_all

from dara_ros.errors import UserError
from dara_ros.policies.conversion import NO_ROBOT, Rows, end_episodes, episodes
from dara_ros.policies.minari_files import read_minari, write_minari

pytestmark = pytest.mark.filterwarnings("ignore")  # minari warns of every description that is not given
VECTOR, PUSH = spaces.Box(-np.inf, np.inf, (3,), np.float64), spaces.Box(-1, 1, (1,), np.float32)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where minari keeps its data sets in this test."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def make_foreign(name: str, *made: Rows, **spaces_given: Any) -> None:
    """As others make them, one episode of each: float64, infos of T + 1, nothing about a robot."""
    buffers = [
        EpisodeBuffer(
            observations=np.concatenate([e.observations, e.next_observations[-1:]]).astype(np.float64),
            actions=e.actions,
            rewards=list(e.rewards),
            terminations=list(e.terminals),
            truncations=list(e.timeouts),
            infos={"qpos": np.zeros((len(e) + 1, 2)), "nested": {"a": np.zeros(len(e))}},
        )
        for e in made
    ]
    given = {"observation_space": VECTOR, "action_space": PUSH} | spaces_given
    minari.create_dataset_from_buffers(name, buffers, **given)


def test_there_and_back_is_the_same(root: Path) -> None:
    """Every column, the infos and the header."""
    write_minari(root / "walk-v0", INFO, end_episodes([ROWS]))
    back = read_minari(root / "walk-v0")
    assert back.info == INFO
    assert back.total == len(ROWS)
    assert_equal(read_all(back), Rows.joined(list(end_episodes([ROWS]))))
    assert back.notes == []


@pytest.mark.parametrize("name", ["walk-v0", "lab/a1/walk-v12"])
def test_minari_reads_what_we_write(root: Path, name: str) -> None:
    write_minari(root / name, INFO, end_episodes([ROWS]))
    assert list(minari.list_local_datasets()) == [name]
    data_set = minari.load_dataset(name)
    expected = list(episodes(end_episodes([ROWS])))
    assert (data_set.total_episodes, data_set.total_steps) == (len(expected), len(ROWS))
    assert data_set.observation_space.shape == (3,)
    for episode, rows in zip(data_set.iterate_episodes(), expected, strict=True):
        assert episode.observations.shape == (len(rows) + 1, 3)
        np.testing.assert_array_equal(episode.observations[:-1], rows.observations)
        np.testing.assert_array_equal(episode.observations[1:], rows.next_observations)
        np.testing.assert_array_equal(episode.actions, rows.actions)
        np.testing.assert_array_equal(episode.rewards, rows.rewards)
        np.testing.assert_array_equal(episode.terminations, rows.terminals)
        np.testing.assert_array_equal(episode.truncations, rows.timeouts)
        np.testing.assert_array_equal(episode.infos["stamp"], rows.infos["stamp"])


def test_episode_that_jumps_becomes_two(root: Path) -> None:
    """Minari has one row of observations more than steps: it cannot hold another s' than the next s."""
    rows = make_rows((5, CUT))
    rows.next_observations[2] += 1
    write_minari(root / "walk-v0", INFO, end_episodes([rows]))
    assert [len(episode) for episode in minari.load_dataset("walk-v0")] == [3, 2]
    np.testing.assert_array_equal(
        read_all(read_minari(root / "walk-v0")).next_observations, rows.next_observations
    )


def test_foreign_data_set_comes_along(root: Path) -> None:
    rows = make_rows((4, FAILS), (1, CUT), (6, UNFINISHED))
    make_foreign("gym/hopper/medium-v0", *episodes(end_episodes([rows])))
    reading = read_minari(Path("gym/hopper/medium-v0"))  # by its id
    got = read_all(reading)
    for name, values in Rows.joined(list(end_episodes([rows]))).columns().items():
        if not name.startswith("infos/"):
            np.testing.assert_array_equal(got.columns()[name], values, err_msg=name)
    assert (reading.info.robot, reading.info.world) == (NO_ROBOT, "gym/hopper/medium-v0")
    assert reading.info.observation_size == 3
    notes = "\n".join(reading.notes)
    assert "no robot" in notes and "nested, qpos" in notes


def test_episode_that_goes_on_from_the_one_before_is_still_its_own(root: Path) -> None:
    whole = make_rows((6, CUT))
    parts = [whole.take(slice(0, 3)), whole.take(slice(3, 6))]  # the first without a flag at its end
    make_foreign("walk-v0", *parts)
    assert np.flatnonzero(read_all(read_minari(Path("walk-v0"))).timeouts).tolist() == [2, 5]


def test_observations_that_are_no_vectors_are_refused(root: Path) -> None:
    make_foreign("maze-v0", make_rows((2, CUT)), observation_space=spaces.Dict({"goal": VECTOR}))
    with pytest.raises(UserError, match="observations are Dict"):
        read_minari(Path("maze-v0"))


@pytest.mark.parametrize("broken", ["missing", "text", "no version", "no space", "no data"])
def test_damaged_data_set_is_refused(root: Path, broken: str) -> None:
    write_minari(root / "walk-v0", INFO, end_episodes([ROWS]))
    file = root / "walk-v0" / "data" / "metadata.json"
    metadata = json.loads(file.read_text())
    if broken == "missing":
        file.unlink()
    elif broken == "text":
        file.write_text("{")
    elif broken == "no data":
        (root / "walk-v0" / "data" / "main_data.hdf5").write_bytes(b"nothing")
    else:
        del metadata["minari_version" if broken == "no version" else "action_space"]
        file.write_text(json.dumps(metadata))
    with pytest.raises(UserError, match="walk-v0") as refusal:
        read_all(read_minari(root / "walk-v0"))
    assert "\n" not in str(refusal.value)


def test_episode_whose_parts_do_not_fit_is_refused(root: Path) -> None:
    buffer = EpisodeBuffer(
        observations=np.zeros((3, 3)), actions=np.zeros((3, 1)), rewards=[0.0] * 3,
        terminations=[False] * 3, truncations=[False] * 3, infos={},
    )  # fmt: skip
    minari.create_dataset_from_buffers("odd-v0", [buffer], observation_space=VECTOR, action_space=PUSH)
    with pytest.raises(UserError, match="episode 0"):
        read_all(read_minari(Path("odd-v0")))


def test_name_without_a_version_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="-v0"):
        write_minari(root / "walk", INFO, end_episodes([ROWS]))
    assert not root.exists()


def test_old_data_set_stays_until_the_new_one_is_whole(root: Path) -> None:
    def broken() -> Any:
        yield ROWS
        raise KeyboardInterrupt

    write_minari(root / "walk-v0", INFO, end_episodes([ROWS]))
    with pytest.raises(KeyboardInterrupt):
        write_minari(root / "walk-v0", INFO, end_episodes(broken()))
    assert minari.load_dataset("walk-v0").total_steps == len(ROWS)
    assert [path.name for path in (root / "walk-v0").iterdir()] == ["data"]
    write_minari(root / "walk-v0", INFO, end_episodes([make_rows((2, CUT))]))
    assert minari.load_dataset("walk-v0").total_steps == 2
    with pytest.raises(KeyboardInterrupt):
        write_minari(root / "new-v0", INFO, end_episodes(broken()))
    assert not (root / "new-v0").exists()
