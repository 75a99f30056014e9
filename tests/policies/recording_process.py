"""What a process does that tests kill: it records for ever, and says what is safe.

Every row is a number, in all its columns. Episodes end, are discarded, and files roll over at seeded places.
"""

from __future__ import annotations

import itertools
import math
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from dara_ros.policies.dataset import DataSetInfo, Transition
from dara_ros.policies.dataset_recorder import Recorder

S, A = 12, 4
INFO = DataSetInfo(
    robot="a1",
    world="flat",
    domain="target",
    control_period=0.02,
    observation_names=tuple(f"s{i}" for i in range(S)),
    action_names=tuple(f"a{i}" for i in range(A)),
    spec_hash="spec",
    task_hash="task",
)
ROLL_ROWS = 100  # about so many rows to a file


def row(number: int, terminal: bool = False, reward: float | None = None) -> Transition:
    """Row `number`."""
    state, action = np.full(S, number), np.full(A, number)
    following = np.full(S, number + 1)
    reward = number if reward is None else reward
    return Transition(state, action, reward, following, terminal, infos={"stamp": number})


def record_for_ever(folder: Path, seed: int, told: Connection) -> None:
    """Record into FOLDER/walk.h5 and what follows it until killed; tell what is safe, and what no longer."""
    random = np.random.default_rng(seed)
    now = 0.0  # a row is a second
    recorder = Recorder(folder / "walk.h5", INFO, math.inf, roll_seconds=ROLL_ROWS, clock=lambda: now)
    kept: list[int] = []  # rows not discarded
    episode = 0  # place in `kept` at which the newest episode begins
    begins = True
    for number in itertools.count():
        now = float(number)
        if begins:
            episode = len(kept)
        terminal = random.random() < 0.02
        recorder.append(row(number, terminal), begins)
        kept.append(number)
        begins = terminal or random.random() < 0.03
        if random.random() < 0.01:
            told.send(("discarding", kept[:episode]))
            discarded, _ = recorder.discard_episode()  # all of it, or what is in the newest file
            del kept[len(kept) - discarded :]
            begins = True
        if random.random() < 0.15:
            recorder.flush()
            assert not recorder.problem, recorder.problem
            told.send(("safe", kept))
