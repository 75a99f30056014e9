"""What is taken where nobody says anything, and how to have the papers' settings instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dara_ros.errors import UserError
from dara_ros.policies.algorithms import algorithms
from dara_ros.policies.algorithms.bcq import BCQConfig
from dara_ros.policies.recommended import RECOMMENDED
from dara_ros.policies.train_config import TrainConfig, configure

FILES: dict[str, Any] = {"source": ["s.h5"], "target": ["t.h5"], "out": "run"}


def test_flags_alone_take_what_did_best() -> None:
    config = configure(FILES, None, paper=False)
    ours = RECOMMENDED["bcq"]
    assert (config.algorithm, config.mix, config.decay) == ("bcq", ours["mix"], ours["decay"])
    assert config.settings != BCQConfig() and config.settings.vae_steps == ours["settings"]["vae_steps"]
    asked = configure(FILES | {"mix": 0.25, "reward_scale": 2.0}, None, paper=False)
    assert (asked.mix, asked.reward_scale, asked.decay) == (0.25, 2.0, ours["decay"])


def test_the_papers_settings_are_one_flag_away() -> None:
    assert configure(FILES, None, paper=True) == TrainConfig.from_mapping(FILES, "settings")
    assert configure(FILES, None, paper=True).settings == BCQConfig()


def test_tuning_draws_no_batch_from_both_files() -> None:
    assert configure(FILES | {"tune": 5}, None, paper=False).mix is None


def test_what_a_file_leaves_open_is_as_what_flags_leave_open(tmp_path: Path) -> None:
    path = tmp_path / "part.yaml"
    path.write_text("{source: [s.h5], target: [t.h5], out: run, decay: 0.5, settings: {candidates: 3}}")
    ours = configure(FILES | {"decay": 0.5}, None, paper=False)
    filled = configure({}, path, paper=False)
    assert filled == replace(ours, settings=replace(ours.settings, candidates=3))
    assert filled.settings.vae_steps == RECOMMENDED["bcq"]["settings"]["vae_steps"]
    papers = TrainConfig(("s.h5",), ("t.h5",), "run", decay=0.5, settings=BCQConfig(candidates=3))
    assert configure({}, path, paper=True) == papers
    path.write_text("{algorithm: bcq, mix: 0.25, settings: }")
    assert configure(FILES, path, paper=False) == configure(FILES | {"mix": 0.25}, None, paper=False)


def test_a_runs_own_file_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    papers = configure(FILES, None, paper=True)
    path.write_text(papers.to_yaml())
    assert configure({}, path, paper=False) == papers
    with pytest.raises(UserError, match="give either it or paper"):
        configure({}, path, paper=True)
    of_an_old_version = yaml.safe_load(papers.to_yaml())
    del of_an_old_version["beginnings"], of_an_old_version["settings"]["vae_steps"]
    path.write_text(yaml.safe_dump(of_an_old_version))
    assert configure({}, path, paper=False) == papers


def test_a_file_without_the_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.yaml"
    path.write_text("{source: s.h5}")
    with pytest.raises(UserError, match="--target is missing; see `dara train --help`"):
        configure({"out": "run"}, path, paper=False)


@pytest.mark.parametrize("name", sorted(algorithms()))
def test_every_algorithm_has_settings_that_hold(name: str) -> None:
    config = configure(FILES | {"algorithm": name}, None, paper=False)
    assert (
        config.settings
        == TrainConfig.from_mapping(
            FILES | {"algorithm": name} | RECOMMENDED.get(name, {}), "recommended"
        ).settings
    )
