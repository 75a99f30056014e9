"""Steps per second and core of the A1 in PyBullet, with resets and without, in both worlds."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from dara_ros.bench import machine, positive
from dara_ros.hardware.task import ACTION_SIZE
from dara_ros.rollouts import environment_class
from dara_ros.sim import EPISODE_STEPS


def measure(world: str, seconds: float) -> dict[str, float]:
    """Walk with small random residuals; processor time, so that a busy machine does not count against it."""
    env = environment_class()(world)
    env.driver._step = physics = _Stopwatch(env.driver._step)
    rng = np.random.default_rng(0)
    stepping, resetting, steps, episodes, in_physics = 0.0, 0.0, 0, 0, 0.0
    while stepping < seconds:
        start = time.process_time()
        env.reset(seed=episodes)
        episodes += 1
        walked = time.process_time()
        resetting += walked - start
        physics.seconds = 0.0
        for _ in range(EPISODE_STEPS):
            steps += 1
            if env.step(rng.uniform(-0.2, 0.2, ACTION_SIZE))[2]:
                break
        stepping += time.process_time() - walked
        in_physics += physics.seconds
    env.close()
    return {
        "steps_per_second": steps / stepping,
        "steps_per_second_with_resets": steps / (stepping + resetting),
        "physics_fraction": in_physics / stepping,
        "reset_ms": 1e3 * resetting / episodes,
        "steps": steps,
    }


class _Stopwatch:
    """Calls `function` and adds up the processor time that it takes."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self) -> None:
        start = time.process_time()
        self.function()
        self.seconds += time.process_time() - start


def main() -> None:
    """Print the figures of both worlds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=positive, default=10.0, help="processor time per world")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = {world: measure(world, arguments.seconds) for world in ("flat", "obstructive")}
    if arguments.json:
        print(json.dumps(figures))
        return
    print(machine())
    for world, f in figures.items():
        print(
            f"  {world:12s} {f['steps_per_second']:7.0f} steps/s per core, "
            f"{f['physics_fraction']:.0%} of the time in PyBullet's stepSimulation; with resets "
            f"{f['steps_per_second_with_resets']:7.0f} steps/s (a reset: {f['reset_ms']:.0f} ms)"
        )


if __name__ == "__main__":
    main()
