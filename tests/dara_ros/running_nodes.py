"""Running nodes, what is heard of them, and a policy that they take: what tests of the ROS layer share."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import rclpy
from onnx import helper
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from dara_ros import messages, parsing, qos
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import load_robot
from dara_ros.hardware.task import ACTION_SIZE, OBSERVATION_SIZE, WalkingTask
from dara_ros.policies.runtime import PolicyMetadata
from dara_ros.processes import Parameter, Processes, free_domain_id
from dara_ros.session import CONTROLLER, LOGGER, ROBOT, RobotClient


def write_linear_policy(path: Path, scale: float, robot: str | Path = "a1") -> Path:
    """A policy file: tanh of a random linear function of the observation."""
    weights = scale * np.random.default_rng(3).normal(size=(OBSERVATION_SIZE, ACTION_SIZE))
    weights = weights.astype(np.float32)
    observations = np.random.default_rng(0).normal(size=(4, OBSERVATION_SIZE)).astype(np.float32)
    task = WalkingTask(load_robot(robot))
    metadata = PolicyMetadata.from_task(
        task.description(),
        robot=task.spec.name,
        control_period=task.spec.control_period,
        spec_hash=task.spec.hash,
        task_hash=task.hash(),
        algorithm="linear",
        eta=0.0,
        data_set_hashes={},
    )
    golden = {
        "golden_observations": observations.tolist(),
        "golden_actions": np.tanh(observations @ weights).tolist(),
    }
    nodes = [
        helper.make_node("MatMul", ["observation", "weights"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["action"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])
        for name, size in (("observation", OBSERVATION_SIZE), ("action", ACTION_SIZE))
    ]
    tensor = onnx.numpy_helper.from_array(weights, "weights")
    graph = helper.make_graph(nodes, "linear", ends[:1], ends[1:], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, replace(metadata, **golden).to_properties())
    onnx.save(model, path)
    return path


@dataclass
class Nodes:
    """Running nodes, and a client that talks to them."""

    processes: Processes
    client: RobotClient
    domain: int

    def log(self, node: str) -> str:
        return (self.processes.logs / f"{node}.log").read_text()

    def wait_for_log(self, node: str, line: str) -> None:
        """Wait until a node's log matches the regular expression: it comes by another way than messages."""
        deadline = time.monotonic() + 10.0
        while not re.search(line, self.log(node)):
            assert time.monotonic() < deadline, self.log(node)
            time.sleep(0.01)

    def engage(self, policy: str | Path, **parameters: Parameter) -> None:
        """Give the controller a policy and let it answer."""
        self.client.set_parameters(CONTROLLER, {"policy": str(policy), **parameters})
        self.client.configure()
        self.client.activate()

    def release(self) -> None:
        self.client.deactivate()
        self.client.cleanup()

    def record(self, path: Path, **parameters: Parameter) -> None:
        self.client.set_parameters(LOGGER, {"out": str(path), **parameters})
        self.client.trigger(LOGGER, "start")

    def stand(self) -> None:
        self.client.stand()
        self.client.wait_for_mode(Mode.READY, timeout=30.0)


@contextmanager
def run_nodes(
    logs: Path, *names: str, robot: str | Path = "a1", domain: int | None = None, **hosted: Parameter
) -> Iterator[Nodes]:
    """Start the nodes in a ROS domain of their own; `hosted` are further parameters of the robot node."""
    domain = domain or free_domain_id()
    with Processes(logs, domain) as processes:
        processes.start(ROBOT, {"robot": str(robot), **hosted})
        for name in names:
            processes.start(name, {"robot": str(robot)})
        with RobotClient(domain, check=processes.check) as client:
            client.wait_for_nodes((ROBOT, *names))
            yield Nodes(processes, client, domain)


@contextmanager
def subscribed(domain: int, hear: Callable[[str, Any], None]) -> Iterator[None]:
    """Meanwhile `hear` is called, in another thread, with (topic, message) of all that a logger hears."""
    context = rclpy.Context()
    context.init(domain_id=domain)
    node = rclpy.create_node("listener", context=context, use_global_arguments=False)
    for topic, kind in messages.MESSAGE_TYPES.items():
        node.create_subscription(kind, topic, partial(hear, topic), qos.LOGGED_SENSOR)
    commands = (parsing.JOINT_COMMANDS, parsing.SENT_COMMANDS)
    for topic in commands:
        node.create_subscription(JointState, topic, partial(hear, topic), qos.LOGGED_COMMAND)
    node.create_subscription(String, parsing.ROBOT_STATE, partial(hear, parsing.ROBOT_STATE), qos.STATE)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        while not all(node.count_publishers(topic) for topic in (*messages.MESSAGE_TYPES, *commands)):
            threading.Event().wait(0.05)
        threading.Event().wait(0.5)  # the publishers have to find this node, too
        yield
    finally:
        executor.shutdown()
        context.try_shutdown()
        thread.join()
