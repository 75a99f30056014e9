"""From two data set files to a policy file: check, classify, augment, learn, export.

`dara train` and the offline node call `train`; `train_many` does the same for several runs of one algorithm
at once. Both block; a callback says how far they are, another asks them to stop.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..errors import UserError
from .algorithms import algorithms
from .classifiers import MINIMUM_STD, DomainClassifiers, Rows, train_classifiers, two_episodes
from .dara import DeltaR, Estimator, delta_r, shaped
from .dataset import DataSet, check_compatible
from .device_rows import training_batches
from .dynamics_gap import DynamicsGap, train_gap
from .learning import Learner, Run
from .onnx import ExportReport, export_policy
from .replay import fastest_update
from .return_scale import check_returns, fit_return_scale
from .run_files import (
    ScalarLog,
    load_tensors,
    make_folder,
    read_json,
    save_tensors,
    write_json,
    write_text,
    writing,
)
from .runtime import PolicyMetadata
from .sampling import UnionSampler
from .side_by_side import side_by_side
from .steps_ahead import StepsAhead
from .train_config import TrainConfig, check_resumable, is_of_a_run

ACTION_TOLERANCE = 1e-5
HISTOGRAM_BINS = 60
EXPORT_OBSERVATIONS = 1_000

#: (stage, done, total, figures): stages are "check", "classifiers" or "dynamics", "delta_r", "train",
#: "export".
Progress = Callable[[str, int, int, dict[str, float]], None]


@dataclass
class TrainResult:
    """What a run left.

    Attributes:
        policy: the policy file; None where the run was stopped before it had learnt anything, or failed.
        stopped: `should_stop` ended it early; resume with the same settings and resume=True.
        failed: its losses were no numbers any more, or its policy could not be written; `message` says it.
        message: one line for the user.
    """

    out: Path
    policy: Path | None
    steps: int
    stopped: bool
    failed: bool
    figures: dict[str, Any]
    message: str


@dataclass
class _Job:
    """One run, as its stages fill it in."""

    config: TrainConfig
    source: DataSet
    target: DataSet
    checkpoint: dict[str, Any] | None
    delta: np.ndarray | None = None  # what the source rows lose, (N,), eta aside
    curve: list[dict[str, float]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    failure: str = ""

    @property
    def out(self) -> Path:
        return Path(self.config.out)

    @property
    def data_sets(self) -> dict[str, DataSet]:
        return {"source": self.source, "target": self.target}

    def sampler(self, mix: float | None) -> UnionSampler:
        config = self.config
        return UnionSampler(
            self.source,
            self.target,
            self.delta,
            config.eta,
            mix,
            config.settings.batch_size,
            config.seed,
            config.reward_scale,
            config.beginnings,
        )


class _StoppedError(Exception):
    """`should_stop` said so before there was anything to keep."""


def train(
    config: TrainConfig,
    progress: Progress = lambda stage, done, total, figures: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """One training run, from files to files.

    Writes into `config.out`: config.yaml, policy.onnx, figures.json, checkpoint.pt, delta_r.pt and
    TensorBoard scalars in tensorboard/. A run is deterministic for its configuration on one machine, and one
    that was stopped and resumed ends with the same bits as one that was not.

    Args:
        config: all settings.
        progress: called often, from this thread.
        should_stop: asked before every step; on True the run checkpoints, exports what it has and returns.

    Raises:
        UserError: a file or a setting is wrong and nothing on disk was changed; the disk is full; or
            training diverged.
    """
    (result,) = train_many([config], progress, should_stop)
    if result.failed:
        raise UserError(result.message)
    return result


def train_many(
    configs: Sequence[TrainConfig],
    progress: Progress = lambda stage, done, total, figures: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[TrainResult]:
    """As `train`, several runs of one algorithm as one computation; each is as if it were alone.

    They may differ in files, mixture, eta, penalty, seed and learning rates. The same runs together give the
    same bits again. A run that diverges loses no other. Classifiers of equal files, settings and seeds are
    trained once.

    Raises:
        UserError: a file or a setting is wrong, or the runs cannot train together; nothing was written.
    """
    _check_together(configs)
    torch.set_num_threads(configs[0].threads)
    with ExitStack() as opened:
        files: dict[Any, DataSet] = {}

        def data_set(paths: str | tuple[str, ...]) -> DataSet:
            if paths not in files:
                files[paths] = opened.enter_context(DataSet(paths))
            return files[paths]

        jobs = [
            _Job(config, data_set(config.source), data_set(config.target), _open_checkpoint(config))
            for config in configs
        ]
        if len({job.checkpoint["learner"]["steps"] if job.checkpoint else 0 for job in jobs}) > 1:
            raise UserError("the runs stopped at different steps: resume them one by one")
        for job in jobs:
            check_compatible(job.source, job.target)
        with _timed(jobs, "check"):
            for done, data in enumerate(files.values()):
                progress("check", done, len(files), {})
                data.check()
                _check_actions(data)
        for job in jobs:
            _begin(job)
        for job in jobs:
            make_folder(job.out)
        try:
            _augment(jobs, progress, should_stop)
            _learn(jobs, progress, should_stop)
        except _StoppedError:
            message = "stopped before training began: no policy yet"
            return [TrainResult(job.out, None, 0, True, False, job.figures, message) for job in jobs]
        return [_result(job) for job in jobs]


# ---------------------------------------------------------------- before anything is written


def _check_together(configs: Sequence[TrainConfig]) -> None:
    first = configs[0]
    for config in configs[1:]:
        for name in (
            "algorithm",
            "steps",
            "tune",
            "threads",
            "device",
            "log_interval",
            "checkpoint_interval",
        ):
            if getattr(config, name) != getattr(first, name):
                raise UserError(f"runs that train together have one {name}: train these one by one")
    if len({config.out for config in configs}) < len(configs):
        raise UserError("two runs have one and the same out: give each its own")


def _open_checkpoint(config: TrainConfig) -> dict[str, Any] | None:
    out = Path(config.out)
    path = out / "checkpoint.pt"
    if config.resume:
        if not path.exists():
            place = " with another --out" if (out / "policy.onnx").exists() else ""
            raise UserError(f"{path} is missing: nothing to resume; train without --resume{place}")
        checkpoint = load_tensors(path)
        check_resumable(config, TrainConfig.from_yaml(checkpoint["config"], str(path)))
        return checkpoint
    if path.exists():
        raise UserError(f"{out} already holds a run: give --resume to go on with it, or another --out")
    if (out / "policy.onnx").exists():
        raise UserError(
            f"{out} already holds a policy, without the checkpoint to go on from: give another --out"
        )
    settings = out / "config.yaml"
    if settings.exists() and not is_of_a_run(settings):
        raise UserError(f"{settings} is of no run and would be overwritten: move it, or give another --out")
    return None


def _check_actions(data: DataSet) -> None:
    actions = data.statistics()["actions"]
    largest = max(-actions.minimum.min(), actions.maximum.max())
    if largest > 1.0 + ACTION_TOLERANCE:
        raise UserError(
            f"{data.name}: actions reach {largest:.3g} and must be in [-1, 1]: "
            "record them in units of the action scale"
        )


def _begin(job: _Job) -> None:
    """Refuse other data than the checkpoint's, and too little for delta_r; the run's first figures."""
    config = job.config
    job.figures |= {"seed": config.seed, "eta": config.eta, "algorithm": config.algorithm}
    job.figures |= {"penalty": config.penalty, "versions": _versions()}
    for name, data in job.data_sets.items():
        if job.checkpoint and job.checkpoint["hashes"][name] != data.sha256:
            raise UserError(
                f"{data.name} is not the {name} file of the run in {job.out}: give the same, or another --out"
            )
        if config.eta > 0:
            two_episodes(data, name)
            if config.scale == "returns":
                check_returns(data, name)
    job.figures["data_sets"] = {
        name: {"path": data.name, "rows": len(data), "sha256": data.sha256, "world": data.info.world}
        for name, data in job.data_sets.items()
    }


# ---------------------------------------------------------------- DARA


def _augment(jobs: Sequence[_Job], progress: Progress, should_stop: Callable[[], bool]) -> None:
    """Set what each run's source rows lose; figures of it, and the target's for comparison."""
    trained: dict[str, DomainClassifiers | DynamicsGap] = {}
    deltas: dict[str, dict[str, DeltaR]] = {}
    for job in jobs:
        if job.config.eta == 0:
            continue
        key = _estimator_key(job)
        with _timed([job], job.config.estimator):
            if key not in trained:
                trained[key] = _estimator(job, key, progress, should_stop)
        with _timed([job], "delta_r"):
            at = f"{key} {job.config.clip}"
            if at not in deltas:
                deltas[at] = _delta_r(job, trained[key], progress)
        job.figures |= _estimator_figures(trained[key])
        job.figures["delta_r"] = {
            name: _delta_figures(delta, job.config.clip) for name, delta in deltas[at].items()
        }
        job.delta = shaped(_scaled(job, trained[key], deltas[at]["source"].values), job.config.penalty)


def _scaled(job: _Job, estimator: Estimator, delta: np.ndarray) -> np.ndarray:
    """delta_r as eta weighs it."""
    if job.config.scale == "none":
        return delta
    assert isinstance(estimator, DynamicsGap)  # TrainConfig sees to that
    with _timed([job], "return_scale"):
        scale = fit_return_scale(estimator, job.source, job.target, delta, job.config.seed)
    job.figures["return_scale"] = asdict(scale)
    return np.float32(scale.value) * delta


def _estimator_key(job: _Job) -> str:
    """What the estimator of delta_r depends on."""
    config = job.config
    hashes = {name: data.sha256 for name, data in job.data_sets.items()}
    settings = config.gap if config.estimator == "dynamics" else config.classifiers
    return repr((hashes, config.estimator, config.horizon, asdict(settings), config.seed))


def _compared(job: _Job) -> dict[str, Rows]:
    """The data sets as delta_r looks at them."""
    horizon = job.config.horizon
    return {name: StepsAhead(data, horizon) if horizon > 1 else data for name, data in job.data_sets.items()}


def _estimator(
    job: _Job, key: str, progress: Progress, should_stop: Callable[[], bool]
) -> DomainClassifiers | DynamicsGap:
    """That which is already in the run's directory if it fits, else a newly trained one."""
    config, path = job.config, job.out / "delta_r.pt"
    of_dynamics = config.estimator == "dynamics"
    if path.exists():
        saved = load_tensors(path)
        if saved["key"] == key:
            kind = DynamicsGap if of_dynamics else DomainClassifiers
            return kind.from_state_dict(saved["estimator"])

    def report(done: int, total: int, figures: dict[str, float]) -> None:
        progress(config.estimator, done, total, figures)

    data = _compared(job)
    both = data["source"], data["target"]
    estimator = (
        train_gap(*both, config.gap, config.seed, report, should_stop)
        if of_dynamics
        else train_classifiers(*both, config.classifiers, config.seed, report, should_stop)
    )
    if estimator is None:
        raise _StoppedError
    save_tensors(path, {"key": key, "estimator": estimator.state_dict()})
    return estimator


