"""`dara inspect`, `recover` and `train` on several files; what inspect tells of losses, and its picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dara_ros.collection import data_set_info
from dara_ros.command import spread
from dara_ros.hardware.spec import load_robot
from dara_ros.hardware.task import ACTION_SIZE, OBSERVATION_SIZE
from dara_ros.policies.dataset import DataSetWriter

Dara = Callable[..., tuple[int, str, str]]

PERIOD = 20_000_000  # ns


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """100 rows as the logger writes them: two walks, 3 periods lost in the first, 5 commands clipped."""
    stamps = np.arange(100) * PERIOD
    stamps[30:] += 3 * PERIOD
    stamps[60:] += 5_000_000_000
    requested = np.zeros((100, 12))
    requested[10:15, 3] = 0.2
    ends = np.isin(np.arange(100), (29, 59, 99))
    path = tmp_path / "logged.h5"
    with DataSetWriter(path, data_set_info(load_robot("a1"), "yard", "target", "a test")) as writer:
        writer.lost_rows = 3
        writer.extend(
            np.zeros((100, OBSERVATION_SIZE)),
            np.zeros((100, ACTION_SIZE)),
            np.ones(100),
            np.zeros((100, OBSERVATION_SIZE)),
            np.arange(100) == 99,
            ends,
            {"stamp": stamps, "requested_command": requested, "sent_command": np.zeros((100, 12))},
        )
    return path


def test_inspect_tells_what_was_lost_or_changed(dara: Dara, logged: Path) -> None:
    found = json.loads(dara("inspect", logged, "--json")[1])
    assert found["gaps"] == {"count": 1, "missing_periods": 3, "longest_s": 0.08}
    assert (found["clipped_rows"], found["lost_rows"]) == (5, 3)
    assert found["lengths"] == {"min": 30, "median": 30, "max": 40}
    text = dara("inspect", logged)[1]
    assert "1 gaps within walks (3 periods missing, longest 0.080 s); commands clipped: 5 (5.0%)" in text
    assert "rows lost: 3" in text


def test_inspect_says_what_a_file_does_not_tell(dara: Dara, source: Path) -> None:
    assert "no stamps; commands clipped: unknown" in dara("inspect", source)[1]


def test_inspect_draws_several_files(dara: Dara, logged: Path, target: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "picture.png"
    status, out, err = dara("inspect", logged, target, "--plot", picture, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert (found["rows"], found["files"], found["world"]) == (180, 2, "yard, flat")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert dara("inspect", logged, "--plot", picture)[0] == 2
    status, _, err = dara("inspect", logged, "--plot", tmp_path / "nowhere" / "picture.png")
    assert (status, err.count("\n")) == (2, 1)


def test_inspect_refuses_files_that_are_not_one_data_set(dara: Dara, source: Path, target: Path) -> None:
    status, _, err = dara("inspect", source, target)
    assert (status, err.count("\n")) == (2, 1)
    assert "different domains (source, target)" in err


def test_a_picture_without_matplotlib_is_one_line(tmp_path: Path, logged: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('no', name='matplotlib')\n")
    command = [sys.executable, "-m", "dara_ros.command", "inspect", str(logged), "--plot", "picture.png"]
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 2
    assert done.stderr == "dara: matplotlib is not installed; run: pip install 'dara_ros[train]'\n"


def test_recover_takes_several_files_and_folders(
    dara: Dara, target: Path, logged: Path, tmp_path: Path
) -> None:
    (tmp_path / "week").mkdir()
    logged.rename(tmp_path / "week" / "monday.h5")
    (tmp_path / "week" / "torn.h5").write_bytes(b"torn")
    status, out, _ = dara("recover", target, tmp_path / "week", "--out", tmp_path / "saved.h5", "--compress")
    assert status == 0
    assert "180 rows saved, 0 lost" in out and "torn.h5: not an HDF5 file" in out


def test_train_opens_all_files(dara: Dara, source: Path, target: Path, logged: Path, tmp_path: Path) -> None:
    """That it trains on them, tests/system/test_offline_node.py shows."""
    pytest.importorskip("torch")
    (tmp_path / "empty").mkdir()
    arguments = ("--source", source, "--out", tmp_path / "run", "--eta", 0, "--target")
    for paths, said in (
        ((target, logged, source), "different domains"),
        ((target, tmp_path / "empty"), "no data set file"),
        ((target, tmp_path / "none.h5"), "no such file"),
    ):
        status, _, err = dara("train", *arguments, *paths)
        assert (status, err.count("\n")) == (2, 1) and said in err


def test_several_paths_stay_in_the_settings(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from dara_ros.policies.train_config import TrainConfig

    config = TrainConfig(source=tmp_path / "a.h5", target=[tmp_path, "b.h5"], out="run")  # type: ignore[arg-type]
    assert (config.source, config.target) == (str(tmp_path / "a.h5"), (str(tmp_path), "b.h5"))
    assert TrainConfig.from_yaml(config.to_yaml()) == config


def test_an_option_takes_all_that_follows_it() -> None:
    line = "train --source a b --target=c --eta 0.1 --target d e --out f"
    repeated = "train --source a --source b --target=c --eta 0.1 --target d --target e --out f"
    assert " ".join(spread(line.split())) == repeated
    assert spread(["inspect", "--target", "a", "b"]) == ["inspect", "--target", "a", "b"]
