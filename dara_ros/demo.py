"""The main job from end to end, with PyBullet in place of the robot: what `dara demo` and `make demo` run."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from . import __version__
from .action_sources import behaviour_path
from .bench import machine
from .collection import EXPLORATION_NOISE, collect
from .dry_run import DryRun, DryRunResult, make_gif, open_dry_run
from .errors import UserError
from .interrupts import stop_on_interrupt
from .policies.recommended import RECOMMENDED
from .processes import Processes, free_domain_id
from .progress import Report, progress_bars
from .report import write_demo_report
from .results import ResultRow, row_of
from .rollouts import Setup
from .session import OFFLINE, RobotClient

ROBOT, SOURCE_WORLD, TARGET_WORLD = "a1", "flat", "obstructive"
SOURCE_BEHAVIOURS, TARGET_BEHAVIOUR = ("medium", "expert"), "medium"
ETA = 0.1
TARGET_SEED, TEST_SEED = 500, 1000  # added to the demo's seed: no policy is judged in a world that was logged
VERSIONED = ("torch", "pybullet", "numpy", "h5py", "onnxruntime", "ros-jazzy-rclpy")


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    source_rows: int = 30_000
    target_episodes: int = 17
    target_noise: float = 0.2  # standard deviation on the behaviour's actions
    steps: int = 6_000  # gradient steps of each training
    classifier_steps: int = 1_000  # at most
    vae_steps: int = 3_000  # before them
    test_episodes: int = 6


FULL = Sizes()
FAST = Sizes(
    source_rows=3_000, target_episodes=3, steps=300, classifier_steps=150, vae_steps=150, test_episodes=2
)


@dataclass(frozen=True)
class Plan:
    """One demo: how much of what, and where it goes."""

    out: Path
    sizes: Sizes
    seed: int
    workers: int | None

    @property
    def source(self) -> Path:
        """The source data set."""
        return self.out / "source.h5"

    @property
    def target(self) -> Path:
        """The target data set."""
        return self.out / "target.h5"

    @property
    def logs(self) -> Path:
        """What the nodes said, and the settings of the training."""
        return self.out / "logs"

    @property
    def runs(self) -> dict[str, Path]:
        """Name of each trained policy -> the folder of its training."""
        return {"bcq": self.out / "bcq", "bcq+dara": self.out / "dara"}

    @property
    def policies(self) -> dict[str, Path]:
        """Name -> ONNX file of what walks in the end."""
        trained = {name: run / "policy.onnx" for name, run in self.runs.items()}
        return {"behaviour": behaviour_path(TARGET_BEHAVIOUR, ROBOT), **trained}

    @property
    def target_seeds(self) -> range:
        """Of the logged walks."""
        return range(self.seed + TARGET_SEED, self.seed + TARGET_SEED + self.sizes.target_episodes)

    @property
    def test_seeds(self) -> range:
        """Of the walks that are compared, the same for every policy."""
        return range(self.seed + TEST_SEED, self.seed + TEST_SEED + self.sizes.test_episodes)

    def walks(self, policy: str) -> Path:
        """The data set of the walks that are compared."""
        return self.out / "walks" / f"{policy.replace('+', '_')}.h5"


def run_demo(
    out: Path,
    fast: bool = False,
    seed: int = 0,
    workers: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Log, train with and without DARA, and compare; everything goes into `out`.

    An earlier demo in `out` is moved aside, and anything else there refused. Interrupted (Ctrl-C), it leaves
    no process, and files that hold what had been done; while robots walk, it also returns how they walked so
    far.

    Args:
        say: called with a line at the beginning of every stage.

    Returns:
        What results.json holds, with `rows` as ResultRow, and whether it was `interrupted`.

    Raises:
        UserError: something that it needs is not installed, or `out` is no place for it.
    """
    start = time.monotonic()
    plan = Plan(out, FAST if fast else FULL, seed, workers)
    sizes, test = plan.sizes, ", ".join(plan.policies)
    if moved := _make_room(out):
        say(f"the earlier demo is now in {moved}")
    _write_results(plan, [], 0.0, interrupted=True)  # by which the next one knows this one

    def stage(line: str) -> None:
        say(f"{time.monotonic() - start:5.0f} s  {line}")

    stage(f"1/5 source: {sizes.source_rows} transitions in the {SOURCE_WORLD} world, all cores")
    log_source(plan)
    stage(f"2/5 target: {sizes.target_episodes} walks in the {TARGET_WORLD} world through the ROS 2 nodes")
    logged = log_target(plan)
    if logged.interrupted:
        rows = [row_of("behaviour", logged)]
        return _write_results(plan, rows, time.monotonic() - start, interrupted=True)
    stage(f"3/5 offline node: BCQ without augmentation and with it (eta {ETA}), {sizes.steps} steps each")
    train_both(plan)
    stage(f"4/5 {sizes.test_episodes} walks each through the controller node: {test}")
    rows, interrupted = compare(plan)
    if interrupted:
        return _write_results(plan, rows, time.monotonic() - start, interrupted)
    stage("5/5 picture and report")
    make_gif(plan.walks("bcq+dara"), 0, plan.test_seeds[0], TARGET_WORLD, out / "dry_run.gif")
    results = _write_results(plan, rows, time.monotonic() - start)
    write_demo_report(out, results, plan.runs, _commands(plan))
    return results


