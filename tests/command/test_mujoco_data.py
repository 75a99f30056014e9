"""MuJoCo's data sets: episodes with the right ends, the same bytes for the same seed, and fair parts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")

from dara_ros import mujoco_data
from dara_ros.action_sources import BEHAVIOURS
from dara_ros.errors import UserError
from dara_ros.mujoco_data import QUALITIES, Recipe, data_set, tenth
from dara_ros.mujoco_rollouts import Walk, load_policy, normalised_score, walk
from dara_ros.policies.dataset import DataSet
from dara_ros.sim.mujoco_tasks import load_task, make_environment


def columns(path: Path) -> dict[str, np.ndarray]:
    with DataSet(path) as data:
        return {name: data.column(name) for name in data.column_names()}


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(Recipe("hopper", "plain", "random", 1000, 0), tmp_path_factory.mktemp("data"))


def test_rows_of_an_episode_hang_together_and_those_of_two_do_not(random: Path) -> None:
    rows = columns(random)
    ends = rows["terminals"] | rows["timeouts"]
    assert len(ends) == 1000 and ends[-1] and ends.sum() > 10
    assert not (rows["terminals"] & rows["timeouts"]).any()
    same = (rows["next_observations"][:-1] == rows["observations"][1:]).all(axis=1)
    assert np.array_equal(same, ~ends[:-1]), "s' is the next row's s, but never the next episode's"


def test_a_fall_is_terminal_and_what_is_cut_is_a_timeout(random: Path) -> None:
    rows = columns(random)
    fallen = rows["next_observations"][rows["terminals"]]
    low, tilted = fallen[:, 0] < 0.7, np.abs(fallen[:, 1]) > 0.2  # gymnasium's healthy ranges
    fast = (np.abs(fallen[:, 1:]) > 9.9).any(axis=1)
    assert (low | tilted | fast).all()
    assert np.flatnonzero(rows["timeouts"]).tolist() == [999], "only the last episode is cut, to fit"


def test_an_episode_that_lasts_ends_in_a_timeout() -> None:
    """Twelve hundred steps of a hopper that nothing makes fall."""
    environment = make_environment(load_task("hopper_plain"))
    environment.unwrapped._terminate_when_unhealthy = False  # type: ignore[attr-defined]
    episode = walk(environment, lambda observation: np.zeros(3), 0)
    assert len(episode) == 1000 and not episode.fell
    last = episode.columns(1000)
    assert last["timeouts"][-1] and not last["terminals"].any()


def test_a_fall_that_is_cut_away_is_none() -> None:
    three = np.zeros((3, 2), np.float32)
    episode = Walk(three, three, three[:, 0], three, fell=True, distance=0.0)
    assert episode.columns(3)["terminals"].tolist() == [False, False, True]
    assert not episode.columns(2)["terminals"].any()
    assert episode.columns(2)["timeouts"].tolist() == [False, True]


@pytest.mark.parametrize("quality", QUALITIES)
def test_equal_arguments_give_equal_bytes(quality: str, tmp_path: Path) -> None:
    def made(folder: str, rows: int, seed: int) -> Path:
        return data_set(Recipe("hopper", "plain", quality, rows, seed), tmp_path / folder)

    first = made("a", 300, 0)
    assert first.read_bytes() == made("b", 300, 0).read_bytes()
    assert not np.array_equal(columns(first)["actions"], columns(made("a", 300, 1))["actions"])
    longer = columns(made("a", 600, 0))
    assert np.array_equal(columns(first)["observations"], longer["observations"][:300])


def test_a_file_is_made_once_and_anew_where_it_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_set(Recipe("hopper", "plain", "random", 100, 0), tmp_path)
    made = path.stat().st_mtime_ns
    assert data_set(Recipe("hopper", "plain", "random", 100, 0), tmp_path).stat().st_mtime_ns == made
    monkeypatch.setattr(mujoco_data, "EXPLORATION_NOISE", (0.5,))
    assert data_set(Recipe("hopper", "plain", "random", 100, 0), tmp_path).stat().st_mtime_ns > made


def test_no_two_data_sets_share_their_random_actions(tmp_path: Path) -> None:
    plain, shifted = (
        columns(data_set(Recipe("hopper", shift, "random", 50, 0), tmp_path))
        for shift in ("plain", "shifted")
    )
    assert not np.isin(plain["actions"][:, 0], shifted["actions"][:, 0]).any()


def test_the_domains_are_told(tmp_path: Path) -> None:
    for shift, domain in (("plain", "target"), ("shifted", "source")):
        with DataSet(data_set(Recipe("walker2d", shift, "random", 50, 0), tmp_path)) as data:
            assert (data.info.domain, data.info.world) == (domain, f"walker2d_{shift}")
            assert (data.observation_size, data.action_size) == (17, 6)


def test_the_domains_may_be_swapped(tmp_path: Path) -> None:
    """The same rows, of the other domain, in a file of their own."""
    for shift, domain in (("plain", "source"), ("shifted", "target")):
        recipe = Recipe("hopper", shift, "medium", 50, 0)
        usual, swapped = (data_set(one, tmp_path) for one in (recipe, replace(recipe, target="shifted")))
        assert usual != swapped
        with DataSet(usual) as one, DataSet(swapped) as other:
            assert other.info.domain == domain != one.info.domain
        rows, same = columns(usual), columns(swapped)
        assert all(np.array_equal(rows[name], same[name]) for name in rows)


def test_the_targets_behaviours_walk_in_the_source(tmp_path: Path) -> None:
    """From the same start with the same noise, another policy's actions."""
    recipe = Recipe("hopper", "shifted", "medium", 300, 0)
    own, by_target = (
        columns(data_set(replace(recipe, behaviours=whose), tmp_path)) for whose in ("own", "target")
    )
    assert np.array_equal(own["observations"][0], by_target["observations"][0])
    environment = make_environment(load_task("hopper_plain"))
    policy = load_policy(BEHAVIOURS / "hopper_plain_medium.onnx", environment)
    noise = by_target["actions"] - np.array([policy(row) for row in by_target["observations"]])
    assert np.abs(noise).std() < 0.25, "the actions are not those of the target's medium"
    wrong = own["actions"] - np.array([policy(row) for row in own["observations"]])
    assert np.abs(wrong).std() > 2 * np.abs(noise).std()


