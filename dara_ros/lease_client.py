"""The controller's side of the lease."""

from __future__ import annotations

import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

from .errors import UserError
from .lease import SILENCE

START = 10.0  # s that a robot node may take to appear, as all nodes of a launch file start at once
ANSWER = 5.0  # s
PATIENCE = 2 * SILENCE  # s of being refused: a holder that has just died counts for so long
RETRY = 0.1  # s


class LeaseClient:
    """Asks the robot node for its lease.

    It has a node and an executor of its own: a callback of `node` that waited for an answer in its own
    executor would wait for ever.
    """

    def __init__(self, node: Node) -> None:
        self._service = node.resolve_service_name("robot_node/lease")
        self._node = rclpy.create_node(
            f"{node.get_name()}_lease",
            context=node.context,
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._client = self._node.create_client(Trigger, self._service)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._node)

    def take(self) -> str:
        """The token of the lease; waits for it.

        Raises:
            UserError: there is no robot node, or another controller holds the robot.
        """
        if not self._client.wait_for_service(START):
            raise UserError(f"no robot node offers {self._service}; start one, in the same ROS domain")
        deadline = time.monotonic() + PATIENCE
        answer = self._ask()
        while not answer.success and time.monotonic() < deadline:
            time.sleep(RETRY)
            answer = self._ask()
        if not answer.success:
            raise UserError(answer.message)
        return str(answer.message)

    def close(self) -> None:
        """Leave the ROS graph."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _ask(self) -> Trigger.Response:
        future = self._client.call_async(Trigger.Request())
        self._executor.spin_until_future_complete(future, ANSWER)
        if not future.done():
            raise UserError(f"no answer from {self._service}; is the robot node well? see its log")
        return future.result()
