"""SIGKILL while the recorder writes, ends and discards episodes, and rolls files over.

DARA_KILLS=200 pytest tests/policies/test_recorder_kills.py
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from recording_process import record_for_ever

from dara_ros.errors import UserError
from dara_ros.policies.dataset import DataSet, recover

KILLS = int(os.environ.get("DARA_KILLS", "15"))


def test_sigkill_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["dara_ros.policies.dataset_recorder"])
    random = np.random.default_rng(0)
    files = 0
    for trial in range(KILLS):
        folder = tmp_path / str(trial)
        folder.mkdir()
        told, telling = processes.Pipe(duplex=False)
        writer = processes.Process(target=record_for_ever, args=(folder, trial, telling))
        writer.start()
        telling.close()
        news = [told.recv() for _ in range(random.integers(1, 80))]  # not for the machine's load to decide
        told.poll(random.uniform(0.0, 0.01))  # and somewhere between two flushes
        writer.kill()
        writer.join()
        news += left_in(told)
        files += check(folder, news, f"trial {trial}")
    assert files > 2 * KILLS  # some were killed near a roll-over


def left_in(pipe: Connection) -> list[tuple[str, list[int]]]:
    """What was told before the end; a message that the kill cut in two was not told."""
    news = []
    try:
        while True:
            news.append(pipe.recv())
    except EOFError:
        return news


def holds_rows(folder: Path) -> bool:
    try:
        DataSet(folder).close()
    except UserError as error:
        assert "empty" in str(error) or "no data set file" in str(error)
        return False
    return True


def check(folder: Path, news: list[tuple[str, list[int]]], trial: str) -> int:
    """See what is left in a folder, given all that was told; the number of files."""
    news = [("safe", []), *news]
    last_safe = max(n for n, (kind, _) in enumerate(news) if kind == "safe")
    safe = news[last_safe][1]
    discarding = [rows for _, rows in news[last_safe + 1 :]]
    least = min([safe, *discarding], key=len)  # a discard may or may not have come about
    if not least and not holds_rows(folder):
        return 0

    with DataSet(folder) as data:  # every file opens
        data.check()
        rows = data.column("infos/stamp")
        for name in ("observations", "actions", "next_observations"):  # the rows are whole
            offset = name == "next_observations"
            np.testing.assert_array_equal(data.column(name)[:, -1], rows + offset, err_msg=trial)
        np.testing.assert_array_equal(data.column("rewards"), rows, err_msg=trial)
        files = len(data.paths)
    assert (np.diff(rows) > 0).all(), trial  # each once, in order
    old = rows[rows <= max(safe, default=-1)]
    assert old.tolist() == safe[: len(old)] and len(old) >= len(least), trial

    repaired = folder / "repaired.h5"
    assert recover(folder, repaired).lost == 0
    with DataSet(repaired) as data:
        np.testing.assert_array_equal(data.column("infos/stamp"), rows, err_msg=trial)
    return files
