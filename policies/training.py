"""From two data set files to a policy file: check, classify, augment, learn, export.

`dara train` and the offline node both call `train`. It blocks; a callback says how far it is, another asks it
to stop.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..errors import UserError
from .algorithms import ALGORITHMS
from .classifiers import MINIMUM_STD, DomainClassifiers, train_classifiers
from .dara import DeltaR, delta_r, shaped
from .dataset import DataSet, check_compatible
from .learning import Learner
from .onnx import export_policy
from .run_files import ScalarLog, load_tensors, save_tensors, write_json, write_whole
from .runtime import PolicyMetadata
from .sampling import UnionSampler
from .train_config import TrainConfig, check_resumable

ACTION_TOLERANCE = 1e-5
HISTOGRAM_BINS = 60
EXPORT_OBSERVATIONS = 1_000

#: (stage, done, total, figures): stages are "check", "classifiers", "delta_r", "train", "export".
Progress = Callable[[str, int, int, dict[str, float]], None]


@dataclass
class TrainResult:
    """What a run left.

    Attributes:
        policy: the policy file; None where the run was stopped before it had learnt anything.
        stopped: `should_stop` ended it early; resume with the same settings and resume=True.
        message: one line for the user.
    """

    out: Path
    policy: Path | None
    steps: int
    stopped: bool
    figures: dict[str, Any]
    message: str


@dataclass
class _Run:
    """The state of a run as its stages fill it in."""

    config: TrainConfig
    out: Path
    source: DataSet
    target: DataSet
    progress: Progress
    should_stop: Callable[[], bool]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def data_sets(self) -> dict[str, DataSet]:
        return {"source": self.source, "target": self.target}


def train(
    config: TrainConfig,
    progress: Progress = lambda stage, done, total, figures: None,
    should_stop: Callable[[], bool] = lambda: False,
    classifiers: DomainClassifiers | None = None,
) -> TrainResult:
    """One training run, from files to files.

    Writes into `config.out`: config.yaml, policy.onnx, figures.json, checkpoint.pt, classifiers.pt and
    TensorBoard scalars in tensorboard/. A run is deterministic for its configuration on one machine, and one
    that was stopped and resumed ends with the same bits as one that was not.

    Args:
        config: all settings.
        progress: called often, from this thread.
        should_stop: asked before every step; on True the run checkpoints, exports what it has and returns.
        classifiers: trained earlier on the same files; None: take those in `config.out`, or train them.

    Raises:
        UserError: a file or a setting is wrong; nothing on disk was changed.
    """
    torch.set_num_threads(config.threads)
    out = Path(config.out)
    checkpoint = _open_checkpoint(config, out)
    with DataSet(config.source) as source, DataSet(config.target) as target:
        run = _Run(config, out, source, target, progress, should_stop)
        run.figures |= {"seed": config.seed, "eta": config.eta, "algorithm": config.algorithm}
        run.figures |= {"penalty": config.penalty, "seconds": {}}
        run.figures["versions"] = _versions()
        with _timed(run, "check"):
            _check(run, checkpoint)
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "config.yaml", lambda to: to.write_text(config.to_yaml()))
        delta = None
        if config.eta > 0:
            with _timed(run, "classifiers"):
                classifiers = classifiers or _classifiers(run)
            if classifiers is None:
                return TrainResult(
                    out, None, 0, True, run.figures, "stopped before training began: no policy yet"
                )
            with _timed(run, "delta_r"):
                delta = _delta_r(run, classifiers)
        return _learn(run, delta, checkpoint)


def _open_checkpoint(config: TrainConfig, out: Path) -> dict[str, Any] | None:
    path = out / "checkpoint.pt"
    if config.resume:
        checkpoint = load_tensors(path)
        check_resumable(config, TrainConfig.from_yaml(checkpoint["config"], str(path)))
        return checkpoint
    if path.exists() or (out / "policy.onnx").exists():
        raise UserError(f"{out} already holds a run: give --resume to go on with it, or another --out")
    return None


def _check(run: _Run, checkpoint: dict[str, Any] | None) -> None:
    """Refuse data that cannot be trained on."""
    check_compatible(run.source, run.target)
    hashes = {}
    for done, (name, data) in enumerate(run.data_sets.items()):
        run.progress("check", done, len(run.data_sets), {})
        data.check()
        hashes[name] = data.sha256
        if checkpoint and checkpoint["hashes"][name] != hashes[name]:
            raise UserError(
                f"{data.name} is not the {name} file of the run in {run.out}: give the same, or another --out"
            )
    run.figures["data_sets"] = {
        name: {"path": data.name, "rows": len(data), "sha256": hashes[name], "world": data.info.world}
        for name, data in run.data_sets.items()
    }


def _classifiers(run: _Run) -> DomainClassifiers | None:
    """Those already in the run's directory if they fit, else newly trained ones; None where stopped."""
    path = run.out / "classifiers.pt"
    hashes = {name: data.sha256 for name, data in run.data_sets.items()}
    key = repr((hashes, asdict(run.config.classifiers), run.config.seed))
    if path.exists():
        saved = load_tensors(path)
        if saved["key"] == key:
            return DomainClassifiers.from_state_dict(saved["classifiers"])
    classifiers = train_classifiers(
        run.source,
        run.target,
        run.config.classifiers,
        run.config.seed,
        lambda done, total, figures: run.progress("classifiers", done, total, figures),
        run.should_stop,
    )
    if classifiers is not None:
        save_tensors(path, {"key": key, "classifiers": classifiers.state_dict()})
    return classifiers


