"""Policy files that something is wrong with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.task import ACTION_SIZE, FIELDS, OBSERVATION_SIZE, WalkingTask
from dara_ros.policies.runtime import PolicyMetadata

YAW_RATE = 5.0  # rad/s at which the policy of `write_failing_policy` fails


def write_failing_policy(path: Path, spec: RobotSpec, robot: str | None = None) -> Path:
    """A policy that trots, passes its golden pairs, and gives NaN where the robot turns at YAW_RATE.

    Args:
        robot: for which it says that it was made; None: for that of `spec`.
    """
    task = WalkingTask(spec)
    metadata = PolicyMetadata.from_task(
        task.description(),
        robot=robot or spec.name,
        control_period=spec.control_period,
        spec_hash=spec.hash,
        task_hash=task.hash(),
        algorithm="none",
        eta=0.0,
        data_set_hashes={},
    )
    golden = replace(
        metadata,
        golden_observations=((0.0,) * OBSERVATION_SIZE,),
        golden_actions=((0.0,) * ACTION_SIZE,),
    )
    model = helper.make_model(_graph(), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, golden.to_properties())
    onnx.save(model, path)
    return path


def _graph() -> onnx.GraphProto:
    """action = root - root, root = sqrt(1 - (turning)^2), the same for all joints; turning ~ the yaw rate."""
    select = np.zeros((OBSERVATION_SIZE, ACTION_SIZE), np.float32)
    fields = [field.name for field in FIELDS]
    rate = FIELDS[fields.index("angular_velocity")]
    place = sum(field.size for field in FIELDS[: fields.index("angular_velocity")]) + 2  # x, y, z
    select[place] = 1.25 / (YAW_RATE * rate.scale)
    nodes = [
        helper.make_node("MatMul", ["observation", "select"], ["turning"]),
        helper.make_node("Mul", ["turning", "turning"], ["square"]),
        helper.make_node("Sub", ["one", "square"], ["rest"]),
        helper.make_node("Sqrt", ["rest"], ["root"]),
        helper.make_node("Sub", ["root", "root"], ["action"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])
        for name, size in (("observation", OBSERVATION_SIZE), ("action", ACTION_SIZE))
    ]
    one = np.ones(1, np.float32)
    constants = [onnx.numpy_helper.from_array(select, "select"), onnx.numpy_helper.from_array(one, "one")]
    return helper.make_graph(nodes, "failing", ends[:1], ends[1:], constants)
