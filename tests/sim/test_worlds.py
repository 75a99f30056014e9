"""A world is data, and every mistake in it is one line that names the field."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dara_ros.errors import UserError
from dara_ros.sim.environment import WalkingEnv
from dara_ros.sim.world import WORLDS, load_world, world_names


def test_the_worlds_come_with_the_package() -> None:
    assert world_names() == ["flat", "low_battery", "obstructive", "vegetation"]
    assert all(load_world(name).name == name for name in world_names())
    assert load_world("flat").blocks.count == 0
    assert load_world(WORLDS / "obstructive.yaml") == load_world("obstructive")


def test_a_missing_world_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="known worlds: flat, low_battery, obstructive, vegetation"):
        WalkingEnv("flatland")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"frictoin": 0.5}, "unknown field 'frictoin'; check its spelling"),
        (
            {"motor": {"strenght": 0.5, "strength": 1.0, "knee": 0.6, "sag": 0.0}},
            "unknown field 'motor.strenght'",
        ),
        ({"payload": None}, "field 'payload'"),
        ({"payload": -1.0}, "field 'payload'"),
        ({"ground_friction": "high"}, "field 'ground_friction'"),
        ({"ground_friction": float("nan")}, "field 'ground_friction'"),
        ({"motor": {"strength": 1.5, "knee": 0.6}}, "field 'motor.strength'"),
        ({"motor": {"strength": 1.0, "knee": 1.0}}, "field 'motor.knee'"),
        ({"latency": 0.021}, "latency must not exceed the control period, 0.02 s"),
        ({"start": {"height": 0.28}}, "field 'start.yaw' is missing; add it"),
        (
            {"physics": {"timestep": 0.002, "substeps": 10**400, "solver_iterations": 20}},
            "field 'physics.substeps'",
        ),
        (
            {"bricks": {"count": 1, "height": [0.06, 0.02], "size": [0.1, 0.6], "x": [0, 1], "y": [0, 1]}},
            "field 'bricks.height': Value error, the lower bound comes first",
        ),
        (
            {"bricks": {"count": 1.5, "height": [0.0, 0.1], "size": [0.1, 0.6], "x": [0, 1], "y": [0, 1]}},
            "field 'bricks.count'",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(
    changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "world.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load((WORLDS / "flat.yaml").read_text()) | changes))
    with pytest.raises(UserError) as caught:
        load_world(path)
    message = str(caught.value)
    assert expected in message and str(path) in message and "\n" not in message
