"""Peak memory of `train` on a synthetic data set of a million rows."""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np

from dara_ros.bench import positive_int

STATES, ACTIONS, EPISODE, BLOCK = 55, 12, 300, 30_000


def write_random(path: Path, domain: Literal["source", "target"], rows: int, seed: int) -> None:
    """A data set file of noise with S = 55, A = 12 and episodes of 300 rows."""
    from dara_ros.policies.dataset import DataSetInfo, DataSetWriter

    joints = [f"joint_{i}" for i in range(ACTIONS)]
    ones = [1.0] * ACTIONS
    info = DataSetInfo(
        robot="none",
        world="noise",
        domain=domain,
        control_period=0.02,
        observation_names=tuple(f"s{i}" for i in range(STATES)),
        action_names=tuple(joints),
        spec_hash="none",
        task_hash="none",
        task={
            "joint_names": joints,
            "observation": [{"name": "noise", "size": STATES, "scale": 1.0, "unit": "1"}],
            "action_low": [-1.0] * ACTIONS,
            "action_high": ones,
            **dict.fromkeys(("stand_pose", "action_scale", "kp", "kd"), ones),
        },
        made_by="dara bench memory",
    )
    rng = np.random.default_rng(seed)
    with DataSetWriter(path, info) as writer:
        for start in range(0, rows, BLOCK):
            count = min(BLOCK, rows - start)
            states = rng.standard_normal((count, STATES), np.float32)
            writer.extend(
                states,
                rng.uniform(-1, 1, (count, ACTIONS)).astype(np.float32),
                rng.standard_normal(count, np.float32),
                states + 0.1,
                np.zeros(count, bool),
                np.arange(start, start + count) % EPISODE == EPISODE - 1,
            )


def measure(rows: int = 1_000_000, steps: int = 50) -> dict[str, float]:
    """Peak resident MiB before and after training on `rows` source rows and a tenth as many target rows."""
    from dara_ros.policies.classifiers import ClassifierConfig
    from dara_ros.policies.train_config import TrainConfig
    from dara_ros.policies.training import train

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.h5", Path(folder) / "target.h5"
        write_random(source, "source", rows, 0)
        write_random(target, "target", rows // 10, 1)
        before = _peak_mib()
        config = TrainConfig(
            source=str(source),
            target=str(target),
            out=str(Path(folder) / "run"),
            steps=steps,
            classifiers=ClassifierConfig(max_steps=50),
        )
        seconds = train(config).figures["seconds"]
        file_mib = source.stat().st_size / 2**20
    return {"rows": rows, "file_mib": file_mib, "before_mib": before, "peak_mib": _peak_mib(), **seconds}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=positive_int, default=1_000_000)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.rows), indent=1))


if __name__ == "__main__":
    main()
