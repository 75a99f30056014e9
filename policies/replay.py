"""A learner's updates on a GPU: recorded once as a CUDA graph, from then on one launch each.

An update is hundreds of kernels of some microseconds each; to start them one by one from Python takes longer
than they run. A graph holds them with the addresses of their tensors and with all that Python decided, so it
is recorded anew whenever `Learner.stage` or a learning rate says that Python would decide otherwise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from .learning import Figures, Learner, TensorBatch

PLAIN_UPDATES = 3  # of each stage, before one is recorded: they make what is made only once


def fastest_update(learner: Learner) -> Callable[[TensorBatch], Figures]:
    """`learner.update`, replayed where the learner is on a GPU."""
    return Replay(learner) if learner.device.type == "cuda" else learner.update


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    batch: TensorBatch  # where it reads
    figures: Figures  # where it writes


class Replay:
    """`learner.update` on batches of one shape; the numbers are those of the plain updates."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._decided: Any = None
        self._plain = 0
        self._recording: _Recording | None = None

    def __call__(self, batch: TensorBatch) -> Figures:
        """One step of every run; the figures are overwritten by the next call."""
        learner = self._learner
        decided = learner.stage, *(group["lr"] for each in learner.optimisers for group in each.param_groups)
        if decided != self._decided:
            self._decided, self._plain, self._recording = decided, PLAIN_UPDATES, None
        if self._plain:
            self._plain -= 1
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*capturable.*")  # this one runs uncaptured
                return learner.update(batch)
        if self._recording is None:
            self._recording = self._record(batch)
        else:
            for place, column in zip(self._recording.batch, batch, strict=True):
                place.copy_(column)
            learner.steps += 1
        self._recording.graph.replay()
        return self._recording.figures

    def _record(self, batch: TensorBatch) -> _Recording:
        """An update on this batch that is counted, and still to be computed."""
        graph, batch = torch.cuda.CUDAGraph(), TensorBatch(*(column.clone() for column in batch))
        for generator in self._learner.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            figures = self._learner.update(batch)
        return _Recording(graph, batch, figures)
