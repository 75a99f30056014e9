"""What every node says of itself on /diagnostics, once a second, and in one line when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

SMALLEST_MS = 1e-3
DECADES = 8
BINS_PER_DECADE = 100  # a bin is 2.3 % wide


class Durations:
    """Quantiles of durations, in ms, in bounded memory: a histogram with bins of equal ratio.

    A quantile is exact to 2.3 %, and the largest value is exact.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(DECADES * BINS_PER_DECADE, np.int64)
        self._largest = 0.0

    def add(self, milliseconds: float) -> None:
        """Count one duration."""
        decade = np.log10(max(milliseconds, SMALLEST_MS) / SMALLEST_MS)
        self._counts[min(int(decade * BINS_PER_DECADE), len(self._counts) - 1)] += 1
        self._largest = max(self._largest, milliseconds)

    @property
    def count(self) -> int:
        """How many were counted."""
        return int(self._counts.sum())

    def quantile(self, share: float) -> float:
        """The duration (ms) that `share` of all stay below; 0 where none was counted."""
        if self.count == 0:
            return 0.0
        bin_number = int(np.searchsorted(np.cumsum(self._counts), share * self.count))
        upper_edge = SMALLEST_MS * 10 ** ((bin_number + 1) / BINS_PER_DECADE)
        return float(min(upper_edge, self._largest))

    def figures(self, name: str) -> dict[str, float]:
        """{name}_p50, {name}_p99 and {name}_max, ms."""
        return {
            f"{name}_p50": self.quantile(0.5),
            f"{name}_p99": self.quantile(0.99),
            f"{name}_max": self._largest,
        }


Figures = Mapping[str, str | int | float | bool]


def publish_diagnostics(node: Node, describe: Callable[[], tuple[str, Figures]]) -> None:
    """Publish what `describe` returns, once a second: a message (empty: all is well) and figures."""
    publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def publish() -> None:
        message, figures = describe()
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if message else DiagnosticStatus.OK,
            name=node.get_fully_qualified_name().lstrip("/"),
            message=message or "ok",
            values=[KeyValue(key=key, value=_text(value)) for key, value in figures.items()],
        )
        diagnostics = DiagnosticArray(status=[status])
        diagnostics.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(diagnostics)

    # Wall time: simulated time may stand still.
    node.create_timer(1.0, publish, clock=Clock(clock_type=ClockType.STEADY_TIME))


def summary(figures: Figures) -> str:
    """The figures in one line, for the log."""
    return ", ".join(f"{name} {_text(value)}" for name, value in figures.items())


def _text(value: str | int | float | bool) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
