"""What `dara train` takes where nothing else is said; with `--paper` it takes the papers' settings instead.

The settings of BCQ were chosen without DARA, on collections and worlds of their own, and are what the A1's
comparison runs with (docs/sim2real.md). The other algorithms have their papers' settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT_ALGORITHM = "bcq"
#: Algorithm -> settings as in a config.yaml.
RECOMMENDED: dict[str, dict[str, Any]] = {
    "bcq": {
        "mix": 0.5,  # of shares as the file sizes are, the source's values mislead the critics
        "beginnings": 0.1,  # where a walk is decided, and G has few rows to know all behaviours by
        "reward_scale": 0.1,
        "decay": 0.2,
        "settings": {
            "tau": 0.02,
            "latent_samples": 10,
            "latent_clip": 3.0,  # at the paper's 0.5 Q has nothing to choose from
            "max_perturbation": 0.0,  # it would follow a gradient that a robot's few rows do not give
            "kl_weight": 0.05,
            "vae_steps": 5_000,  # longer, G learns the data's noise by heart
            "critic_hidden": [128, 128],
            "perturbation_hidden": [8],
            "vae_hidden": [256, 256],
        },
    }
}


def with_recommended(given: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, the settings that somebody asked for, and ours for what it leaves open."""
    algorithm = given.get("algorithm", DEFAULT_ALGORITHM)
    ours = RECOMMENDED.get(algorithm, {}) if isinstance(algorithm, str) else {}
    filled = {**ours, **given}
    if given.get("tune") and "mix" not in given:  # tuning draws no batch from both files
        filled.pop("mix", None)
    within = given.get("settings") or {}
    if "settings" in ours and isinstance(within, Mapping):
        filled["settings"] = {**ours["settings"], **within}
    return filled
