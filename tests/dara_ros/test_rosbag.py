"""A recording gives the rows that the logger wrote of the same walks, with or without ROS to read it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs rosbags: pip install 'dara_ros[convert]'")

from rosbags.rosbag2 import Writer
from running_nodes import run_nodes, subscribed
from std_msgs.msg import String
from test_transitions import LENGTH, Walk

from dara_ros import messages, parsing
from dara_ros.convert import Choices, convert
from dara_ros.errors import UserError
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.state import RobotState
from dara_ros.hardware.task import WINDOW, WalkingTask
from dara_ros.policies.conversion import Rows, end_episodes
from dara_ros.policies.dataset import DataSet
from dara_ros.rosbag import read_bag, write_bag
from dara_ros.session import CONTROLLER, LOGGER

Message = tuple[str, Any]
STORAGES = [("mcap", True), ("mcap", False), ("sqlite3", True), ("sqlite3", False)]


@pytest.fixture
def walk(task: WalkingTask, state_at: Callable[[int], RobotState]) -> Walk:
    return Walk(task, state_at)


def said(spec: RobotSpec, walk: Walk) -> list[Message]:
    """All that the nodes publish of a walk, in the order of time."""
    told: list[Message] = [(parsing.ROBOT_STATE, String(data=Mode.WALKING.value))]
    for k, state in enumerate(walk.states):
        told += [
            (parsing.JOINT_STATES, messages.joint_states_message(spec, state, walk.number)),
            (parsing.IMU, messages.imu_message(state)),
            (parsing.FOOT_CONTACTS, messages.foot_contacts_message(state)),
            (parsing.ODOM, messages.odometry_message(spec, state)),
        ]
        if k < LENGTH:
            told.append((parsing.JOINT_COMMANDS, messages.command_message(spec, walk.commands[k])))
            told.append((parsing.SENT_COMMANDS, messages.sent_message(spec, walk.sent(k))))
    return told


def write(path: Path, told: Iterable[Message], storage: str = "mcap", compress: bool = True) -> Path:
    with write_bag(path, storage, compress) as put:
        for number, (topic, message) in enumerate(told):
            put("/" + topic, message, 10**18 + number)
    return path


def read(path: Path, spec: RobotSpec, namespace: str | None = None) -> tuple[Rows, str]:
    """(rows, notes)"""
    reading = read_bag(path, spec, namespace)
    rows = Rows.joined(list(end_episodes(reading.blocks)))
    return rows, "\n".join(reading.notes)


def check(walk: Walk, rows: Rows, expected: Iterable[int]) -> None:
    """They are exactly these rows of the walk."""
    wanted = list(expected)
    np.testing.assert_array_equal(rows.infos["stamp"], [walk.states[k].stamp for k in wanted])
    np.testing.assert_allclose(rows.actions, walk.actions[wanted], atol=1e-6)
    observations = np.array(walk.observations)
    np.testing.assert_allclose(rows.observations, observations[wanted], atol=1e-6)
    np.testing.assert_allclose(rows.next_observations, observations[np.add(wanted, 1)], atol=1e-6)
    np.testing.assert_allclose(rows.rewards, np.array(walk.rewards)[wanted], rtol=1e-6)


def test_recording_of_a_python_program(
    a1: RobotSpec, walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes what serialize_message gives, writes bytes after a message's end, too."""
    put = Writer.write

    def put_more(self: Writer, connection: Any, time: int, content: bytes) -> None:
        put(self, connection, time, bytes(content) + b"\x90" * 8)

    monkeypatch.setattr(Writer, "write", put_more)
    check(walk, read(write(tmp_path / "bag", said(a1, walk)), a1)[0], range(LENGTH))


@pytest.mark.parametrize(("storage", "compress"), STORAGES)
def test_every_row_of_a_walk(a1: RobotSpec, walk: Walk, tmp_path: Path, storage: str, compress: bool) -> None:
    rows, notes = read(write(tmp_path / "bag", said(a1, walk), storage, compress), a1)
    check(walk, rows, range(LENGTH))
    assert np.flatnonzero(rows.timeouts).tolist() == [LENGTH - 1]
    assert "left out" not in notes


