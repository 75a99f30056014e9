"""What is fuzzed, by name; each is made when it is wanted, since some need packages that take a while."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.fuzz.fuzzing import Target


def data_set(folder: Path) -> Target:
    from tests.fuzz.data_sets import target

    return target(folder)


def policy(folder: Path) -> Target:
    from tests.fuzz.policies import target

    return target(folder)


def policy_metadata(folder: Path) -> Target:
    from tests.fuzz.policies import metadata_target

    return metadata_target()


def checkpoint(folder: Path) -> Target:
    from tests.fuzz.policies import checkpoint_target

    return checkpoint_target(folder)


def yaml(folder: Path) -> Target:
    from tests.fuzz.yaml_files import target

    return target()


def packet(folder: Path) -> Target:
    from tests.fuzz.packets import target

    return target()


def message(folder: Path) -> Target:
    from tests.fuzz.ros_messages import target

    return target()


TARGETS: dict[str, Callable[[Path], Target]] = {
    make.__name__: make for make in (data_set, policy, policy_metadata, checkpoint, yaml, packet, message)
}
