"""Where the batches of a training come from: read from the files, or drawn from rows that lie on the GPU.

A GPU updates dozens of runs in a millisecond or two. To gather their rows on the host and carry them over,
batch by batch, takes longer; so all rows go there once, where they fit, and then row numbers alone. The
batches are the same, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .learning import Learner, TensorBatch
from .sampling import BATCHES_PER_READ, UnionSampler

SHARE_OF_MEMORY = 0.5  # of what is free on the GPU: the rest is for networks and what updates need


def training_batches(learner: Learner, samplers: Sequence[UnionSampler]) -> Iterator[TensorBatch]:
    """A batch of each run, stacked, with normalised observations, from the learner's step on."""
    if learner.device.type == "cuda" and _fits(learner, samplers):
        return RowsOnDevice(learner, samplers).batches(learner.steps)
    each = zip(*(sampler.batches(learner.steps) for sampler in samplers), strict=True)
    return (learner.batch(*of_runs) for of_runs in each)


class RowsOnDevice:
    """All rows that the runs draw from, on the learner's device.

    Runs of the same files share all but the rewards.
    """

    def __init__(self, learner: Learner, samplers: Sequence[UnionSampler]) -> None:
        self._learner, self._samplers = learner, samplers
        shared = {_files(sampler): sampler for sampler in samplers}
        columns = {files: _on_device(sampler, learner.device) for files, sampler in shared.items()}
        self._rows = [_with_rewards(columns[_files(sampler)], sampler) for sampler in samplers]

    def batches(self, start: int = 0) -> Iterator[TensorBatch]:
        """Batch number `start` and all that follow, without end."""
        size, of_run = self._samplers[0].batch_size, int(len(self._samplers) > 1)
        block, skip = divmod(start, BATCHES_PER_READ)
        while True:
            rows = self._read(block)
            for at in range(skip * size, BATCHES_PER_READ * size, size):
                yield TensorBatch(*(column.narrow(of_run, at, size) for column in rows))
            block, skip = block + 1, 0

    def _read(self, block: int) -> TensorBatch:
        numbers = self._learner.stack(
            [torch.from_numpy(sampler.row_numbers(block) - sampler.drawn.start) for sampler in self._samplers]
        )
        of_runs = numbers if len(self._samplers) > 1 else numbers.unsqueeze(0)
        drawn = [[column[mine] for column in rows] for rows, mine in zip(self._rows, of_runs, strict=True)]
        columns = (self._learner.stack(column) for column in zip(*drawn, strict=True))
        return self._learner.normalised(TensorBatch(*columns))


def _files(sampler: UnionSampler) -> tuple[int, int, int, int]:
    """What all of a run's rows but their rewards depend on."""
    return id(sampler.source), id(sampler.target), sampler.drawn.start, sampler.drawn.stop


def _fits(learner: Learner, samplers: Sequence[UnionSampler]) -> bool:
    row = 4 * (2 * learner.state_size + learner.action_size + 1) + 2 + 8  # floats, flags, and its number
    shared = sum(rows.stop - rows.start for rows in {_files(s): s.drawn for s in samplers}.values())
    rewards = sum(s.drawn.stop - s.drawn.start for s in samplers)
    free, _ = torch.cuda.mem_get_info(learner.device)
    return shared * row + rewards * 4 < SHARE_OF_MEMORY * free


def _on_device(sampler: UnionSampler, device: torch.device) -> TensorBatch:
    """The rows that `sampler` draws from, (N, ...), as they are in the files."""
    blocks = [block for block, _ in sampler.from_files()]
    numbers = torch.arange(sampler.drawn.start, sampler.drawn.stop, device=device)

    def column(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(block, name) for block in blocks])).to(device)

    return TensorBatch(
        column("observations"),
        column("actions"),
        column("rewards"),
        column("next_observations"),
        column("terminals"),
        numbers >= len(sampler.source),
        numbers,
    )


def _with_rewards(rows: TensorBatch, sampler: UnionSampler) -> TensorBatch:
    """With the rewards that this run sees."""
    numbers = np.arange(sampler.drawn.start, sampler.drawn.stop)
    rewards = sampler.rewards(rows.rewards.cpu().numpy(), numbers)
    return rows._replace(rewards=torch.from_numpy(rewards).to(rows.rewards.device))
