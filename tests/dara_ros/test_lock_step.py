"""In lock-step the nodes are WalkingEnv, and the logger's file is what the robot node published."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_nodes import Nodes, run_nodes, subscribed

from dara_ros import parsing
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.state import RobotState
from dara_ros.hardware.task import WalkingTask
from dara_ros.parsing import NANO
from dara_ros.policies.dataset import DataSet
from dara_ros.policies.runtime import Policy
from dara_ros.session import CONTROLLER, LOGGER

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

WORLD, STEPS, SEEDS = "obstructive", 60, (5, 6)
COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
INFOS = ("stamp", "requested_command", "sent_command", "base_position", "forward")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    logs = tmp_path_factory.mktemp("logs")
    parameters = {"world": WORLD, "mode": "lock_step", "walk_steps": STEPS, "answer_timeout": 5.0}
    with run_nodes(logs, CONTROLLER, LOGGER, **parameters) as nodes:
        yield nodes


def walk(nodes: Nodes, policy: Path, seeds: tuple[int, ...], file: Path, **controller: Any) -> list[Mode]:
    """One walk per seed into `file`; how each ended."""
    nodes.engage(policy, **controller)
    nodes.record(file)
    ends = []
    for seed in seeds:
        nodes.client.restart(seed)
        nodes.stand()
        ends.append(nodes.client.walk(timeout=30.0))
    nodes.client.trigger(LOGGER, "stop")
    nodes.release()
    return ends


def read(file: Path) -> dict[str, np.ndarray]:
    with DataSet(file) as data:
        names = (*COLUMNS, *(f"infos/{name}" for name in INFOS))
        return {name.removeprefix("infos/"): data.column(name) for name in names}


def walk_in_environment(policy: Path, seed: int) -> dict[str, np.ndarray]:
    from dara_ros.sim.environment import WalkingEnv

    env, act = WalkingEnv(WORLD), Policy.load(policy)
    observation, info = env.reset(seed=seed)
    start, rows = info["distance"], []
    for _ in range(STEPS):
        action = np.clip(act(observation).astype(np.float64), -1.0, 1.0)
        following, reward, fell, _, info = env.step(action)
        row = {"observations": observation, "actions": action, "rewards": reward}
        row |= {"next_observations": following, "terminals": fell, "forward": info["distance"] - start}
        rows.append(row | {name: info[name] for name in INFOS if name in info})
        observation = following
        if fell:
            break
    env.close()
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("policy", ["mild_policy", "wild_policy"])
def test_nodes_walk_as_the_environment_does(
    nodes: Nodes, policy: str, tmp_path: Path, request: pytest.FixtureRequest, task: WalkingTask
) -> None:
    path = request.getfixturevalue(policy)
    ends = walk(nodes, path, SEEDS, tmp_path / "nodes.h5")
    logged, begin = read(tmp_path / "nodes.h5"), 0
    for seed, end in zip(SEEDS, ends, strict=True):
        expected = walk_in_environment(path, seed)
        rows = slice(begin, begin + len(expected["rewards"]))
        for name in ("observations", "actions", "next_observations"):
            np.testing.assert_allclose(logged[name][rows], expected[name], rtol=0, atol=1e-6, err_msg=name)
        for name in ("rewards", "forward", "base_position", "requested_command", "sent_command"):
            np.testing.assert_allclose(logged[name][rows], expected[name], rtol=1e-6, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(logged["terminals"][rows], expected["terminals"])
        assert (end is Mode.DAMPED) == bool(expected["terminals"][-1])
        ending = [False] * (rows.stop - rows.start - 1) + [not expected["terminals"][-1]]
        np.testing.assert_array_equal(logged["timeouts"][rows], ending)
        gait = round(1e9 * task.spec.gait.period)
        assert (logged["stamp"][begin] - expected["stamp"][0]) % gait == 0
        begin = rows.stop
    assert begin == len(logged["rewards"])
    assert logged["terminals"].any() == (policy == "wild_policy")


def test_same_walk_twice_gives_the_same_file(nodes: Nodes, mild_policy: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        walk(nodes, mild_policy, SEEDS[:1], tmp_path / name, exploration_noise=0.3, seed=7)
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert len(one["rewards"]) == STEPS
    for name in set(one) - {"stamp"}:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    np.testing.assert_array_equal(np.diff(one["stamp"]), np.diff(two["stamp"]))


class Listener:
    """An independent subscriber: everything that is published, by topic and stamp."""

    def __init__(self) -> None:
        self.heard: dict[str, dict[int, Any]] = {}

    def hear(self, topic: str, message: Any) -> None:
        if topic == parsing.ROBOT_STATE:
            return
        if topic == parsing.FOOT_CONTACTS:
            stamp = int(message.layout.dim[0].label.split("=")[1])
        else:
            stamp = message.header.stamp.sec * NANO + message.header.stamp.nanosec
        self.heard.setdefault(topic, {})[stamp] = message

    def state(self, stamp: int) -> RobotState:
        """The state as it was published, put together without the code under test."""
        heard = {topic: stamps.get(stamp) for topic, stamps in self.heard.items()}
        joints, imu = heard[parsing.JOINT_STATES], heard[parsing.IMU]
        q, w, a = imu.orientation, imu.angular_velocity, imu.linear_acceleration
        position = heard[parsing.ODOM].pose.pose.position
        return RobotState(
            stamp=stamp,
            joint_positions=np.array(joints.position),
            joint_velocities=np.array(joints.velocity),
            joint_torques=np.array(joints.effort),
            orientation=np.array([q.x, q.y, q.z, q.w]),
            angular_velocity=np.array([w.x, w.y, w.z]),
            linear_acceleration=np.array([a.x, a.y, a.z]),
            foot_forces=np.array(heard[parsing.FOOT_CONTACTS].data, np.float64),
            position=np.array([position.x, position.y, position.z]),
        )


def test_file_holds_what_was_published(
    nodes: Nodes, mild_policy: Path, wild_policy: Path, tmp_path: Path, task: WalkingTask
) -> None:
    listener = Listener()
    with subscribed(nodes.domain, listener.hear):
        nodes.client.restart(1)  # published over and over: the listener has surely met the robot node then
        while not {parsing.JOINT_STATES, parsing.ODOM} <= listener.heard.keys():
            threading.Event().wait(0.05)
        ends = walk(nodes, mild_policy, SEEDS, tmp_path / "mild.h5", exploration_noise=0.1, seed=0)
        ends += walk(nodes, wild_policy, SEEDS, tmp_path / "wild.h5")
    assert ends == [Mode.READY, Mode.READY, Mode.DAMPED, Mode.DAMPED]
    walks = 0
    for file in (tmp_path / "mild.h5", tmp_path / "wild.h5"):
        logged = read(file)
        ended = logged["terminals"] | logged["timeouts"]
        for begin, end in zip(np.flatnonzero(np.roll(ended, 1)), np.flatnonzero(ended) + 1, strict=True):
            check_episode(listener, task, {name: values[begin:end] for name, values in logged.items()})
            walks += 1
    assert walks == 4


def check_episode(listener: Listener, task: WalkingTask, logged: dict[str, np.ndarray]) -> None:
    """Every row of one episode against what was published."""
    memory = task.begin(listener.state(int(logged["stamp"][0])))
    start = memory.forward[-1]
    for k, stamp in enumerate(logged["stamp"].tolist()):
        assert stamp == logged["stamp"][0] + k * task.spec.period_ns
        state, following = listener.state(stamp), listener.state(stamp + task.spec.period_ns)
        asked, sent = (listener.heard[t][stamp] for t in (parsing.JOINT_COMMANDS, parsing.SENT_COMMANDS))
        np.testing.assert_array_equal(logged["requested_command"][k], asked.position)
        np.testing.assert_array_equal(logged["sent_command"][k], sent.position)
        np.testing.assert_allclose(
            logged["observations"][k], task.observation(memory, state), rtol=0, atol=1e-6
        )
        command = task.command(memory, state, logged["actions"][k].astype(np.float64))
        np.testing.assert_allclose(command.positions, asked.position, atol=1e-6)
        memory = task.advance(memory, logged["actions"][k], following)
        np.testing.assert_allclose(
            logged["next_observations"][k], task.observation(memory, following), rtol=0, atol=1e-6
        )
        fell = bool(logged["terminals"][k])
        assert logged["rewards"][k] == pytest.approx(task.reward(memory, following, fell), rel=1e-5, abs=1e-5)
        assert logged["forward"][k] == pytest.approx(memory.forward[-1] - start)
        np.testing.assert_array_equal(logged["base_position"][k], following.position)
    last = {name: bool(logged[name][-1]) for name in ("terminals", "timeouts")}
    assert last["terminals"] != last["timeouts"]  # a fall is no cut, and a cut is no fall
    assert not (logged["terminals"] | logged["timeouts"])[:-1].any()


def test_episodes_are_cut_at_the_wanted_length(nodes: Nodes, mild_policy: Path, tmp_path: Path) -> None:
    nodes.client.set_parameters(LOGGER, {"episode_steps": 25})
    try:
        walk(nodes, mild_policy, SEEDS[:1], tmp_path / "cut.h5")
    finally:
        nodes.client.set_parameters(LOGGER, {"episode_steps": 0})
    assert np.flatnonzero(read(tmp_path / "cut.h5")["timeouts"]).tolist() == [24, 49, STEPS - 1]


def test_discarded_walk_leaves_no_row(nodes: Nodes, mild_policy: Path, tmp_path: Path) -> None:
    nodes.engage(mild_policy, exploration_noise=0.0)
    nodes.record(tmp_path / "kept.h5")
    nodes.client.restart(1)
    nodes.stand()
    nodes.client.walk(timeout=30.0)
    nodes.client.trigger(LOGGER, "discard")
    nodes.client.restart(2)
    nodes.stand()
    nodes.client.walk(timeout=30.0)
    nodes.client.trigger(LOGGER, "stop")
    nodes.release()
    logged = read(tmp_path / "kept.h5")
    assert len(logged["rewards"]) == STEPS
    assert np.flatnonzero(logged["timeouts"]).tolist() == [STEPS - 1]
