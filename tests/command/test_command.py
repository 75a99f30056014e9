"""What every command owes its user: help with an example, JSON, a report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dara_ros.bench import benchmarks
from dara_ros.doctor import Check, as_text, examine

Dara = Callable[..., tuple[int, str, str]]

COMMANDS = [
    "demo", "collect", "inspect", "recover", "train", "evaluate", "dry-run", "record", "doctor", "bench",
    "behaviours list", "behaviours train", "benchmark sim2real",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_holds_an_example_that_parses(dara: Dara, command: str) -> None:
    status, out, _ = dara(*command.split(), "--help")
    assert status == 0
    example = next(line.strip() for line in out.splitlines() if line.strip().startswith(f"dara {command}"))
    # The example's words are known to the command: with --help at its end it does not run, but parses.
    assert dara(*example.split()[1:], "--help")[0] == 0


def test_help_is_fast_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from dara_ros.command import main; main(['--help']); "
        "print([m for m in ('torch', 'rclpy', 'pybullet', 'gymnasium', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_inspect_tells_what_the_file_holds(dara: Dara, source: Path) -> None:
    status, out, _ = dara("inspect", source, "--json")
    found = json.loads(out)
    assert status == 0
    assert (found["rows"], found["episodes"], found["falls"], found["domain"]) == (80, 4, 0, "source")
    assert len(found["columns"]) == 55 + 12 + 1
    assert "80 rows, 4 episodes" in dara("inspect", source)[1]


def test_recover_saves_what_is_whole(dara: Dara, source: Path, tmp_path: Path) -> None:
    status, out, _ = dara("recover", source, "--out", tmp_path / "saved.h5", "--json")
    assert (status, json.loads(out)) == (0, {"rows": 80, "lost": 0, "refused": []})
    assert dara("recover", source, "--out", tmp_path / "saved.h5")[0] == 2


def test_train_writes_policy_and_report(dara: Dara, source: Path, target: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    layers = "[8]"
    settings.write_text(
        f"source: {source}\ntarget: {target}\nout: {tmp_path / 'run'}\nclassifiers: {{max_steps: 20}}\n"
        "gap: {steps: 20}\n"
        f"settings: {{critic_hidden: {layers}, perturbation_hidden: {layers}, vae_hidden: {layers}, "
        "latent_samples: 4, vae_steps: 0}\n"
    )
    status, out, err = dara("train", "--config", settings, "--steps", 5, "--json")
    assert status == 0, err
    assert json.loads(out)["steps"] == 5
    page = (tmp_path / "run" / "report.html").read_text()
    for part in ("Delta r", "AUC", "<svg", "Learning curves", "Seed 0"):
        assert part in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)  # nothing is fetched from elsewhere
    assert dara("train", "--config", settings, "--steps", 8, "--resume")[0] == 0

    told = {"estimator": "dynamics", "horizon": 3, "penalty": "centred", "eta": 1.0}
    told |= {"scale": "none", "out": str(tmp_path / "ahead")}
    flags = [word for name, value in told.items() for word in (f"--{name}", value)]
    assert dara("train", "--config", settings, "--steps", 5, *flags)[0] == 0
    kept = yaml.safe_load((tmp_path / "ahead" / "config.yaml").read_text())
    assert {name: kept[name] for name in told} == told
    status, _, err = dara(
        "train", "--config", settings, *flags, "--scale", "returns", "--out", tmp_path / "new"
    )
    assert status == 2 and "the source data set holds no episode of 100 steps and no fall" in err
    assert not (tmp_path / "new").exists()


def test_behaviours_list(dara: Dara) -> None:
    names = json.loads(dara("behaviours", "list", "--json")[1])
    assert {"trot", "random"} <= set(names)


def test_doctor_names_the_command_for_what_is_missing(dara: Dara) -> None:
    checks = json.loads(dara("doctor", "--json")[1])
    assert {"rclpy", "torch", "pybullet", "SCHED_FIFO", "memlock", "cpu affinity", "cpu governor"} <= {
        check["name"] for check in checks
    }
    assert all(check.remedy for check in examine() if check.status == "missing")
    assert "-> mend it" in as_text([Check("ros", "rclpy", "missing", "not there", "mend it")])


def test_missing_extra_is_one_line(tmp_path: Path) -> None:
    """A machine without gymnasium: the command names the extra."""
    (tmp_path / "gymnasium.py").write_text("raise ModuleNotFoundError('no', name='gymnasium')\n")
    command = [sys.executable, "-m", "dara_ros.command", "evaluate", "trot"]
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 2
    assert done.stderr == "dara: gymnasium is not installed; run: pip install 'dara_ros[sim]'\n"


def test_bench_lists_and_refuses(dara: Dara) -> None:
    assert "env" in benchmarks()
    assert "textbook" not in benchmarks()
    assert "env " in dara("bench")[1]
    assert dara("bench", "nothing")[0] == 2


def test_bench_hands_on_what_follows_the_name(dara: Dara) -> None:
    status, out, _ = dara("bench", "env", "--help")
    assert status == 0 and "--seconds" in out
    for arguments in (("env", "--seconds", "-1"), ("env", "--seconds", "0"), ("logger", "--rows", "-5")):
        status, out, err = dara("bench", *arguments)
        assert (status, out) == (2, "") and arguments[1] in err and "Traceback" not in err


@pytest.mark.parametrize("command", [(), ("benchmark",), ("behaviours",)])
def test_a_bare_command_prints_its_help(dara: Dara, command: tuple[str, ...]) -> None:
    status, out, err = dara(*command)
    assert status == 2
    assert (out + err).strip() == dara(*command, "--help")[1].strip()


# A command that is told twice that its terminal is gone, as shell and kernel do; what it says then, it says
# to a file. argv: how SIGHUP is handled before it starts.
HANGUP = """
import os, signal, subprocess, sys
from dara_ros import command
from dara_ros.interrupts import interrupts_ignored, stop_on_interrupt

signal.signal(signal.SIGHUP, signal.Handlers[sys.argv[1]])

def work(*arguments, **options):
    probe = "import signal; print(signal.getsignal(signal.SIGHUP).name)"
    with interrupts_ignored():
        child = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout
    with stop_on_interrupt() as asked:
        os.close(int(sys.argv[2]))  # the terminal's other end
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        print("progress", file=sys.stderr, flush=True)
        print(asked(), child, flush=True)

command.app = work
sys.exit(command.main([]))
"""


@pytest.mark.parametrize(("handled", "asked"), [("SIG_DFL", "True"), ("SIG_IGN", "False")])
def test_a_closed_terminal_ends_a_command_as_ctrl_c_does(handled: str, asked: str) -> None:
    """Unless it was started by nohup, which has SIGHUP ignored and stderr elsewhere."""
    master, terminal = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", HANGUP, handled, str(master)],
        stdout=subprocess.PIPE,
        stderr=terminal if asked == "True" else subprocess.DEVNULL,
        pass_fds=[master],
        preexec_fn=lambda: os.close(terminal),
        text=True,
        check=False,
    )
    os.close(master)
    os.close(terminal)
    assert (done.returncode, done.stdout.split()) == (0, [asked, "SIG_IGN"])
