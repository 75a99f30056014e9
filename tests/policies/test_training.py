"""`train`, from two files to a policy file."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from itertools import count
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from training_data import SMALL_BCQ, small_config, write_crossing

from dara_ros.errors import UserError
from dara_ros.policies.algorithms.bcq import BCQ
from dara_ros.policies.learning import Run
from dara_ros.policies.runtime import Policy
from dara_ros.policies.train_config import TrainConfig, read_config
from dara_ros.policies.training import train


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    return (
        write_crossing(folder / "source.h5", "source", 3000, seed=0),
        write_crossing(folder / "target.h5", "target", 400, seed=1),
    )


def networks(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoint.pt", weights_only=True)["learner"]["networks"]


@pytest.fixture(scope="module")
def finished(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """The settings of a run of 60 steps that went through."""
    stages: list[str] = []
    config = small_config(*files, tmp_path_factory.mktemp("finished") / "run", eta=0.5)
    result = train(config, progress=lambda stage, done, total, figures: stages.append(stage))
    assert list(dict.fromkeys(stages)) == ["check", "classifiers", "delta_r", "train", "export"]
    assert not result.stopped and result.steps == 60
    return config


def test_a_run_leaves_what_a_report_needs(finished: TrainConfig) -> None:
    out = Path(finished.out)
    figures = json.loads((out / "figures.json").read_text())
    assert [point["step"] for point in figures["curve"]] == [10, 20, 30, 40, 50, 60]
    assert {"critic_loss", "vae_error", "q_policy"} <= set(figures["curve"][0])
    assert figures["classifiers"]["sas"]["auc"] > figures["classifiers"]["sa"]["auc"] + 0.1
    histogram = figures["delta_r"]["source"]["histogram"]
    assert sum(histogram["counts"]) == 3000 and len(histogram["edges"]) == len(histogram["counts"]) + 1
    assert figures["delta_r"]["source"]["mean"] > 0.5 > figures["delta_r"]["target"]["mean"]
    assert figures["data_sets"]["target"]["rows"] == 400
    assert {"torch", "dara_ros"} <= set(figures["versions"])
    assert figures["target_fraction"] == pytest.approx(400 / 3400)

    assert read_config(out / "config.yaml") == finished
    assert list((out / "tensorboard").iterdir())
    policy = Policy.load(out / "policy.onnx")
    assert policy.metadata.eta == 0.5 and policy.metadata.robot == "slider"
    assert policy.metadata.data_set_hashes["source"] == figures["data_sets"]["source"]["sha256"]
    policy.check_golden()
    assert np.abs(policy(np.zeros((3, 2), np.float32))).max() <= 1.0


def test_resumed_run_ends_with_the_same_bits(
    files: tuple[Path, Path], finished: TrainConfig, tmp_path: Path
) -> None:
    split = replace(finished, out=str(tmp_path / "split"))
    asked = count()
    in_training = []
    half = train(
        split,
        progress=lambda stage, done, total, figures: in_training.append(stage),
        should_stop=lambda: "delta_r" in in_training and next(asked) >= 30,
    )
    assert half.stopped and half.steps == 30 and "resume" in half.message
    Policy.load(half.policy).check_golden()

    whole = train(replace(split, resume=True))
    assert not whole.stopped and whole.steps == 60
    mine, theirs = networks(Path(finished.out)), networks(Path(split.out))
    for name, weights in mine.items():
        assert torch.equal(weights, theirs[name]), name
    curve = json.loads((Path(finished.out) / "figures.json").read_text())["curve"]
    assert whole.figures["curve"] == curve


def test_a_run_is_not_resumed_to_fewer_steps(finished: TrainConfig) -> None:
    kept = {path: path.read_bytes() for path in Path(finished.out).iterdir() if path.is_file()}
    with pytest.raises(UserError, match=r"steps is 20 and the run in .* has done 60: give at least 60"):
        train(replace(finished, resume=True, steps=20))
    assert {path: path.read_bytes() for path in kept} == kept


def test_steps_are_counted_without_the_warm_up(files: tuple[Path, Path], tmp_path: Path) -> None:
    warmed = replace(SMALL_BCQ, vae_steps=10)
    config = small_config(*files, tmp_path / "run", eta=0.0, steps=5, settings=warmed)
    assert train(config).steps == 15
    with pytest.raises(UserError, match=r"steps is 4 and .* has done 5: give at least 5"):
        train(replace(config, resume=True, steps=4))
    assert train(replace(config, resume=True, steps=6)).steps == 16


def test_resuming_a_finished_run_keeps_its_times(files: tuple[Path, Path], tmp_path: Path) -> None:
    config = small_config(*files, tmp_path / "run", eta=0.5)
    first, again = train(config).figures, train(replace(config, resume=True)).figures
    for stage in ("train", "classifiers"):
        assert again["seconds"][stage] == first["seconds"][stage]
    for name in ("updates_per_second", "curve", "steps"):
        assert again[name] == first[name]


def test_dara_turns_away_from_what_only_the_source_can_do(files: tuple[Path, Path], tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    for eta, side in ((0.0, 1.0), (1.0, -1.0)):
        result = train(small_config(*files, tmp_path / f"eta{eta}", eta=eta, steps=500, mix=0.1, seed=1))
        actions = Policy.load(result.policy)(states)
        assert np.mean(side * actions > 0.3) > 0.9, (eta, actions.mean())
        # Without augmentation no classifier is trained.
        assert ("classifiers" in result.figures) == (result.out / "delta_r.pt").exists() == (eta > 0)


def test_a_delta_r_that_says_nothing_is_told(files: tuple[Path, Path], tmp_path: Path) -> None:
    config = small_config(*files, tmp_path / "useful", eta=0.5)
    assert "delta r" not in train(config).message
    useless = replace(config.classifiers, learning_rate=10.0)  # no step is better than none
    result = train(replace(config, out=str(tmp_path / "useless"), classifiers=useless))
    assert result.figures["delta_r"]["source"]["std"] == 0.0
    assert "delta r is 0 on every source row" in result.message


def test_stop_before_training_leaves_no_policy(files: tuple[Path, Path], tmp_path: Path) -> None:
    result = train(small_config(*files, tmp_path / "run"), should_stop=lambda: True)
    assert result.stopped and result.policy is None and "no policy yet" in result.message


def test_a_directory_that_holds_a_run_is_not_overwritten(finished: TrainConfig) -> None:
    policy = Path(finished.out) / "policy.onnx"
    before = policy.read_bytes()
    with pytest.raises(UserError, match="already holds a run"):
        train(finished)
    assert policy.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eta": 0.7}, "its eta was 0.5 and is now 0.7"),
        ({"mix": 0.5}, "its mix was None"),
        ({"seed": 3}, "its seed was 0"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    finished: TrainConfig, changes: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(replace(finished, resume=True, **changes))


def test_resuming_on_other_data_is_refused(finished: TrainConfig, tmp_path: Path) -> None:
    other = write_crossing(tmp_path / "other.h5", "target", 200, seed=9)
    with pytest.raises(UserError, match="not the target file of the run"):
        train(replace(finished, resume=True, target=str(other)))


def test_nothing_to_resume_and_damaged_checkpoint(files: tuple[Path, Path], tmp_path: Path) -> None:
    config = small_config(*files, tmp_path / "run", eta=0.0, resume=True)
    with pytest.raises(UserError, match="nothing to resume"):
        train(config)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="damaged"):
        train(config)


def test_a_policy_without_its_checkpoint_is_left_alone(files: tuple[Path, Path], tmp_path: Path) -> None:
    config = small_config(*files, tmp_path / "run", eta=0.0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/policy.onnx").write_bytes(b"precious")
    for resume in (False, True):
        with pytest.raises(UserError, match="another --out"):
            train(replace(config, resume=resume))


def test_somebodys_own_config_is_not_overwritten(files: tuple[Path, Path], tmp_path: Path) -> None:
    config = small_config(*files, tmp_path / "run", eta=0.0, steps=1)
    (tmp_path / "run").mkdir()
    own = tmp_path / "run/config.yaml"
    for text in ("resume: mine\n", "a: [\n"):
        own.write_text(text)
        with pytest.raises(UserError, match="move it, or give another --out"):
            train(config)
        assert own.read_text() == text
    own.write_text(config.to_yaml())  # of a run that was killed before its first checkpoint
    assert train(config).steps == 1


@pytest.mark.parametrize("out", ["file", "file/run", "/proc/run"])
def test_where_no_folder_can_be_made(files: tuple[Path, Path], tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot be made a folder .*give another --out"):
        train(small_config(*files, tmp_path / out))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("largest", [100, 5_000, 20_000])  # of a config.yaml, a checkpoint, a policy
def test_a_disk_that_is_full_is_one_line(files: tuple[Path, Path], tmp_path: Path, largest: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written \(File too large\): make room"):
            train(small_config(*files, tmp_path / "run", eta=0.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "run").glob("*.part"))


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_actions_outside_the_box_are_refused(files: tuple[Path, Path], tmp_path: Path, eta: float) -> None:
    wide = write_crossing(tmp_path / "wide.h5", "target", 200, seed=2, scale=3.0)
    with pytest.raises(UserError, match=r"actions reach .* must be in \[-1, 1\]"):
        train(small_config(files[0], wide, tmp_path / "run", eta=eta))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("estimator", ["classifiers", "dynamics"])
def test_one_episode_is_refused(files: tuple[Path, Path], tmp_path: Path, estimator: str) -> None:
    short = write_crossing(tmp_path / "short.h5", "target", 20, seed=2)
    with pytest.raises(UserError, match="the target data set holds 1 episode.* delta r needs two"):
        train(small_config(files[0], short, tmp_path / "run", estimator=estimator))
    assert not (tmp_path / "run").exists()


def test_nan_in_a_data_set_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    broken = write_crossing(tmp_path / "broken.h5", "target", 200, seed=2)
    with h5py.File(broken, "r+") as file:
        file["rewards"][7] = np.nan
    with pytest.raises(UserError, match="broken.h5"):
        train(small_config(files[0], broken, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"eta": -0.1},
        {"mix": 1.5},
        {"beginnings": 1.5},
        {"clip": 0.0},
        {"steps": 0},
        {"seed": -1},
        {"algorithm": "magic"},
    ],
)
def test_senseless_settings_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(changes))):
        small_config(tmp_path / "s.h5", tmp_path / "t.h5", tmp_path / "run", **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source: a\ntarget: b\nout: c\nsteps: 10\nstep: 3\n", "unknown setting 'step'"),
        ("source: a\ntarget: b\nout: c\nsettings: {lr: 3}\n", "unknown setting 'lr'"),
        (
            "source: a\ntarget: b\nout: c\nclassifiers: {input_noise: -1.0}\n",
            "classifiers.input_noise is -1.0",
        ),
        ("source: a\ntarget: b\nout: c\ngap: {weight_decay: -1.0}\n", "gap.weight_decay is -1.0"),
        ("source: a\n", "missing"),
        ("- 1\n", "mapping"),
        ("a: [\n", "not YAML"),
    ],
)
def test_wrong_configuration_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainConfig.from_yaml(text)


def test_learning_rates_fall_in_the_last_quarter_of_each_stage(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paces: list[float] = []
    monkeypatch.setattr(BCQ, "set_pace", lambda self, share: paces.append(share))
    settings = replace(SMALL_BCQ, vae_steps=8)
    train(small_config(*files, tmp_path / "run", eta=0.0, steps=12, tune=4, settings=settings, decay=0.2))
    stages = [8, 4, 8, 12]  # warm-up and steps, on the source and then on the target
    assert paces == [0.2 if step >= n - n // 4 else 1.0 for n in stages for step in range(n)]


def test_the_mean_reward_is_that_of_the_batches(files: tuple[Path, Path], tmp_path: Path) -> None:
    found: list[float] = []

    class Spy(BCQ):
        def __init__(self, action_size: int, runs: list[Run], device: str = "cpu") -> None:
            found.append(runs[0].mean_reward)
            super().__init__(action_size, runs, device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dara_ros.policies.training.algorithms", lambda: {"bcq": Spy})
        config = small_config(*files, tmp_path / "run", eta=0.5, steps=1, mix=0.25, reward_scale=0.1)
        result = train(config)
    lost = 0.5 * result.figures["delta_r"]["source"]["mean"]
    means = []
    for path in files:
        with h5py.File(path) as file:
            means.append(float(file["rewards"][:].mean()))
    assert found == [pytest.approx(0.1 * (0.75 * (means[0] - lost) + 0.25 * means[1]), rel=1e-4)]
