"""Benchmarks: timings are figures to report, never tests. `dara bench` lists and runs them."""

from __future__ import annotations

import argparse
import ast
import csv
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from ..errors import UserError

FOLDER = Path(__file__).resolve().parent


def benchmarks() -> dict[str, str]:
    """Name and one-line purpose of every benchmark: the modules here that have a `main`."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        module = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in module.body):
            found[path.stem] = (ast.get_docstring(module) or "").split("\n")[0]
    return found


def run(name: str, arguments: list[str]) -> int:
    """Run one benchmark in a process of its own; return its exit status.

    Raises:
        UserError: there is no such benchmark.
    """
    known = benchmarks()
    if name not in known:
        raise UserError(f"no benchmark '{name}'; there are: {', '.join(known)}")
    return subprocess.run([sys.executable, "-m", f"{__name__}.{name}", *arguments], check=False).returncode


def positive(text: str) -> float:
    """An argument that is a number above 0, for argparse."""
    number = float(text)
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def positive_int(text: str) -> int:
    """An argument that is a whole number above 0, for argparse."""
    return int(positive(str(int(text))))


def machine() -> str:
    """The machine in a few words: processor, cores, how busy it is."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{model}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"


def print_table(kind: type, rows: Iterable[Any]) -> None:
    """The machine on stderr, and dataclasses of this kind as CSV, each as soon as it is measured."""
    print(machine(), file=sys.stderr)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(field.name for field in fields(kind))
    for row in rows:
        writer.writerow(astuple(row))
        sys.stdout.flush()
