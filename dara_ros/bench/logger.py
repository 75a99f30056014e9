"""Rows per second that the data set writer takes one by one, and the cost of random batches read back."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from ..policies.dataset import DataSet, DataSetInfo, DataSetWriter, Transition

STATES, ACTIONS, BATCH = 55, 12, 100


def measure(rows: int = 50_000, batches: int = 300) -> dict[str, float]:
    """Rows/s of `append` with the logger's info columns, by the clock and by processor time (the writer's own
    speed where the machine is busy); median microseconds for 100 random rows."""
    info = DataSetInfo(
        robot="none",
        world="noise",
        domain="target",
        control_period=0.02,
        observation_names=tuple(f"s{i}" for i in range(STATES)),
        action_names=tuple(f"a{i}" for i in range(ACTIONS)),
        spec_hash="none",
        task_hash="none",
    )
    rng = np.random.default_rng(0)
    states = rng.standard_normal((1001, STATES))
    actions = rng.uniform(-1, 1, (1000, ACTIONS))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.h5"
        start, processor = time.perf_counter(), time.process_time()
        with DataSetWriter(path, info) as writer:
            for number in range(rows):
                n = number % 1000
                infos = {
                    "stamp": number,
                    "receive_time": number,
                    "requested_command": actions[n],
                    "sent_command": actions[n],
                    "base_position": states[n, :3],
                }
                writer.append(Transition(states[n], actions[n], 1.0, states[n + 1], infos=infos))
        wall, processor = time.perf_counter() - start, time.process_time() - processor
        read = {
            name: _median_read(DataSet(path, cache_bytes), rng, batches)
            for name, cache_bytes in (("read_memory_us", 2**40), ("read_disk_us", 0))
        }
    return {
        "rows": float(rows),
        "append_rows_per_s": rows / wall,
        "append_rows_per_cpu_s": rows / processor,
        **read,
    }


def _median_read(data: DataSet, rng: np.random.Generator, batches: int) -> float:
    times = []
    for _ in range(batches):
        indices = rng.integers(0, len(data), BATCH)
        start = time.perf_counter()
        data.rows(indices)
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e6)


def main() -> None:
    """Print the figures as JSON."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(json.dumps(measure(), indent=2))


if __name__ == "__main__":
    main()
