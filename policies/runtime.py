"""The policy file on the robot: load, check, run. Needs numpy and onnxruntime only.

A policy file is ONNX, (B, S) float32 "observation" in, (B, A) float32 "action" out, normalisation inside.
What it is for stands in its metadata, one JSON value per field of :class:`PolicyMetadata`, floats in full.

    policy = Policy.load("policy.onnx")
    policy.require(robot="a1", joint_names=spec.joint_names, spec_hash=spec.hash)
    action = policy(observation)
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from .. import __version__
from ..errors import UserError

if TYPE_CHECKING:
    from .dataset_format import DataSetInfo

POLICY_SCHEMA_VERSION = 1
# Processors add up in different orders: golden actions, of the order of one, may differ by this and no more.
GOLDEN_TOLERANCE = 1e-4
LARGEST_FILE = 256 * 2**20  # bytes; a policy has one or two million
LONGEST_CHECK = 10.0  # s for the golden pairs; a graph may hold a loop without end
# In ONNX's protobuf: a tensor whose values lie in another file, with the key "location" of its path.
_EXTERNAL_DATA = b"\x0a\x08location\x12"


@dataclass(frozen=True)
class ObservationField:
    """A named part of the observation; the policy sees the value in ``unit``, times ``scale``."""

    name: str
    size: int
    scale: float
    unit: str


@dataclass(frozen=True)
class PolicyMetadata:
    """What a policy file says of itself. SI units; per-joint values in the order of ``joint_names``.

    Raises:
        UserError: on construction, where a type or a length is wrong, or a number is not finite.
    """

    robot: str
    joint_names: tuple[str, ...]
    stand_pose: tuple[float, ...]  # rad
    action_scale: tuple[float, ...]  # rad per unit of action
    kp: tuple[float, ...]  # N m / rad
    kd: tuple[float, ...]  # N m s / rad
    control_period: float  # s
    observation: tuple[ObservationField, ...]
    action_low: tuple[float, ...]  # one per column of A
    action_high: tuple[float, ...]
    algorithm: str
    eta: float
    data_set_hashes: Mapping[str, str]  # {"source": sha256, "target": sha256}
    spec_hash: str
    task_hash: str
    version: str = __version__  # of dara_ros
    # A few pairs that the trained network gave, (G, S) and (G, A); export_policy fills them in.
    golden_observations: tuple[tuple[float, ...], ...] = ()
    golden_actions: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        texts = (self.robot, self.algorithm, self.spec_hash, self.task_hash, self.version, *self.joint_names)
        if not isinstance(self.joint_names, tuple) or not all(isinstance(text, str) for text in texts):
            raise UserError("policy metadata: names, hashes and the version must be text")
        if not isinstance(self.data_set_hashes, Mapping):
            raise UserError("policy metadata: data_set_hashes must be a mapping")
        for name in ("stand_pose", "action_scale", "kp", "kd"):
            if len(getattr(self, name)) != len(self.joint_names):
                raise UserError(
                    f"policy metadata: {name} needs one number per joint ({len(self.joint_names)})"
                )
        if len(self.action_low) != len(self.action_high):
            raise UserError("policy metadata: action_low and action_high differ in length")
        numbers = (
            *self.stand_pose,
            *self.action_scale,
            *self.kp,
            *self.kd,
            *self.action_low,
            *self.action_high,
        )
        if not all(map(math.isfinite, (*numbers, self.control_period, self.eta))):
            raise UserError("policy metadata: every number must be finite")
        if self.control_period <= 0 or any(part.size < 1 for part in self.observation):
            raise UserError("policy metadata: control_period and sizes in observation must be positive")

    @property
    def observation_size(self) -> int:
        """S, the width of an observation."""
        return sum(part.size for part in self.observation)

    @property
    def action_size(self) -> int:
        """A, the width of an action."""
        return len(self.action_low)

    @classmethod
    def of_data(
        cls, info: DataSetInfo, algorithm: str, eta: float, data_set_hashes: Mapping[str, str]
    ) -> PolicyMetadata:
        """Of a policy for the robot and the task that a data set's header describes.

        Raises:
            UserError: as `from_task`.
        """
        return cls.from_task(
            info.task,
            robot=info.robot,
            control_period=info.control_period,
            spec_hash=info.spec_hash,
            task_hash=info.task_hash,
            algorithm=algorithm,
            eta=eta,
            data_set_hashes=data_set_hashes,
        )

    @classmethod
    def from_task(
        cls,
        task: Mapping[str, Any],
        *,
        robot: str,
        control_period: float,
        spec_hash: str,
        task_hash: str,
        algorithm: str,
        eta: float,
        data_set_hashes: Mapping[str, str],
    ) -> PolicyMetadata:
        """From ``DataSetInfo.task``: joint_names, stand_pose, action_scale, kp, kd, action_low, action_high
        and observation: [{name, size, scale, unit}, ...]; other keys are left out.

        Raises:
            UserError: a key is missing or has the wrong form.
        """
        names = (
            "joint_names",
            "stand_pose",
            "action_scale",
            "kp",
            "kd",
            "observation",
            "action_low",
            "action_high",
        )
        values = {name: task.get(name) for name in names}
        values.update(robot=robot, control_period=control_period, spec_hash=spec_hash, task_hash=task_hash)
        values.update(
            algorithm=algorithm, eta=eta, data_set_hashes=dict(data_set_hashes), version=__version__
        )
        return _metadata_from_values(values, "the data set's task description")

    def to_properties(self) -> dict[str, str]:
        """ONNX metadata_props: one JSON text per field."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values["observation"] = [vars(part) for part in self.observation]
        values["policy_schema_version"] = POLICY_SCHEMA_VERSION
        return {name: json.dumps(value, allow_nan=False) for name, value in values.items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], path: str) -> PolicyMetadata:
        """Read them back.

        Raises:
            UserError: a field is missing or damaged, or the file is of another schema version.
        """
        if "policy_schema_version" not in properties:
            raise UserError(
                f"{path}: is ONNX, but not a dara_ros policy (no metadata): export it with `dara train`"
            )
        try:
            values = {name: json.loads(text) for name, text in properties.items()}
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: damaged metadata ({error}): export the policy anew") from error
        if values.pop("policy_schema_version") != POLICY_SCHEMA_VERSION:
            raise UserError(
                f"{path}: policy schema version {properties['policy_schema_version']}, this dara_ros reads "
                f"{POLICY_SCHEMA_VERSION}: export the policy anew"
            )
        return _metadata_from_values(values, path)