def _delta_r(run: _Run, classifiers: DomainClassifiers) -> np.ndarray:
    """What the source rows (N,) lose; figures of delta_r, the target's for comparison, go into the run's."""
    run.figures["classifiers"] = {name: asdict(figures) for name, figures in classifiers.figures.items()}
    run.figures["delta_r"] = {}
    deltas = {}
    for done, (name, data) in enumerate(run.data_sets.items()):
        run.progress("delta_r", done, len(run.data_sets), {})
        deltas[name] = delta_r(classifiers, data, run.config.clip)
        run.figures["delta_r"][name] = _delta_figures(deltas[name], run.config.clip)
    return shaped(deltas["source"].values, run.config.penalty)


def _delta_figures(delta: DeltaR, clip: float) -> dict[str, Any]:
    counts, edges = np.histogram(delta.values, HISTOGRAM_BINS, (-clip, clip))
    return {
        "mean": float(delta.values.mean(dtype=np.float64)),
        "std": float(delta.values.std(dtype=np.float64)),
        "quantiles": {str(q): float(np.quantile(delta.values, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
        "fraction_clipped": delta.fraction_clipped,
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _learn(run: _Run, delta: np.ndarray | None, checkpoint: dict[str, Any] | None) -> TrainResult:
    config = run.config
    sampler = UnionSampler(
        run.source, run.target, delta, config.eta, config.mix, config.hyperparameters.batch_size, config.seed
    )
    run.figures["target_fraction"] = sampler.target_fraction
    mean, std = _observation_statistics(run, sampler.target_fraction)
    learner: Learner = ALGORITHMS[config.algorithm](
        mean, std, run.source.action_size, config.hyperparameters, config.seed
    )
    curve: list[dict[str, float]] = []
    if checkpoint:
        learner.load_state_dict(checkpoint["learner"])
        curve = checkpoint["curve"]
    first = learner.steps
    log = ScalarLog(run.out / "tensorboard", first)
    try:
        with _timed(run, "train"):
            for name, figures in run.figures.get("classifiers", {}).items():
                log.add(first, {key: figures[key] for key in ("auc", "cross_entropy", "ece")}, f"q_{name}")
            stopped = _descend(run, learner, sampler, curve, log)
    finally:
        log.close()
    run.figures |= {"steps": learner.steps, "stopped": stopped, "curve": curve}
    if stopped and learner.steps == 0:
        return TrainResult(
            run.out, None, 0, True, run.figures, "stopped before training began: no policy yet"
        )
    with _timed(run, "export"):
        policy = _export(run, learner, sampler)
    run.figures["updates_per_second"] = (learner.steps - first) / max(1e-9, run.figures["seconds"]["train"])
    write_json(run.out / "figures.json", run.figures)
    message = f"{policy}: {config.algorithm}, eta {config.eta:g}, {learner.steps} steps"
    if stopped:
        message = f"stopped at step {learner.steps} of {config.steps} (--resume goes on); {message}"
    return TrainResult(run.out, policy, learner.steps, stopped, run.figures, message)


def _descend(
    run: _Run, learner: Learner, sampler: UnionSampler, curve: list[dict[str, float]], log: ScalarLog
) -> bool:
    """Gradient steps up to config.steps with curves and checkpoints; True where stopped early."""
    config = run.config
    sums: dict[str, torch.Tensor] = {}
    since_point = 0
    batches = sampler.batches(learner.steps)
    while learner.steps < config.steps:
        if run.should_stop():
            break
        batch = next(batches)
        figures = learner.update(
            learner.batch(
                batch.observations, batch.actions, batch.rewards, batch.next_observations, batch.terminals
            )
        )
        sums = {name: sums[name] + value for name, value in figures.items()} if sums else figures
        since_point += 1
        step = learner.steps
        if step % config.log_interval == 0 or step == config.steps:
            point = {name: float(value) / since_point for name, value in sums.items()}
            sums, since_point = {}, 0
            curve.append({"step": step, **point})
            log.add(step, point, config.algorithm)
            run.progress("train", step, config.steps, point)
            if not all(np.isfinite(list(point.values()))):
                raise UserError(
                    f"training diverged at step {step} (a loss is not finite): lower learning_rate or eta; "
                    f"the last checkpoint in {run.out} is kept"
                )
        if step % config.checkpoint_interval == 0:
            _save_checkpoint(run, learner, curve)
    if learner.steps:
        _save_checkpoint(run, learner, curve)
    return learner.steps < config.steps


def _save_checkpoint(run: _Run, learner: Learner, curve: list[dict[str, float]]) -> None:
    save_tensors(
        run.out / "checkpoint.pt",
        {
            "config": run.config.to_yaml(),
            "hashes": {name: data.sha256 for name, data in run.data_sets.items()},
            "learner": learner.state_dict(),
            "curve": curve,
        },
    )


def _observation_statistics(run: _Run, target_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std (S,) of the observations as the batches mix them.

    Raises:
        UserError: actions outside [-1, 1].
    """
    total, squares = np.zeros(run.source.observation_size), np.zeros(run.source.observation_size)
    for weight, data in ((1.0 - target_fraction, run.source), (target_fraction, run.target)):
        statistics = data.statistics()
        largest = max(-statistics["actions"].minimum.min(), statistics["actions"].maximum.max())
        if largest > 1.0 + ACTION_TOLERANCE:
            raise UserError(
                f"{data.name}: actions reach {largest:.3g} and must be in [-1, 1]: "
                "record them in units of the action scale"
            )
        observations = statistics["observations"]
        total = total + weight * observations.mean
        squares = squares + weight * (np.square(observations.std) + np.square(observations.mean))
    std = np.sqrt(np.maximum(squares - np.square(total), 0.0))
    return total, np.maximum(std, MINIMUM_STD)


def _export(run: _Run, learner: Learner, sampler: UnionSampler) -> Path:
    run.progress("export", 0, 1, {})
    info = run.target.info
    metadata = PolicyMetadata.from_task(
        info.task,
        robot=info.robot,
        control_period=info.control_period,
        spec_hash=info.spec_hash,
        task_hash=info.task_hash,
        algorithm=run.config.algorithm,
        eta=run.config.eta,
        data_set_hashes={name: data.sha256 for name, data in run.data_sets.items()},
    )
    rows = sampler.batches()
    blocks = -(-EXPORT_OBSERVATIONS // sampler.batch_size)
    observations = np.concatenate([next(rows).observations for _ in range(blocks)])[:EXPORT_OBSERVATIONS]
    path = run.out / "policy.onnx"
    report = export_policy(learner.policy(), observations, metadata, path)
    run.figures["export"] = asdict(report)
    run.progress("export", 1, 1, {})
    return path


@contextmanager
def _timed(run: _Run, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        run.figures["seconds"][stage] = time.perf_counter() - start


def _versions() -> dict[str, str]:
    return {
        "dara_ros": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
