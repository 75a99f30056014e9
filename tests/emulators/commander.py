"""Somebody else who publishes commands for a Go2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.context import Context
from rclpy.node import Node
from unitree_go.msg import LowCmd


@contextmanager
def another_commander(domain: int | None = None) -> Iterator[None]:
    """Meanwhile there is one, in a ROS domain, though it says nothing."""
    context = Context()
    context.init(domain_id=domain)
    node = Node("walk_these_ways", context=context, use_global_arguments=False)
    node.create_publisher(LowCmd, "/lowcmd", 1)
    try:
        yield
    finally:
        node.destroy_node()
        context.try_shutdown()