def log_source(plan: Plan) -> None:
    """Collect the source data set over many processes."""
    setup = Setup(SOURCE_WORLD, ROBOT, SOURCE_BEHAVIOURS, EXPLORATION_NOISE)
    with progress_bars() as report:
        collect(
            setup, plan.sizes.source_rows, plan.source, seed=plan.seed, workers=plan.workers,
            progress=partial(report, "source"),
        )  # fmt: skip


def log_target(plan: Plan) -> DryRunResult:
    """Log the target data set through robot, controller and logger node, the behaviour policy driving."""
    policy, noise = plan.policies["behaviour"], plan.sizes.target_noise
    with _walking(plan) as (report, nodes, interrupted):
        return nodes.run(
            policy, plan.target_seeds, plan.target, noise,
            progress=partial(report, "target"), should_stop=interrupted,
        )  # fmt: skip


def train_both(plan: Plan) -> None:
    """BCQ without and with augmentation, one after the other, in one offline node.

    Raises:
        RuntimeError: a training failed.
    """
    plan.logs.mkdir(parents=True, exist_ok=True)
    settings = plan.logs / "training.yaml"
    settings.write_text(yaml.safe_dump(_settings(plan.sizes)))
    common: dict[str, bool | int | float | str] = {
        "source": str(plan.source),
        "target": str(plan.target),
        "settings": str(settings),
        "steps": plan.sizes.steps,
        "seed": plan.seed,
    }
    domain = free_domain_id()
    with progress_bars() as report, Processes(plan.logs, domain_id=domain) as processes:
        processes.start(OFFLINE)
        with RobotClient(domain_id=domain, check=processes.check) as client:
            client.wait_for_nodes([OFFLINE])
            for name, run in plan.runs.items():
                eta = ETA if name.endswith("dara") else 0.0
                client.set_parameters(OFFLINE, common | {"out": str(run), "eta": eta})
                client.trigger(OFFLINE, "start")
                _follow(client, name, run, report)
    shutil.copy(plan.runs["bcq+dara"] / "policy.onnx", plan.out / "policy.onnx")


def _follow(client: RobotClient, name: str, run: Path, report: Report) -> None:
    """Show how far the training is, until it is done."""

    def ended(progress: dict[str, Any]) -> bool:
        if progress.get("out") != str(run):
            return False
        report(f"{name}: {progress['stage']}", progress["done"], progress["total"])
        return progress["state"] not in ("idle", "training")

    last = client.wait_for_progress(ended)
    if last["state"] != "done":
        raise RuntimeError(last["message"])