class Policy:
    """A policy file, loaded and checked: observation (S,) or (B, S) -> action (A,) or (B, A), float32.

    Runs on one thread. Actions are given as the network gave them, also when they are NaN or out of bounds:
    the controller and the safety supervisor check every command, whoever made it.
    """

    def __init__(self, path: str, session: onnxruntime.InferenceSession, metadata: PolicyMetadata) -> None:
        self.path = path
        self.metadata = metadata
        self._session = session

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Load a policy file and check its golden pairs.

        Raises:
            UserError: the file is missing, damaged, no dara_ros policy, or its golden pairs don't hold.
        """
        path = str(path)
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file: check the name, or make it with `dara train`")
        session = open_session(path)
        try:
            properties = session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: damaged metadata ({error}): export the policy anew") from error
        policy = cls(path, session, PolicyMetadata.from_properties(properties, path))
        policy.check_golden()
        return policy

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The action for one observation, or one for each of a batch.

        Raises:
            ValueError: the observation is not S wide.
        """
        rows = np.ascontiguousarray(observation, np.float32)
        if rows.shape[-1:] != (self.metadata.observation_size,) or rows.ndim > 2:
            raise ValueError(
                f"observation has shape {rows.shape}, the policy takes {self.metadata.observation_size}"
            )
        actions = self._session.run(None, {"observation": np.atleast_2d(rows)})[0]
        return actions[0] if rows.ndim == 1 else actions

    def check_golden(self) -> None:
        """See that the network still gives the actions that it gave when it was exported.

        Raises:
            UserError: it does not.
        """
        try:
            observations = np.array(self.metadata.golden_observations, np.float32)
            expected = np.array(self.metadata.golden_actions, np.float32)
        except (ValueError, TypeError, OverflowError):  # no numbers, or rows of different lengths
            observations = expected = np.zeros(0, np.float32)
        pairs = len(expected) if expected.ndim == 2 else 0
        sizes = (pairs, self.metadata.observation_size), (pairs, self.metadata.action_size)
        if pairs == 0 or (observations.shape, expected.shape) != sizes:
            raise UserError(f"{self.path}: has no usable golden pairs: export the policy anew")
        actions = self._run_within(LONGEST_CHECK, observations)
        if not isinstance(actions, np.ndarray) or actions.shape != expected.shape:
            found = getattr(actions, "shape", type(actions).__name__)
            raise UserError(f"{self.path}: gives actions {found}, not {expected.shape}: export it anew")
        for number, difference in enumerate(np.abs(actions - expected).max(axis=1)):
            if not difference <= GOLDEN_TOLERANCE:  # NaN is not
                raise UserError(
                    f"{self.path}: golden pair {number} is off by {difference:.2g}: the file was changed or "
                    "damaged, export the policy anew"
                )

    def _run_within(self, seconds: float, observations: np.ndarray) -> Any:
        """What the network gives, if it gives it in time."""
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        too_late = threading.Timer(seconds, setattr, (options, "terminate", True))
        too_late.start()
        try:
            return self._session.run(None, {"observation": observations}, options)[0]
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            raise UserError(f"{self.path}: cannot be run ({error}): export the policy anew") from error
        finally:
            too_late.cancel()

    def require(
        self,
        *,
        robot: str | None = None,
        joint_names: Sequence[str] | None = None,
        spec_hash: str | None = None,
        task_hash: str | None = None,
        control_period: float | None = None,
        observation: Sequence[ObservationField] | None = None,
    ) -> None:
        """See that the policy was trained for this robot and task; what is None is not looked at.

        Raises:
            UserError: naming the first difference.
        """
        here: dict[str, Any] = {"robot": robot, "joint_names": joint_names, "control_period": control_period}
        here |= {"observation": observation, "task_hash": task_hash, "spec_hash": spec_hash}
        for name, wanted in here.items():
            if wanted is not None and (difference := _difference(getattr(self.metadata, name), wanted)):
                raise UserError(
                    f"{self.path}: does not fit this robot: {name} {difference}: choose a policy made for it"
                )


