"""A run that Ctrl-C ends tells what it has, as one that ends by itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs the extra [ros]")
pytest.importorskip("pybullet", reason="needs the extra [sim]")

from dara_ros import demo  # noqa: E402
from dara_ros.command import main  # noqa: E402
from dara_ros.dry_run import DryRunResult  # noqa: E402
from dara_ros.policies.dataset import DataSet  # noqa: E402

STEPS = 60

# The command itself, with short walks; its progress goes to stderr line by line.
COMMAND = f"""
import contextlib, functools, sys
from dara_ros import command, dry_run, node_commands

dry_run.run_episodes = functools.partial(dry_run.run_episodes, steps={STEPS})

@contextlib.contextmanager
def lines():
    yield lambda name, done, total: print(done, file=sys.stderr, flush=True)

node_commands.progress_bars = lines
sys.exit(command.main(sys.argv[1:]))
"""


def interrupted(second_walk: str, *arguments: str) -> tuple[int, str]:
    """Exit status and output of a command that gets SIGINT when its second walk begins."""
    command = [sys.executable, "-c", COMMAND, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        while process.stderr.readline() != second_walk:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        return process.wait(60.0), process.stdout.read()


def test_dry_run_reports_the_walks_before_ctrl_c(tmp_path: Path) -> None:
    out = tmp_path / "walks.h5"
    status, answer = interrupted(
        "1\n", "dry-run", "trot", "--world", "flat", "--episodes", "50", "--out", str(out), "--json"
    )
    told = json.loads(answer)
    assert (status, told["episodes"], len(told["distance_m"])) == (130, 1, 1)
    robot, controller = told["nodes"]["robot_node"], told["nodes"]["controller_node"]
    for figures, name in ((robot, "period_ms"), (robot, "state_age_ms"), (controller, "inference_ms")):
        assert 0.0 < float(figures[f"{name}_p50"]) <= float(figures[f"{name}_max"])
    assert {"late", "drops", "overruns", "clamps", "real_time"} <= robot.keys()
    assert int(told["nodes"]["logger_node"]["rows"]) >= STEPS
    with DataSet(out) as data:
        data.check()
        assert len(data) >= STEPS


@pytest.mark.parametrize("walks", [0, 1])
def test_record_tells_the_rows_that_are_in_the_file(tmp_path: Path, walks: int) -> None:
    out = tmp_path / "rows.h5"
    command = ("record", "--driver", "pybullet", "--policy", "trot", "--world", "flat", "--episodes", "50")
    status, answer = interrupted(f"{walks}\n", *command, "--out", str(out))
    told = answer.splitlines()[0]
    rows = 0
    if out.exists():
        with DataSet(out) as data:
            rows = len(data)
    assert status == 130 and rows >= walks * STEPS
    assert told.startswith(f"{out if rows else 'no file'}: {rows} rows, {walks} whole walks, ")


def test_demo_reports_the_walks_before_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {f"loop_ms_{share}": "1.5" for share in ("p50", "p99", "max")}
    nodes = {"controller_node": {"rate_hz": "49.998", "drops": "0", **figures}}
    cut = DryRunResult([0.5], [False], [300], nodes, None, interrupted=True)
    monkeypatch.setattr(demo, "log_source", lambda plan: None)
    monkeypatch.setattr(demo, "log_target", lambda plan: cut)
    assert main(["demo", "--fast", "--out", str(tmp_path / "demo")]) == 130
    answer = capsys.readouterr().out
    assert "0.50 +- 0.00" in answer and "rate_hz 49.998, drops 0" in answer and "interrupted" in answer


def test_a_demo_moves_an_earlier_one_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = {"controller_node": {f"loop_ms_{share}": "0.000" for share in ("p50", "p99", "max")}}
    monkeypatch.setattr(demo, "log_source", lambda plan: None)
    monkeypatch.setattr(demo, "log_target", lambda plan: DryRunResult([], [], [], nodes, None, True))
    for seed in ("1", "2"):
        assert main(["demo", "--fast", "--seed", seed, "--out", str(tmp_path / "demo")]) == 130
    assert "the earlier demo is now in" in capsys.readouterr().err
    (moved,) = tmp_path.glob("demo-*")
    seeds = [
        json.loads((folder / "results.json").read_text())["seed"] for folder in (moved, tmp_path / "demo")
    ]
    assert seeds == [1, 2]
    monkeypatch.chdir(tmp_path / "demo")
    assert main(["demo", "--fast", "--out", "."]) == 2
    assert "while you are in it" in capsys.readouterr().err


def test_a_report_without_a_walk_says_so() -> None:
    from dara_ros.results import as_table, row_of

    nodes = {"controller_node": {f"loop_ms_{share}": "0.000" for share in ("p50", "p99", "max")}}
    assert "no walk" in as_table([row_of("trot", DryRunResult([], [], [], nodes, None, interrupted=True))])
