"""What all tests of this folder need."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums in one order, as `train` makes them."""
    torch.set_num_threads(1)
