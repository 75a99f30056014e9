"""Bytes per transition and write speed of HDF5 filters and chunk sizes, beside the same walk as MCAP.

The walk is a real one, of the simulated robot with sensor noise: noise is what compression cannot take away.
A live file is flushed every 0.1 s, which is five rows; a finished one could be written in blocks.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .. import messages, parsing
from ..action_sources import action_source
from ..hardware.state import JointCommand, RobotState
from ..hardware.task import ACTION_SIZE
from ..parsing import SentCommand
from ..policies.conversion import Rows
from ..policies.dataset_format import Transition
from ..policies.dataset_layout import LIBRARY_FORMAT
from ..sim.environment import WalkingEnv
from ..transitions import TransitionBuilder

ROWS, WALK = 3000, 300
LIVE, BLOCK = 5, 1024  # rows from flush to flush
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "lzf": {"compression": "lzf"},
    "shuffle+lzf": {"compression": "lzf", "shuffle": True},
    "shuffle+gzip1": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
    "shuffle+gzip4": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
}
Period = tuple[RobotState, JointCommand, SentCommand]


def walked(env: WalkingEnv, rows: int) -> Iterator[Period]:
    """What the robot and its controller say in `rows` control periods of walking."""
    act, walk = action_source("medium", env.task, np.random.default_rng(0)), 0
    noise = np.random.default_rng(1)
    while rows > 0:
        observation, _ = env.reset(seed=walk)
        for step in range(min(WALK, rows)):
            state = env.state
            action = act(observation) + 0.2 * noise.standard_normal(ACTION_SIZE)
            observation, _, fell, stopped, info = env.step(action)
            command = JointCommand(state.stamp, info["requested_command"])
            yield state, command, SentCommand(state.stamp, info["sent_command"], walk, step, in_time=True)
            rows -= 1
            if fell or stopped:
                break
        walk += 1


def transitions(env: WalkingEnv, periods: list[Period]) -> list[Transition]:
    """The rows that the logger makes of them."""
    builder, rows = TransitionBuilder(env.task), []
    for state, command, sent in periods:
        if sent.step == 0:  # the simulator's clock begins anew
            builder = TransitionBuilder(env.task)
        builder.add_state(state, time.time_ns())
        builder.add_command(command)
        builder.add_sent(sent)
        rows += [step.transition for step in builder.take()]
    return rows


def write_hdf5(path: Path, columns: dict[str, np.ndarray], chunk: int, every: int, filters: Any) -> float:
    """Write as `DataSetWriter` does, `every` rows from flush to flush; processor seconds."""
    rows = len(columns["rewards"])
    cache = 2**20 if filters else 0  # a chunk that is packed has to be whole
    with h5py.File(path, "w", libver=LIBRARY_FORMAT, rdcc_nbytes=cache) as file:
        data_sets = {
            name: file.create_dataset(
                name,
                shape=(0, *values.shape[1:]),
                maxshape=(None, *values.shape[1:]),
                chunks=(chunk, *values.shape[1:]),
                dtype=values.dtype,
                **filters,
            )
            for name, values in columns.items()
        }
        file.swmr_mode = True
        start = time.process_time()
        for first in range(0, rows, every):
            stop = min(rows, first + every)
            for name, values in columns.items():
                data_sets[name].resize(stop, axis=0)
                data_sets[name][first:stop] = values[first:stop]
            file.flush()
        return time.process_time() - start


def write_mcap(path: Path, env: WalkingEnv, periods: list[Period], compress: bool) -> int:
    """The topics that the logger hears, as `ros2 bag record` would keep them; bytes."""
    from ..rosbag import write_bag

    spec = env.robot_spec
    with write_bag(path, "mcap", compress) as write:
        for state, command, sent in periods:
            for topic, message in (
                (parsing.JOINT_STATES, messages.joint_states_message(spec, state)),
                (parsing.IMU, messages.imu_message(state)),
                (parsing.FOOT_CONTACTS, messages.foot_contacts_message(state)),
                (parsing.ODOM, messages.odometry_message(spec, state)),
                (parsing.JOINT_COMMANDS, messages.command_message(spec, command)),
                (parsing.SENT_COMMANDS, messages.sent_message(spec, sent)),
            ):
                write(topic, message, state.stamp)
    return sum(file.stat().st_size for file in path.rglob("*.mcap"))


def fsync_ms(path: Path) -> float:
    """Median time to bring a flush of five rows to the disk."""
    times = []
    with open(path, "wb", buffering=0) as file:
        for _ in range(50):
            file.write(os.urandom(5 * 800))
            start = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def measure(folder: Path) -> dict[str, Any]:
    """All of it."""
    env = WalkingEnv("obstructive")
    periods = list(walked(env, ROWS))
    columns = Rows.of_transitions(transitions(env, periods)).columns()
    rows = len(columns["rewards"])
    figures: dict[str, Any] = {"rows": rows, "fsync_ms": fsync_ms(folder / "synchronised"), "hdf5": []}
    for every in (LIVE, BLOCK):
        for chunk in (64, 1024):
            for name, filters in FILTERS.items():
                path = folder / f"{name}_{chunk}_{every}.h5"
                seconds = write_hdf5(path, columns, chunk, every, filters)
                figures["hdf5"].append(
                    {
                        "filter": name,
                        "chunk_rows": chunk,
                        "flush_rows": every,
                        "bytes_per_row": path.stat().st_size / rows,
                        "rows_per_cpu_s": rows / seconds,
                    }
                )
                path.unlink()
    for name, compress in (("mcap", False), ("mcap+zstd", True)):
        size = write_mcap(folder / name, env, periods, compress)
        figures[f"{name}_bytes_per_row"] = size / len(periods)
    env.close()
    return figures


def main() -> None:
    """Print the figures as JSON."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder)), indent=1))


if __name__ == "__main__":
    main()
