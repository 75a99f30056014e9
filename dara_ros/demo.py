"""The main job from end to end, with PyBullet in place of the robot: what `dara demo` and `make demo` run."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from . import __version__
from .bench import machine
from .collection import collect
from .dry_run import DryRun, make_gif, open_dry_run
from .processes import Processes, free_domain_id
from .progress import Report, progress_bars
from .report import write_demo_report
from .results import ResultRow, row_of
from .rollouts import Setup, behaviour_path
from .session import OFFLINE, RobotClient

ROBOT, SOURCE_WORLD, TARGET_WORLD = "a1", "flat", "obstructive"
SOURCE_BEHAVIOURS, TARGET_BEHAVIOUR = ("medium", "expert"), "medium"
ETA = 0.1
TARGET_SEED, TEST_SEED = 500, 1000  # added to the demo's seed: no policy is judged in a world that was logged
VERSIONED = ("torch", "pybullet", "numpy", "h5py", "onnxruntime", "ros-jazzy-rclpy")


@dataclass(frozen=True)
class Sizes:
    """How much of everything; smaller networks than the paper's, for the time that a demo has."""

    source_rows: int = 30_000
    target_episodes: int = 17
    target_noise: float = 0.2  # standard deviation on the behaviour's actions
    steps: int = 6_000  # gradient steps of each training
    classifier_steps: int = 1_000  # at most
    hidden: int = 256  # units in both layers of every network
    latent_samples: int = 100
    test_episodes: int = 6


FULL = Sizes()
FAST = Sizes(
    source_rows=3_000, target_episodes=3, steps=300, classifier_steps=150, hidden=64, latent_samples=20,
    test_episodes=2,
)  # fmt: skip


