"""What is compared with what: worlds, data sets, conditions, seeds. Data only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from ..action_sources import shipped_behaviours
from ..errors import UserError
from ..policies.dara import DEFAULT_ETA, check_eta

ROBOT, SOURCE_WORLD = "a1", "flat"
WORLDS = ("obstructive", "vegetation", "low_battery")
DATA_SETS = ("medium", "medium-expert", "medium-replay-expert")
# Beside the offsets below: training seeds count from 0, and worlds are laid with numbers from here.
TEST_WORLDS = 20_000
# So far off that a validation shares no collection, no training seed and no world with what it chooses for.
VALIDATION = 1_000

# The papers' settings but for the widths of the networks, for the time of some hundred trainings.
PAPER: dict[str, Any] = {
    "mix": None,
    "beginnings": 0.0,
    "reward_scale": 1.0,
    "decay": 1.0,
    "settings": {
        "critic_hidden": [128, 128],
        "perturbation_hidden": [128, 128],
        "vae_hidden": [256, 256],
    },
}
AHEAD: dict[str, Any] = {"estimator": "dynamics", "horizon": 10}
#: Condition -> how its training differs from the recommended one without augmentation.
CONDITIONS: dict[str, dict[str, Any]] = {
    "target": {"mix": 1.0},
    "source": {"mix": 0.0},
    "bc": {"algorithm": "bc", "settings": None, "steps": 5_000},  # more of them fit the data's noise
    "union": {},
    "dara": {"penalty": "rows"},
    "constant": {"penalty": "constant"},
    "centred": {"penalty": "centred"},
    "dara_dynamics": {"penalty": "rows", "estimator": "dynamics"},
    "constant_dynamics": {"penalty": "constant", "estimator": "dynamics"},
    "dara_ahead": AHEAD | {"penalty": "rows"},
    "constant_ahead": AHEAD | {"penalty": "constant"},
    "centred_ahead": AHEAD | {"penalty": "centred"},
    "dara_returns": AHEAD | {"penalty": "rows", "scale": "returns"},
    "constant_returns": AHEAD | {"penalty": "constant", "scale": "returns"},
    "centred_returns": AHEAD | {"penalty": "centred", "scale": "returns"},
}
#: The ablation of `mix`: batches as the file sizes are.
CONDITIONS |= {
    f"{name}_proportional": setting | {"mix": None}
    for name, setting in CONDITIONS.items()
    if name.startswith(("union", "dara", "constant", "centred"))
}
CONDITIONS |= {
    "union_paper": PAPER,
    "dara_paper": PAPER | {"penalty": "rows"},
    "constant_paper": PAPER | {"penalty": "constant"},
}
COMPARED = ("target", "source", "bc", "union", "dara", "constant", "dara_dynamics", "constant_dynamics")
#: The ablation of `beginnings`.
CONDITIONS |= {f"{name}_evenly": CONDITIONS[name] | {"beginnings": 0.0} for name in COMPARED}
#: Condition -> the one that takes the same from every row, and so knows nothing of a row.
CONTROLS = {
    name: name.replace(kind, "constant")
    for name in CONDITIONS
    for kind in ("dara", "centred")
    if name.startswith(kind)
}
#: Condition -> the same without augmentation: of its kind, the last word, where that has one of its own.
_OF_ITS_KIND = {name: f"union_{name.rpartition('_')[2]}" for name in CONDITIONS}
PLAIN = {name: plain if plain in CONDITIONS else "union" for name, plain in _OF_ITS_KIND.items()}
DOSES = {"classifiers": DEFAULT_ETA, "dynamics": 1.0}  # eta by estimator: the paper's, and theory's
DOSE_AHEAD = 10.0  # of outcomes several steps on: chosen on the validation


def default_eta(condition: str) -> float:
    """Its dose, 0 where nothing is taken from the rewards."""
    setting = CONDITIONS[condition]
    if "penalty" not in setting:
        return 0.0
    if "scale" in setting:
        return 1.0
    return DOSE_AHEAD if "horizon" in setting else DOSES[setting.get("estimator", "classifiers")]


@dataclass(frozen=True)
class Cell:
    """What the conditions of one comparison share: both data sets, the classifiers and the training seed."""

    data_set: str
    world: str
    collection_seed: int
    seed: int


@dataclass(frozen=True)
class Study:
    """One study. Sizes are those of every trial."""

    worlds: tuple[str, ...]
    data_sets: tuple[str, ...]
    conditions: tuple[str, ...]
    etas: tuple[float, ...]  # none: those of the conditions
    seeds: int
    collection_seeds: int
    validation: bool  # on collections, seeds and worlds of its own
    source_rows: int
    target_rows: int
    steps: int  # gradient steps
    episodes: int  # of the last policy

    def __post_init__(self) -> None:
        for name, known in (("data_sets", DATA_SETS), ("conditions", CONDITIONS)):
            for value in getattr(self, name):
                if value not in known:
                    kind = name.removesuffix("s").replace("_", " ")
                    raise UserError(f"no {kind} '{value}'; there are: {', '.join(known)}")
        for eta in self.etas:
            check_eta(eta)
        for name in ("seeds", "collection_seeds", "source_rows", "target_rows", "steps", "episodes"):
            if getattr(self, name) < 1:
                raise UserError(f"{name.replace('_', ' ')}: give at least 1, not {getattr(self, name)}")

    @property
    def first(self) -> int:
        """Where the seeds begin."""
        return VALIDATION if self.validation else 0

    def cells(self) -> list[Cell]:
        """Every cell: training seeds take the collections in turns.

        One seed of all worlds and data sets comes first, so that a part of a study tells of all.
        """
        return [
            Cell(data_set, world, self.first + seed % self.collection_seeds, self.first + seed)
            for seed, world, data_set in product(range(self.seeds), self.worlds, self.data_sets)
        ]

    def trials(self) -> Iterator[Row]:
        """All of them."""
        for cell in self.cells():
            yield from self.trials_of(cell)

    def trials_of(self, cell: Cell) -> list[Row]:
        """The rows that the cell's trials will fill in."""
        return [
            Row(
                cell.data_set, cell.world, condition, cell.seed, cell.collection_seed,
                eta, self.steps, self.episodes, self.source_rows, self.target_rows,
            )
            for condition in self.conditions
            for eta in (self.etas if self.etas and default_eta(condition) else [default_eta(condition)])
        ]  # fmt: skip


