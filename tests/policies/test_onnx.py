"""The policy file: what was trained is what the robot runs, and nothing else is run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from dara_ros import policies
from dara_ros.errors import UserError
from dara_ros.policies.onnx import GOLDEN_PAIRS, MOST_TIES, _Choice, _is_tie, export_policy
from dara_ros.policies.runtime import ObservationField, Policy, PolicyMetadata

S, A = 6, 2
TASK = {
    "joint_names": ["FR_hip", "FL_hip"],
    "stand_pose": [0.1, 1 / 3],
    "action_scale": [0.25, 0.1 + 0.2],
    "kp": [80.0, 80.0],
    "kd": [1.0, 1.0],
    "action_low": [-1.0, -1.0],
    "action_high": [1.0, 1.0],
    "observation": [
        {"name": "up", "size": 3, "scale": 1.0, "unit": "1"},
        {"name": "velocity", "size": 3, "scale": 0.1, "unit": "rad/s"},
    ],
    "gait": {"period": 0.4},
}
IDENTITY = {"robot": "a1", "control_period": 0.02, "spec_hash": "spec", "task_hash": "task"}
METADATA = PolicyMetadata.from_task(
    TASK, **IDENTITY, algorithm="bcq", eta=0.1, data_set_hashes={"source": "ab", "target": "cd"}
)
OBSERVATIONS = np.random.default_rng(0).normal(size=(200, S)).astype(np.float32)


def make_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(S, 16),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(16, A),
        torch.nn.Tanh(),
    )


def run_torch(module: torch.nn.Module, observations: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module.eval()(torch.from_numpy(observations)).numpy()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "new" / "policy.onnx"
    report = export_policy(make_network(), OBSERVATIONS, METADATA, path)
    assert (report.observations, report.ties) == (200, 0)
    assert report.largest_difference < 1e-5
    return path


def changed(exported: Path, path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(exported)
    change(model)
    onnx.save(model, path)
    return path


def refused(path: Path, named: str) -> None:
    with pytest.raises(UserError, match=named) as error:
        Policy.load(path)
    assert "\n" not in str(error.value)


def test_the_file_gives_what_torch_gives(exported: Path) -> None:
    policy, module = Policy.load(exported), make_network()
    for batch in (1, 7, 200):
        actions = policy(OBSERVATIONS[:batch])
        assert (actions.shape, actions.dtype) == ((batch, A), np.float32)
        np.testing.assert_allclose(actions, run_torch(module, OBSERVATIONS[:batch]), atol=1e-5)
    single = policy(OBSERVATIONS[3].astype(np.float64))
    assert single.shape == (A,)
    np.testing.assert_allclose(single, policy(OBSERVATIONS)[3], atol=1e-6)
    for wrong in (np.zeros(S + 1), np.zeros((2, S - 1)), np.zeros((1, 1, S)), np.float32(0)):
        with pytest.raises(ValueError, match="observation has shape"):
            policy(wrong)


def test_metadata_come_back_to_the_last_digit(exported: Path) -> None:
    found = Policy.load(exported).metadata
    assert replace(found, golden_observations=(), golden_actions=()) == METADATA
    assert found.action_scale[1] == 0.1 + 0.2
    assert (found.observation_size, found.action_size) == (S, A)
    assert found.observation[1] == ObservationField("velocity", 3, 0.1, "rad/s")
    assert np.shape(found.golden_observations) == (GOLDEN_PAIRS, S)
    assert np.shape(found.golden_actions) == (GOLDEN_PAIRS, A)


def test_the_file_tells_nothing_of_the_computer_it_was_made_on(exported: Path) -> None:
    """The exporter would add stack traces: equal policies of two installations would differ, too."""
    assert b".py" not in exported.read_bytes()


def test_export_leaves_the_module_alone_and_no_temporary_file(exported: Path) -> None:
    module = make_network().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    path = exported.with_name("second.onnx")
    export_policy(module, OBSERVATIONS, METADATA, path)
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not list(path.parent.glob("*.part"))


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"robot": "go1"}, "robot is 'a1' in the policy and 'go1' here"),
        (
            {"joint_names": ["FR_hip", "RR_hip"]},
            "joint_names number 1 is 'FL_hip' in the policy and 'RR_hip'",
        ),
        ({"joint_names": ["FR_hip"]}, "joint_names are 2 in the policy and 1 here"),
        ({"control_period": 0.01}, "control_period is 0.02 in the policy and 0.01 here"),
        ({"spec_hash": "x"}, "spec_hash"),
        ({"task_hash": "x"}, "task_hash"),
        ({"observation": [replace(METADATA.observation[0], scale=2.0)]}, "observation number 0"),
    ],
)
def test_a_policy_for_something_else_is_refused(exported: Path, wanted: dict, named: str) -> None:
    policy = Policy.load(exported)
    policy.require(**IDENTITY, joint_names=list(METADATA.joint_names), observation=METADATA.observation)
    with pytest.raises(UserError, match=named) as error:
        policy.require(**wanted)
    assert "\n" not in str(error.value)


def set_property(name: str, value: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        next(p for p in model.metadata_props if p.key == name).value = value

    return change


def drop_property(name: str) -> Callable[[onnx.ModelProto], None]:
    return lambda model: model.metadata_props.remove(next(p for p in model.metadata_props if p.key == name))


def scale_weight(factor: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        weight = next(w for w in model.graph.initializer if w.dims == [16, S] or w.dims == [S, 16])
        values = (numpy_helper.to_array(weight) * factor).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (set_property("golden_actions", "[[0.5, 0.5]]"), "golden pairs"),
        (set_property("golden_actions", str([[0.5, 0.5]] * GOLDEN_PAIRS)), "golden pair 0 is off by"),
        (set_property("golden_observations", "[]"), "golden pairs"),
        (scale_weight(1.01), "golden pair"),
        (scale_weight(float("nan")), "golden pair 0 is off by nan"),
        (drop_property("joint_names"), "lacks 'joint_names'"),
        (set_property("kp", "[80.0]"), "kp needs one number per joint"),
        (set_property("kp", "[80.0, NaN]"), "finite"),
        (set_property("observation", '[{"name": "up"}]'), "damaged"),
        (set_property("stand_pose", "0.1, 0.3"), "damaged metadata"),
        (set_property("policy_schema_version", "99"), "schema version 99"),
        (drop_property("policy_schema_version"), "not a dara_ros policy"),
        (lambda model: model.ClearField("metadata_props"), "not a dara_ros policy"),
    ],
)
def test_a_changed_file_is_refused(exported: Path, tmp_path: Path, change: Callable, named: str) -> None:
    refused(changed(exported, tmp_path / "changed.onnx", change), named)


def test_missing_foreign_and_cut_files(exported: Path, tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "no such file")
    content = exported.read_bytes()
    for number, damaged in enumerate((b"", b"not onnx at all", content[: len(content) // 2], content[:-7])):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(damaged)
        refused(path, "not an ONNX file, or damaged|not a dara_ros policy|does not map|golden|lacks")


class PicksTheBest(torch.nn.Module):
    """Jumps between two actions where x0 = x1, as a policy that picks the best candidate does."""

    def candidates(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        actions = torch.tensor([0.5, -0.5]).view(1, 2, 1).expand(len(x), 2, A)
        return actions, 50.0 + x[:, :2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :1] >= x[:, 1:2], torch.full((1, A), 0.5), torch.full((1, A), -0.5))


def test_golden_pairs_keep_away_from_jumps(tmp_path: Path) -> None:
    observations = OBSERVATIONS.copy()
    observations[::2, 1] = observations[::2, 0]  # every other one on the jump
    export_policy(PicksTheBest(), observations, METADATA, tmp_path / "p.onnx")
    golden = np.array(Policy.load(tmp_path / "p.onnx").metadata.golden_observations)
    assert len(golden) == GOLDEN_PAIRS
    assert (np.abs(golden[:, 0] - golden[:, 1]) > 1e-3).all()  # of values around 50


def test_golden_pairs_are_found_where_nearly_all_observations_are_on_jumps(tmp_path: Path) -> None:
    observations = OBSERVATIONS.copy()
    observations[2:, 1] = observations[2:, 0]
    export_policy(PicksTheBest(), observations, METADATA, tmp_path / "p.onnx")
    golden = np.array(Policy.load(tmp_path / "p.onnx").metadata.golden_observations)
    np.testing.assert_allclose(sorted(golden[:, 0]), sorted(observations[:2, 0]))


def test_a_tie_is_told_from_an_error() -> None:
    choice, ones = _Choice(PicksTheBest()), np.ones(S, np.float32)
    close, apart = (ones + np.eye(S, dtype=np.float32)[0] * lead for lead in (4e-4, 1e-3))
    for observation in (ones, close):
        assert _is_tie(choice, observation, np.full(A, -0.5, np.float32))  # the other of the two, as good
        assert not _is_tie(choice, observation, np.full(A, -0.4, np.float32))  # neither
    assert not _is_tie(choice, apart, np.full(A, -0.5, np.float32))  # the worse one
    smooth = _Choice(torch.nn.Linear(S, A))
    assert not _is_tie(smooth, ones, np.full(A, 9.0, np.float32))


class RoundsMuch(PicksTheBest):
    """A critic whose small values are what great ones leave of each other."""

    def candidates(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        actions, values = super().candidates(x)
        return actions, (1e4 + values) - 1e4


def test_a_tie_is_told_where_rounding_does_more_than_the_value_says() -> None:
    """float32 has steps of 0.001 at 1e4; 50 with a relative 1e-5 would be 0.0005."""
    close = np.ones(S, np.float32) + np.eye(S, dtype=np.float32)[0] * np.float32(7e-4)
    assert not _is_tie(_Choice(PicksTheBest()), close, np.full(A, -0.5, np.float32))
    assert _is_tie(_Choice(RoundsMuch()), close, np.full(A, -0.5, np.float32))


class PicksTheOther(PicksTheBest):
    """Decides its ties the other way, as another runtime's rounding may."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, :1] > x[:, 1:2], torch.full((1, A), 0.5), torch.full((1, A), -0.5))