def _estimator_figures(estimator: DomainClassifiers | DynamicsGap) -> dict[str, Any]:
    if isinstance(estimator, DynamicsGap):
        return {"dynamics": asdict(estimator.figures)}
    return {"classifiers": {name: asdict(figures) for name, figures in estimator.figures.items()}}


def _delta_r(job: _Job, estimator: Estimator, progress: Progress) -> dict[str, DeltaR]:
    deltas = {}
    for done, (name, data) in enumerate(_compared(job).items()):
        progress("delta_r", done, len(job.data_sets), {})
        deltas[name] = delta_r(estimator, data, job.config.clip)
    return deltas


def _delta_figures(delta: DeltaR, clip: float) -> dict[str, Any]:
    counts, edges = np.histogram(delta.values, HISTOGRAM_BINS, (-clip, clip))
    return {
        "mean": float(delta.values.mean(dtype=np.float64)),
        "std": float(delta.values.std(dtype=np.float64)),
        "quantiles": {str(q): float(np.quantile(delta.values, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
        "fraction_clipped": delta.fraction_clipped,
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


# ---------------------------------------------------------------- learning


def _learn(jobs: Sequence[_Job], progress: Progress, should_stop: Callable[[], bool]) -> None:
    """Train, and export what was learnt."""
    config = jobs[0].config
    runs = []
    for job in jobs:
        fraction = 0.5 if config.tune else job.sampler(job.config.mix).target_fraction
        job.figures["target_fraction"] = fraction
        mean, std, reward = _statistics(job, fraction)
        runs.append(Run(mean, std, job.config.settings, job.config.seed, reward))
    learner = algorithms()[config.algorithm](jobs[0].source.action_size, runs, config.device)
    for number, job in enumerate(jobs):
        if job.checkpoint:
            learner.load_state_dict(job.checkpoint["learner"], number)
            job.curve = job.checkpoint["curve"]
    first = learner.steps
    _check_steps(config, learner)
    for job in jobs:
        write_text(job.out / "config.yaml", job.config.to_yaml())
    with ExitStack() as opened:
        logs = []
        for job in jobs:
            log = ScalarLog(job.out / "tensorboard", first)
            opened.callback(log.close)
            logs.append(log)
            for name, figures in job.figures.get("classifiers", {}).items():
                log.add(first, {key: figures[key] for key in ("auc", "cross_entropy", "ece")}, f"q_{name}")
        with _timed(jobs, "train"):
            stopped = _descend(jobs, learner, logs, progress, should_stop)
    for job in jobs:
        job.figures |= {"steps": learner.steps, "stopped": stopped, "curve": job.curve}
        seconds = job.figures["seconds"]["train"]
        job.figures["updates_per_second"] = (learner.steps - first) / max(1e-9, seconds)
        if learner.steps == first:
            _keep_times(job)
    _export(jobs, learner, progress)


def _check_steps(config: TrainConfig, learner: Learner) -> None:
    """Refuse to resume a run that has gone further than it is to go."""
    more = learner.steps - _phases(config, learner.warm_up)[-1][1]
    if more > 0:
        raise UserError(
            f"steps is {config.steps} and the run in {config.out} has done {config.steps + more}: "
            f"give at least {config.steps + more}, or another --out"
        )


def _keep_times(job: _Job) -> None:
    """Where nothing was left to learn: how long it took to learn what is there."""
    known = read_json(job.out / "figures.json")
    if isinstance(known, dict) and known.get("steps") == job.figures["steps"]:
        job.figures["seconds"] |= known["seconds"]
        job.figures["updates_per_second"] = known["updates_per_second"]


def _phases(config: TrainConfig, warm_up: int) -> list[tuple[float | None, int]]:
    """(mixture of the batches, None for the run's own; the step up to which they are drawn so)."""
    if not config.tune:
        return [(None, warm_up + config.steps)]
    return [(0.0, warm_up + config.tune), (1.0, 2 * warm_up + config.tune + config.steps)]


def _descend(
    jobs: Sequence[_Job],
    learner: Learner,
    logs: Sequence[ScalarLog],
    progress: Progress,
    should_stop: Callable[[], bool],
) -> bool:
    """Gradient steps through all phases with curves and checkpoints; True where stopped early."""
    config = jobs[0].config
    phases = _phases(config, learner.warm_up)
    total, begins = phases[-1][1], 0
    update = fastest_update(learner)
    sums: dict[str, torch.Tensor] = {}
    counts: Counter[str] = Counter()
    for mix, ends in phases:
        if learner.steps >= ends:  # a resumed run has it behind it
            begins = ends
            continue
        if learner.steps == begins > 0:
            learner.begin_phase()
        begins = ends
        samplers = [job.sampler(job.config.mix if mix is None else mix) for job in jobs]
        batches = training_batches(learner, samplers)
        while learner.steps < ends:
            if should_stop() or all(job.failure for job in jobs):
                _save_checkpoints(jobs, learner)
                return True
            learner.set_pace(_pace(config, learner, ends))
            learner.look(samplers)
            figures = update(next(batches))
            for name, value in figures.items():  # a warm-up's need not be those of what follows
                sums[name] = sums.get(name, 0) + value
                counts[name] += 1
            step = learner.steps
            if step % config.log_interval == 0 or step == total:
                means = {name: (value / counts[name]).reshape(-1).tolist() for name, value in sums.items()}
                sums, counts = {}, Counter()
                for number, (job, log) in enumerate(zip(jobs, logs, strict=True)):
                    _note(job, log, step, {name: of_runs[number] for name, of_runs in means.items()})
                progress("train", step, total, {name: of_runs[0] for name, of_runs in means.items()})
            if step % config.checkpoint_interval == 0:
                _save_checkpoints(jobs, learner)
    _save_checkpoints(jobs, learner)
    return False


def _pace(config: TrainConfig, learner: Learner, ends: int) -> float:
    """Share of the learning rates: `decay` in the last quarter of the warm-up, and of the steps after it."""
    begins = learner.phase_began + learner.warm_up
    if learner.warming_up:
        begins, ends = learner.phase_began, begins
    return config.decay if learner.steps >= ends - (ends - begins) // 4 else 1.0


def _note(job: _Job, log: ScalarLog, step: int, point: dict[str, float]) -> None:
    """A point of a run's curves; one that is no number ends the run."""
    if job.failure:
        return
    job.curve.append({"step": step, **point})
    log.add(step, point, job.config.algorithm)
    if not all(np.isfinite(list(point.values()))):
        job.failure = (
            f"training diverged at step {step} (a loss is not finite): lower learning_rate or eta; "
            f"the last checkpoint in {job.out} is kept"
        )


def _save_checkpoints(jobs: Sequence[_Job], learner: Learner) -> None:
    for number, job in enumerate(jobs):
        if learner.steps and not job.failure:
            checkpoint = {
                "config": job.config.to_yaml(),
                "hashes": {name: data.sha256 for name, data in job.data_sets.items()},
                "learner": learner.state_dict(number),
                "curve": job.curve,
            }
            save_tensors(job.out / "checkpoint.pt", checkpoint)


def _statistics(job: _Job, target_fraction: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and std (S,) of the observations, and the mean reward, as the batches mix them."""
    total, squares = np.zeros(job.source.observation_size), np.zeros(job.source.observation_size)
    lost = 0.0 if job.delta is None else job.config.eta * float(job.delta.mean(dtype=np.float64))
    reward = -(1.0 - target_fraction) * lost
    for weight, data in ((1.0 - target_fraction, job.source), (target_fraction, job.target)):
        statistics = data.statistics()
        observations = statistics["observations"]
        reward += weight * float(statistics["rewards"].mean.item())
        total = total + weight * observations.mean
        squares = squares + weight * (np.square(observations.std) + np.square(observations.mean))
    std = np.sqrt(np.maximum(squares - np.square(total), 0.0))
    return total, np.maximum(std, MINIMUM_STD), job.config.reward_scale * reward


def _export(jobs: Sequence[_Job], learner: Learner, progress: Progress) -> None:
    """Policy files and figures of what was learnt; a policy that cannot be written fails its run alone."""
    learnt = [number for number, job in enumerate(jobs) if learner.steps and not job.failure]
    progress("export", 0, len(learnt), {})
    exports = [_to_export(jobs[number], learner, number) for number in learnt]
    with _timed([jobs[number] for number in learnt], "export"):
        for number, report in zip(learnt, side_by_side(_written, exports), strict=True):
            if isinstance(report, UserError):
                jobs[number].failure = str(report)
            else:
                jobs[number].figures["export"] = asdict(report)
    progress("export", len(learnt), len(learnt), {})
    for number in learnt:
        write_json(jobs[number].out / "figures.json", jobs[number].figures)


def _to_export(
    job: _Job, learner: Learner, run: int
) -> tuple[torch.nn.Module, np.ndarray, PolicyMetadata, Path]:
    """A run's arguments of `export_policy`."""
    config = job.config
    hashes = {name: data.sha256 for name, data in job.data_sets.items()}
    metadata = PolicyMetadata.of_data(job.target.info, config.algorithm, config.eta, hashes)
    sampler = job.sampler(0.5 if config.tune else config.mix)
    rows = sampler.batches()
    blocks = -(-EXPORT_OBSERVATIONS // sampler.batch_size)
    observations = np.concatenate([next(rows).observations for _ in range(blocks)])[:EXPORT_OBSERVATIONS]
    return learner.policy(run).cpu(), observations, metadata, job.out / "policy.onnx"


def _written(
    module: torch.nn.Module, observations: np.ndarray, metadata: PolicyMetadata, path: Path
) -> ExportReport:
    """`export_policy`, which tells where the disk is full."""
    with writing(path):
        return export_policy(module, observations, metadata, path)


def _result(job: _Job) -> TrainResult:
    config, steps, stopped = job.config, job.figures["steps"], job.figures["stopped"]
    policy = job.out / "policy.onnx" if steps and not job.failure else None
    if job.failure:
        message = job.failure
    elif policy is None:
        message = "stopped before training began: no policy yet"
    else:
        message = f"{policy}: {config.algorithm}, eta {config.eta:g}, {steps} steps{_nothing_taken(job)}"
        if stopped:
            message = f"stopped at step {steps} (--resume goes on); {message}"
    return TrainResult(job.out, policy, steps, stopped, bool(job.failure), job.figures, message)


def _nothing_taken(job: _Job) -> str:
    """What the user must know where delta r says nothing."""
    told = job.figures.get("delta_r")
    if told is None or told["source"]["std"] or told["source"]["mean"]:
        return ""
    return (
        "; delta r is 0 on every source row, so no reward was augmented: nothing that tells the domains "
        "apart held on held-out episodes (more episodes of the target may mend it)"
    )


@contextmanager
def _timed(jobs: Sequence[_Job], stage: str) -> Iterator[None]:
    """Note how long a stage of these runs took."""
    start = time.perf_counter()
    try:
        yield
    finally:
        for job in jobs:
            job.figures.setdefault("seconds", {})[stage] = time.perf_counter() - start


def _versions() -> dict[str, str]:
    return {
        "dara_ros": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
