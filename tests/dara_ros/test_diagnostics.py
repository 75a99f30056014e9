"""Quantiles in bounded memory, rates, and how regularly states come."""

import numpy as np
import pytest

from dara_ros.diagnostics import Durations, Rate, StatePace


def test_quantiles_agree_with_numpy() -> None:
    samples = np.random.default_rng(0).lognormal(0.0, 1.0, 5000)
    durations = Durations()
    for sample in samples:
        durations.add(sample)
    for share in (0.5, 0.9, 0.99):
        assert durations.quantile(share) == pytest.approx(np.quantile(samples, share), rel=0.03)
    assert durations.figures("ms")["ms_max"] == samples.max()


def test_nothing_counted_is_zero_and_extremes_are_kept() -> None:
    durations = Durations()
    assert durations.figures("x") == {"x_p50": 0.0, "x_p99": 0.0, "x_max": 0.0}
    durations.add(0.0)
    durations.add(1e9)
    assert durations.count == 2
    assert durations.figures("x")["x_max"] == 1e9


def test_a_rate_does_not_count_pauses() -> None:
    rate = Rate()
    assert rate.hz == 0.0
    for now in (0.0, 0.5, 1.0):
        rate.add(now)
    rate.pause()
    for now in (100.0, 100.5):
        rate.add(now)
    assert rate.hz == 2.0
    rate.add(101.5, times=8)
    assert rate.hz == pytest.approx(11 / 2.5)


def test_states_that_come_late_or_never_are_told() -> None:
    pace = StatePace(20_000_000)
    arrivals = [(0, 10.000), (1, 10.020), (2, 10.045), (2, 10.050), (5, 10.100)]  # period, s
    for period, now in arrivals:
        pace.add(7, 20_000_000 * period, now)
    pace.add(None, 20_000_000 * 50, 11.0)  # it stands
    pace.add(8, 20_000_000 * 90, 12.0)
    pace.add(8, 20_000_000 * 91, 12.02)
    figures = pace.figures()
    assert figures["drops"] == 2
    assert figures["rate_hz"] == pytest.approx(4 / 0.12)
    assert figures["jitter_ms_max"] == pytest.approx(5.0, rel=1e-6)
