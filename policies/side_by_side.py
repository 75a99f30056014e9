"""The same function of many arguments, each in a process of its own where that is worth one."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch

from ..errors import UserError
from ..processes import die_with_parent

FEW = 4  # calls of a second or two that are over before other processes have begun


def side_by_side(function: Callable[..., Any], of_each: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """`function(*arguments)` for each, in order; a UserError that one raises stands in its place.

    Args:
        function: of a module, as are the classes of its arguments and answers: they are pickled.
    """
    attempt = partial(_attempt, function)
    if len(of_each) <= FEW:
        yield from map(attempt, map(pickle.dumps, of_each))
        return
    workers = min(len(of_each), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin) as pool:
        # As bytes: of tensors, each would take a file handle to share its memory.
        yield from pool.map(attempt, map(pickle.dumps, of_each))


def _begin() -> None:
    die_with_parent()
    torch.set_num_threads(1)  # the cores have a process each


def _attempt(function: Callable[..., Any], arguments: bytes) -> Any:
    try:
        return function(*pickle.loads(arguments))
    except UserError as error:
        return error
