"""Offline RL updates per second: 1, 8 and 32 runs at once, beside the textbook's update, turn by turn."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dara_ros.bench import machine, positive, positive_int
from dara_ros.bench.textbook.awr import TextbookAWR
from dara_ros.bench.textbook.bcq import TextbookBCQ
from dara_ros.bench.textbook.bear import TextbookBEAR
from dara_ros.bench.textbook.brac_p import TextbookBRACP
from dara_ros.bench.textbook.cql import TextbookCQL
from dara_ros.bench.textbook.mabe import TextbookMABE
from dara_ros.bench.textbook.mopo import TextbookMOPO
from dara_ros.policies.algorithms import algorithms
from dara_ros.policies.learning import Learner, Run, TensorBatch
from dara_ros.policies.replay import fastest_update

STATES, ACTIONS = 55, 12  # of the A1
TURN = 5  # updates: with fewer, each would find the caches full of another's weights, as training never does
SHORTEST = {  # what makes an algorithm's warm-up the shortest that there is
    "bear": {"warm_up": 0},
    "brac-p": {"clone_steps": 1, "critic_steps": 0},
    "cql": {"cloning_steps": 0},
    "awr": {"refresh": 1},
    "mopo": {"model_steps": 1},
    "mabe": {"model_steps": 1},
}
Update = Callable[[], object]


@dataclass(frozen=True)
class Speed:
    """Median processor time (of CUDA: time) of one update of all runs, in ms."""

    algorithm: str
    runs: int  # 0: the textbook, one run
    ms: float

    @property
    def per_second(self) -> float:
        """Updates of a run, times runs, per second."""
        return 1e3 * max(1, self.runs) / self.ms


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


def ours(name: str, runs: int, device: str = "cpu") -> Update:
    """An update of `runs` runs, past the warm-up, on batches of noise."""
    kind = algorithms()[name]
    config = replace(kind.Config(), **SHORTEST.get(name, {}))
    every = [Run(np.zeros(STATES), np.ones(STATES), config, seed) for seed in range(runs)]
    learner = kind(ACTIONS, every, device)
    batches = [random_batch(config.batch_size, STATES, ACTIONS, seed) for seed in range(runs)]
    batch = TensorBatch(*(learner.stack(columns) for columns in zip(*batches, strict=True)))
    if name == "awr":
        rows = torch.ones(config.batch_size, device=device)
        learner.tables = [{"returns": rows, "weights": rows} for _ in range(runs)]
    update = fastest_update(learner)
    return _past_warm_up(lambda: update(batch), learner)


def _past_warm_up(update: Update, learner: Learner) -> Update:
    for _ in range(learner.warm_up + 3):
        update()
    return update


def textbook(name: str) -> Update | None:
    """The same update of one run, written plainly; None where there is none."""
    kind = algorithms()[name]
    config: Any = replace(kind.Config(), **SHORTEST.get(name, {}))
    batch = random_batch(config.batch_size, STATES, ACTIONS)
    twins: dict[str, Any] = {"bcq": TextbookBCQ, "bear": TextbookBEAR, "cql": TextbookCQL}
    if name in twins:
        plain = twins[name](STATES, ACTIONS, config)
        return lambda: plain.update(batch)
    learner: Any = kind(ACTIONS, [Run(np.zeros(STATES), np.ones(STATES), config, 0)])
    if name == "awr":
        book = TextbookAWR(STATES, ACTIONS, config)
        book.returns = book.weights = torch.ones(config.batch_size)
        return lambda: book.update(batch)
    if name == "brac-p":
        brac = TextbookBRACP(STATES, ACTIONS, config)
        brac.clone(batch, learner.normal(config.batch_size, ACTIONS))
        return lambda: brac.improve(batch, learner.draw_noise(config.batch_size))
    if name in ("mopo", "mabe"):
        twin = TextbookMOPO if name == "mopo" else TextbookMABE
        based = twin(STATES, ACTIONS, config, learner.tables[0]["bootstrap"])
        return lambda: based.update(batch, learner.draw_noise(config.batch_size))
    return None


def measure(names: Sequence[str], counts: Sequence[int], seconds: float, device: str = "cpu") -> list[Speed]:
    """Median times, the kinds of an algorithm turn by turn: a busy machine hurts them alike.

    Args:
        names: algorithms.
        counts: runs at once.
        seconds: for each algorithm.
        device: of ours; the textbook stays on the CPU.
    """
    found = []
    for name in names:
        kinds = {runs: ours(name, runs, device) for runs in counts}
        if (plain := textbook(name)) is not None:
            kinds[0] = plain
        times: dict[int, list[float]] = {runs: [] for runs in kinds}
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or not all(times.values()):
            for runs, update in kinds.items():
                times[runs].append(_time_of(update, device if runs else "cpu"))
        found += [Speed(name, runs, 1e3 * statistics.median(each)) for runs, each in sorted(times.items())]
    return found


def _time_of(update: Update, device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    for _ in range(TURN):
        update()
    if device != "cpu":
        torch.cuda.synchronize()
    return (clock() - start) / TURN


def main() -> None:
    """Print a line for each algorithm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=positive, default=20.0, help="for each algorithm")
    parser.add_argument("--algorithm", nargs="*", choices=sorted(algorithms()), default=sorted(algorithms()))
    parser.add_argument("--runs", type=positive_int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = measure(arguments.algorithm, arguments.runs, arguments.seconds, arguments.device)
    if arguments.json:
        print(json.dumps([vars(speed) for speed in found]))
        return
    print(f"{machine()}, torch {torch.__version__}, {arguments.threads} thread(s), {arguments.device}")
    print(f"S={STATES}, A={ACTIONS}, the papers' widths; updates of a run x runs per second")
    head = ["textbook", *(f"{runs} run(s)" for runs in arguments.runs)]
    print("  ".join(["algorithm", *(f"{name:>10s}" for name in head), "ours / textbook"]))
    for name in arguments.algorithm:
        speeds = {speed.runs: speed.per_second for speed in found if speed.algorithm == name}
        cells = [f"{speeds[runs]:10.1f}" if runs in speeds else " " * 10 for runs in (0, *arguments.runs)]
        ratio = f"{speeds[1] / speeds[0]:.2f}" if {0, 1} <= set(speeds) else ""
        print("  ".join([f"{name:9s}", *cells, ratio]))


if __name__ == "__main__":
    main()