def run_demo(
    out: Path,
    fast: bool = False,
    seed: int = 0,
    workers: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Log, train with and without DARA, and compare; everything goes into `out`.

    An earlier demo in `out` is moved aside. Interrupted (Ctrl-C), it leaves no process, and files that hold
    what had been done.

    Returns:
        What results.json holds, with `rows` as ResultRow.

    Raises:
        UserError: something that it needs is not installed.
    """
    sizes = FAST if fast else FULL
    start = time.monotonic()
    moved = _make_room(out)
    if moved:
        say(f"the earlier demo is now in {moved}")
    behaviour = behaviour_path(TARGET_BEHAVIOUR, ROBOT)

    say(f"1/5 source: {sizes.source_rows} transitions in the {SOURCE_WORLD} world, all cores")
    source = out / "source.h5"
    with progress_bars() as report:
        collect(
            Setup(SOURCE_WORLD, ROBOT, SOURCE_BEHAVIOURS, (0.1, 0.2, 0.3)), sizes.source_rows, source,
            seed=seed, workers=workers, progress=lambda done, total: report("source", done, total),
        )  # fmt: skip

    say(f"2/5 target: {sizes.target_episodes} walks in the {TARGET_WORLD} world through the ROS 2 nodes")
    target, logs = out / "target.h5", out / "logs"
    seeds = range(seed + TARGET_SEED, seed + TARGET_SEED + sizes.target_episodes)
    with progress_bars() as report, open_dry_run(ROBOT, TARGET_WORLD, logs=logs) as nodes:
        nodes.run(
            behaviour, seeds, target, sizes.target_noise,
            progress=lambda done, total: report("target", done, total),
        )  # fmt: skip

    say(f"3/5 training in the offline node: BCQ, and BCQ with DARA (eta {ETA}), {sizes.steps} steps each")
    runs = {"bcq": out / "bcq", "bcq+dara": out / "dara"}
    with progress_bars() as report:
        _train_both(source, target, runs, sizes, seed, logs, report)
    shutil.copy(runs["bcq+dara"] / "policy.onnx", out / "policy.onnx")

    policies = {"behaviour": behaviour, **{name: run / "policy.onnx" for name, run in runs.items()}}
    say(f"4/5 walking in the {TARGET_WORLD} world through the controller node: {', '.join(policies)}")
    test_seeds = range(seed + TEST_SEED, seed + TEST_SEED + sizes.test_episodes)
    with progress_bars() as report, open_dry_run(ROBOT, TARGET_WORLD, logs=logs) as nodes:
        rows = [_walk(nodes, name, path, test_seeds, out / "walks", report) for name, path in policies.items()]

    say("5/5 picture and report")
    make_gif(_walk_file(out / "walks", "bcq+dara"), 0, test_seeds[0], TARGET_WORLD, out / "dry_run.gif")
    results = {
        "seed": seed,
        "fast": fast,
        "sizes": asdict(sizes),
        "eta": ETA,
        "versions": _versions(),
        "machine": machine(),
        "seconds": round(time.monotonic() - start, 1),
        "rows": rows,
    }
    (out / "results.json").write_text(json.dumps(results, default=asdict, indent=1))
    write_demo_report(out, results, runs, _commands(sizes, seed))
    return results


def _make_room(out: Path) -> Path | None:
    """Move what an earlier demo left out of the way; returns where it is now."""
    if not out.exists() or not any(out.iterdir()):
        return None
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(out.stat().st_mtime))
    return out.rename(out.with_name(f"{out.name}-{stamp}"))


def _train_both(
    source: Path, target: Path, runs: dict[str, Path], sizes: Sizes, seed: int, logs: Path, report: Report
) -> None:
    """BCQ without and with augmentation, one after the other, in one offline node."""
    logs.mkdir(parents=True, exist_ok=True)
    settings = logs / "training.yaml"
    settings.write_text(yaml.safe_dump(_settings(sizes)))
    common = {"source": str(source), "target": str(target), "steps": sizes.steps, "seed": seed}
    common |= {"settings": str(settings)}
    domain = free_domain_id()
    with Processes(logs, domain_id=domain) as processes:
        processes.start(OFFLINE)
        with RobotClient(domain_id=domain, check=processes.check) as client:
            client.wait_for_nodes([OFFLINE])
            for name, run in runs.items():
                eta = ETA if name.endswith("dara") else 0.0
                client.set_parameters(OFFLINE, common | {"out": str(run), "eta": eta})
                client.trigger(OFFLINE, "start")
                _follow(client, name, run, report)


def _follow(client: RobotClient, name: str, run: Path, report: Report) -> None:
    """Show how far the training is, until it is done.

    Raises:
        RuntimeError: it failed.
    """

    def ended(progress: dict[str, Any]) -> bool:
        if progress.get("out") != str(run):
            return False
        report(f"{name} {progress['stage']}", progress["done"], progress["total"])
        return progress["state"] not in ("idle", "training")

    last = client.wait_for_progress(ended)
    if last["state"] != "done":
        raise RuntimeError(last["message"])


def _settings(sizes: Sizes) -> dict[str, Any]:
    hidden = [sizes.hidden, sizes.hidden]
    return {
        "log_interval": max(1, sizes.steps // 60),
        "classifiers": {"max_steps": sizes.classifier_steps},
        "bcq": {
            "critic_hidden": hidden,
            "perturbation_hidden": hidden,
            "vae_hidden": hidden,
            "latent_samples": sizes.latent_samples,
        },
    }


def _walk(
    nodes: DryRun, name: str, policy: Path, seeds: range, folder: Path, report: Report
) -> ResultRow:
    file = _walk_file(folder, name)
    walked = nodes.run(policy, seeds, file, progress=lambda done, total: report(name, done, total))
    return row_of(name, walked)


def _walk_file(folder: Path, policy: str) -> Path:
    return folder / f"{policy.replace('+', '_')}.h5"


def _versions() -> dict[str, str]:
    found = {"dara_ros": __version__, "python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # rclpy from a ROS install is no distribution
            continue
    return found


def _commands(sizes: Sizes, seed: int) -> list[str]:
    """The same, by hand."""
    behaviours = " ".join(f"--behaviour {name}" for name in SOURCE_BEHAVIOURS)
    test = f"--world {TARGET_WORLD} --episodes {sizes.test_episodes} --seed {seed + TEST_SEED}"
    train = f"dara train --source source.h5 --target target.h5 --seed {seed} --steps {sizes.steps}"
    train += " --config logs/training.yaml"
    return [
        f"dara collect --world {SOURCE_WORLD} {behaviours} --transitions {sizes.source_rows} --seed {seed} "
        "--out source.h5",
        f"dara record --driver pybullet --world {TARGET_WORLD} --policy {TARGET_BEHAVIOUR} "
        f"--noise {sizes.target_noise} --episodes {sizes.target_episodes} --seed {seed + TARGET_SEED} "
        "--out target.h5",
        f"{train} --eta 0 --out bcq",
        f"{train} --eta {ETA} --out dara",
        f"dara dry-run {TARGET_BEHAVIOUR} {test}",
        f"dara dry-run bcq/policy.onnx {test}",
        f"dara dry-run dara/policy.onnx {test}",
    ]


