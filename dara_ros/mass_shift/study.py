"""What is compared with what: tasks, data sets, algorithms, conditions, seeds. Data only."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from ..errors import UserError
from ..mujoco_data import BEHAVIOURS_OF, QUALITIES, SHIFTS, Recipe
from ..policies.dara import DEFAULT_ETA, check_eta
from .learners import Stage, stage

TASKS = ("hopper", "walker2d")
DATA_SETS = QUALITIES
ALGORITHMS = ("bcq", "cql", "brac-p", "awr", "bear", "mopo", "mabe")  # the cheapest evidence first
NETWORKS = ("small", "paper")
FULL_ROWS = 1_000_000  # of 10T and of 10S, where the size is 1
LEAST_STEPS = 20  # fewer leave nothing beside the warm-ups


@dataclass(frozen=True)
class Condition:
    """What one column of the seeds' tables trains on.

    Attributes:
        rows: `target` alone, both as a `union`, or source first and then target to `tune`.
        target: all of the target's data (10T), or its tenth (1T).
        penalty: what source rows lose of their reward, as in TrainConfig, or `truth`; "": nothing.
        prior_from, model_from: of MABE, the domains that its two parts learn from.
    """

    rows: str = "union"
    target: str = "1T"
    penalty: str = ""
    prior_from: str = "union"
    model_from: str = "union"


CONDITIONS = {
    "10T": Condition(rows="target", target="10T"),
    "1T": Condition(rows="target"),
    "union": Condition(),
    "dara": Condition(penalty="rows"),
    "constant": Condition(penalty="constant"),  # the control: it holds nothing of what is known of a row
    "oracle": Condition(penalty="truth"),  # what DARA could be worth if the classifiers ranked rightly
    "tune": Condition(rows="tune"),
    "prior_from_target": Condition(prior_from="target", model_from="source"),
    "prior_from_source": Condition(prior_from="source", model_from="target"),
}
MABE_MODES = ("prior_from_target", "prior_from_source")


def full_rows(size: float) -> int:
    """Of 10T and of 10S."""
    return max(1, round(size * FULL_ROWS))


def conditions_of(algorithm: str) -> tuple[str, ...]:
    """Those in which the seeds' tables have it, and the control."""
    if algorithm == "mabe":
        return MABE_MODES
    without = (*MABE_MODES, *(("tune",) if algorithm == "awr" else ()))
    return tuple(name for name in CONDITIONS if name not in without)


