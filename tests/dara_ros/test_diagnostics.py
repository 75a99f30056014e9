"""Quantiles in bounded memory."""

import numpy as np
import pytest

from dara_ros.diagnostics import Durations


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
