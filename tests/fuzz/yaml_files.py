"""Spoilt YAML: robots, worlds, training configurations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dara_ros.hardware.spec import ROBOTS, load_robot
from dara_ros.hardware.task import WalkingTask
from dara_ros.policies.train_config import TrainConfig, read_config
from dara_ros.sim.world import WORLDS, load_world
from tests.fuzz.fuzzing import Target, spoil_bytes

BOMB = "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 8)}]\n"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
ODD = (
    "", "~", "x", "''", "[]", "{}", ".nan", ".inf", "-.inf", "1e999", "-1", "0", "1e-320", "9" * 5000, "0x",
    "0b2", "2001-99-99", "!!binary x", "!!python/object/apply:os.system ['false']", "!!set {a, b}", "*nobody",
    "<<: 1", "[" * 3000, "{a: " * 3000, "'" + "x" * 100_000 + "'", "&a [*a]", "? [a] : b", "yes", "1:30",
    "\x00", "\ud800", "[1, 2, 3]", "{0: 1}",
)  # fmt: skip


def target() -> Target:
    config = TrainConfig("source.h5", "target.h5", "run").to_yaml()
    texts = [(ROBOTS / "a1.yaml").read_text(), (WORLDS / "obstructive.yaml").read_text(), config]
    kinds: list[Callable[[Path], Any]] = [_use_robot, load_world, _use_config]

    def spoil(rng: np.random.Generator) -> bytes:
        kind = int(rng.integers(3))
        first = f"# {kind}\n".encode()
        text = texts[kind]
        match rng.integers(4):
            case 0:
                return first + spoil_bytes(rng, text.encode(), 3)
            case 1:
                return first + BOMB.encode() + (text.encode() if rng.random() < 0.5 else b"")
            case 2:
                lines = text.splitlines()
                place = int(rng.integers(len(lines)))
                head = lines[place].split(":")[0]
                lines[place] = f"{head}: {ODD[rng.integers(len(ODD))]}"
                return first + "\n".join(lines).encode("utf-8", "surrogatepass")
            case _:
                values = yaml.safe_load(text)
                return first + yaml.safe_dump(_odd_inside(rng, values)).encode()

    def use(path: Path) -> None:
        kinds[int(path.read_bytes()[2:3])](path)

    return Target(spoil, use)


def _use_robot(path: Path) -> None:
    spec = load_robot(path)
    task = WalkingTask(spec)
    assert spec.hash and np.isfinite(spec.stand_pose).all() and spec.period_ns > 0 and task.hash()


def _use_config(path: Path) -> None:
    config = read_config(path)
    assert TrainConfig.from_yaml(config.to_yaml()) == config


def _odd_inside(rng: np.random.Generator, value: Any) -> Any:
    """`value` with something odd somewhere inside."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key = list(value)[rng.integers(len(value))]
        return value | {key: _odd_inside(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.95:
        place = int(rng.integers(len(value)))
        return [_odd_inside(rng, v) if n == place else v for n, v in enumerate(value)]
    odd = (
        None,
        True,
        -1,
        0,
        1e-12,
        1e-9,
        1e12,
        1e308,
        10**400,
        float("nan"),
        "",
        "x",
        [],
        {},
        [1.0, 2.0],
        [2.0, 1.0],
    )
    return odd[rng.integers(len(odd))]
