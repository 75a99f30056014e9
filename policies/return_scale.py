"""What delta r costs in reward: the eta that the target's own returns ask for.

DARA takes eta delta_r from the source's rewards and leaves eta to be tuned; a robot has nothing to tune it
by. But its file holds returns, and they tell what a unit of delta_r has cost there, if anything. With sums
over the next steps of each row,

    G(s, a) = E_source[sum_k gamma^k r_{t+k}]       D(s, a) = E_source[sum_k gamma^k delta_r_{t+k}],

fitted to the source, the augmented returns G - eta D are to be the target's own, but for a constant:

    G(s, a) - sum_k gamma^k r_{t+k} ~ const + eta D(s, a)

by least squares over the target's rows. Where one in ten bootstraps over the target's episodes sees no eta
above 0, it is 0: nothing is taken from rewards where returns do not say so. It is ours, not the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import UserError
from .dataset import DataSet
from .dynamics_gap import DynamicsGap
from .ridge import RidgeSums

WINDOW = 100  # steps of a sum: beyond them falls that delta_r foretells have happened
DISCOUNT = 0.99  # gamma
PENALTY = 1e2  # of the ridge regressions of G and D
BOOTSTRAPS = 200
DOUBT = 0.1  # share of the bootstraps that may disagree


@dataclass(frozen=True)
class ReturnScale:
    """What was found, in reward for a unit of delta_r.

    Attributes:
        value: what is to be taken, at least 0.
        fitted: the same, whatever the bootstraps say.
        low: what all but a tenth of the bootstraps exceed.
    """

    value: float
    fitted: float
    low: float


def check_returns(data: DataSet, name: str) -> None:
    """Refuse a file whose returns tell nothing.

    Args:
        name: which one it is, for the message.

    Raises:
        UserError: no episode is as long as WINDOW or ends with a fall.
    """
    starts, ends = data.episodes()
    if not ((ends - starts >= WINDOW) | data.column("terminals")[ends - 1]).any():
        raise UserError(
            f"the {name} data set holds no episode of {WINDOW} steps and no fall: its returns tell "
            "nothing; log longer episodes, or train with scale none"
        )


def fit_return_scale(
    gap: DynamicsGap, source: DataSet, target: DataSet, delta: np.ndarray, seed: int
) -> ReturnScale:
    """Regress the target's returns on what the source's data promise and on delta_r.

    Args:
        gap: whose features (s, a) are seen by.
        source, target: that `check_returns` has passed.
        delta: delta_r of the source's rows, (N,).
        seed: of the bootstraps.
    """
    wanted = np.stack([_ahead(source, source.column("rewards")), _ahead(source, delta)], 1)
    known = np.isfinite(wanted[:, 0])
    came = _ahead(target, target.column("rewards"))
    sums, at = RidgeSums(), 0
    for batch in source.blocks():
        rows = slice(at, at + len(batch.rewards))
        sums.add(gap.standardised(batch)[known[rows]], torch.from_numpy(wanted[rows][known[rows]]))
        at = rows.stop
    weights = sums.ridge(PENALTY)
    promised = torch.cat([gap.standardised(batch) @ weights for batch in target.blocks()]).numpy()
    return _compare(promised[:, 1], promised[:, 0] - came, target.episodes()[0], seed)


def _ahead(data: DataSet, values: np.ndarray) -> np.ndarray:
    """Discounted sums (N,) of a row's value and of those after it, WINDOW in all.

    After a fall there is nothing. NaN where the episode ends otherwise before.
    """
    starts, ends = data.episodes()
    end, row = np.repeat(ends, ends - starts), np.arange(len(data))
    total = np.zeros(len(data))
    for k in range(WINDOW):
        inside = row + k < end
        total[inside] += DISCOUNT**k * values[row[inside] + k]
    return np.where((row + WINDOW <= end) | data.column("terminals")[end - 1], total, np.nan)


def _compare(penalty: np.ndarray, lost: np.ndarray, starts: np.ndarray, seed: int) -> ReturnScale:
    """eta of lost (N,) ~ const + eta penalty (N,) where that is known, and what bootstraps say of it.

    Args:
        starts: of the episodes.
    """
    sums = np.stack([np.ones(len(lost)), penalty, lost, penalty**2, penalty * lost])
    of_episode = np.add.reduceat(np.where(np.isfinite(lost), sums, 0.0), starts, axis=1)

    def slope(chosen: np.ndarray) -> float:
        n, x, y, xx, xy = of_episode[:, chosen].sum(1)
        spread = n * xx - x * x
        return float((n * xy - x * y) / spread) if spread > 0 else 0.0

    count = len(starts)
    draws = np.random.default_rng(seed).integers(0, count, (BOOTSTRAPS, count))
    low = float(np.quantile([slope(draw) for draw in draws], DOUBT))
    fitted = slope(np.arange(count))
    return ReturnScale(max(0.0, fitted) if low > 0 else 0.0, fitted, low)
