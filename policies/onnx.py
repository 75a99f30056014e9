"""Export a policy to the file that `runtime` loads."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from ..errors import UserError
from .runtime import Policy, PolicyMetadata, open_session
from .whole_files import replaced_when_whole

TOLERANCE = 1e-5  # largest difference between torch and onnxruntime, in units of action
GOLDEN_PAIRS = 8
BLOCK = 100  # observations at a time: a policy with many candidates needs many rows for each
# A policy that picks the best of many candidates jumps where two are worth the same but for rounding. It has
# to tell them, in float64 too: `candidates(observations (B, S)) -> actions (B, K, A), values (B, K)`.
ROUNDING = 1e-5  # of a value, relative, at least
ROUNDINGS = 4  # torch and onnxruntime round two values each
MOST_TIES = 0.05  # of the observations


@dataclass(frozen=True)
class ExportReport:
    """How the file compares with the network it was made from."""

    observations: int  # compared
    largest_difference: float  # over those that are not ties
    ties: int  # where several candidates are worth the same, and onnxruntime gave another of these


def export_policy(
    module: torch.nn.Module, observations: np.ndarray, metadata: PolicyMetadata, path: str | Path
) -> ExportReport:
    """Write ``module`` as a policy file, once onnxruntime was seen to give the same actions as torch.

    Args:
        module: (B, S) float32 -> (B, A) float32, deterministic, normalisation inside. It is not changed.
        observations: (N, S), what the policy will meet, N about 1,000; golden pairs are taken from them.
        metadata: golden pairs aside.
        path: replaced only when all checks have passed.

    Raises:
        UserError: a weight is not finite, or torch and onnxruntime differ.
    """
    path = Path(path)
    observations = np.ascontiguousarray(observations, np.float32)
    module = copy.deepcopy(module).cpu().eval()
    model = _to_onnx(module, observations[:2])
    _check_weights(model, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_whole(path) as temporary:
        onnx.save(model, temporary)
        choice = _Choice(module)
        report = _compare(module, choice, temporary, observations)
        golden = _golden(choice, observations)
        pairs = replace(
            metadata,
            golden_observations=tuple(map(tuple, golden.tolist())),
            golden_actions=tuple(map(tuple, _run(module, golden).tolist())),
        )
        onnx.helper.set_model_props(model, pairs.to_properties())
        onnx.save(model, temporary)
        Policy.load(temporary)  # what a robot will do with it
    return report


def _run(module: torch.nn.Module, observations: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        blocks = torch.from_numpy(observations).split(BLOCK)
        return torch.cat([module(block) for block in blocks]).numpy()


def _to_onnx(module: torch.nn.Module, example: np.ndarray) -> onnx.ModelProto:
    """The module's graph with a free batch size and constants folded."""
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (torch.from_numpy(np.resize(example, (2, example.shape[1]))),),
            dynamo=True,
            optimize=True,
            verbose=False,
            input_names=["observation"],
            output_names=["action"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None  # None only where a file name is given
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # the exporter's stack traces: paths and lines of whoever trained it
    return model


def _check_weights(model: onnx.ModelProto, path: Path) -> None:
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UserError(
                f"{path}: not written, weight {weight.name} is NaN or infinite: the training diverged"
            )


def _compare(module: torch.nn.Module, choice: _Choice, path: Path, observations: np.ndarray) -> ExportReport:
    expected = _run(module, observations)
    if not np.isfinite(expected).all():
        raise UserError(f"{path.stem}: not written, the network gives NaN or infinity: the training diverged")
    session = open_session(str(path))
    spans = range(0, len(observations), BLOCK)
    actions = np.concatenate(
        [session.run(None, {"observation": observations[i : i + BLOCK]})[0] for i in spans]
    )
    differences = np.abs(actions - expected).max(axis=1)
    apart = np.flatnonzero(~(differences <= TOLERANCE))
    ties = [int(i) for i in apart if _is_tie(choice, observations[i], actions[i])]
    if len(ties) < len(apart):
        raise UserError(
            f"{path.stem}: not written, onnxruntime differs from torch by {differences.max():.2g} on "
            f"{len(apart)} of {len(observations)} observations: a bug in exporter or policy, report it"
        )
    if len(ties) > MOST_TIES * len(observations):
        raise UserError(
            f"{path.stem}: not written, on {len(ties)} of {len(observations)} observations only rounding "
            f"decides between actions that are worth the same: the critics tell too little yet, train longer"
        )
    return ExportReport(len(observations), float(np.delete(differences, ties).max()), len(ties))


class _Choice:
    """What a policy picks the best of, where it `picks`."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.picks = hasattr(module, "candidates")
        self._module: Any = module
        self._exact: Any = copy.deepcopy(module).double()

    @torch.no_grad()
    def __call__(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions (K, A), and how far each is behind the best (K,): up to 1 it may be rounding."""
        state = torch.from_numpy(observation[None])
        actions, values = (part[0].numpy() for part in self._module.candidates(state))
        # A small value of a steep critic is off by more than its size says.
        measured = np.abs(values - self._exact.candidates(state.double())[1][0].numpy()).max()
        rounding = max(ROUNDING * max(1.0, abs(values.max())), ROUNDINGS * measured)
        return actions, (values.max() - values) / rounding


def _is_tie(choice: _Choice, observation: np.ndarray, action: np.ndarray) -> bool:
    """Whether ``action`` is as good as the one that torch gives, to rounding."""
    if not choice.picks:
        return False
    actions, behind = choice(observation)
    return bool((np.abs(actions[behind <= 1.0] - action).max(axis=1) <= TOLERANCE).any())


def _golden(choice: _Choice, observations: np.ndarray) -> np.ndarray:
    """Up to GOLDEN_PAIRS observations (G, S) whose action stays put under rounding, on any processor.

    They are taken at random where the lead of the best action is ten times what rounding does. Where there
    are too few such, those with the greatest lead are taken.
    """
    order = np.random.default_rng(0).permutation(len(observations))
    if not choice.picks:
        return observations[order[:GOLDEN_PAIRS]]
    leads = np.array([_lead(*choice(observation)) for observation in observations[order]])
    most = np.argsort(-np.minimum(leads, 10.0), kind="stable")[:GOLDEN_PAIRS]
    golden = observations[order][most[leads[most] > 1.0]]
    if not len(golden):
        raise UserError("policy not written: its action jumps with rounding wherever it was tried")
    return golden


def _lead(actions: np.ndarray, behind: np.ndarray) -> float:
    """How far the best of the actions that are not the best one's equals is behind."""
    others = behind[np.abs(actions - actions[behind.argmin()]).max(axis=1) > TOLERANCE]
    return float(others.min()) if len(others) else np.inf


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints advice to its own developers; errors still come through."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
