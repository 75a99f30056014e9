"""`dara bench shift`: its changes reach the bodies that they name, and cost the shipped experts something."""

from typing import Any

import pytest

pytest.importorskip("mujoco")

from dara_ros.bench.shift import CHANGES, TASKS, Change, measure
from dara_ros.sim.mujoco_tasks import load_task, make_environment


@pytest.mark.parametrize("task", TASKS)
def test_every_change_fits_the_task(task: str) -> None:
    plain = load_task(f"{task}_plain")
    changed: Any = [make_environment(change.of(plain)).unwrapped for change in CHANGES]
    unchanged = make_environment(plain).unwrapped.model.body_mass  # type: ignore[attr-defined]
    for change, environment in zip(CHANGES, changed, strict=True):
        moved = (environment.model.body_mass != unchanged).sum()
        legs = 2 if task == "walker2d" and change.part != "torso" else 1
        assert moved == (legs if change.part else 0), change.name
    assert len({change.name for change in CHANGES}) == len(CHANGES)


@pytest.mark.parametrize("task", TASKS)
def test_the_shipped_shift_is_among_what_was_tried(task: str) -> None:
    tried = [change.of(load_task(f"{task}_plain")).mass_factors for change in CHANGES]
    assert load_task(f"{task}_shifted").mass_factors in tried


def test_half_a_foot_makes_the_plain_expert_fall() -> None:
    plain, shifted = (measure("hopper", change, 1) for change in (Change(), Change("foot", 0.5)))
    assert plain.falls == 0 and plain.mean_steps == 1000
    assert shifted.falls == 1 and 100 < shifted.mean_steps < 1000
    assert shifted.mean_return < 0.8 * plain.mean_return
