"""Collection and evaluation in the simulator, through the command."""

from __future__ import annotations

import itertools
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import numpy as np
import psutil
import pytest

from dara_ros import collection
from dara_ros.errors import UserError
from dara_ros.evaluation import evaluate
from dara_ros.policies.dataset import DataSet
from dara_ros.rollouts import Episode, Setup, rollouts

Dara = Callable[..., tuple[int, str, str]]


def test_file_depends_on_the_seed_alone(dara: Dara, tmp_path: Path) -> None:
    def collect(name: str, seed: int, workers: int) -> bytes:
        arguments = ("--behaviour", "trot", "--behaviour", "random", "--transitions", 330, "--json")
        out = tmp_path / name
        status, answer, _ = dara("collect", *arguments, "--seed", seed, "--workers", workers, "--out", out)
        assert status == 0
        assert json.loads(answer)["rows"] == 330
        return out.read_bytes()

    one = collect("one.h5", seed=3, workers=1)
    assert collect("two.h5", seed=3, workers=2) == one
    assert collect("other.h5", seed=4, workers=2) != one


def test_rows_are_what_the_environment_gave(dara: Dara, tmp_path: Path) -> None:
    out = tmp_path / "rows.h5"
    assert dara("collect", "--behaviour", "trot", "--transitions", 310, "--noise", 0.1, "--out", out)[0] == 0
    with DataSet(out) as data:
        batch = data.rows(np.arange(310))
        starts, ends = data.episodes()
        stamps = data.column("infos/stamp")
    inside = np.setdiff1d(np.arange(309), ends - 1)
    np.testing.assert_array_equal(batch.next_observations[inside], batch.observations[inside + 1])
    assert (batch.next_observations[ends[0] - 1] != batch.observations[ends[0]]).any()
    assert set(np.diff(stamps)[inside]) == {20_000_000}  # ns: one control period
    assert 0 < np.abs(batch.actions).max() <= 1


def test_a_cut_before_the_fall_is_a_timeout() -> None:
    zeros = np.zeros((3, 2))
    episode = Episode(zeros, zeros, np.zeros(3), zeros, {"forward": np.arange(3.0)}, reason="tilt")
    assert episode.columns(3)["terminals"].tolist() == [False, False, True]
    assert not episode.columns(3)["timeouts"].any()
    assert episode.columns(2)["timeouts"].tolist() == [False, True]
    assert not episode.columns(2)["terminals"].any()


def test_closing_the_rollouts_ends_the_processes() -> None:
    walks = rollouts(Setup("flat", steps=5), iter(range(10**9)), workers=1)
    assert len(next(walks)) == 5
    children = _simulators(psutil.Process())
    assert len(children) == 1
    walks.close()
    assert not children[0].is_running()


def test_the_old_file_stays_until_the_new_one_is_whole(
    dara: Dara, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--behaviour", "trot", "--transitions", 310, "--workers", 1, "--overwrite", "--out", source)
    before = source.read_bytes()

    def broken(setup: Setup, seeds: Iterable[int], workers: int) -> Generator[Episode, None, None]:
        yield from rollouts(setup, itertools.islice(seeds, 1), workers)
        raise RuntimeError("the machine is on fire")

    with monkeypatch.context() as patch:
        patch.setattr(collection, "rollouts", broken)
        status, _, err = dara("collect", *arguments)
        assert (status, "on fire" in err) == (1, True)
    assert source.read_bytes() == before
    assert dara("collect", *arguments)[0] == 0
    with DataSet(source) as data:
        assert len(data) == 310
    assert list(source.parent.iterdir()) == [source]


@pytest.mark.parametrize("overwrite", [True, False])
def test_ctrl_c_tells_what_is_kept(
    dara: Dara, source: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    def pressed(setup: Setup, seeds: Iterable[int], workers: int) -> Generator[Episode, None, None]:
        signal.raise_signal(signal.SIGINT)
        yield from rollouts(setup, seeds, workers)

    monkeypatch.setattr(collection, "rollouts", pressed)
    out = source if overwrite else source.with_name("new.h5")
    before = source.read_bytes()
    more = ["--overwrite"] if overwrite else []
    status, _, err = dara("collect", "--behaviour", "trot", "--workers", 1, "--out", out, *more)
    told = f"{out} stays as it was" if overwrite else f"{out} holds 300 rows"
    assert (status, err) == (130, f"dara: interrupted; {told}\n")
    assert source.read_bytes() == before
    assert sorted(source.parent.iterdir()) == sorted({source, out})
    if not overwrite:
        with DataSet(out) as data:
            assert len(data) == 300


def test_what_the_user_can_mend_comes_out_of_a_process_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dara_ros.rollouts.check", lambda setup: None)
    with pytest.raises(UserError, match=r"^the simulator has no model of robot 'go1'"):
        next(rollouts(Setup("flat", "go1"), iter(range(3)), workers=1))


def test_interrupted_collection_keeps_its_rows(tmp_path: Path) -> None:
    out = tmp_path / "cut.h5"
    command = [sys.executable, "-m", "dara_ros.command", "collect", "--behaviour", "trot", "--workers", "1"]
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not _has_rows(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    children = _simulators(psutil.Process(process.pid))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert not psutil.wait_procs(children, timeout=5)[1]
    with DataSet(out) as data:
        data.check()
        assert data.column("timeouts")[-1] or data.column("terminals")[-1]


def test_sigterm_ends_what_a_shell_runs_in_the_background() -> None:
    command = [sys.executable, "-m", "dara_ros.command", "evaluate", "trot", "--episodes", "100000"]
    script = f"trap '' INT; exec {shlex.join([*command, '--workers', '1'])}"  # as after `&` in a script
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (children := _simulators(psutil.Process(process.pid))) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert children and not psutil.wait_procs(children, timeout=5)[1]


def test_evaluation_is_paired_and_reproducible(zero_policy: Path) -> None:
    first = evaluate(zero_policy, "obstructive", episodes=1, seed=7, workers=1)
    assert evaluate("trot", "obstructive", episodes=1, seed=7, workers=1).distance_m == first.distance_m
    assert first.steps[0] == 300 or first.falls == 1


def _simulators(process: psutil.Process) -> list[psutil.Process]:
    return [c for c in process.children(recursive=True) if "spawn_main" in " ".join(c.cmdline())]


def _has_rows(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 200_000
