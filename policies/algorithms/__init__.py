"""The offline RL algorithms, one file each. To add one, add its file: a `Learner` with a NAME and a Config.

Every module here is looked into; other packages join by appending their folder to `__path__`.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from ..learning import Learner


@cache
def algorithms() -> dict[str, type[Learner]]:
    """The learners by what `--algorithm` calls them."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {kind.NAME: kind for kind in found if issubclass(kind, Learner) and hasattr(kind, "NAME")}
