"""What the algorithms share: batches as tensors, runs that train together, checkpoints, optimiser steps.

A loss is a pure function of weights, batch and noise, written for one run. R runs (seeds, data, etas,
learning rates) are one computation: their weights and batches are stacked, and `over_runs` maps the function
over them. Nothing that one run computes depends on another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from .networks import Mlp, Parameters, of_run
from .sampling import UnionBatch, UnionSampler

Figures = dict[str, Tensor]
Answer = TypeVar("Answer")


class TensorBatch(NamedTuple):
    """A batch of B transitions, observations normalised; all float32. Of R runs: (R, ...) each."""

    states: Tensor  # (B, S)
    actions: Tensor  # (B, A), in [-1, 1]
    rewards: Tensor  # (B,)
    next_states: Tensor  # (B, S)
    terminals: Tensor  # (B,), 1.0 where the episode failed; a timeout is 0.0 and bootstraps
    is_target: Tensor  # (B,), 1.0 where the row is of the target domain
    rows: Tensor  # (B,) int64, row numbers in the union


@dataclass(frozen=True)
class Run:
    """What a training run is made from, beside its data.

    Attributes:
        observation_mean, observation_std: (S,) statistics of the data as the batches mix it.
        config: hyper-parameters, of the class that the learner names.
        seed: of the weights, the noise and the exported policy's constants.
        mean_reward: of the rows as the batches mix them; what critics are worth before they learn follows.
    """

    observation_mean: np.ndarray
    observation_std: np.ndarray
    config: Any
    seed: int
    mean_reward: float = 0.0


class Learner(ABC):
    """One algorithm, training one run or several that differ in data, seed and learning rates.

    A subclass draws its networks and optimisers, in attributes of these names; with its random numbers they
    are all that its updates depend on.

    Attributes:
        NAME: what `--algorithm` calls it.
        Config: the dataclass of its hyper-parameters; it has a `batch_size`.
        config: of the runs; where their learning rates differ, the first one's.
        steps: updates done so far.
        warm_up: updates that come before those the user asked for, such as of a model.
        networks: by name, for checkpoints.
        optimisers: in a fixed order.
        tables: of each run, what `look` found.
    """

    NAME: ClassVar[str]
    Config: ClassVar[type]

    networks: dict[str, Parameters]
    optimisers: tuple[torch.optim.Optimizer, ...]
    warm_up: int = 0

    def __init__(self, action_size: int, runs: Sequence[Run], device: str = "cpu") -> None:
        """Draw the networks.

        Args:
            action_size: A; actions are in [-1, 1].
            runs: at least one.
            device: of torch.

        Raises:
            UserError: the runs differ in more than seeds, data and learning rates.
        """
        self.steps = self.phase_began = 0
        self.runs = tuple(runs)
        self.config = runs[0].config
        self.state_size, self.action_size = len(runs[0].observation_mean), action_size
        _check_that_they_fit(self.runs)
        self.device = torch.device(device)
        self.tables: list[dict[str, Tensor]] = [{} for _ in runs]
        self.generators = [torch.Generator(self.device).manual_seed(run.seed) for run in runs]
        statistics = [self.statistics(run) for run in range(len(runs))]
        self.mean = self.stack([mean for mean, _ in statistics])
        self.std = self.stack([std for _, std in statistics])

    @abstractmethod
    def update(self, batch: TensorBatch) -> Figures:
        """One gradient step of every run; figures by name, () or (R,)."""

    @abstractmethod
    def policy(self, run: int = 0) -> nn.Module:
        """A run's observation (B, S) -> action (B, A) in [-1, 1], float32, deterministic, for export."""

    def look(self, unions: Sequence[UnionSampler]) -> None:  # noqa: B027 - most look at nothing
        """Called before every update with each run's data, for what needs more of it than a batch.

        What it finds belongs into `tables`, so that it is there when a run goes on.
        """

    def begin_phase(self) -> None:
        """Begin again on other data with the weights as they are: fresh optimisers, another warm-up."""
        for optimiser in self.optimisers:
            optimiser.state.clear()
        self.phase_began = self.steps

    @property
    def warming_up(self) -> bool:
        """Whether the next update is one of the warm-up."""
        return self.steps - self.phase_began < self.warm_up

    @property
    def stage(self) -> Hashable:
        """What the next update does: while it is the same, so are its branches and the tensors it works on.

        The first update of a stage may do more than the others, once.
        """
        return self.phase_began, self.warming_up

    # -- what subclasses are written with -------------------------------------------------------------------

    def stack(self, of_runs: Sequence[Tensor]) -> Tensor:
        """One tensor of each run as one, on the device: (...) for one run, (R, ...) for several."""
        return (torch.stack(list(of_runs)) if len(self.runs) > 1 else of_runs[0]).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers of this shape for each run."""
        return self.stack([torch.randn(shape, generator=one, device=self.device) for one in self.generators])

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from [0, 1) of this shape for each run."""
        return self.stack([torch.rand(shape, generator=one, device=self.device) for one in self.generators])

    def over_runs(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """`function` of one run's arguments (tensors, or tuples, lists and dicts of them), for every run."""
        if len(self.runs) == 1:
            return function(*arguments)
        return torch.vmap(function)(*arguments)

    def descend(
        self,
        optimiser: torch.optim.Optimizer,
        loss: Callable[..., tuple[Tensor, Figures]],
        *arguments: Any,
    ) -> Figures:
        """A step of `optimiser` down `loss(*arguments)`, on its own weights; no other gradient is computed.

        The runs' losses are summed: no weight is of more than one run, so each gradient is as if alone.
        """
        value, figures = self.over_runs(loss, *arguments)
        leaves = optimiser.param_groups[0]["params"]
        for leaf, gradient in zip(leaves, torch.autograd.grad(value.sum(), leaves), strict=True):
            leaf.grad = gradient
        optimiser.step()
        return figures

    def adam(self, parameters: Iterable[Parameters], rate: str = "learning_rate") -> Adam:
        """Adam as the papers have it, at each run's learning rate of that name."""
        leaves = [leaf for each in parameters for leaf in each.leaves]
        return Adam(leaves, [getattr(run.config, rate) for run in self.runs])

    @torch.no_grad()
    def start_at_the_mean(self, critic: Mlp, discount: float) -> None:
        """Let Q begin at the mean reward for ever, r / (1 - gamma), which it else takes long to climb to."""
        if discount < 1.0:
            bias = critic.layers[-1][1]
            values = self.stack([torch.tensor(run.mean_reward / (1.0 - discount)) for run in self.runs])
            bias += values.view(-1, *[1] * (bias.dim() - 1)) if len(self.runs) > 1 else values

    def set_pace(self, share: float) -> None:
        """Let all optimisers go at this share of their learning rates."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = share * group.setdefault("full_lr", group["lr"])

    def statistics(self, run: int) -> tuple[Tensor, Tensor]:
        """Mean and std (S,) of a run's observations, on the CPU."""
        mean, std = self.runs[run].observation_mean, self.runs[run].observation_std
        return torch.as_tensor(mean, dtype=torch.float32), torch.as_tensor(std, dtype=torch.float32)

    # -- batches and checkpoints ----------------------------------------------------------------------------

    def batch(self, *of_runs: UnionBatch) -> TensorBatch:
        """A batch of each run, stacked, with normalised observations."""

        def column(name: str) -> Tensor:
            return self.stack([torch.from_numpy(getattr(rows, name)) for rows in of_runs])

        return self.normalised(
            TensorBatch(
                column("observations"),
                column("actions"),
                column("rewards"),
                column("next_observations"),
                column("terminals"),
                column("is_target"),
                column("rows"),
            )
        )

    def normalised(self, batch: TensorBatch) -> TensorBatch:
        """A stacked batch as updates take it, from one as it is in the files."""
        mean, std = self.mean.unsqueeze(-2), self.std.unsqueeze(-2)
        return batch._replace(
            states=(batch.states - mean) / std,
            next_states=(batch.next_states - mean) / std,
            terminals=batch.terminals.float(),
            is_target=batch.is_target.float(),
        )

    def state_dict(self, run: int = 0) -> dict[str, Any]:
        """Everything that a run's updates depend on, as tensors and plain values."""
        return {
            "steps": self.steps,
            "phase_began": self.phase_began,
            "networks": {name: network.state(run) for name, network in self.networks.items()},
            "optimisers": [self._moments(optimiser, run) for optimiser in self.optimisers],
            "generator": self.generators[run].get_state(),
            "tables": dict(self.tables[run]),
        }

    def load_state_dict(self, state: dict[str, Any], run: int = 0) -> None:
        """Let a run go on exactly where `state_dict` was taken; the others have to be at the same step.

        Raises:
            UserError: the state is of networks of another size.
        """
        for name, network in self.networks.items():
            try:
                network.load(state["networks"][name], run)
            except ValueError as error:
                raise UserError(
                    f"the checkpoint's {name} network has another size: resume with the same settings"
                ) from error
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            self._load_moments(optimiser, saved, run)
        self.generators[run].set_state(state["generator"])
        self.tables[run] = {name: table.to(self.device) for name, table in state["tables"].items()}
        self.steps, self.phase_began = state["steps"], state["phase_began"]

    def _moments(self, optimiser: torch.optim.Optimizer, run: int) -> dict[int, dict[str, Tensor]]:
        """An optimiser's memory of one run, by the place of the weight; `step` is common to all runs."""
        return {
            place: {
                name: (value if name == "step" else of_run(value, run, len(self.runs))).clone()
                for name, value in moments.items()
            }
            for place, moments in optimiser.state_dict()["state"].items()
        }

    def _load_moments(
        self, optimiser: torch.optim.Optimizer, saved: dict[int, dict[str, Tensor]], run: int
    ) -> None:
        for place, leaf in enumerate(optimiser.param_groups[0]["params"]):
            moments = optimiser.state[leaf] if place in saved else {}
            for name, value in saved.get(place, {}).items():
                if name == "step":
                    moments[name] = value.to(leaf.device, copy=True)
                    continue
                moments.setdefault(name, torch.zeros_like(leaf, requires_grad=False))
                of_run(moments[name], run, len(self.runs)).copy_(value)


class Adam(torch.optim.Adam):
    """Adam in one kernel over the weights of all runs, each at its own learning rate."""

    def __init__(self, leaves: Sequence[Tensor], rates: Sequence[float]) -> None:
        same = len(set(rates)) == 1
        device = leaves[0].device
        capturable = device.type == "cuda"  # its count of steps is on the GPU too
        super().__init__(leaves, lr=rates[0] if same else 1.0, fused=True, capturable=capturable)
        self.rates = None if same else torch.tensor(rates, device=device)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step. Where rates differ it is of rate 1, and each run goes its own share of the way."""
        if self.rates is None:
            super().step()
            return
        leaves = self.param_groups[0]["params"]
        before = [leaf.clone() for leaf in leaves]
        super().step()
        for leaf, old in zip(leaves, before, strict=True):
            leaf.copy_(old.lerp(leaf, self.rates.view(-1, *[1] * (leaf.dim() - 1))))


def _check_that_they_fit(runs: Sequence[Run]) -> None:
    first = runs[0].config
    for run in runs[1:]:
        for setting in fields(first):
            one, other = getattr(first, setting.name), getattr(run.config, setting.name)
            if one != other and not setting.name.endswith("learning_rate"):
                raise UserError(
                    f"runs that train together have one {setting.name}, not {one} and {other}: only data, "
                    "seeds, eta and learning rates may differ"
                )
