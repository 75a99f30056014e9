"""A robot is data, and every mistake in it is one line that names the field."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dara_ros.errors import UserError
from dara_ros.hardware.kinematics import trot
from dara_ros.hardware.spec import ROBOTS, RobotSpec, load_robot, robot_names


@pytest.fixture
def content() -> dict[str, Any]:
    return yaml.safe_load((ROBOTS / "a1.yaml").read_text())


def refusal(content: Any, folder: Path) -> str:
    """The one line with which `content` is refused as a robot."""
    path = folder / "robot.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(UserError) as caught:
        load_robot(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_the_three_robots_come_with_the_package() -> None:
    assert robot_names() == ["a1", "go1", "go2"]


def test_arrays_are_in_canonical_order(robot: RobotSpec) -> None:
    assert robot.joint_names[:4] == ("FR_hip_joint", "FR_thigh_joint", "FR_calf_joint", "FL_hip_joint")
    assert robot.joint_names[-1] == "RL_calf_joint"
    arrays = {"lower": robot.lower, "stand": robot.stand_pose, "max_torque": robot.max_torque}
    for name, array in arrays.items():
        assert array.dtype == np.float64
        assert array.tolist() == [getattr(joint, name) for joint in robot.joints]
    assert robot.period_ns == 20_000_000
    assert robot.action_scales.tolist() == [0.12, 0.3, 0.3] * 4


def test_legs_are_where_their_names_say(robot: RobotSpec) -> None:
    for leg in robot.legs:
        assert np.sign(leg.hip_origin[0]) == {"F": 1, "R": -1}[leg.name[0]]
        assert np.sign(leg.hip_origin[1]) == leg.side == {"L": 1, "R": -1}[leg.name[1]]


def test_trot_and_residuals_of_a_still_policy_stay_within_limits(robot: RobotSpec) -> None:
    for phase in np.linspace(0, 1, 50, endpoint=False):
        for heading in (-1.0, 0.0, 1.0):
            target = trot(robot, phase, heading)
            assert (target > robot.lower).all() and (target < robot.upper).all()


def test_supervisor_allows_no_more_than_the_motors_can(robot: RobotSpec) -> None:
    fastest = robot.max_velocity.max() * robot.control_period
    assert robot.safety.max_target_change <= fastest


def test_a1_stays_the_robot_that_the_shipped_policies_were_trained_for() -> None:
    assert load_robot("a1").hash == "f2d3f6820d7e7ba0e67926776364b51f7fff56fae01993fb0987c6c3f1c0cb95"


def test_what_a_policy_does_not_depend_on_is_not_hashed(content: dict[str, Any]) -> None:
    content["safety"]["stuck_time"] = 0.5
    content["sensors"] = {"foot_offset": [1.0, 2.0, 3.0, 4.0], "newtons_per_count": 0.25}
    assert RobotSpec(**content).hash == load_robot("a1").hash


def test_hash_tells_robots_apart(content: dict[str, Any]) -> None:
    hashes = {load_robot(name).hash for name in robot_names()}
    assert len(hashes) == 3
    same = RobotSpec(**content)
    assert same.hash == load_robot("a1").hash
    content["gains"]["kp"] += 1e-9
    assert RobotSpec(**content).hash != same.hash


def test_missing_file_names_the_known_robots() -> None:
    with pytest.raises(UserError, match="known robots: a1, go1, go2"):
        load_robot("spot")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("name: [", "not YAML"), ("- 1\n- 2\n", "expected a YAML mapping"), ("", "expected a YAML mapping")],
)
def test_a_file_that_holds_no_mapping_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    assert expected in refusal(text, tmp_path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_robot(tmp_path)


def change(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `content` with the entry at the dotted `path` replaced, or removed where value is ..."""
    changed = copy.deepcopy(content)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    entry: Any = changed
    for part in parents:
        entry = entry[part]
    if value is ...:
        del entry[last]
    else:
        entry[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("colour", "blue", "unknown field 'colour'; check its spelling"),
        ("safety.tlit", 0.5, "unknown field 'safety.tlit'; check its spelling"),
        ("gains", ..., "field 'gains' is missing; add it"),
        ("joints.3.upper", ..., "field 'joints.3.upper' is missing; add it"),
        ("joints.11", ..., "field 'joints'"),
        ("joints.0.max_torque", -1.0, "field 'joints.0.max_torque'"),
        ("joints.0.max_torque", "strong", "field 'joints.0.max_torque'"),
        ("joints.0.max_torque", "very\nstrong", "field 'joints.0.max_torque'"),
        ("joints.0.lower", float("nan"), "field 'joints.0.lower'"),
        ("control_period", float("inf"), "field 'control_period'"),
        ("control_period", 0.0, "field 'control_period'"),
        ("joints.2.stand", -0.5, "FR_calf_joint: the stand pose is outside [-2.697, -0.916]"),
        ("joints.2.sit", -2.7, "FR_calf_joint: the sit pose is outside [-2.697, -0.916]"),
        ("joints.4.name", "FL_knee_joint", "joints must be, in this order: FR_hip_joint, FR_thigh_joint"),
        ("legs.0.name", "FX", "legs must be, in this order: FR, FL, RR, RL"),
        ("legs.0.side", 0, "field 'legs.0.side'"),
        ("gait.swing_height", 0.26, "gait.swing_height must be less than gait.stance_height"),
        ("gait.stance_height", 0.41, "ask for more than the legs' length"),
        ("safety.tilt", 3.2, "field 'safety.tilt'"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(
    content: dict[str, Any], path: str, value: Any, expected: str, tmp_path: Path
) -> None:
    assert expected in refusal(change(content, path, value), tmp_path)


def test_joints_in_another_order_are_refused(content: dict[str, Any], tmp_path: Path) -> None:
    content["joints"][0], content["joints"][3] = content["joints"][3], content["joints"][0]
    assert "joints must be, in this order" in refusal(content, tmp_path)


def test_a_key_that_is_no_string_is_refused(content: dict[Any, Any], tmp_path: Path) -> None:
    content[7] = 1
    assert "'7'" in refusal(content, tmp_path)


def test_a_spec_cannot_be_changed(a1: RobotSpec) -> None:
    with pytest.raises(ValueError, match="frozen"):
        a1.name = "a2"  # type: ignore[misc]
