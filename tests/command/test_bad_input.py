"""Whatever is wrong with the input: exit status 2, one line on stderr, and nothing lost."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest

from dara_ros.collection import data_set_info
from dara_ros.hardware.spec import ROBOTS, load_robot
from dara_ros.policies.dataset import DataSetWriter
from dara_ros.sim.world import WORLDS

Dara = Callable[..., tuple[int, str, str]]


def refused(result: tuple[int, str, str], *wanted: str) -> None:
    """The command refused in one line that says all of `wanted`."""
    status, out, err = result
    assert status == 2, err
    assert out == ""
    assert err.count("\n") == 1, err
    for part in ("dara: ", *wanted):
        assert part in err


def train(dara: Dara, source: Path, target: Path, *more: object) -> tuple[int, str, str]:
    return dara("train", "--source", source, "--target", target, "--out", source.parent / "run", *more)


def test_missing_file(dara: Dara, tmp_path: Path) -> None:
    refused(dara("inspect", tmp_path / "none.h5"), "none.h5", "no such file", "dara collect")


def test_not_hdf5(dara: Dara, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("observations\n")
    refused(dara("inspect", tmp_path / "text.h5"), "text.h5", "not an HDF5 file")


def test_foreign_hdf5(dara: Dara, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["qpos"] = np.zeros(3)
    refused(dara("inspect", tmp_path / "foreign.h5"), "foreign.h5", "not a dara_ros data set")


def test_truncated_hdf5(dara: Dara, source: Path) -> None:
    os.truncate(source, source.stat().st_size // 2)
    refused(dara("inspect", source), "source.h5")


def test_empty_file(dara: Dara, tmp_path: Path) -> None:
    path = tmp_path / "empty.h5"
    DataSetWriter(path, data_set_info(load_robot("a1"), "flat", "source", "")).close()
    refused(dara("inspect", path), "empty.h5", "empty")


def test_nan_in_data_set(dara: Dara, source: Path, target: Path) -> None:
    with h5py.File(source, "r+") as file:
        file["rewards"][7] = np.nan
    refused(train(dara, source, target), "source.h5", "rewards", "row 7")
    refused(dara("inspect", source), "rewards", "row 7", f"`dara recover {source} --out")


def test_source_and_target_differ_in_columns(dara: Dara, source: Path, tmp_path: Path) -> None:
    info = data_set_info(load_robot("a1"), "obstructive", "target", "")
    names = ("up.z", *info.observation_names[1:2], "up.x", *info.observation_names[3:])
    zeros = {"observations": np.zeros((2, 55)), "next_observations": np.zeros((2, 55))}
    rows = zeros | {"actions": np.zeros((2, 12)), "rewards": np.zeros(2)}
    other = tmp_path / "other.h5"
    with DataSetWriter(other, dataclasses.replace(info, observation_names=names)) as writer:
        writer.extend(**rows, terminals=np.zeros(2, bool), timeouts=np.array([False, True]))
    refused(train(dara, source, other), "observation_names", "'up.x'", "'up.z'")


def test_files_swapped(dara: Dara, source: Path, target: Path) -> None:
    refused(train(dara, target, source), "swap")


def test_negative_eta(dara: Dara, source: Path, target: Path) -> None:
    refused(train(dara, source, target, "--eta", "-0.1"), "eta")
    assert not (source.parent / "run").exists()


def test_run_in_the_folder_already(dara: Dara, source: Path, target: Path) -> None:
    run = source.parent / "run"
    run.mkdir()
    (run / "policy.onnx").write_bytes(b"precious")
    refused(train(dara, source, target), "another --out")
    assert (run / "policy.onnx").read_bytes() == b"precious"


def test_training_without_a_source(dara: Dara, target: Path, tmp_path: Path) -> None:
    refused(dara("train", "--target", target, "--out", tmp_path / "run"), "--source is missing", "--help")
    part = tmp_path / "part.yaml"
    part.write_text(f"{{target: {target}, out: {tmp_path / 'run'}}}")
    refused(dara("train", "--config", part), "--source is missing", "--help")


def test_world_with_a_typo(dara: Dara, tmp_path: Path) -> None:
    world = tmp_path / "mine.yaml"
    world.write_text((WORLDS / "flat.yaml").read_text().replace("payload", "pay_load"))
    result = dara("collect", "--world", world, "--behaviour", "trot", "--out", tmp_path / "x.h5")
    refused(result, "mine.yaml", "pay")
    assert not (tmp_path / "x.h5").exists()


def test_unknown_world(dara: Dara, tmp_path: Path) -> None:
    result = dara("collect", "--world", "moon", "--behaviour", "trot", "--out", tmp_path / "x.h5")
    refused(result, "moon", "obstructive")


def test_unknown_behaviour(dara: Dara, tmp_path: Path) -> None:
    refused(dara("collect", "--behaviour", "gallop", "--out", tmp_path / "x.h5"), "gallop", "trot")


def test_unknown_robot(dara: Dara, tmp_path: Path) -> None:
    result = dara("collect", "--robot", "spot", "--behaviour", "trot", "--out", tmp_path / "x.h5")
    refused(result, "spot", "a1")


def test_existing_file_is_not_overwritten(dara: Dara, source: Path) -> None:
    before = source.read_bytes()
    refused(dara("collect", "--behaviour", "trot", "--transitions", 5, "--out", source), "exists")
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--seed", -1), "--seed"),
        (("--noise", -1), "noise -1"),
        (("--noise", 0.1, "--noise", "nan"), "noise nan"),
        (("--noise", "inf"), "noise inf"),
        (("--noise", "1e300"), "noise 1e+300"),
        (("--robot", "go1"), "no model of robot 'go1'"),
    ],
)
def test_what_is_refused_overwrites_nothing(
    dara: Dara, source: Path, arguments: tuple[object, ...], wanted: str
) -> None:
    before = source.read_bytes()
    refused(dara("collect", "--behaviour", "trot", "--out", source, "--overwrite", *arguments), wanted)
    assert source.read_bytes() == before


def test_a_folder_is_not_overwritten(dara: Dara, tmp_path: Path) -> None:
    refused(dara("collect", "--behaviour", "trot", "--out", tmp_path, "--overwrite"), "no file")
    assert tmp_path.is_dir()


@pytest.mark.parametrize(
    "arguments", [("demo",), ("evaluate", "trot"), ("dry-run", "trot"), ("behaviours", "train")]
)
def test_negative_seed(dara: Dara, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    refused(dara(*arguments, "--seed", -1, "--out", tmp_path / "new"), "--seed")
    assert not (tmp_path / "new").exists()


def test_noise_of_a_recording_is_refused_as_that_of_a_collection(dara: Dara, tmp_path: Path) -> None:
    arguments = ("record", "--driver", "pybullet", "--world", "flat", "--policy", "trot")
    refused(dara(*arguments, "--noise", 2, "--out", tmp_path / "x.h5"), "noise 2 on actions", "from 0 to 1")


@pytest.mark.parametrize("arguments", [("evaluate", "trot"), ("dry-run", "trot")])
def test_robot_that_the_simulator_does_not_have(dara: Dara, arguments: tuple[str, ...]) -> None:
    refused(dara(*arguments, "--robot", "go1"), "no model of robot 'go1'", "--robot a1")


def test_world_with_another_control_period(dara: Dara, tmp_path: Path) -> None:
    world = tmp_path / "mine.yaml"
    world.write_text((WORLDS / "flat.yaml").read_text().replace("timestep: 0.002", "timestep: 0.003"))
    refused(dara("evaluate", "trot", "--world", world), "control period", "make them equal")


def test_behaviours_of_an_unknown_robot(dara: Dara) -> None:
    refused(dara("behaviours", "list", "--robot", "nosuch"), "nosuch", "a1")


def test_too_few_steps_for_one_snapshot(dara: Dara, tmp_path: Path) -> None:
    arguments = ("--task", "hopper_plain", "--steps", 10_000, "--out", tmp_path / "new")
    refused(dara("behaviours", "train", *arguments), "--steps 10000", "20000")
    assert not (tmp_path / "new").exists()


def test_behaviours_of_an_earlier_training_stay(dara: Dara, tmp_path: Path) -> None:
    (tmp_path / "medium.onnx").write_bytes(b"precious")
    refused(dara("behaviours", "train", "--out", tmp_path), "exists")
    assert (tmp_path / "medium.onnx").read_bytes() == b"precious"


def test_figures_need_a_place(dara: Dara, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    refused(dara("evaluate", "trot", "--out", tmp_path / "file" / "x.json"), "file/x.json", "cannot be made")


def test_figures_make_their_folder(dara: Dara, tmp_path: Path) -> None:
    out = tmp_path / "new" / "figures.json"
    status, answer, _ = dara("evaluate", "trot", "--episodes", 1, "--workers", 1, "--json", "--out", out)
    assert status == 0
    assert json.loads(out.read_text()) == json.loads(answer)


@pytest.mark.parametrize("what", ["a file", "a folder", "the working directory"])
def test_a_demo_moves_nothing_else(
    dara: Dara, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.tex").write_text("precious")
    out = {"a file": tmp_path / "thesis.tex", "a folder": tmp_path, "the working directory": Path(".")}[what]
    refused(dara("demo", "--fast", "--out", out), "no earlier demo", "choose another")
    assert (tmp_path / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("arguments", [("fly",), ("inspect",), ("collect", "--transitions", "many")])
def test_wrong_usage(dara: Dara, arguments: tuple[str, ...]) -> None:
    refused(dara(*arguments), "--help")


def test_not_a_policy(dara: Dara, tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(b"no network")
    refused(dara("evaluate", tmp_path / "policy.onnx"), "policy.onnx")


@pytest.mark.parametrize("command", ["evaluate", "dry-run"])
def test_changed_golden_pair(dara: Dara, policy: Path, command: str) -> None:
    model = onnx.load(policy)
    golden = next(entry for entry in model.metadata_props if entry.key == "golden_actions")
    golden.value = golden.value.replace("0.0", "0.5", 1)
    onnx.save(model, policy)
    refused(dara(command, policy, "--episodes", 1), "golden")


@pytest.mark.parametrize("command", ["evaluate", "dry-run"])
def test_policy_for_another_robot(dara: Dara, policy: Path, command: str) -> None:
    model = onnx.load(policy)
    robot = next(entry for entry in model.metadata_props if entry.key == "robot")
    robot.value = '"go2"'
    onnx.save(model, policy)
    refused(dara(command, policy, "--episodes", 1), "go2", "a1")


@pytest.mark.parametrize("command", ["evaluate", "dry-run"])
def test_policy_with_other_joint_names(dara: Dara, policy: Path, command: str) -> None:
    model = onnx.load(policy)
    joints = next(entry for entry in model.metadata_props if entry.key == "joint_names")
    joints.value = joints.value.replace("FR_hip_joint", "FR_abduction_joint")
    onnx.save(model, policy)
    refused(dara(command, policy, "--episodes", 1), "FR_abduction_joint", "FR_hip_joint")


def test_robot_with_other_joint_names(dara: Dara, tmp_path: Path) -> None:
    robot = tmp_path / "mine.yaml"
    robot.write_text((ROBOTS / "a1.yaml").read_text().replace("FR_hip_joint", "FR_abduction_joint"))
    result = dara("collect", "--robot", robot, "--behaviour", "trot", "--out", tmp_path / "x.h5")
    refused(result, "mine.yaml", "in this order", "FR_hip_joint")
    assert not (tmp_path / "x.h5").exists()


def test_picture_without_a_log(dara: Dara, policy: Path, tmp_path: Path) -> None:
    refused(dara("dry-run", policy, "--picture", tmp_path / "walk.gif"), "--out")


@pytest.mark.parametrize(("name", "wanted"), [("keep.gif", "exists"), ("walk.mp4", ".gif")])
def test_picture_that_cannot_be_made(dara: Dara, tmp_path: Path, name: str, wanted: str) -> None:
    (tmp_path / "keep.gif").write_bytes(b"precious")
    arguments = ("--out", tmp_path / "walk.h5", "--picture", tmp_path / name)
    refused(dara("dry-run", "trot", *arguments), name, wanted)
    assert (tmp_path / "keep.gif").read_bytes() == b"precious"
    assert not (tmp_path / "walk.h5").exists()


@pytest.mark.parametrize("seconds", ["-3", "0", "nan", "inf"])
def test_no_time_to_record(dara: Dara, tmp_path: Path, seconds: str) -> None:
    result = dara("record", "--out", tmp_path / "x.h5", "--seconds", seconds)
    refused(result, f"--seconds {seconds}", "Ctrl-C")


def test_seconds_of_a_simulated_recording(dara: Dara, tmp_path: Path) -> None:
    result = dara("record", "--driver", "pybullet", "--out", tmp_path / "x.h5", "--seconds", 5)
    refused(result, "--seconds", "--episodes")


@pytest.mark.parametrize("domain", ["233", "-1", "kitchen"])
def test_no_ros_domain(dara: Dara, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: str) -> None:
    pytest.importorskip("rclpy", reason="needs the extra [ros]")
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    refused(dara("record", "--out", tmp_path / "x.h5", "--seconds", 1), f"ROS_DOMAIN_ID {domain}", "0 to 232")
    assert list(tmp_path.iterdir()) == []


def test_the_same_through_a_process(tmp_path: Path) -> None:
    """As a shell sees it: status 2, one line, and with --debug the traceback too."""
    command = [sys.executable, "-m", "dara_ros.command", "inspect", str(tmp_path / "none.h5")]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (plain.returncode, plain.stdout, plain.stderr.count("\n")) == (2, "", 1)
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert debug.returncode == 2
    assert "Traceback" in debug.stderr
