"""The main job from end to end, thin: once, through the command, as a newcomer runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from PIL import Image

from dara_ros.policies.dataset import DataSet, check_compatible
from dara_ros.policies.runtime import Policy

pytest.importorskip("rclpy", reason="needs the extra [ros]")
pytest.importorskip("torch", reason="needs the extra [train]")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished `dara demo --fast`."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    command = [sys.executable, "-m", "dara_ros.command", "demo", "--fast", "--seed", "3", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("behaviour", "bcq", "bcq+dara"):
        assert name in done.stdout
    return out


def test_results_are_whole(demo: Path) -> None:
    results = json.loads((demo / "results.json").read_text())
    assert results["seed"] == 3
    assert {"dara_ros", "python", "torch", "pybullet"} <= set(results["versions"])
    assert [row["policy"] for row in results["rows"]] == ["behaviour", "bcq", "bcq+dara"]
    for row in results["rows"]:
        assert len(row["distance_m"]) == row["episodes"] == 2
        assert 0 <= row["falls"] <= row["episodes"]
        assert 0 < row["loop_ms"]["p50"] <= row["loop_ms"]["p99"] <= row["loop_ms"]["max"]


def test_data_sets_fit_together(demo: Path) -> None:
    with DataSet(demo / "source.h5") as source, DataSet(demo / "target.h5") as target:
        check_compatible(source, target)
        for data, world in ((source, "flat"), (target, "obstructive")):
            data.check()
            assert data.info.world == world
        assert len(source) == 3000


def test_policy_is_the_one_with_dara(demo: Path) -> None:
    policy = Policy.load(demo / "policy.onnx")
    assert policy.metadata.eta == 0.1
    assert Policy.load(demo / "bcq" / "policy.onnx").metadata.eta == 0.0
    assert policy.metadata.data_set_hashes["target"] == DataSet(demo / "target.h5").sha256
    onnx.checker.check_model(onnx.load(demo / "policy.onnx"))


def test_report_and_picture(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    for part in ("bcq+dara", "Delta r", "calibration", "Learning curves", "image/gif", "dara collect"):
        assert part in page
    assert Image.open(demo / "dry_run.gif").n_frames > 5
    assert (demo / "dry_run.gif").stat().st_size < 2**20


def test_interrupted_between_the_nodes(tmp_path: Path) -> None:
    """Ctrl-C while the nodes run: status 130, what was done can be used (conftest looks for processes)."""
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "dara_ros.command", "demo", "--fast", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (out / "logs" / "logger_node.log").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    with DataSet(out / "source.h5") as source:
        source.check()
        assert len(source) == 3000