@dataclass(frozen=True)
class Study:
    """One study. What is said once here is the same in all trials."""

    tasks: tuple[str, ...] = TASKS
    data_sets: tuple[str, ...] = DATA_SETS
    algorithms: tuple[str, ...] = ALGORITHMS
    conditions: tuple[str, ...] = tuple(CONDITIONS)
    seeds: int = 3
    collection_seed: int = 0  # of all data sets
    eta: float = DEFAULT_ETA
    behaviours: str = "own"  # that walk in the source: its own, or the target's
    target: str = "plain"  # whose dynamics are the target's; the source has the others
    mix: float = 0.0  # share of target rows in a batch of both domains' rows; 0: as the files are
    size: float = 1.0  # of all data sets, as a share of the paper's
    networks: str = "small"
    steps: int = 20_000  # gradient steps of every training, warm-ups included
    episodes: int = 10  # of the last policy

    def __post_init__(self) -> None:
        for kind, chosen, known in (
            ("task", self.tasks, TASKS),
            ("data set", self.data_sets, DATA_SETS),
            ("algorithm", self.algorithms, ALGORITHMS),
            ("condition", self.conditions, tuple(CONDITIONS)),
            ("behaviours", (self.behaviours,), BEHAVIOURS_OF),
            ("target", (self.target,), SHIFTS),
            ("networks", (self.networks,), NETWORKS),
        ):
            if wrong := [value for value in chosen if value not in known]:
                raise UserError(f"no {kind} '{wrong[0]}'; there are: {', '.join(known)}")
        tried = {name for algorithm in self.algorithms for name in conditions_of(algorithm)}
        if not tried & set(self.conditions):
            raise UserError(
                f"{', '.join(self.algorithms)}: not tried in {', '.join(self.conditions)}; "
                f"there are: {', '.join(name for name in CONDITIONS if name in tried)}"
            )
        check_eta(self.eta)
        if not 0.0 <= self.mix < 1.0:
            raise UserError(f"mix: give a share of target rows below 1, or 0 for the files', not {self.mix}")
        if not 0.0 < self.size <= 1.0:
            raise UserError(f"size: give a share of the paper's data, above 0 and at most 1, not {self.size}")
        for name, least in (("seeds", 1), ("collection_seed", 0), ("steps", LEAST_STEPS), ("episodes", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name.replace('_', ' ')}: give at least {least}, not {getattr(self, name)}")

    def terms(self) -> str:
        """What must be known to read a table of it."""
        short = f" (SIZE {self.size:g}: the paper has 1,000,000)" if self.size < 1.0 else ""
        walked = ", the target's behaviours in the source" if self.behaviours == "target" else ""
        swapped = ", SWAPPED: light feet in the target, whole ones in the source"
        roles = swapped if self.target == "shifted" else ""
        mixed = f", a share of {self.mix:g} of every batch is the target's" if self.mix else ""
        return (
            f"10T and 10S of {full_rows(self.size):,} rows{short}, networks: {self.networks}, "
            f"{self.steps:,} gradient steps, training seeds: {self.seeds}, "
            f"{self.episodes} episodes of the last policy, eta {self.eta:g}{walked}{roles}{mixed}"
        )

    def trials(self) -> Iterator[Row]:
        """The rows that the trials will fill in.

        One seed of everything comes first, so that a part of a study tells of all.

        Raises:
            UserError: a task has no behaviours for a data set.
        """
        digest = functools.cache(_digest_of_data)  # the same for many trials
        for seed, algorithm, task, data_set, condition in product(
            range(self.seeds), self.algorithms, self.tasks, self.data_sets, self.conditions
        ):
            if condition in conditions_of(algorithm):
                uses_source = CONDITIONS[condition].rows != "target"
                trial = Row(
                    task, data_set, algorithm, condition, seed,
                    eta=self.eta if CONDITIONS[condition].penalty else 0.0,
                    steps=self.steps,
                    size=self.size,
                    networks=self.networks,
                    episodes=self.episodes,
                    collection_seed=self.collection_seed,
                    # Uniform actions are nobody's.
                    behaviours=self.behaviours if uses_source and data_set != "random" else "own",
                    target=self.target,
                    mix=self.mix if CONDITIONS[condition].rows == "union" else 0.0,
                )  # fmt: skip
                yield replace(trial, data=digest(*recipes(trial)), learner=_digest(repr(learner_of(trial))))


# -- results ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One trial; the figures from `version` on are of the last policy, through ONNX, deterministic.

    Attributes:
        size: of the data sets, as a share of the paper's.
        networks: the paper's widths, or small ones.
        collection_seed: of the data sets.
        behaviours: that walk in the source: its own, or the target's.
        target: whose dynamics are the target's; the source has the others.
        mix: share of target rows in a batch; 0: as the files are.
        data: digest of what the data sets depend on: behaviours, dynamics, size, seed.
        learner: digest of the algorithm's hyper-parameters.
        score: D4RL's, 0 for uniform actions and 100 for its expert, in the target's dynamics.
        return_: mean over the episodes.
    """

    task: str
    data_set: str
    algorithm: str
    condition: str
    seed: int
    eta: float
    steps: int
    size: float
    networks: str
    episodes: int
    collection_seed: int
    behaviours: str
    target: str
    mix: float
    data: str = ""
    learner: str = ""
    version: str = ""
    score: float = 0.0
    return_: float = 0.0

    def __str__(self) -> str:
        return f"{self.task} {self.data_set} {self.algorithm} {self.condition}, seed {self.seed}"

    @property
    def trial(self) -> Row:
        """What was tried, without what came of it: equal for two rows of the same trial."""
        return replace(self, version="", score=0.0, return_=0.0)


def missing(study: Study, rows: Iterable[Row]) -> list[Row]:
    """Trials that no row tells of."""
    done = {row.trial for row in rows}
    return [trial for trial in study.trials() if trial not in done]


def recipes(trial: Row) -> tuple[Recipe, Recipe]:
    """How the files of a trial are made: of the source, and of the target."""
    alike = trial.data_set, full_rows(trial.size), trial.collection_seed
    (other,) = set(SHIFTS) - {trial.target}
    source = Recipe(trial.task, other, *alike, trial.behaviours, trial.target)
    return source, Recipe(trial.task, trial.target, *alike, target=trial.target)


def learner_of(trial: Row) -> Stage:
    """How a trial learns; the halves of one that tunes are alike."""
    condition = CONDITIONS[trial.condition]
    # Tuning takes its steps in two halves, each with its own warm-up.
    updates = trial.steps // 2 if condition.rows == "tune" else trial.steps
    modes = {"prior_from": condition.prior_from, "model_from": condition.model_from}
    return stage(trial.algorithm, trial.networks, updates, **(modes if trial.algorithm == "mabe" else {}))


def _digest_of_data(source: Recipe, target: Recipe) -> str:
    """Of all that both domains' files depend on."""
    return _digest(target.provenance() + source.provenance())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