def open_session(path: str) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on one thread that sleeps, not spins, between calls.

    Raises:
        UserError: the file is not ONNX, damaged, or does not map "observation" (B, S) to one output.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            _content(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        inputs, outputs = [part.name for part in session.get_inputs()], session.get_outputs()
    except UserError:
        raise
    except Exception as error:  # onnxruntime raises a dozen unrelated types
        raise UserError(f"{path}: not an ONNX file, or damaged ({error}): export the policy anew") from error
    if inputs != ["observation"] or len(outputs) != 1:
        raise UserError(
            f"{path}: is ONNX, but does not map one observation to one action: export it with dara_ros"
        )
    return session


def _content(path: str) -> bytes:
    """The bytes of a policy file: all of it, since what it may not do is read other files."""
    if Path(path).stat().st_size > LARGEST_FILE:
        raise UserError(f"{path}: larger than {LARGEST_FILE >> 20} MiB, no policy for a robot: give another")
    content = Path(path).read_bytes()
    if _EXTERNAL_DATA in content:
        raise UserError(f"{path}: keeps its weights in another file: export it as one, with dara_ros")
    return content


def _metadata_from_values(values: Mapping[str, Any], origin: str) -> PolicyMetadata:
    """From JSON values: lists become tuples, and every field must be there."""
    for entry in fields(PolicyMetadata):
        optional = entry.name.startswith("golden_")
        if values.get(entry.name) is None and not optional:
            raise UserError(f"{origin} lacks {entry.name!r}: a policy for a robot cannot do without it")
    try:
        parts = [
            ObservationField(str(p["name"]), int(p["size"]), float(p["scale"]), str(p["unit"]))
            for p in values["observation"]
        ]
        known = {entry.name: values[entry.name] for entry in fields(PolicyMetadata) if entry.name in values}
        return PolicyMetadata(
            **{**{name: _tuples(v) for name, v in known.items()}, "observation": tuple(parts)}
        )
    except (TypeError, KeyError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{origin} is damaged ({type(error).__name__}: {error}): export or record it anew"
        ) from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value


def _difference(of_policy: Any, here: Any) -> str:
    """In words, how the policy's value differs from the one here; empty where it does not."""
    if isinstance(of_policy, float):
        same = math.isclose(of_policy, here, rel_tol=1e-9)
        return "" if same else f"is {of_policy:g} in the policy and {here:g} here"
    if isinstance(of_policy, tuple):
        here = tuple(here)
        for number, (a, b) in enumerate(zip(of_policy, here, strict=False)):
            if a != b:
                return f"number {number} is {a!r} in the policy and {b!r} here"
        same = len(of_policy) == len(here)
        return "" if same else f"are {len(of_policy)} in the policy and {len(here)} here"
    return "" if of_policy == here else f"is {of_policy!r} in the policy and {here!r} here"