def test_behaviours_give_as_many_rows_each(tmp_path: Path) -> None:
    """Expert episodes are longer; half of the rows are medium's all the same."""
    rows = columns(data_set(Recipe("hopper", "plain", "medium-expert", 6000, 0), tmp_path))
    ends = np.flatnonzero(rows["terminals"] | rows["timeouts"]) + 1
    assert len(ends) > 4
    lengths = np.diff(ends, prepend=0)
    written = [0, 0]
    for length in lengths.tolist():
        written[written[1] < written[0]] += length
    assert abs(written[0] - written[1]) <= 1000


def test_a_tenth_is_the_beginning_up_to_an_episodes_end(random: Path) -> None:
    whole, part = columns(random), columns(tenth(random))
    rows = len(part["rewards"])
    assert all(np.array_equal(part[name], values[:rows]) for name, values in whole.items())
    ends = np.flatnonzero(part["terminals"] | part["timeouts"]) + 1
    assert ends[-1] == rows >= 100 and (ends[:-1] < 100).all()
    assert tenth(random).read_bytes() == tenth(random).read_bytes()


def test_a_tenth_is_made_once_and_anew_where_the_whole_is_another(tmp_path: Path) -> None:
    whole = data_set(Recipe("hopper", "plain", "random", 300, 0), tmp_path)
    part = tenth(whole)
    made = part.stat().st_ino
    assert tenth(whole).stat().st_ino == made
    data_set(Recipe("hopper", "plain", "random", 300, 1), tmp_path).replace(whole)
    actions = columns(tenth(whole))["actions"]
    assert np.array_equal(actions, columns(whole)["actions"][: len(actions)])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("hopper", "plain", "good", 10, 0), "good: no such quality; there are: random, medium,"),
        (("hopper", "upside-down", "random", 10, 0), "upside-down: no such shift; there are: plain, shifted"),
        (("ant", "plain", "random", 10, 0), "known mujoco: hopper_plain"),
        (("hopper", "plain", "Medium", 10, 0), "Medium: no such quality"),
        (("hopper", "plain", "medium", 9, 0, "mine"), "mine: no such choice of behaviours; there are: own,"),
        (("hopper", "plain", "random", 0, 0), "cannot collect 0 transitions"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[Any, ...], expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=expected):
        data_set(Recipe(*arguments), tmp_path)
    assert not list(tmp_path.iterdir())


def test_scores_are_d4rls() -> None:
    assert normalised_score("hopper", -20.272305) == 0.0
    assert normalised_score("hopper", 3234.3) == 100.0
    assert normalised_score("walker2d", 4592.3) == 100.0
    assert normalised_score("hopper", 1607.0138475) == pytest.approx(50.0)