def behaviours(data_set: str) -> tuple[str, ...]:
    """Who takes turns, in D4RL's sense of the words.

    Raises:
        UserError: no snapshots of the medium policy's training are shipped.
    """
    if data_set != "medium-replay-expert":
        return tuple(data_set.split("-"))
    replay = [name for name in shipped_behaviours(ROBOT) if name.startswith("replay_")]
    if not replay:
        raise UserError("no snapshots replay_* are shipped; see sim/behaviours/README.md")
    return tuple(name for snapshot in replay for name in (snapshot, "expert"))


# -- results ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One trial; the figures below `version` are of the last policy, through ONNX, deterministic.

    Attributes:
        distance_m: mean over the episodes.
        falls: episodes that fell.
        mean_return: mean over the episodes, of the task's own reward.
    """

    data_set: str
    world: str
    condition: str
    seed: int
    collection_seed: int
    eta: float
    steps: int
    episodes: int
    source_rows: int
    target_rows: int
    version: str = ""
    distance_m: float = 0.0
    falls: int = 0
    mean_return: float = 0.0

    def __str__(self) -> str:
        return f"{self.world} {self.data_set} {self.condition}, eta {self.eta:g}, seed {self.seed}"

    @property
    def trial(self) -> Row:
        """What was tried, without what came of it: equal for two rows of the same trial."""
        return replace(self, version="", distance_m=0.0, falls=0, mean_return=0.0)


def missing(study: Study, rows: Iterable[Row]) -> Iterator[tuple[Cell, list[Row]]]:
    """Cells with the trials that no row tells of."""
    done = {row.trial for row in rows}
    for cell in study.cells():
        if trials := [trial for trial in study.trials_of(cell) if trial not in done]:
            yield cell, trials
