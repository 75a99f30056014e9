"""What reads input from elsewhere accepts it or refuses it in one line; it never crashes.

In a process of its own for each target, since a crash of a C library is one of the things that can happen.
`python -m tests.fuzz.fuzzing all --seconds 600 --seed 1` goes on for longer.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    "data_set": 50,
    "policy": 120,
    "policy_metadata": 120,
    "checkpoint": 150,
    "yaml": 40,
    "packet": 20,
    "message": 60,
}
NEEDS = {"policy": "onnx", "policy_metadata": "onnx", "checkpoint": "torch"}


@pytest.mark.parametrize("target", CASES)
def test_spoilt_input_is_used_or_refused(target: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS.get(target, "numpy"))
    command = [sys.executable, "-m", "tests.fuzz.fuzzing", target, "--cases", str(CASES[target])]
    result = subprocess.run(
        [*command, "--seconds", "600", "--folder", str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    accepted = int(result.stdout.splitlines()[-1].split()[3])
    assert accepted > 0, "all were refused: then nothing but the refusal is tested"
