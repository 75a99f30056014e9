"""What is taken where nobody says anything, and how to have the papers' settings instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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


def test_a_file_says_everything(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("{source: s.h5, target: t.h5, out: run, decay: 0.5}")
    assert configure({}, path, paper=False) == TrainConfig("s.h5", "t.h5", "run", decay=0.5)
    with pytest.raises(UserError, match="give either it or paper"):
        configure({}, path, paper=True)


@pytest.mark.parametrize("name", sorted(algorithms()))
def test_every_algorithm_has_settings_that_hold(name: str) -> None:
    config = configure(FILES | {"algorithm": name}, None, paper=False)
    assert (
        config.settings
        == TrainConfig.from_mapping(
            FILES | {"algorithm": name} | RECOMMENDED.get(name, {}), "recommended"
        ).settings
    )
