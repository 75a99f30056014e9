"""Calls that are spread over processes: answers in order, and one that fails costs no other."""

from __future__ import annotations

import os

import pytest
import torch

from dara_ros.errors import UserError
from dara_ros.policies.side_by_side import FEW, side_by_side


def doubled(number: int, tensor: torch.Tensor) -> tuple[int, float, int]:
    if number == 1:
        raise UserError("not this one")
    return 2 * number, float(tensor.sum()), os.getpid()


@pytest.mark.parametrize("count", [FEW, FEW + 2])
def test_answers_in_order_from_other_processes_where_they_are_many(count: int) -> None:
    first, failed, *others = side_by_side(doubled, [(i, torch.full((3,), i)) for i in range(count)])
    assert isinstance(failed, UserError)
    assert str(failed) == "not this one"
    assert [answer[:2] for answer in (first, *others)] == [(2 * i, 3 * i) for i in range(count) if i != 1]
    assert {answer[2] == os.getpid() for answer in (first, *others)} == {count <= FEW}
