"""Dry runs: the nodes as processes over real DDS, driven by the client, read from the logger's file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("pybullet")

from dara_ros.dry_run import make_gif, open_dry_run
from dara_ros.errors import UserError
from dara_ros.hardware.spec import load_robot
from dara_ros.policies.dataset import DataSet, DataSetInfo, DataSetWriter, Transition
from dara_ros.walks import read_walks

MS = 10**6
STEPS = 40


def write_walks(path: Path, stamps_ms: list[int], forward: list[float], terminal_rows: set[int]) -> Path:
    names = ("x",), ("a",)
    info = DataSetInfo("a1", "w", "target", 0.02, *names, spec_hash="s", task_hash="t")
    with DataSetWriter(path, info) as writer:
        for row, (stamp, way) in enumerate(zip(stamps_ms, forward, strict=True)):
            zero, infos = np.zeros(1, np.float32), {"stamp": stamp * MS, "forward": way}
            writer.append(Transition(zero, zero, 0.0, zero, terminal=row in terminal_rows, infos=infos))
    return path


def test_walks_are_told_apart_by_the_time_that_standing_up_takes(tmp_path) -> None:
    stamps = [0, 20, 60, 80, 5000, 5020, 200]  # 40 was lost: still the first walk
    file = write_walks(tmp_path / "walks.h5", stamps, [0.0, 0.1, 0.3, 0.4, 0.0, 0.2, -0.1], {5})
    distance, steps, fell = read_walks(file, load_robot("a1"), walks=3)
    assert (distance, steps, fell) == ([0.4, 0.2, -0.1], [5, 2, 1], [False, True, False])
    with pytest.raises(UserError, match="4 walks were made and 3 logged"):
        read_walks(file, load_robot("a1"), walks=4)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays of nodes that died stays among the test's files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory: pytest.TempPathFactory):
    logs = tmp_path_factory.mktemp("logs")
    with open_dry_run("a1", "obstructive", STEPS, logs=logs) as nodes:
        yield nodes
    for log in logs.glob("*.log"):
        assert "Traceback" not in log.read_text(), log.read_text()


def test_a_seed_gives_the_same_walk_again(dry_run, tmp_path) -> None:
    progress = []
    first = dry_run.run("trot", (7, 8), tmp_path / "first.h5", progress=lambda *p: progress.append(p))
    again = dry_run.run("trot", (8, 7), tmp_path / "again.h5")
    assert progress == [(0, 2), (1, 2), (2, 2)]
    assert first.steps == [STEPS, STEPS] and first.falls == [False, False]
    assert first.distance_m == again.distance_m[::-1]
    assert first.distance_m[0] != first.distance_m[1]
    assert 0.0 < first.loop_ms["p50"] <= first.loop_ms["p99"] <= first.loop_ms["max"]
    with DataSet(first.file) as a, DataSet(again.file) as b:
        assert a.info.world == "obstructive" and a.info.domain == "target"
        rows = np.arange(STEPS)
        np.testing.assert_array_equal(a.rows(rows).observations, b.rows(rows + STEPS).observations)


def test_noise_makes_another_walk_and_no_file_is_kept_unasked(dry_run) -> None:
    plain = dry_run.run("trot", (7,))
    noisy = dry_run.run("trot", (7,), exploration_noise=0.3)
    assert noisy.distance_m != plain.distance_m and noisy.file is None


def test_the_picture_replays_the_log(dry_run, tmp_path) -> None:
    from PIL import Image

    file = dry_run.run("trot", (3, 4), tmp_path / "walks.h5").file
    gif = make_gif(file, 1, 4, "obstructive", tmp_path / "walk.gif")
    with Image.open(gif) as picture:
        assert picture.n_frames == 1 + STEPS // 5
    with pytest.raises(UserError, match="cannot be replayed with seed 3"):
        make_gif(file, 1, 3, "obstructive", tmp_path / "other.gif")
    with pytest.raises(UserError, match="has no walk 2"):
        make_gif(file, 2, 3, "obstructive", tmp_path / "other.gif")
    assert not (tmp_path / "other.gif").exists()


def test_a_walk_with_a_lost_row_has_its_picture_too(dry_run, tmp_path) -> None:
    from PIL import Image

    file = dry_run.run("trot", (3,), tmp_path / "walks.h5").file
    with DataSet(file) as data, DataSetWriter(tmp_path / "lossy.h5", data.info) as writer:
        for row in range(STEPS):
            if row != 25:
                writer.append(transition(data, row))
    gif = make_gif(tmp_path / "lossy.h5", 0, 3, "obstructive", tmp_path / "walk.gif")
    with Image.open(gif) as picture:
        assert picture.n_frames == 1 + STEPS // 5


def transition(data: DataSet, row: int) -> Transition:
    names = [name for name in data.column_names() if name.startswith("infos/")]
    infos = {name.removeprefix("infos/"): data.column(name, row, row + 1)[0] for name in names}
    batch = data.rows(np.array([row]))
    action, reward = batch.actions[0], float(batch.rewards[0])
    return Transition(batch.observations[0], action, reward, batch.next_observations[0], infos=infos)


def test_a_policy_that_does_not_fit_is_refused_with_one_line(dry_run, tmp_path) -> None:
    with pytest.raises(UserError, match=r"controller refused to configure: .*missing.onnx") as refusal:
        dry_run.run(tmp_path / "missing.onnx", (1,))
    assert "\n" not in str(refusal.value)
    assert dry_run.run("trot", (1,)).steps == [STEPS]  # and the nodes go on


@pytest.mark.parametrize(
    ("wrong", "line"),
    [({"world": "narnia"}, "narnia"), ({"mode": "fast"}, "robot_node ended with status 2: .*fast")],
)
def test_wrong_parameters_are_the_users_to_mend(wrong: dict[str, str], line: str) -> None:
    with pytest.raises(UserError, match=line) as refusal, open_dry_run(**wrong):
        pass
    assert "\n" not in str(refusal.value)


def test_the_log_of_a_node_that_died_stays() -> None:
    with pytest.raises(UserError, match="fast") as refusal, open_dry_run(mode="fast"):
        pass
    log = Path(str(refusal.value).split("(log: ")[1].removesuffix(")"))
    assert "fast" in log.read_text()


INTERRUPTED = """
import sys
import tempfile
from pathlib import Path
from dara_ros.dry_run import run_episodes
report = lambda done, total: print(done, flush=True)
run_episodes("trot", steps=40, seeds=range(1000), out=Path(sys.argv[1]), progress=report)
"""


def test_ctrl_c_leaves_a_usable_file_and_no_process(tmp_path, monkeypatch) -> None:
    mark = f"DARA_TEST_MARK={tmp_path}"
    monkeypatch.setenv(*mark.split("=", 1))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "walks.h5")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "2\n":
            assert process.poll() is None
        assert len(marked(mark)) == 4  # it and its nodes
        process.send_signal(signal.SIGINT)
        assert process.wait(30.0) != 0
    assert marked(mark) == []
    with DataSet(tmp_path / "walks.h5") as data:
        data.check()
        assert len(data) >= STEPS


def marked(mark: str) -> list[str]:
    """Processes with this variable in their environment, but for this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        if mark.encode() in variables and path.parent.name != str(os.getpid()):
            found.append(path.parent.name)
    return found
