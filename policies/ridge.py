"""Ridge regression from sums over rows: memory is that of a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class RidgeSums:
    """What ridge regression needs of rows z (B, F), r (B, S): z'z, z'r, each column's r'r, their number."""

    zz: Any = 0.0
    zr: Any = 0.0
    rr: Any = 0.0
    count: int = 0

    def add(self, z: Tensor, r: Tensor) -> None:
        self.zz, self.zr = self.zz + z.T @ z, self.zr + z.T @ r
        self.rr, self.count = self.rr + r.square().sum(0), self.count + len(z)

    def __add__(self, other: RidgeSums) -> RidgeSums:
        return RidgeSums(self.zz + other.zz, self.zr + other.zr, self.rr + other.rr, self.count + other.count)

    def minus(self, other: RidgeSums) -> RidgeSums:
        return RidgeSums(self.zz - other.zz, self.zr - other.zr, self.rr - other.rr, self.count - other.count)

    def ridge(self, penalty: float) -> Tensor:
        """argmin |r - z w|^2 + penalty |w|^2, the constant's weight free: (F, S)."""
        weights = torch.full((len(self.zz),), penalty, dtype=torch.float64)
        weights[-1] = 1e-6
        return torch.linalg.solve(self.zz + torch.diag(weights), self.zr)

    def error(self, w: Tensor) -> Tensor:
        """|r - z w|^2 of each column, (S,)."""
        return self.rr - 2.0 * (w * self.zr).sum(0) + (w * (self.zz @ w)).sum(0)
