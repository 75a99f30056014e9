"""YAML from anywhere: plain values only, within bounds, and every mistake in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .errors import UserError

LARGEST = 2**20  # bytes


class _PlainLoader(yaml.SafeLoader):
    """No objects, as SafeLoader; no aliases either: few lines of them stand for more than memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.YAMLError(f"an alias in line {mark.line + 1}, where the value itself must stand")
        return super().compose_node(parent, index)


def parse_yaml(text: str, name: str) -> Any:
    """The content of YAML; `name` says whose, in errors.

    Raises:
        UserError: it is not YAML, too long, or holds more than plain values.
    """
    if len(text) > LARGEST:
        raise UserError(f"{name}: longer than {LARGEST} characters; give a configuration file")
    try:
        return yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date may be wrong, a number too long
        raise UserError(f"{name}: not YAML ({error}); mend its syntax") from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        OSError: it cannot be read.
        UserError: as `parse_yaml`, or it is no text.
    """
    with open(path, "rb") as file:
        content = file.read(LARGEST + 1)
    try:
        return parse_yaml(content.decode(), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error.reason}); give YAML in UTF-8") from error
