"""Updates that are recorded as CUDA graphs: when they are recorded anew, and that they are the plain ones."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from learner_checks import random_rows, same_bits
from small_runs import run_of

from dara_ros.mass_shift.learners import WARM_UPS, stage
from dara_ros.policies.algorithms import algorithms
from dara_ros.policies.learning import Figures, Learner, TensorBatch
from dara_ros.policies.replay import Replay, fastest_update
from dara_ros.policies.run_files import load_tensors, save_tensors

UPDATES = 50  # past every warm-up
ROWS = 20
NAMES = sorted(WARM_UPS)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def learner_of(name: str, device: str = "cpu", runs: int = 2) -> Learner:
    settings = replace(stage(name, "small", UPDATES).settings, batch_size=ROWS)
    return algorithms()[name](2, [run_of(settings, 5, seed) for seed in range(runs)], device)


def updated(learner: Learner, update: Any, step: int) -> Figures:
    """After one update, on this step's rows; of AWR with new tables where it looks."""
    if learner.NAME == "awr" and (learner.steps - learner.phase_began) % learner.config.refresh == 0:
        generator = torch.Generator().manual_seed(step)
        for run in range(len(learner.runs)):
            returns, weights = torch.rand(2, ROWS, generator=generator).to(learner.device).clone()
            learner.tables[run] = {"returns": returns, "weights": weights}
    rows = [random_rows(100 * run + step, 5, 2, ROWS) for run in range(len(learner.runs))]
    figures: Figures = update(learner.batch(*rows))
    return figures


@pytest.mark.parametrize("name", NAMES)
def test_within_a_stage_every_update_does_the_same(name: str) -> None:
    """It computes the same figures, and from tables that stay where they are."""
    learner, seen = learner_of(name), {}
    for step in range(UPDATES):
        if step == 30:
            learner.begin_phase()
        now = learner.stage
        figures = sorted(updated(learner, learner.update, step))
        places = [table.data_ptr() for tables in learner.tables for table in tables.values()]
        assert seen.setdefault(now, (figures, places)) == (figures, places), step
    assert len(seen) >= 2


def test_only_a_gpus_updates_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of("bear")
    assert fastest_update(learner) == learner.update
    monkeypatch.setattr(learner, "device", torch.device("cuda"))
    assert isinstance(fastest_update(learner), Replay)


class CountedGraph:
    """In place of a CUDA graph where there is no GPU."""

    made: list[CountedGraph] = []

    def __init__(self) -> None:
        self.generators, self.replays = 0, 0
        self.made.append(self)

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.generators += 1

    def replay(self) -> None:
        self.replays += 1


def test_one_graph_for_each_stage_and_each_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """After three plain updates; a replay counts, and has the new batch where the graph reads it."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", CountedGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: nullcontext())
    monkeypatch.setattr(CountedGraph, "made", [])
    learner = learner_of("bear")  # its warm-up is of 5 updates
    given: list[TensorBatch] = []
    update = learner.update
    monkeypatch.setattr(learner, "update", lambda batch: given.append(batch) or update(batch))
    replay = Replay(learner)
    for step in range(20):
        learner.set_pace(0.1 if step >= 15 else 1.0)
        updated(learner, replay, step)
        assert learner.steps == step + 1
    assert [graph.replays for graph in CountedGraph.made] == [2, 7, 2]
    assert [graph.generators for graph in CountedGraph.made] == [2, 2, 2]
    assert len(given) == 4 * len(CountedGraph.made)
    last = learner.batch(*(random_rows(100 * run + 19, 5, 2, ROWS) for run in range(2)))
    assert all(torch.equal(place, column) for place, column in zip(given[-1], last, strict=True))


@needs_gpu
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_replayed_updates_are_the_plain_ones(name: str, runs: int) -> None:
    """Through all stages, two phases and another pace: weights, figures, moments and random numbers."""
    plain, replayed = learner_of(name, "cuda", runs), learner_of(name, "cuda", runs)
    replay = Replay(replayed)
    for step in range(UPDATES):
        for learner in (plain, replayed):
            if step == 30:
                learner.begin_phase()
            learner.set_pace(0.1 if step >= 40 else 1.0)
        one, other = updated(plain, plain.update, step), updated(replayed, replay, step)
        assert plain.steps == replayed.steps == step + 1
        assert one.keys() == other.keys()
        for figure, value in one.items():
            torch.testing.assert_close(other[figure], value, rtol=1e-3, atol=1e-4, msg=f"{step}: {figure}")
    for run in range(runs):
        assert same_bits(plain, replayed, run)
        assert torch.equal(plain.generators[run].get_state(), replayed.generators[run].get_state())


@needs_gpu
def test_a_replayed_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    straight, stopped, resumed = (learner_of("bear", "cuda") for _ in range(3))
    replays = {learner: Replay(learner) for learner in (straight, stopped, resumed)}
    for step in range(20):
        updated(straight, replays[straight], step)
        updated(stopped, replays[stopped], step)
    for run in range(2):
        save_tensors(tmp_path / "state.pt", stopped.state_dict(run))
        resumed.load_state_dict(load_tensors(tmp_path / "state.pt"), run)
    for step in range(20, 40):
        updated(straight, replays[straight], step)
        updated(resumed, replays[resumed], step)
    assert same_bits(straight, resumed, 0) and same_bits(straight, resumed, 1)