def compare(plan: Plan) -> tuple[list[ResultRow], bool]:
    """Walk every policy in the same worlds through the controller node; the bool: interrupted."""
    rows = []
    with _walking(plan) as (report, nodes, interrupted):
        for name, policy in plan.policies.items():
            walked = nodes.run(
                policy, plan.test_seeds, plan.walks(name),
                progress=partial(report, name), should_stop=interrupted,
            )  # fmt: skip
            rows.append(row_of(name, walked))
            if walked.interrupted:
                return rows, True
    return rows, False


@contextmanager
def _walking(plan: Plan) -> Iterator[tuple[Report, DryRun, Callable[[], bool]]]:
    """Progress bars, running nodes in the target world, and whether Ctrl-C was pressed."""
    with (
        stop_on_interrupt() as interrupted,
        progress_bars() as report,
        open_dry_run(ROBOT, TARGET_WORLD, logs=plan.logs) as nodes,
    ):
        yield report, nodes, interrupted


def _make_room(out: Path) -> Path | None:
    """See that `out` is an empty folder; returns where what an earlier demo left there is now.

    Raises:
        UserError: something else is there, or it cannot be made.
    """
    moved = _move_aside(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror}): choose another folder") from error
    return moved


def _move_aside(out: Path) -> Path | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not _is_demo(out):
        raise UserError(f"{out}: exists already and is no earlier demo: choose another folder")
    if Path.cwd().is_relative_to(out.resolve()):
        raise UserError(f"{out}: the earlier demo cannot be moved while you are in it: choose another folder")
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(out.stat().st_mtime))
    return out.rename(out.with_name(f"{out.name}-{stamp}"))


def _is_demo(folder: Path) -> bool:
    """Whether a demo left what is there."""
    try:
        results = json.loads((folder / "results.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(results, dict) and {"seed", "sizes", "eta", "rows"} <= results.keys()


def _settings(sizes: Sizes) -> dict[str, Any]:
    """Settings of both trainings beside their parameters."""
    ours = RECOMMENDED["bcq"]
    return ours | {
        "log_interval": max(1, sizes.steps // 60),
        "classifiers": {"max_steps": sizes.classifier_steps},
        "settings": ours["settings"] | {"vae_steps": sizes.vae_steps},
    }


def _write_results(
    plan: Plan, rows: list[ResultRow], seconds: float, interrupted: bool = False
) -> dict[str, Any]:
    """Into results.json; returns what it holds."""
    results = {
        "seed": plan.seed,
        "versions": _versions(),
        "machine": machine(),
        "seconds": round(seconds, 1),
        "interrupted": interrupted,
        "eta": ETA,
        "sizes": asdict(plan.sizes),
        "rows": rows,
    }
    (plan.out / "results.json").write_text(json.dumps(results, default=asdict, indent=1))
    return results


def _versions() -> dict[str, str]:
    found = {"dara_ros": __version__, "python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # rclpy from a ROS install is no distribution
            continue
    return found


def _commands(plan: Plan) -> list[str]:
    """The same, by hand, in the demo's folder."""
    sizes, seed = plan.sizes, plan.seed
    behaviours = " ".join(f"--behaviour {name}" for name in SOURCE_BEHAVIOURS)
    test = f"--world {TARGET_WORLD} --episodes {sizes.test_episodes} --seed {plan.test_seeds[0]}"
    train = f"dara train --source source.h5 --target target.h5 --seed {seed} --steps {sizes.steps}"
    train += " --config logs/training.yaml"
    return [
        f"dara collect --world {SOURCE_WORLD} {behaviours} --transitions {sizes.source_rows} --seed {seed} "
        "--out source.h5",
        f"dara record --driver pybullet --world {TARGET_WORLD} --policy {TARGET_BEHAVIOUR} "
        f"--noise {sizes.target_noise} --episodes {sizes.target_episodes} --seed {plan.target_seeds[0]} "
        "--out target.h5",
        f"{train} --eta 0 --out bcq",
        f"{train} --eta {ETA} --out dara",
        f"dara dry-run {TARGET_BEHAVIOUR} {test}",
        f"dara dry-run bcq/policy.onnx {test}",
        f"dara dry-run dara/policy.onnx {test}",
    ]
