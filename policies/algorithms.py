"""The offline RL algorithms. To add one: write its file, and name it here and in `TrainConfig`."""

from __future__ import annotations

from collections.abc import Callable

from .bc import BC
from .bcq import BCQ
from .learning import Learner

ALGORITHMS: dict[str, Callable[..., Learner]] = {"bcq": BCQ, "bc": BC}
