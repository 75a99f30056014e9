"""The settings of one training run, and the YAML file that holds them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import yaml

from ..errors import UserError
from ..plain_yaml import parse_yaml, read_yaml
from .algorithms import algorithms
from .classifiers import ClassifierConfig
from .dara import DEFAULT_CLIP, DEFAULT_ETA, ESTIMATORS, PENALTIES, SCALES, check_eta
from .dynamics_gap import GapConfig
from .recommended import DEFAULT_ALGORITHM, with_recommended


@dataclass(frozen=True)
class TrainConfig:
    """One training run; the defaults are the papers', and `with_recommended` has ours."""

    source: str | tuple[str, ...]  # files and folders of the source domain (the simulator)
    target: str | tuple[str, ...]  # files and folders of the target domain (the robot)
    out: str  # directory for all that the run writes
    algorithm: str = DEFAULT_ALGORITHM  # one of algorithms.algorithms()
    eta: float = DEFAULT_ETA  # weight of delta_r in the source's rewards; 0: no augmentation, no classifiers
    mix: float | None = None  # fraction of target rows in a batch; None: proportional to the file sizes
    beginnings: float = 0.0  # fraction of the rows of a batch that are among the first of their episodes
    estimator: str = "classifiers"  # of delta_r: the paper's classifiers, or dynamics: see dynamics_gap
    horizon: int = 1  # steps until the outcome that delta_r compares; 1: the paper's, more: see steps_ahead
    clip: float = DEFAULT_CLIP  # |delta_r| is at most this
    penalty: str = (
        "rows"  # rows: each row's own delta_r; constant: their mean, a control; centred: without it
    )
    scale: str = (
        "none"  # of delta_r: as it is, or returns: 1 is what the target's returns say, see return_scale
    )
    reward_scale: float = 1.0  # of all rewards as the learner sees them, after they are augmented
    decay: float = 1.0  # share of the learning rates that is left in the last quarter of each stage
    steps: int = 100_000  # gradient steps, beside those of a warm-up that the algorithm may have
    tune: int = (
        0  # first so many more steps on source rows alone, then `steps` on target rows alone; 0: union
    )
    seed: int = 0
    threads: int = 1  # of torch; one each for runs side by side is faster than many for one
    device: str = "cpu"  # of torch, where the algorithm trains: cpu, or cuda
    log_interval: int = 100  # steps between two points of the learning curves
    checkpoint_interval: int = 5_000  # steps between two checkpoints
    resume: bool = False  # go on from out/checkpoint.pt
    classifiers: ClassifierConfig = field(default_factory=ClassifierConfig)
    gap: GapConfig = field(default_factory=GapConfig)
    settings: Any = None  # the algorithm's hyper-parameters, its own dataclass; None: the defaults

    def __post_init__(self) -> None:
        for name in ("source", "target"):
            paths = getattr(self, name)
            several = tuple(map(str, paths)) if isinstance(paths, list | tuple) else str(paths)
            object.__setattr__(self, name, several)
        object.__setattr__(self, "out", str(self.out))
        check_eta(self.eta)
        kind = _settings_of(self.algorithm)
        if self.settings is None:
            object.__setattr__(self, "settings", kind())
        if not isinstance(self.settings, kind):
            raise UserError(
                f"settings are a {type(self.settings).__name__}: {self.algorithm} takes a {kind.__name__}"
            )
        if self.tune < 0:
            raise UserError(f"tune is {self.tune}: give the steps on source rows alone, at least 1, or 0")
        if self.tune and self.mix is not None:
            raise UserError("tune and mix exclude each other: tuning draws no batch from both files")
        if self.device != "cpu" and not (self.device == "cuda" and torch.cuda.is_available()):
            raise UserError(f"device is {self.device!r}: give cpu, or cuda on a machine with a GPU")
        if self.mix is not None and not 0.0 <= self.mix <= 1.0:
            raise UserError(f"mix is {self.mix}: give the fraction of target rows in a batch, from 0 to 1")
        if not 0.0 <= self.beginnings <= 1.0:
            raise UserError(f"beginnings is {self.beginnings}: give a fraction of a batch, from 0 to 1")
        for name, known in (("penalty", PENALTIES), ("estimator", ESTIMATORS), ("scale", SCALES)):
            if getattr(self, name) not in known:
                raise UserError(f"{name} is {getattr(self, name)!r}: give one of {', '.join(known)}")
        if self.scale == "returns" and self.estimator != "dynamics":
            raise UserError("scale returns needs what estimator dynamics knows: give that too, or scale none")
        for name in ("clip", "reward_scale", "decay"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)}: give a positive number")
        for name in ("horizon", "steps", "threads", "log_interval", "checkpoint_interval"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}: give at least 0")

    def to_yaml(self) -> str:
        """All settings; `from_yaml` gives the same configuration back."""
        return yaml.safe_dump(_plain(asdict(self)), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str, name: str = "config.yaml") -> TrainConfig:
        """Settings from YAML; what is missing has its default.

        Raises:
            UserError: not YAML, an unknown or missing setting, or a value that makes no sense.
        """
        return cls.from_mapping(parse_yaml(text, name), name)

    @classmethod
    def from_mapping(cls, values: Any, name: str) -> TrainConfig:
        """Settings as YAML holds them; raises as `from_yaml` does."""
        return _from_mapping(cls, values, name)


