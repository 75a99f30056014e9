"""Spoilt policy files, their metadata, and training checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dara_ros.hardware.spec import load_robot
from dara_ros.hardware.task import ACTION_SIZE, OBSERVATION_SIZE, WalkingTask
from dara_ros.policies.runtime import Policy, PolicyMetadata
from tests.fuzz.fuzzing import Target, spoil_bytes

ODD_NUMBERS = (0, -1, 1, 3, 2**31, 2**62, 10**400, 1e-320, 1e308, float("nan"), float("inf"))


def model(rng: np.random.Generator) -> onnx.ModelProto:
    """A policy as small as they come: a linear map."""
    weights = rng.normal(size=(OBSERVATION_SIZE, ACTION_SIZE)).astype(np.float32)
    observations = rng.normal(size=(2, OBSERVATION_SIZE)).astype(np.float32)
    task = WalkingTask(load_robot("a1"))
    metadata = PolicyMetadata.from_task(
        task.description(),
        robot="a1",
        control_period=task.spec.control_period,
        spec_hash=task.spec.hash,
        task_hash=task.hash(),
        algorithm="linear",
        eta=0.0,
        data_set_hashes={"source": "0" * 64},
    )
    properties = metadata.to_properties()
    properties["golden_observations"] = json.dumps(observations.tolist())
    properties["golden_actions"] = json.dumps((observations @ weights).tolist())
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])
        for name, size in (("observation", OBSERVATION_SIZE), ("action", ACTION_SIZE))
    ]
    node = helper.make_node("MatMul", ["observation", "weights"], ["action"])
    graph = helper.make_graph(
        [node], "linear", ends[:1], ends[1:], [numpy_helper.from_array(weights, "weights")]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, properties)
    return made


def target(folder: Path) -> Target:
    whole = model(np.random.default_rng(0))
    (folder / "secret").write_bytes(bytes(4 * OBSERVATION_SIZE * ACTION_SIZE))

    def spoil(rng: np.random.Generator) -> bytes:
        if rng.random() < 0.4:
            return spoil_bytes(rng, whole.SerializeToString())
        spoilt = onnx.ModelProto()
        spoilt.CopyFrom(whole)
        _spoil_graph(rng, spoilt)
        if rng.random() < 0.5:
            values = {entry.key: entry.value for entry in spoilt.metadata_props}
            helper.set_model_props(spoilt, spoil_properties(rng, values))
        return spoilt.SerializeToString()

    def use(path: Path) -> None:
        policy = Policy.load(path)
        action = policy(np.zeros(policy.metadata.observation_size, np.float32))
        assert action.shape == (policy.metadata.action_size,)
        use_metadata(policy)

    return Target(spoil, use)


def _spoil_graph(rng: np.random.Generator, spoilt: onnx.ModelProto) -> None:
    graph = spoilt.graph
    weights, node = graph.initializer[0], graph.node[0]
    match rng.integers(9):
        case 0:
            outside = ("../secret", "secret", "/etc/passwd", "../../../../../../etc/passwd")[rng.integers(4)]
            weights.raw_data = b""
            weights.data_location = onnx.TensorProto.EXTERNAL
            weights.external_data.add(key="location", value=outside)
        case 1:
            weights.dims[rng.integers(2)] = int((0, -1, 1, 2**31, 2**62)[rng.integers(5)])
        case 2:
            weights.data_type = int(rng.integers(-1, 24))
        case 3:
            node.op_type = str(rng.choice(["Add", "Gather", "Loop", "If", "Nothing", "Reshape", "Expand"]))
        case 4:
            node.input[rng.integers(2)] = str(rng.choice(["", "action", "observation", "nobody"]))
        case 5:
            side = graph.input if rng.random() < 0.5 else graph.output
            kind = side[0].type.tensor_type
            kind.elem_type = int(rng.integers(0, 20))
            kind.shape.dim[rng.integers(2)].dim_value = int(rng.choice([0, -1, 7, 2**40]))
        case 6:
            spoilt.opset_import[0].version = int(rng.choice([0, 1, 7, 13, 99, -1]))
        case 7:
            spoilt.ir_version = int(rng.choice([0, 3, 99]))
        case _:
            graph.node.append(helper.make_node("SequenceConstruct", ["action"], ["many"]))
            graph.output[0].name = "many"


def spoil_properties(rng: np.random.Generator, values: dict[str, str]) -> dict[str, str]:
    values = dict(values)
    for _ in range(rng.integers(1, 4)):
        name = str(rng.choice(list(values)))
        match rng.integers(5):
            case 0:
                values[name] = json.dumps(_odd_value(rng))
            case 1:
                values[name] = spoil_bytes(rng, values[name].encode(), 3).decode("latin-1")
            case 2:
                values[name] = ("[" * 20_000, "9" * 5_000, "", "nul", '{"a": {}}')[rng.integers(5)]
            case 3 if len(values) > 1:
                del values[name]
            case _:
                values[name] = json.dumps(
                    _deeper(rng, json.loads(values[name]) if _is_json(values[name]) else 0)
                )
    return values


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _odd_value(rng: np.random.Generator) -> Any:
    return [None, True, "", "text", [], {}, [[]], ["a"] * 12, [1.0] * 13, *ODD_NUMBERS][rng.integers(20)]


def _deeper(rng: np.random.Generator, value: Any) -> Any:
    """`value` with an odd value somewhere inside."""
    if isinstance(value, list) and value:
        place = int(rng.integers(len(value)))
        return [_deeper(rng, v) if n == place else v for n, v in enumerate(value)]
    if isinstance(value, dict) and value:
        place = str(rng.choice(list(value)))
        return {k: _deeper(rng, v) if k == place else v for k, v in value.items()}
    return _odd_value(rng)


def use_metadata(policy: Policy) -> None:
    """Compare it with a robot, as the controller does."""
    spec = load_robot("a1")
    policy.require(
        robot="a1", joint_names=spec.joint_names, spec_hash=spec.hash, control_period=spec.control_period
    )


def metadata_target() -> Target:
    whole = {entry.key: entry.value for entry in model(np.random.default_rng(0)).metadata_props}

    def spoil(rng: np.random.Generator) -> bytes:
        return json.dumps(spoil_properties(rng, whole)).encode()

    def use(path: Path) -> None:
        metadata = PolicyMetadata.from_properties(json.loads(path.read_bytes()), str(path))
        assert np.isfinite(metadata.kp).all() and len(metadata.kp) == len(metadata.joint_names)
        use_metadata(Policy(str(path), None, metadata))

    return Target(spoil, use)


def checkpoint_target(folder: Path) -> Target:
    import torch

    from dara_ros.policies.run_files import load_tensors, save_tensors

    save_tensors(folder / "whole.pt", {"step": 3, "name": "bcq", "networks": {"w": torch.ones(3, 2)}})
    whole = (folder / "whole.pt").read_bytes()
    torch.save({"networks": torch.ones(3)}, folder / "old.pt", _use_new_zipfile_serialization=False)
    old = (folder / "old.pt").read_bytes()

    def spoil(rng: np.random.Generator) -> bytes:
        return spoil_bytes(rng, whole if rng.random() < 0.5 else old)

    def use(path: Path) -> None:
        assert isinstance(load_tensors(path), dict)

    return Target(spoil, use)
