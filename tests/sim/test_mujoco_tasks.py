"""MuJoCo's tasks: their masses are what the YAML says, the shift is felt, and a seed says everything."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("mujoco")

from dara_ros.errors import UserError
from dara_ros.sim.mujoco_tasks import TASKS, MujocoTask, load_task, make_environment, task_names


def walk(task: MujocoTask, seed: int = 0) -> np.ndarray:
    """Observations of some steps with the same actions in every dynamics."""
    environment = make_environment(task)
    observations = [environment.reset(seed=seed)[0]]
    actions = np.random.default_rng(1).uniform(-1.0, 1.0, (8, *environment.action_space.shape))
    return np.array([*observations, *(environment.step(action)[0] for action in actions)])


def bodies(task: MujocoTask) -> dict[str, tuple[float, np.ndarray]]:
    model: Any = make_environment(task).unwrapped.model
    return {
        model.body(number).name: (float(model.body(number).mass[0]), model.body(number).inertia.copy())
        for number in range(model.nbody)
    }


@pytest.mark.parametrize(("name", "sizes"), [("hopper", (11, 3)), ("walker2d", (17, 6))])
def test_the_tasks_are_gymnasiums(name: str, sizes: tuple[int, int]) -> None:
    for shift in ("plain", "shifted"):
        environment = make_environment(load_task(f"{name}_{shift}"))
        assert environment.observation_space.shape + environment.action_space.shape == sizes
        assert environment.spec is not None and environment.spec.max_episode_steps == 1000


def test_the_tasks_come_with_the_package() -> None:
    assert task_names() == ["hopper_plain", "hopper_shifted", "walker2d_plain", "walker2d_shifted"]
    assert all(load_task(name).name == name for name in task_names())
    assert load_task(TASKS / "hopper_plain.yaml") == load_task("hopper_plain")


@pytest.mark.parametrize("name", ["hopper", "walker2d"])
def test_masses_are_what_the_file_says(name: str) -> None:
    plain, shifted = load_task(f"{name}_plain"), load_task(f"{name}_shifted")
    assert not plain.mass_factors and shifted.mass_factors
    before, after = bodies(plain), bodies(shifted)
    for body, (mass, inertia) in before.items():
        factor = shifted.mass_factors.get(body, 1.0)
        assert after[body][0] == pytest.approx(factor * mass)
        assert after[body][1] == pytest.approx(factor * inertia)


def test_what_the_model_derives_from_masses_follows_them() -> None:
    model: Any = make_environment(load_task("hopper_shifted")).unwrapped.model
    assert model.body("torso").subtreemass[0] == pytest.approx(model.body_mass.sum())


@pytest.mark.parametrize("name", ["hopper", "walker2d"])
def test_the_shift_is_felt_within_a_step(name: str) -> None:
    plain, shifted = walk(load_task(f"{name}_plain")), walk(load_task(f"{name}_shifted"))
    assert np.array_equal(plain[0], shifted[0]), "both begin alike"
    assert np.abs(plain[1] - shifted[1]).max() > 1e-3


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_seed_says_everything(noise: float) -> None:
    task = load_task("hopper_shifted").model_copy(update={"action_noise": noise})
    assert np.array_equal(walk(task, 3), walk(task, 3))
    assert not np.array_equal(walk(task, 3), walk(task, 4))


def test_noise_stays_within_its_half_width() -> None:
    environment: Any = make_environment(load_task("hopper_plain").model_copy(update={"action_noise": 0.2}))
    environment.reset(seed=0)
    moved = np.array([environment.action(np.zeros(3)) for _ in range(300)])
    assert np.abs(moved).max() <= 0.2
    assert moved.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mass_factor": {}}, "unknown field 'mass_factor'; check its spelling"),
        ({"environment": "Ant-v5"}, "field 'environment'"),
        ({"mass_factors": {"foot": 0.0}}, "field 'mass_factors.foot'"),
        ({"mass_factors": {"foot": float("nan")}}, "field 'mass_factors.foot'"),
        ({"mass_factors": {"foot": "light"}}, "field 'mass_factors.foot'"),
        ({"action_noise": -0.1}, "field 'action_noise'"),
        ({"action_noise": None}, "field 'action_noise'"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(
    changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load((TASKS / "hopper_plain.yaml").read_text()) | changes))
    with pytest.raises(UserError) as caught:
        load_task(path)
    message = str(caught.value)
    assert expected in message and str(path) in message and "\n" not in message


def test_an_unknown_body_or_task_names_the_known_ones() -> None:
    task = load_task("hopper_plain").model_copy(update={"mass_factors": {"hand": 2.0}})
    with pytest.raises(UserError, match="no body 'hand' in Hopper-v5; it has torso, thigh, leg, foot"):
        make_environment(task)
    with pytest.raises(UserError, match="known mujoco: hopper_plain, hopper_shifted, walker2d_plain"):
        load_task("ant_plain")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(UserError, match=r"MuJoCo is missing; run: pip install 'dara_ros\[mujoco\]'"):
        make_environment(load_task("hopper_plain"))