NESTED = {"classifiers": ClassifierConfig, "gap": GapConfig}


def _settings_of(algorithm: Any) -> type:
    """The dataclass of an algorithm's hyper-parameters."""
    known = algorithms()
    if algorithm not in known:
        raise UserError(f"algorithm is {algorithm!r}: give one of {', '.join(sorted(known))}")
    return known[algorithm].Config


def _from_mapping(kind: type, values: Any, name: str) -> Any:
    values = _mapping(values, name)
    known = {entry.name: entry for entry in fields(kind)}
    unknown = sorted(set(map(str, values)) - set(known))
    if unknown:
        raise UserError(f"{name} has an unknown setting {unknown[0]!r}: known are {', '.join(known)}")
    arguments = {}
    for key, value in values.items():
        if kind is TrainConfig and key in NESTED:
            value = _from_mapping(NESTED[key], value, f"{name}: {key}")
        elif kind is TrainConfig and key == "settings" and value is not None:
            algorithm = values.get("algorithm", DEFAULT_ALGORITHM)
            value = _from_mapping(_settings_of(algorithm), value, f"{name}: settings")
        elif isinstance(value, list):
            value = tuple(value)
        _check_type(f"{name}: {key}", value, known[key].default)
        arguments[key] = value
    try:
        return kind(**arguments)
    except TypeError as error:
        raise UserError(f"{name}: {error}: mend the setting") from error


def _check_type(name: str, value: Any, default: Any) -> None:
    """See that a value is of its default's type; a setting without a default says itself what it takes."""
    if isinstance(default, tuple):
        if not isinstance(value, tuple) or not value:
            raise UserError(f"{name} must be a list: mend the setting")
        for part in value:
            _check_type(name, part, default[0])
    elif isinstance(default, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not abs(value) <= sys.float_info.max:
            raise UserError(f"{name} must be a finite number, not {value!r}: mend the setting")
    elif isinstance(default, bool | int | str) and type(value) is not type(default):
        raise UserError(f"{name} must be {type(default).__name__}, not {value!r}: mend the setting")
    elif isinstance(default, int) and abs(value) > sys.maxsize:
        raise UserError(f"{name} is too large a number: mend the setting")


def _plain(value: Any) -> Any:
    """Tuples as lists, so that the YAML is plain."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (tuple, list)) else value


#: Some of what every version wrote into a run's config.yaml; hardly any other file says all of it.
OF_EVERY_RUN = {"source", "target", "out", "mix", "clip", "classifiers", "checkpoint_interval", "resume"}

#: Settings that a resumed run may change: they alter how long it goes on, not what it does.
FREE_ON_RESUME = (
    "source",
    "target",
    "out",
    "steps",
    "threads",
    "log_interval",
    "checkpoint_interval",
    "resume",
)


def check_resumable(new: TrainConfig, saved: TrainConfig) -> None:
    """Raise UserError naming the first setting in which `new` would not go on as `saved` began."""
    old, now = asdict(saved), asdict(new)
    for name in old:
        if name not in FREE_ON_RESUME and _plain(old[name]) != _plain(now[name]):
            raise UserError(
                f"cannot resume {new.out}: its {name} was {old[name]} and is now {now[name]}: "
                "give the same, or another --out"
            )


def configure(given: Mapping[str, Any], file: Path | None, paper: bool) -> TrainConfig:
    """The settings that somebody gave, over those of a file; what both leave open is as recommended.

    The config.yaml of a run leaves nothing open: what its version did not know yet has its default.

    Args:
        given: as a YAML file has them.
        paper: what is left open is as in the papers.

    Raises:
        UserError: both a run's file and `paper`; the file is missing; a setting is missing or wrong.
    """
    in_file = _read_mapping(file) if file is not None else {}
    complete = _of_a_run(in_file)
    if complete and paper:
        raise UserError(f"{file} says everything already: give either it or paper")
    values = {**in_file, **given}
    for name in ("source", "target", "out"):
        if name not in values:
            raise UserError(f"--{name} is missing; see `dara train --help`")
    values = values if complete or paper else with_recommended(values)
    return TrainConfig.from_mapping(values, str(file or "settings"))


def is_of_a_run(path: Path) -> bool:
    """Whether a file is the config.yaml that a run wrote, of whichever version."""
    try:
        return _of_a_run(read_yaml(path))
    except (OSError, UserError):
        return False


def _of_a_run(values: Any) -> bool:
    return isinstance(values, dict) and set(values) >= OF_EVERY_RUN


def read_config(path: Path) -> TrainConfig:
    """Read a configuration file.

    Raises:
        UserError: the file is missing or wrong.
    """
    return TrainConfig.from_mapping(_read_mapping(path), str(path))


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): give the config.yaml of a run") from error
    return _mapping(values, str(path))


def _mapping(values: Any, name: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UserError(f"{name} must be a mapping of settings: see a config.yaml that dara train wrote")
    return values