def test_file_of_a_recording_without_its_folder(a1: RobotSpec, walk: Walk, tmp_path: Path) -> None:
    for storage, suffix in (("mcap", "*.mcap"), ("sqlite3", "*.db3")):
        bag = write(tmp_path / storage, said(a1, walk), storage, compress=False)
        (file,) = bag.glob(suffix)
        check(walk, read(file, a1)[0], range(LENGTH))


def test_without_sent_commands_what_was_asked_for_counts(a1: RobotSpec, walk: Walk, tmp_path: Path) -> None:
    told = [(topic, message) for topic, message in said(a1, walk) if topic != parsing.SENT_COMMANDS]
    rows, _ = read(write(tmp_path / "bag", told), a1)
    check(walk, rows, range(LENGTH))
    np.testing.assert_array_equal(rows.infos["sent_command"], rows.infos["requested_command"])


def test_lost_message_ends_the_episode(a1: RobotSpec, walk: Walk, tmp_path: Path) -> None:
    told = said(a1, walk)
    lost = [number for number, (topic, _) in enumerate(told) if topic == parsing.JOINT_COMMANDS][12]
    del told[lost]
    rows, notes = read(write(tmp_path / "bag", told), a1)
    check(walk, rows, [*range(12), *range(13 + WINDOW, LENGTH)])
    assert np.flatnonzero(rows.timeouts).tolist() == [11, len(rows) - 1]
    assert "left out 1 control periods of which a message is missing" in notes


def test_row_that_is_not_finite_is_left_out(a1: RobotSpec, walk: Walk, tmp_path: Path) -> None:
    told = said(a1, walk)
    odometry = [message for topic, message in told if topic == parsing.ODOM][LENGTH]
    odometry.pose.pose.position.x = np.nan
    rows, notes = read(write(tmp_path / "bag", told), a1)
    check(walk, rows, range(LENGTH - 1))
    assert "1 rows with NaN" in notes


def test_message_of_another_robot_is_left_out(a1: RobotSpec, walk: Walk, tmp_path: Path) -> None:
    told = said(a1, walk)
    command = next(message for topic, message in reversed(told) if topic == parsing.JOINT_COMMANDS)
    command.name = ["wheel", *command.name[1:]]
    rows, notes = read(write(tmp_path / "bag", told), a1)
    check(walk, rows, range(LENGTH - 1))
    assert "1 messages that are not" in notes


