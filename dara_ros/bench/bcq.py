"""BCQ updates per second: ours beside the textbook's, in one process, turn by turn."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from dara_ros.bench import machine
from dara_ros.bench.bcq_textbook import TextbookBCQ
from dara_ros.policies.algorithms.bcq import BCQ, BCQConfig
from dara_ros.policies.learning import Run, TensorBatch
from dara_ros.policies.networks import frozen_dtype_of_this_machine

TURN = 5  # updates


def random_batch(rows: int, states: int, actions: int, seed: int = 0) -> TensorBatch:
    """A batch of noise in the shape of the real one."""
    generator = torch.Generator().manual_seed(seed)
    return TensorBatch(
        torch.randn(rows, states, generator=generator),
        torch.rand(rows, actions, generator=generator) * 2 - 1,
        torch.randn(rows, generator=generator),
        torch.randn(rows, states, generator=generator),
        (torch.rand(rows, generator=generator) < 0.05).float(),
        torch.zeros(rows),
        torch.arange(rows),
    )


def measure(seconds: float = 20.0, states: int = 55, actions: int = 12, threads: int = 1) -> dict[str, float]:
    """Median processor time of one update of each kind in ms, turn by turn: a busy machine hurts them alike.

    A turn is five updates: with fewer, each would find the caches full of the other's weights, which training
    never does.
    """
    torch.set_num_threads(threads)
    batch = random_batch(BCQConfig().batch_size, states, actions)

    def run(config: BCQConfig) -> list[Run]:
        return [Run(np.zeros(states), np.ones(states), config, seed=0)]

    updates: dict[str, Callable[[TensorBatch], object]] = {
        "textbook": TextbookBCQ(states, actions, BCQConfig()).update,
        "ours_float32": BCQ(actions, run(BCQConfig(precision="float32"))).update,
        "ours": BCQ(actions, run(BCQConfig())).update,
    }
    times: dict[str, list[float]] = {name: [] for name in updates}
    for update in updates.values():
        for _ in range(3):
            update(batch)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, update in updates.items():
            start = time.process_time()
            for _ in range(TURN):
                update(batch)
            times[name].append((time.process_time() - start) / TURN)
    medians = {f"{name}_ms": 1e3 * statistics.median(values) for name, values in times.items()}
    medians["ratio"] = medians["textbook_ms"] / medians["ours_ms"]
    medians["ratio_float32"] = medians["textbook_ms"] / medians["ours_float32_ms"]
    medians["updates"] = TURN * len(times["ours"])
    return medians


def main() -> None:
    """Print the medians, their ratio and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.seconds, threads=arguments.threads)
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"{machine()}, torch {torch.__version__}, {arguments.threads} thread(s), processor time")
    print(f"target products in {frozen_dtype_of_this_machine()}, batch 100, S=55, A=12")
    for name in ("textbook", "ours_float32", "ours"):
        ms = figures[f"{name}_ms"]
        print(f"  {name:13s} {ms:7.2f} ms  {1e3 / ms:6.1f} updates/s")
    print(f"  ratio {figures['ratio']:.2f} (float32 only: {figures['ratio_float32']:.2f})")


if __name__ == "__main__":
    main()
