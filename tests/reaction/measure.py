"""Measure how soon the motors are damped after a fault, over and over, into a table and a CSV file.

    python tests/reaction/measure.py --repetitions 200 --out docs/results/reaction.csv

The fault's beginning and the motors' damping are both moments of the emulated robot, on the clock that all
processes of a machine share.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # for the emulators

from reaction_rig import Rig  # noqa: E402
from reaction_scenarios import SCENARIOS, Result, Scenario, run  # noqa: E402
from reaction_wall_clock import Unavailable  # noqa: E402

from dara_ros.bench import machine  # noqa: E402

AIM = 40.0  # ms from the limit to damped motors
FIGURES = ("limit", "p50", "p99", "max", ">40", "missed")
COLUMNS = ("scenario", "repetition", "limit_ms", "delay_ms", "reaction_ms", "missed", "problem")


def repeat(rig: Rig, scenario: Scenario, repetitions: int) -> Iterator[Result]:
    """Results of so many repetitions, as they come. Whatever fails counts as missed.

    Raises:
        Unavailable: this machine cannot inject the fault.
    """
    for _ in range(repetitions):
        try:
            yield run(rig, scenario)
        except Unavailable:
            raise
        except Exception as error:
            yield Result(scenario.name, scenario.limit(rig.spec), None, f"{type(error).__name__}: {error}")
            with suppress(Exception):  # where this fails, so does the next repetition
                rig.restart_nodes()


def row(number: int, result: Result) -> dict[str, str | int]:
    """A line of the CSV file."""
    limit, delay = 1e3 * result.limit, None if result.delay is None else 1e3 * result.delay
    return {
        "scenario": result.scenario,
        "repetition": number,
        "limit_ms": f"{limit:.1f}",
        "delay_ms": "" if delay is None else f"{delay:.2f}",
        "reaction_ms": "" if delay is None else f"{delay - limit:.2f}",
        "missed": int(bool(result.problem)),
        "problem": " ".join(result.problem.split()),
    }


def reactions(results: Sequence[Result]) -> list[float]:
    """ms from the limit to damped motors; negative where the fault was found sooner."""
    return [1e3 * (result.delay - result.limit) for result in results if result.delay is not None]


def table_line(scenario: Scenario, results: Sequence[Result]) -> str:
    """A line of the table."""
    figures, found = " " * 32, reactions(results)
    if found:
        p50, p99 = np.percentile(found, (50, 99))
        figures = f"{p50:8.1f}{p99:8.1f}{max(found):8.1f}{sum(x > AIM for x in found):8d}"
    limit, missed = 1e3 * results[0].limit, sum(bool(result.problem) for result in results)
    return f"{scenario.name:36}{scenario.outcome.value:28}{len(results):5}{limit:8.0f}{figures}{missed:8}"


def measure(rig: Rig, scenario: Scenario, repetitions: int, writer: csv.DictWriter) -> list[Result]:
    """All repetitions of one hazard, into the file and the table."""
    results: list[Result] = []
    try:
        for result in repeat(rig, scenario, repetitions):
            writer.writerow(row(len(results), result))
            results.append(result)
    except Unavailable as reason:
        print(f"{scenario.name:36}not measured: {reason}", flush=True)
        return []
    print(table_line(scenario, results), flush=True)
    return results


def main() -> int:
    """Print the table, write the file. Exit status 1 where a fault was missed, or damped after the aim."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("docs/results/reaction.csv"))
    parser.add_argument("--only", default="", help="hazards whose name holds this")
    parser.add_argument("--priority", type=int, default=10, help="SCHED_FIFO priority of both nodes; 0: none")
    chosen = parser.parse_args()
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    begin, results = time.monotonic(), []
    print(f"{'hazard':36}{'has to follow':28}{'n':>5}", *(f"{name:>7}" for name in FIGURES))
    with (
        open(chosen.out, "w", newline="", buffering=1) as file,
        tempfile.TemporaryDirectory() as logs,
        Rig(Path(logs), priority=chosen.priority) as rig,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for scenario in SCENARIOS:
            if chosen.only in scenario.name:
                results += measure(rig, scenario, chosen.repetitions, writer)
    missed = sum(bool(result.problem) for result in results)
    late = sum(reaction > AIM for reaction in reactions(results))
    for disturbance in rig.disturbances:
        print(f"begun anew, for the robot was not well before the fault: {disturbance}")
    print("limit: ms from the fault; p50, p99, max: ms from there until the robot says that it is damped")
    print(f"{missed} missed, {late} later than {AIM:g} ms after the limit, of {len(results)}")
    print(f"{time.monotonic() - begin:.0f} s on {machine()}; written to {chosen.out}")
    return int(missed + late > 0)


if __name__ == "__main__":
    sys.exit(main())