def test_blocks_do_not_show(
    a1: RobotSpec, walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dara_ros.rosbag.ROWS_AT_ONCE", 7)
    bag = write(tmp_path / "bag", said(a1, walk))
    check(walk, read(bag, a1)[0], range(LENGTH))
    assert sum(1 for _ in read_bag(bag, a1).blocks) > 4


def test_several_robots_in_one_recording(
    a1: RobotSpec, task: WalkingTask, state_at: Callable[[int], RobotState], walk: Walk, tmp_path: Path
) -> None:
    other = Walk(task, state_at, begin=10**10)
    told = [(f"one/{topic}", message) for topic, message in said(a1, walk)]
    told += [(f"lab/two/{topic}", message) for topic, message in said(a1, other)]
    bag = write(tmp_path / "bag", told)
    with pytest.raises(UserError, match="--namespace: /lab/two/, /one/"):
        read_bag(bag, a1)
    check(walk, read(bag, a1, "one")[0], range(LENGTH))
    check(other, read(bag, a1, "/lab/two/")[0], range(LENGTH))
    one = write(tmp_path / "one", told[: len(told) // 2])
    check(walk, read(one, a1)[0], range(LENGTH))  # the only robot needs no name


def test_missing_topic_is_named(a1: RobotSpec, walk: Walk, tmp_path: Path) -> None:
    told = [(topic, message) for topic, message in said(a1, walk) if topic != parsing.ODOM]
    with pytest.raises(UserError, match="lacks /odom: record joint_states imu/data"):
        read_bag(write(tmp_path / "bag", told), a1)


def test_topic_of_another_type_is_named(a1: RobotSpec, walk: Walk, tmp_path: Path) -> None:
    told = [(topic, String() if topic == parsing.IMU else message) for topic, message in said(a1, walk)]
    with pytest.raises(UserError, match="/imu/data is std_msgs/msg/String, not sensor_msgs/msg/Imu"):
        read_bag(write(tmp_path / "bag", told), a1)


def test_recording_without_a_walk_says_so(a1: RobotSpec, walk: Walk, tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", said(a1, walk)[:9])
    with pytest.raises(UserError, match="not one transition"):
        convert([bag], "dara", tmp_path / "bag.h5")
    assert not (tmp_path / "bag.h5").exists()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_damaged_recording_is_refused(a1: RobotSpec, walk: Walk, tmp_path: Path, storage: str) -> None:
    """Wherever it ends, and whichever byte is wrong: rows, or one line, and never a traceback."""
    bag = write(tmp_path / "bag", said(a1, walk), storage)
    (file,) = (path for path in bag.iterdir() if path.suffix != ".yaml")
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for trial in range(20):
        content = bytearray(whole)
        if trial % 2:
            del content[rng.integers(len(whole)) :]
        else:
            content[rng.integers(len(whole))] ^= 0xFF
        file.write_bytes(content)
        try:
            read(bag, a1)
        except UserError as error:
            assert "\n" not in str(error) and "ros2 bag reindex" in str(error)
            refused += 1
    assert refused >= 10  # all that were cut off


WITHOUT_ROS = """
import sys
for name in ("rclpy", "builtin_interfaces", "std_msgs", "sensor_msgs", "nav_msgs", "torch", "pybullet"):
    sys.modules[name] = None
from dara_ros.command import main
sys.exit(main(sys.argv[1:]))
"""


def test_no_ros_is_needed(a1: RobotSpec, walk: Walk, tmp_path: Path) -> None:
    bag, out = write(tmp_path / "bag", said(a1, walk)), tmp_path / "bag.h5"
    arguments = ["convert", str(bag), "--out", str(out), "--world", "yard"]
    subprocess.run([sys.executable, "-c", WITHOUT_ROS, *arguments], check=True, env=os.environ, timeout=120)
    with DataSet(out) as data:
        assert (len(data), data.info.robot, data.info.world, data.info.domain) == (
            LENGTH,
            "a1",
            "yard",
            "target",
        )


def test_recording_gives_what_the_logger_wrote(
    a1: RobotSpec, mild_policy: Path, wild_policy: Path, tmp_path: Path
) -> None:
    """Walks and falls, live over DDS: logged by the logger node, recorded beside it, and converted."""
    pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")
    heard: list[tuple[str, Any, int]] = []
    hosted = {"world": "obstructive", "mode": "lock_step", "walk_steps": 40, "answer_timeout": 5.0}
    with (
        run_nodes(tmp_path / "logs", CONTROLLER, LOGGER, **hosted) as nodes,
        subscribed(nodes.domain, lambda topic, message: heard.append((topic, message, time.time_ns()))),
    ):
        nodes.record(tmp_path / "logged.h5")
        for policy in (mild_policy, wild_policy):
            nodes.engage(policy, exploration_noise=0.2)
            for seed in (5, 6):
                nodes.client.restart(seed)
                nodes.stand()
                nodes.client.walk(timeout=30.0)
            nodes.release()
        nodes.client.trigger(LOGGER, "stop")
    for storage, compress in STORAGES:
        bag = tmp_path / f"{storage}_{compress}"
        with write_bag(bag, storage, compress) as put:
            for topic, message, when in heard:
                put("/" + topic, message, when)
        got = convert([bag], "dara", tmp_path / f"{bag.name}.h5", Choices(world="unknown"))
        assert got.failures == 2
        assert_same(tmp_path / "logged.h5", Path(got.file))


def assert_same(logged: Path, converted: Path) -> None:
    with DataSet(logged) as left, DataSet(converted) as right:
        assert left.column_names() == right.column_names()
        assert left.info.task_hash == right.info.task_hash and left.info.spec_hash == right.info.spec_hash
        for name in left.column_names():
            if name != "infos/receive_time":  # the logger's clock, or the recorder's
                np.testing.assert_array_equal(left.column(name), right.column(name), err_msg=name)
