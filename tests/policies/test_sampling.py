"""Batches of the union: the right rows, the right rewards, the same ones every time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from dara_ros.errors import UserError
from dara_ros.policies.dataset import Batch
from dara_ros.policies.sampling import BATCHES_PER_READ, BEGINNING, UnionSampler


class Numbered:
    """Row i is observation `first + i` and reward i; an episode is 50 rows."""

    def __init__(self, count: int, first: int) -> None:
        self.count, self.first = count, first

    def __len__(self) -> int:
        return self.count

    def rows(self, indices: np.ndarray) -> Batch:
        column = (self.first + indices).astype(np.float32)[:, None]
        return Batch(column, column, indices.astype(np.float32), column + 0.5, np.zeros(len(indices), bool))

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(0, self.count, 50)
        return starts, starts + 50

    def blocks(self) -> Iterator[Batch]:
        for start in range(0, self.count, 70):
            yield self.rows(np.arange(start, min(start + 70, self.count)))


SOURCE, TARGET = Numbered(900, 0), Numbered(100, 1000)


def test_penalty_meets_its_own_source_rows_and_no_target_row() -> None:
    delta, eta = np.arange(900, dtype=np.float32), 0.01
    for batch in islice(UnionSampler(SOURCE, TARGET, delta, eta, None, 50, 0).batches(), 40):
        row = batch.observations[:, 0]
        source = row < 1000
        np.testing.assert_allclose(batch.rewards[source], row[source] * 0.99, rtol=1e-5)
        np.testing.assert_array_equal(batch.rewards[~source], row[~source] - 1000)
        np.testing.assert_array_equal(batch.next_observations[:, 0], row + 0.5)


def test_union_is_proportional_by_default() -> None:
    sampler = UnionSampler(SOURCE, TARGET, None, 0.0, None, 100, 0)
    share = np.mean([np.mean(b.observations >= 1000) for b in islice(sampler.batches(), 100)])
    assert sampler.target_fraction == pytest.approx(0.1)
    assert share == pytest.approx(0.1, abs=0.015)


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
def test_mix_is_kept_in_every_batch(mix: float) -> None:
    for batch in islice(UnionSampler(SOURCE, TARGET, None, 0.0, mix, 50, 0).batches(), BATCHES_PER_READ + 2):
        assert np.count_nonzero(batch.observations >= 1000) == round(50 * mix)


@pytest.mark.parametrize(
    ("mix", "drawn"), [(None, range(1000)), (0.5, range(1000)), (0.004, range(900)), (1.0, range(900, 1000))]
)
def test_all_that_batches_hold_comes_in_order_and_nothing_else(mix: float | None, drawn: range) -> None:
    blocks = list(UnionSampler(SOURCE, TARGET, None, 0.0, mix, 50, 0).in_order())
    rows = np.concatenate([block.rows for block in blocks])
    assert rows.tolist() == list(drawn)
    observations = np.concatenate([block.observations[:, 0] for block in blocks])
    np.testing.assert_array_equal(observations, np.where(rows < 900, rows, 1000 + rows - 900))
    assert (np.concatenate([block.is_target for block in blocks]) == (rows >= 900)).all()


@pytest.mark.parametrize("start", [1, BATCHES_PER_READ - 1, BATCHES_PER_READ, 2 * BATCHES_PER_READ + 3])
def test_batch_k_is_the_same_from_wherever_one_starts(start: int) -> None:
    sampler = UnionSampler(SOURCE, TARGET, None, 0.0, None, 10, seed=7)
    straight = list(islice(sampler.batches(), start + 3))[start:]
    for mine, theirs in zip(straight, islice(sampler.batches(start), 3), strict=True):
        np.testing.assert_array_equal(mine.observations, theirs.observations)


def test_seeds_differ_and_a_senseless_mix_is_refused() -> None:
    first, second = (next(UnionSampler(SOURCE, TARGET, None, 0.0, None, 10, s).batches()) for s in (0, 1))
    assert not np.array_equal(first.observations, second.observations)
    with pytest.raises(UserError, match="mix"):
        UnionSampler(SOURCE, TARGET, None, 0.0, -0.1, 10, 0)


def test_scale_comes_after_the_penalty() -> None:
    delta = np.full(900, 4.0, np.float32)
    plain, scaled = (
        next(UnionSampler(SOURCE, TARGET, delta, 0.5, None, 50, 0, scale).batches()) for scale in (1.0, 0.1)
    )
    np.testing.assert_allclose(scaled.rewards, 0.1 * plain.rewards, rtol=1e-6)


def test_batches_name_their_rows_and_domain() -> None:
    for batch in islice(UnionSampler(SOURCE, TARGET, None, 0.0, 0.3, 50, 0).batches(), 5):
        row = batch.observations[:, 0]
        np.testing.assert_array_equal(batch.is_target, row >= 1000)
        np.testing.assert_array_equal(batch.rows, np.where(row >= 1000, row - 100, row))


def test_beginnings_are_drawn_more_often_and_no_domain_more_than_before() -> None:
    """Here the first rows of the episodes are a fifth of all."""

    def sampler(beginnings: float) -> UnionSampler:
        return UnionSampler(SOURCE, TARGET, None, 0.0, 0.3, 50, 0, beginnings=beginnings)

    for beginnings in (0.0, 0.4, 1.0):
        batches = list(islice(sampler(beginnings).batches(), 200))
        assert {np.count_nonzero(batch.is_target) for batch in batches} == {15}
        rows = np.concatenate([batch.rows for batch in batches])
        first = rows % 50 < BEGINNING
        assert first.mean() == pytest.approx(beginnings + (1.0 - beginnings) / 5, abs=0.02)
        for target in (False, True):  # every episode has its share
            of = rows[first & ((rows >= 900) == target)] // 50
            assert len(np.unique(of)) == (2 if target else 18)