def test_ties_are_counted_and_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_onnx = policies.onnx._to_onnx
    monkeypatch.setattr(policies.onnx, "_to_onnx", lambda module, example: to_onnx(PicksTheOther(), example))
    observations = OBSERVATIONS.copy()
    most = int(MOST_TIES * len(observations))
    observations[:most, 1] = observations[:most, 0]
    assert export_policy(PicksTheBest(), observations, METADATA, tmp_path / "most.onnx").ties == most
    observations[most, 1] = observations[most, 0]
    with pytest.raises(UserError, match=f"on {most + 1} of .*worth the same.*train longer"):
        export_policy(PicksTheBest(), observations, METADATA, tmp_path / "too_many.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["most.onnx"]


@pytest.mark.parametrize(
    ("weights", "factor", "named"),
    [
        (1.0, float("nan"), "weight .* is NaN"),
        (3e38, 1.0, "gives NaN or infinity"),
        (1.0, 1.001, "onnxruntime differs from torch by"),
    ],
)
def test_a_bad_export_leaves_the_old_file(
    exported: Path, monkeypatch: pytest.MonkeyPatch, weights: float, factor: float, named: str
) -> None:
    """Weights that training blew up, and a graph that is not what torch computes."""
    module = make_network()
    with torch.no_grad():
        module[0].weight *= weights
        module[3].weight *= weights
    model = onnx.load(exported)
    scale_weight(factor)(model)
    monkeypatch.setattr("dara_ros.policies.onnx._to_onnx", lambda module, example: model)
    path = exported.with_name("kept.onnx")
    path.write_bytes(exported.read_bytes())
    with pytest.raises(UserError, match=named) as error:
        export_policy(torch.nn.Sequential(*module[:4]), OBSERVATIONS, METADATA, path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == exported.read_bytes()
    assert not list(path.parent.glob("*.part"))


@pytest.mark.parametrize("key", ["joint_names", "observation", "kp"])
def test_a_task_that_lacks_something(key: str) -> None:
    task = {name: value for name, value in TASK.items() if name != key}
    with pytest.raises(UserError, match=f"lacks '{key}'"):
        PolicyMetadata.from_task(task, **IDENTITY, algorithm="bcq", eta=0.1, data_set_hashes={})


def test_the_runtime_needs_no_torch() -> None:
    heavy = ("torch", "onnx", "h5py")
    code = f"import sys, dara_ros.policies.runtime; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
