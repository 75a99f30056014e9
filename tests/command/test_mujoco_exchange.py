"""`dara bench exchange`: every behaviour in both dynamics, and experts at home in their own."""

import pytest

pytest.importorskip("mujoco")

from dara_ros.bench.exchange import SHIFTS, TASKS, measure


def test_experts_are_at_home_in_their_own_dynamics() -> None:
    rows = list(measure(1))
    assert len(rows) == len({(row.task, row.behaviour, row.trained_in, row.walks_in) for row in rows}) == 16
    experts = [row for row in rows if row.behaviour == "expert"]
    scores = {(row.task, row.trained_in, row.walks_in): row.score for row in experts}
    for task in TASKS:
        for own, other in (SHIFTS, SHIFTS[::-1]):
            assert scores[task, own, own] > 1.4 * scores[task, own, other], (task, own)
    assert all((row.falls == 0) == (row.mean_steps == 1000) for row in rows)
