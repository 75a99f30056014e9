"""Every algorithm's networks and warm-up, and what had to be chosen; all else is its default, the paper's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..policies.algorithms import algorithms

WIDTHS = (128, 128)
MODEL_BASED = {
    "actor_hidden": WIDTHS,
    "critic_hidden": WIDTHS,
    "model_hidden": WIDTHS,
    "model_decay": (2.5e-5, 5e-5, 1e-4),  # of the first, a middle and the last of the paper's layers
}
#: Two layers of 128 for everything, and a fifth of CQL's work a step: about what a CPU can train.
SMALL: dict[str, dict[str, Any]] = {
    "awr": {"critic_hidden": WIDTHS, "policy_hidden": WIDTHS},
    "bcq": {"critic_hidden": WIDTHS, "perturbation_hidden": WIDTHS, "vae_hidden": WIDTHS},
    "bear": {"critic_hidden": WIDTHS, "policy_hidden": WIDTHS, "vae_hidden": WIDTHS},
    "brac-p": {"critic_hidden": WIDTHS, "policy_hidden": WIDTHS},
    "cql": {"critic_hidden": WIDTHS, "policy_hidden": WIDTHS, "batch_size": 100, "samples": 4},
    "mopo": MODEL_BASED,
    "mabe": {**MODEL_BASED, "value_hidden": WIDTHS},
}
#: Where the authors' values make no policy of these data; chosen on 1T alone, without DARA. BCQ's and BEAR's
#: G tells actions apart whose variance is above kl_weight / 4: with the authors' 0.5 none, since that of the
#: behaviours' noise is 0.02, and Q has nothing to choose from. BRAC-p's policy leaves the data and falls with
#: alpha 1, and in Walker2d with 2; with 10 it is little more than a clone. MOPO's leaves them, and its Q
#: diverges, where sigma with lambda 1 or 5 stands for the model's doubt; so does MABE's with a kl_weight of
#: 10 or less, and with 100 it keeps to its prior.
CHOSEN: dict[str, dict[str, Any]] = {
    "bcq": {"kl_weight": 0.02},
    "bear": {"kl_weight": 0.02},
    "brac-p": {"alpha": 10.0},
    "mopo": {"uncertainty": "mixture", "uncertainty_penalty": 5.0},
    "mabe": {"kl_weight": 100.0},
}
#: Shares of all gradient steps, by the setting that counts them: ours, for trainings that are shorter than
#: the authors'. AWR's is also how many updates lie between two looks at all returns: fifty looks.
WARM_UPS: dict[str, dict[str, float]] = {
    "awr": {"refresh": 0.02},
    "bcq": {},
    "bear": {"warm_up": 0.1},
    "brac-p": {"clone_steps": 0.35, "critic_steps": 0.05},
    "cql": {"cloning_steps": 0.1},
    "mopo": {"model_steps": 0.2},
    "mabe": {"model_steps": 0.2},
}


@dataclass(frozen=True)
class Stage:
    """A training, or one of two halves of one that tunes: `steps` after the warm-up that the settings say."""

    settings: Any  # the algorithm's hyper-parameters
    steps: int


def stage(algorithm: str, networks: str, updates: int, **more: str) -> Stage:
    """One of so many updates in all, at least LEAST_STEPS / 2.

    Args:
        networks: `small` or `paper`.
        more: hyper-parameters of the condition.
    """
    warm_ups = {name: max(1, round(share * updates)) for name, share in WARM_UPS[algorithm].items()}
    widths = SMALL[algorithm] if networks == "small" else {}
    settings = algorithms()[algorithm].Config(**widths, **CHOSEN.get(algorithm, {}), **warm_ups, **more)
    return Stage(settings, updates - sum(warm_ups.values()))
