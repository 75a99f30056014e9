"""What every node says of itself on /diagnostics, once a second, and in one line when it ends.

Figures of the same name mean the same in every node, and count since it started, or was activated:

    rate_hz        periods, states or gradient steps per second, while they came
    jitter_ms      robot in real time: how late after its deadline a period began; controller and logger: by
                   how much the time between two states of a walk differs from that between their stamps
    period_ms      robot: the work of a control period, with waiting for the answer; answer_ms: that waiting
    loop_ms        controller: from a complete state to its command; inference_ms: the policy's share
    state_age_ms   how old a state is when it is acted on: robot: since it was read; controller: since its
                   first message arrived
    overruns       control periods that were left out because the work before them took too long
    late           control periods of a walk that acted on an older command than the one for their state
    clamps         commands that the supervisor had to limit
    drops          what never came: robot: answers to a state of a walk; controller, logger: states of a walk
    real_time      the real-time measures that are in force

_p50, _p99 and _max stand behind the name of a duration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from .real_time import in_force

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
        decade = math.log10(max(milliseconds, SMALLEST_MS) / SMALLEST_MS)
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


class Rate:
    """How often a second something happens, on the mean, while it goes on."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._times, self._seconds = 0, 0.0

    def add(self, now: float, times: int = 1) -> None:
        """It happened at `now` (s), `times` since the last time."""
        if self._last is not None:
            self._times += times
            self._seconds += now - self._last
        self._last = now

    def pause(self) -> None:
        """The time till it happens again does not count."""
        self._last = None

    @property
    def hz(self) -> float:
        """Per second; 0 before it happened twice."""
        return self._times / self._seconds if self._seconds else 0.0


class StatePace:
    """How regularly the states of walks arrive: one per period (ns), by their stamps."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._drops = 0
        self._rate, self._jitter = Rate(), Durations()
        self._last: tuple[int | None, int, float] = (None, 0, 0.0)

    def add(self, walk: int | None, stamp: int, now: float) -> None:
        """A state with `stamp` (ns) of a walk (None: the robot does not walk) arrived at `now` (s)."""
        last_walk, last_stamp, last = self._last
        if walk is None or walk != last_walk:
            self._rate.pause()
        elif stamp <= last_stamp:
            return  # the same state once more, or one that was overtaken
        else:
            self._jitter.add(1e3 * abs(now - last - 1e-9 * (stamp - last_stamp)))
            self._drops += round((stamp - last_stamp) / self._period) - 1
        if walk is not None:
            self._rate.add(now)
        self._last = (walk, stamp, now)

    def figures(self) -> dict[str, float]:
        """rate_hz, jitter_ms_{p50,p99,max}, drops."""
        return {"rate_hz": self._rate.hz, **self._jitter.figures("jitter_ms"), "drops": self._drops}


Figures = Mapping[str, str | int | float | bool]


def publish_diagnostics(node: Node, describe: Callable[[], tuple[str, Figures]]) -> None:
    """Publish what `describe` returns, once a second: a message (empty: all is well) and figures."""
    publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def publish() -> None:
        message, figures = describe()
        figures = {**figures, "real_time": in_force()}
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
