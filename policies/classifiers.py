"""The two domain classifiers of DARA: does a transition come from the source or from the target?

q_sa sees (s, a), q_sas sees (s, a, s' - s). As in DARC (Eysenbach et al., "Off-Dynamics Reinforcement
Learning: Training for Transfer with Domain Classifiers", ICLR 2021, arXiv 2006.13916) q_sas builds on q_sa:

    log q_sa(source | .) / q_sa(target | .)   = f_sa(s, a)
    log q_sas(source | .) / q_sas(target | .) = f_sa(s, a) + f_sas(s, a, s' - s)

so that f_sas is DARA's delta r (see `dara`). q_sa is finished first, and f_sas then learns, from 0, what the
next state tells beyond it. Two networks that learn apart would bring an error each, and where the domains are
told apart easily delta r is a small difference of large logits. Batches are balanced, so that neither holds a
class prior.

Whole episodes are held out: rows of one episode resemble each other, and a row-wise hold-out would call
memory knowledge. On the held-out rows training stops early and both f get a temperature (Guo et al. 2017, "On
Calibration of Modern Neural Networks"), since delta r needs probabilities and not only the order of the rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UserError
from .calibration import Reliability, area_under_curve, cross_entropy, fit_temperature, reliability
from .dataset import Batch
from .settings import Settings

MINIMUM_STD = 1e-3  # a column that (nearly) never moves is not blown up


class Rows(Protocol):
    """What is needed of a data set; `DataSet` has it."""

    def __len__(self) -> int: ...

    def rows(self, indices: np.ndarray) -> Batch: ...

    def blocks(self, size: int = 65536) -> Any: ...

    def episodes(self) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class ClassifierConfig(Settings):
    """How the classifiers are trained."""

    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    batch_size: int = 256  # rows of each domain in every batch
    max_steps: int = 6000  # gradient steps of each, if early stopping does not come first
    learning_rate: float = 1e-3  # of AdamW
    weight_decay: float = 0.01  # of AdamW
    input_noise: float = 0.3  # std of Gaussian noise on the normalised inputs, in training only
    holdout: float = 0.2  # fraction of each domain's episodes that is never trained on
    holdout_rows: int = 10_000  # at most so many held-out rows of each domain are evaluated
    evaluate_every: int = 50  # steps between two looks at the held-out rows
    patience: int = 8  # looks without a better cross-entropy before training stops

    name = "classifiers"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.holdout < 1.0:
            self.refuse("holdout", "give a fraction between 0 and 1")
        self.check_at_least(1, "max_steps", "holdout_rows", "evaluate_every", "patience")
        self.check_not_negative("input_noise", "weight_decay")


@dataclass(frozen=True)
class ClassifierFigures:
    """How good one classifier is on held-out episodes, both domains weighted alike; entropies in nats."""

    auc: float  # 0.5: the domains cannot be told apart
    cross_entropy: float  # after calibration; log 2 = 0.693 is ignorance
    cross_entropy_raw: float  # before it
    ece: float  # expected calibration error after calibration
    ece_raw: float
    temperature: float  # calibrated f = f / temperature
    steps: int  # gradient steps of the weights that were kept
    curve: list[tuple[int, float, float]]  # (step, training, held-out cross-entropy)
    reliability: Reliability


class DomainClassifiers:
    """q_sas and q_sa, calibrated, with their input normalisation.

    Attributes:
        figures: {"sas": ClassifierFigures, "sa": ClassifierFigures}.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray, pair_size: int, hidden: tuple[int, ...]) -> None:
        """Fresh networks, weights from torch's global generator.

        Args:
            mean, std: statistics of the columns of [s, a, s' - s].
            pair_size: S + A, the columns that q_sa sees.
            hidden: widths of the hidden layers.
        """
        self.hidden = hidden
        self.pair_size = pair_size
        self.mean, self.std = torch.as_tensor(mean).float(), torch.as_tensor(std).float()
        self.networks = {"sa": _network(pair_size, hidden), "sas": _network(len(mean), hidden)}
        for parameter in self.networks["sas"][-1].parameters():
            nn.init.zeros_(parameter)
        self.temperatures = {"sa": 1.0, "sas": 1.0}
        self.figures: dict[str, ClassifierFigures] = {}

    def normalised(self, batch: Batch) -> Tensor:
        """Rows of a data set -> (B, 2 S + A) inputs."""
        return (torch.from_numpy(features(batch)) - self.mean) / self.std

    def f(self, name: str, inputs: Tensor) -> Tensor:
        """f_sa or f_sas (B,) of normalised inputs (B, 2 S + A), calibrated."""
        inputs = inputs if name == "sas" else inputs[:, : self.pair_size]
        return self.networks[name](inputs).squeeze(1) / self.temperatures[name]

    @torch.no_grad()
    def logits(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated (logit_sas, logit_sa), float32 (B,) each."""
        inputs = self.normalised(batch)
        sa = self.f("sa", inputs)
        return (sa + self.f("sas", inputs)).numpy(), sa.numpy()

    @torch.no_grad()
    def raw_delta_r(self, batch: Batch) -> np.ndarray:
        """logit_sas - logit_sa = f_sas (B,): delta_r before it is clipped."""
        return self.f("sas", self.normalised(batch)).numpy()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {
            "hidden": list(self.hidden),
            "pair_size": self.pair_size,
            "mean": self.mean,
            "std": self.std,
            "networks": {name: net.state_dict() for name, net in self.networks.items()},
            "temperatures": dict(self.temperatures),
            "figures": {name: asdict(figures) for name, figures in self.figures.items()},
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> DomainClassifiers:
        """The classifiers that `state_dict` described."""
        new = cls(state["mean"].numpy(), state["std"].numpy(), state["pair_size"], tuple(state["hidden"]))
        for name, net in new.networks.items():
            net.load_state_dict(state["networks"][name])
        new.temperatures = dict(state["temperatures"])
        for name, figures in state["figures"].items():
            curve = Reliability(**figures["reliability"])
            new.figures[name] = ClassifierFigures(**{**figures, "reliability": curve})
        return new


def train_classifiers(
    source: Rows,
    target: Rows,
    config: ClassifierConfig,
    seed: int,
    progress: Callable[[int, int, dict[str, float]], None] = lambda done, total, figures: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> DomainClassifiers | None:
    """Train, stop early and calibrate both classifiers.

    Args:
        source, target: the data sets; read in batches.
        seed: of the weights, the batches, the noise and the choice of held-out episodes.
        progress: called with (steps done, steps at most, figures).
        should_stop: asked before every step.

    Returns:
        The classifiers, or None where `should_stop` said so.

    Raises:
        UserError: a data set holds fewer than two episodes, so that none can be held out.
    """
    rng = np.random.default_rng(seed)
    domains = [_split(data, name, config, rng) for data, name in ((source, "source"), (target, "target"))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, std = balanced_moments(source, target)
        first = source.rows(np.array([0]))
        pair_size = first.observations.shape[1] + first.actions.shape[1]
        classifiers = DomainClassifiers(mean, std, pair_size, config.hidden)
        held_out = [classifiers.normalised(domain.data.rows(domain.holdout)) for domain in domains]
        for before, name in enumerate(classifiers.networks):

            def report(step: int, best: float, name: str = name, before: int = before) -> None:
                progress(before * config.max_steps + step, 2 * config.max_steps, {name: best})

            looked_at = [(rows, _known(classifiers, name, rows)) for rows in held_out]
            fit = _train(classifiers, name, domains, looked_at, config, rng, report, should_stop)
            if fit is None:
                return None
            _calibrate(classifiers, name, looked_at, fit)
    return classifiers


def _train(
    classifiers: DomainClassifiers,
    name: str,
    domains: list[_Domain],
    held_out: list[tuple[Tensor, Tensor]],
    config: ClassifierConfig,
    rng: np.random.Generator,
    report: Callable[[int, float], None],
    should_stop: Callable[[], bool],
) -> _Fit | None:
    """Leave the weights in `name` that were best on the held-out rows; None where `should_stop` said so."""
    fit = _Fit(classifiers.networks[name], config, cross_entropy(*_held_out(classifiers, name, held_out)))
    labels = torch.cat((torch.ones(config.batch_size), torch.zeros(config.batch_size)))
    for step in range(1, config.max_steps + 1):
        if should_stop():
            return None
        batches = [domain.data.rows(rng.choice(domain.train, config.batch_size)) for domain in domains]
        inputs = torch.cat([classifiers.normalised(batch) for batch in batches])
        noisy = inputs + config.input_noise * torch.randn_like(inputs)
        # What q_sa knows without noise: else s' would tell f_sas of s what the noise hid.
        known = _known(classifiers, name, inputs)
        fit.descend(functional.binary_cross_entropy_with_logits(known + classifiers.f(name, noisy), labels))
        if step % config.evaluate_every == 0 or step == config.max_steps:
            fit.look(step, cross_entropy(*_held_out(classifiers, name, held_out)))
            report(step, fit.best)
            if fit.looks_since_best >= config.patience:
                break
    classifiers.networks[name].load_state_dict(fit.weights)
    return fit


@torch.no_grad()
def _known(classifiers: DomainClassifiers, name: str, inputs: Tensor) -> Tensor:
    """The logit (B,) that `name` builds on."""
    return classifiers.f("sa", inputs) if name == "sas" else torch.zeros(len(inputs))


@torch.no_grad()
def _held_out(
    classifiers: DomainClassifiers, name: str, held_out: list[tuple[Tensor, Tensor]]
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the held-out rows of source and target; they come as (inputs, what `name` builds on)."""
    of_source, of_target = ((known + classifiers.f(name, rows)).numpy() for rows, known in held_out)
    return of_source, of_target


@torch.no_grad()
def _calibrate(
    classifiers: DomainClassifiers, name: str, held_out: list[tuple[Tensor, Tensor]], fit: _Fit
) -> None:
    """Fit the temperature, and note how good the classifier is."""
    raw = _held_out(classifiers, name, held_out)
    known = [logits.numpy() for _, logits in held_out]
    of_source, of_target = (logits - base for logits, base in zip(raw, known, strict=True))
    classifiers.temperatures[name] = fit_temperature(of_source, of_target, *known)
    calibrated = _held_out(classifiers, name, held_out)
    curve = reliability(*calibrated)
    classifiers.figures[name] = ClassifierFigures(
        auc=area_under_curve(*calibrated),
        cross_entropy=cross_entropy(*calibrated),
        cross_entropy_raw=cross_entropy(*raw),
        ece=curve.expected_error,
        ece_raw=reliability(*raw).expected_error,
        temperature=classifiers.temperatures[name],
        steps=fit.best_step,
        curve=fit.curve,
        reliability=curve,
    )


def features(batch: Batch) -> np.ndarray:
    """[s, a, s' - s], float32 (B, 2 S + A): the step is seen better than a second, nearly equal state."""
    step = batch.next_observations - batch.observations
    return np.concatenate((batch.observations, batch.actions, step), axis=1)


def balanced_moments(source: Rows, target: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of the columns of `features`, as if both domains had the same number of rows.

    One pass over each data set in bounded memory; float64 (2 S + A,) each.
    """
    moments = []
    for data in (source, target):
        total, squares = np.zeros(1), np.zeros(1)  # one number, until the first block gives the width
        for batch in data.blocks():
            columns = features(batch).astype(np.float64)
            total, squares = total + columns.sum(0), squares + np.square(columns).sum(0)
        moments.append((total / len(data), squares / len(data)))
    mean = 0.5 * (moments[0][0] + moments[1][0])
    variance = 0.5 * (moments[0][1] + moments[1][1]) - np.square(mean)
    return mean, np.maximum(np.sqrt(np.maximum(variance, 0.0)), MINIMUM_STD)


def two_episodes(data: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """`data.episodes()`, of which some can be held out.

    Raises:
        UserError: there are fewer than two.
    """
    starts, ends = data.episodes()
    if len(starts) < 2:
        raise UserError(
            f"the {name} data set holds {len(starts)} episode(s) and delta r needs two: "
            "log more episodes, or train with eta 0"
        )
    return starts, ends


class _Domain(NamedTuple):
    data: Rows
    train: np.ndarray  # row indices
    holdout: np.ndarray  # row indices


def _split(data: Rows, name: str, config: ClassifierConfig, rng: np.random.Generator) -> _Domain:
    """Hold out whole episodes, about `config.holdout` of them and at least one."""
    starts, ends = two_episodes(data, name)
    order = rng.permutation(len(starts))
    count = min(max(1, round(config.holdout * len(order))), len(order) - 1)
    held, kept = np.sort(order[:count]), np.sort(order[count:])
    holdout, train = (np.concatenate([np.arange(starts[i], ends[i]) for i in e]) for e in (held, kept))
    if len(holdout) > config.holdout_rows:
        holdout = np.sort(rng.choice(holdout, config.holdout_rows, replace=False))
    return _Domain(data, train, holdout)


class _Fit:
    """One network on its way: optimiser, best weights so far, and when they came."""

    def __init__(self, network: nn.Module, config: ClassifierConfig, held_out: float) -> None:
        self.network = network
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.curve: list[tuple[int, float, float]] = []
        self.best, self.best_step, self.looks_since_best = held_out, 0, 0
        self.weights = copy.deepcopy(network.state_dict())
        self._losses: list[float] = []

    def descend(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self._losses.append(loss.item())

    def look(self, step: int, held_out: float) -> None:
        self.curve.append((step, float(np.mean(self._losses)), held_out))
        self._losses.clear()
        self.looks_since_best += 1
        if held_out < self.best:
            self.best, self.best_step, self.looks_since_best = held_out, step, 0
            self.weights = copy.deepcopy(self.network.state_dict())


def _network(inputs: int, hidden: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))
