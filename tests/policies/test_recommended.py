"""What is taken where nobody says anything, and how to have the papers' settings instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dara_ros.commands import _train_config as of_flags
from dara_ros.errors import UserError
from dara_ros.policies.algorithms import algorithms
from dara_ros.policies.algorithms.bcq import BCQConfig
from dara_ros.policies.recommended import RECOMMENDED
from dara_ros.policies.train_config import TrainConfig

FILES: dict[str, Any] = {"source": ["s.h5"], "target": ["t.h5"], "out": "run"}


def test_flags_alone_take_what_did_best() -> None:
    config = of_flags(None, FILES, paper=False)
    ours = RECOMMENDED["bcq"]
    assert (config.algorithm, config.mix, config.decay) == ("bcq", ours["mix"], ours["decay"])
    assert config.settings != BCQConfig() and config.settings.vae_steps == ours["settings"]["vae_steps"]
    asked = of_flags(None, FILES | {"mix": 0.25, "reward_scale": 2.0}, paper=False)
    assert (asked.mix, asked.reward_scale, asked.decay) == (0.25, 2.0, ours["decay"])


def test_the_papers_settings_are_one_flag_away() -> None:
    assert of_flags(None, FILES, paper=True) == TrainConfig.from_mapping(FILES, "flags")
    assert of_flags(None, FILES, paper=True).settings == BCQConfig()


def test_tuning_draws_no_batch_from_both_files() -> None:
    assert of_flags(None, FILES | {"tune": 5}, paper=False).mix is None


def test_a_file_says_everything(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("{source: s.h5, target: t.h5, out: run, decay: 0.5}")
    assert of_flags(path, {}, paper=False) == TrainConfig("s.h5", "t.h5", "run", decay=0.5)
    with pytest.raises(UserError, match="give either it or --paper"):
        of_flags(path, {}, paper=True)


@pytest.mark.parametrize("name", sorted(algorithms()))
def test_every_algorithm_has_settings_that_hold(name: str) -> None:
    config = of_flags(None, FILES | {"algorithm": name}, paper=False)
    assert (
        config.settings
        == TrainConfig.from_mapping(
            FILES | {"algorithm": name} | RECOMMENDED.get(name, {}), "recommended"
        ).settings
    )
