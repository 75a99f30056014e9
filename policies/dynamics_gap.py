"""delta r from the two dynamics themselves, where classifiers saturate.

A state mostly shows whose body it is; then q_sa is certain already and delta r, the difference of two large
logits, is noise. But what delta r stands for is log T_source(s'|s, a) / T_target(s'|s, a). With Gaussian
dynamics of one variance, s' - s ~ N(f(s, a), sigma^2) in the source and N(f(s, a) + g(s, a), sigma^2) in the
target, its mean over the source's s' is, summed over the columns of s,

    delta_r(s, a) = g(s, a)^2 / (2 sigma^2),

the Kullback-Leibler divergence between the two. f is a perceptron, fitted to the source. g is simple enough
for a few thousand rows: a ridge regression of what f leaves of the target's steps on (s, a) and f's last
hidden layer, its penalty chosen by cross-validation over episodes. Where no difference can be predicted, g
and delta r are 0. We take the mean over the columns, not the sum, so that a dose eta means the same for
robots with many sensors and with few, and the clip at 10 is seldom met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .classifiers import MINIMUM_STD, Rows, two_episodes
from .dataset import Batch
from .ridge import RidgeSums
from .settings import Settings

BOUND = 5.0  # normalised inputs and steps are clipped to +-this: a fall shall not bend a regression
FEATURE_BOUND = 6.0
PENALTIES = (1e1, 3e1, 1e2, 3e2, 1e3, 1e4, 1e5)  # of the ridge regression, on standardised features
FOLDS = 2
LEAST_VARIANCE = 0.01  # of a normalised step: columns that follow from (s, a) exactly are not blown up


@dataclass(frozen=True)
class GapConfig(Settings):
    """How the source's dynamics are fitted."""

    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    batch_size: int = 256
    steps: int = 4_000  # gradient steps, the learning rate rising for a tenth of them and falling from there
    learning_rate: float = 1e-3  # greatest, of AdamW
    weight_decay: float = 1e-3  # of AdamW
    input_noise: float = 0.05  # std of Gaussian noise on the normalised inputs, in training only
    holdout: float = 0.1  # fraction of the source's episodes that tell the variance
    holdout_rows: int = 10_000  # at most

    name = "gap"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.holdout < 1.0:
            self.refuse("holdout", "give a fraction between 0 and 1")
        self.check_at_least(1, "steps", "holdout_rows")
        self.check_not_negative("input_noise", "weight_decay")


@dataclass(frozen=True)
class GapFigures:
    """What was found, in units of the source's steps' standard deviations.

    Attributes:
        source_variance: what f leaves of the source's held-out steps, mean over the columns.
        target_variance: what f and g leave of the target's, cross-fitted.
        gap_variance: what f alone leaves of the target's.
        penalty: of the ridge regression.
    """

    source_variance: float
    target_variance: float
    gap_variance: float
    penalty: float


class DynamicsGap:
    """f and g; `train_gap` makes one."""

    def __init__(self, moments: dict[str, Tensor], network: nn.Sequential) -> None:
        self.moments, self.network = moments, network
        self.gain = torch.zeros(0)  # of g: (features + 1, S), float64
        self.variance = torch.zeros(0)  # 2 sigma^2, (S,)
        self.figures = GapFigures(0.0, 0.0, 0.0, 0.0)

    def inputs(self, batch: Batch) -> Tensor:
        """Normalised [s, a], (B, S + A)."""
        pairs = torch.from_numpy(np.concatenate((batch.observations, batch.actions), 1))
        return ((pairs - self.moments["x"]) / self.moments["x_std"]).clamp(-BOUND, BOUND)

    def steps(self, batch: Batch) -> Tensor:
        """Normalised s' - s, (B, S)."""
        step = torch.from_numpy(batch.next_observations - batch.observations)
        return ((step - self.moments["y"]) / self.moments["y_std"]).clamp(-BOUND, BOUND)

    @torch.no_grad()
    def features(self, inputs: Tensor) -> Tensor:
        """[inputs, last hidden layer of f], (B, F)."""
        return torch.cat((inputs, self.network[:-1](inputs)), 1)

    @torch.no_grad()
    def residuals(self, batch: Batch) -> Tensor:
        """What f leaves of the steps, (B, S)."""
        return self.steps(batch) - self.network(self.inputs(batch))

    def standardised(self, batch: Batch) -> Tensor:
        """Features as the ridge regression sees them, a constant at their end; float64 (B, F + 1)."""
        z = (self.features(self.inputs(batch)).double() - self.moments["z"]) / self.moments["z_std"]
        return torch.cat((z.clamp(-FEATURE_BOUND, FEATURE_BOUND), torch.ones(len(z), 1).double()), 1)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {
            "moments": self.moments,
            "network": [(layer.weight.detach(), layer.bias.detach()) for layer in _linears(self.network)],
            "gain": self.gain,
            "variance": self.variance,
            "figures": asdict(self.figures),
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> DynamicsGap:
        """What `state_dict` described."""
        hidden = [len(bias) for _, bias in state["network"][:-1]]
        new = cls(state["moments"], _perceptron(state["moments"], hidden))
        with torch.no_grad():
            for layer, (weight, bias) in zip(_linears(new.network), state["network"], strict=True):
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)
        new.gain, new.variance = state["gain"], state["variance"]
        new.figures = GapFigures(**state["figures"])
        return new

    def raw_delta_r(self, batch: Batch) -> np.ndarray:
        """delta_r (B,), float32, of rows of either domain: it looks at s and a alone."""
        g = (self.standardised(batch) @ self.gain).float()
        return (g.square() / self.variance).mean(1).numpy()


