"""Time of one decision of a BCQ policy (100 latent samples, the paper's widths) on one thread."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from dara_ros.bench import positive_int

STATES, ACTIONS = 55, 12


def measure(decisions: int = 1_000) -> dict[str, float]:
    """p50 and p99 in ms, by the clock and by processor time (which a busy machine disturbs less)."""
    from dara_ros.policies.algorithms.bcq import BCQ, BCQConfig
    from dara_ros.policies.learning import Run
    from dara_ros.policies.onnx import export_policy
    from dara_ros.policies.runtime import ObservationField, Policy, PolicyMetadata

    ones = (1.0,) * ACTIONS
    metadata = PolicyMetadata(
        robot="none",
        joint_names=tuple(f"joint_{i}" for i in range(ACTIONS)),
        stand_pose=ones,
        action_scale=ones,
        kp=ones,
        kd=ones,
        control_period=0.02,
        observation=(ObservationField("noise", STATES, 1.0, "1"),),
        action_low=tuple(-x for x in ones),
        action_high=ones,
        algorithm="bcq",
        eta=0.0,
        data_set_hashes={},
        spec_hash="none",
        task_hash="none",
    )
    observations = np.random.default_rng(0).standard_normal((1_000, STATES), np.float32)
    module = BCQ(ACTIONS, [Run(np.zeros(STATES), np.ones(STATES), BCQConfig(), seed=0)]).policy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.onnx"
        export_policy(module, observations, metadata, path)
        policy = Policy.load(path)
    clock, processor = [], []
    for i in range(decisions):
        start, start_processor = time.perf_counter(), time.thread_time()
        policy(observations[i % len(observations)])
        clock.append(1e3 * (time.perf_counter() - start))
        processor.append(1e3 * (time.thread_time() - start_processor))
    return {
        "p50_ms": float(np.percentile(clock, 50)),
        "p99_ms": float(np.percentile(clock, 99)),
        "processor_p50_ms": float(np.percentile(processor, 50)),
        "processor_p99_ms": float(np.percentile(processor, 99)),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=positive_int, default=1_000)
    print(json.dumps(measure(parser.parse_args().decisions), indent=1))


if __name__ == "__main__":
    main()