def train_gap(
    source: Rows,
    target: Rows,
    config: GapConfig,
    seed: int,
    progress: Callable[[int, int, dict[str, float]], None] = lambda done, total, figures: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> DynamicsGap | None:
    """Fit f to the source and g to what it leaves of the target.

    Args:
        source, target: the data sets; read in batches.
        seed: of the weights, the batches, the held-out episodes and the folds.
        progress: called with (steps done, steps at most, figures).
        should_stop: asked before every step.

    Returns:
        The fit, or None where `should_stop` said so.

    Raises:
        UserError: a data set holds fewer than two episodes.
    """
    rng = np.random.default_rng(seed)
    of_source, of_target = (_episodes(data, name) for data, name in ((source, "source"), (target, "target")))
    held = rng.permutation(len(of_source))[: max(1, round(config.holdout * len(of_source)))]
    train = np.concatenate([rows for i, rows in enumerate(of_source) if i not in set(held)])
    holdout = np.concatenate([of_source[i] for i in held])
    holdout = np.sort(rng.permutation(holdout)[: config.holdout_rows])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        moments = _moments_of_source(source)
        gap = DynamicsGap(moments, _perceptron(moments, config.hidden))
        optimiser = torch.optim.AdamW(
            gap.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, config.steps, pct_start=0.1
        )
        for step in range(config.steps):
            if should_stop():
                return None
            batch = source.rows(rng.choice(train, config.batch_size))
            inputs = gap.inputs(batch)
            predicted = gap.network(inputs + config.input_noise * torch.randn_like(inputs))
            loss = (predicted - gap.steps(batch)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if (step + 1) % 100 == 0:
                progress(step + 1, config.steps, {"loss": loss.item()})
    source_variance = gap.residuals(source.rows(holdout)).square().mean(0)
    _fit_ridge(gap, target, of_target, source_variance, rng)
    return gap


def _episodes(data: Rows, name: str) -> list[np.ndarray]:
    return [np.arange(start, end) for start, end in zip(*two_episodes(data, name), strict=True)]


def _moments_of_source(source: Rows) -> dict[str, Tensor]:
    """Means and stds of the columns of [s, a] and of s' - s."""
    pairs = _moments(np.concatenate((b.observations, b.actions), 1) for b in source.blocks())
    steps = _moments(b.next_observations - b.observations for b in source.blocks())
    return {
        "x": pairs[0].float(),
        "x_std": pairs[1].float() + MINIMUM_STD,
        "y": steps[0].float(),
        "y_std": steps[1].float() + MINIMUM_STD,
    }


def _perceptron(moments: dict[str, Tensor], hidden: Sequence[int]) -> nn.Sequential:
    sizes = (len(moments["x"]), *hidden)
    layers = [m for i, o in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], len(moments["y"])))


def _linears(network: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in network if isinstance(layer, nn.Linear)]


def _moments(blocks: Iterable[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Mean and std of the columns of blocks (B, D), float64 (D,) each, in one pass."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for block in blocks:
        wide = np.asarray(block, np.float64)
        count, total, squares = count + len(wide), total + wide.sum(0), squares + np.square(wide).sum(0)
    mean = total / count
    return torch.from_numpy(mean), torch.from_numpy(np.sqrt(np.maximum(squares / count - mean**2, 0.0)))


def _fit_ridge(
    gap: DynamicsGap,
    target: Rows,
    episodes: list[np.ndarray],
    source_variance: Tensor,
    rng: np.random.Generator,
) -> None:
    """g by ridge regression, from sums over each fold's rows: memory is that of a block."""
    fold_of_row = np.concatenate(
        [
            np.full(len(rows), fold)
            for rows, fold in zip(episodes, rng.permutation(len(episodes)) % FOLDS, strict=True)
        ]
    )
    mean, std = _moments(gap.features(gap.inputs(block)).numpy() for block in target.blocks())
    gap.moments |= {"z": mean, "z_std": std + 1e-6}
    sums = [RidgeSums() for _ in range(FOLDS)]
    at = 0
    for block in target.blocks():
        z, r = gap.standardised(block), gap.residuals(block).double()
        folds = torch.from_numpy(fold_of_row[at : at + len(z)])
        for fold, of_fold in enumerate(sums):
            of_fold.add(z[folds == fold], r[folds == fold])
        at += len(z)
    everything = sum(sums[1:], sums[0])

    def left(penalty: float) -> Tensor:
        """Squared error of each column over all folds, each predicted by the others."""
        errors = [fold.error(everything.minus(fold).ridge(penalty)) for fold in sums]
        return torch.stack(errors).sum(0) / everything.count

    errors = {penalty: left(penalty) for penalty in PENALTIES}
    penalty = min(errors, key=lambda penalty: float(errors[penalty].sum()))
    gap.gain = everything.ridge(penalty)
    gap.variance = (source_variance + errors[penalty].float()).clamp(min=2.0 * LEAST_VARIANCE)
    gap.figures = GapFigures(
        source_variance=float(source_variance.mean()),
        target_variance=float(errors[penalty].mean()),
        gap_variance=float((everything.rr / everything.count).mean()),
        penalty=penalty,
    )
