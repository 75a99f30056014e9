"""Parameters of a node: declared once, with default, description and range."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

Value = bool | int | float | str


@dataclass(frozen=True)
class Parameter:
    """One parameter. `low` and `high` bound numbers; `read_only`: only the start of the node sets it."""

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    read_only: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """Description, range and rights as ROS has them."""
        descriptor = ParameterDescriptor(description=self.description, read_only=self.read_only)
        if self.low is None or self.high is None:
            return descriptor
        if isinstance(self.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high))]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=self.low, to_value=self.high)]
        return descriptor


def declare(node: Node, parameters: Iterable[Parameter]) -> None:
    """Declare them all.

    Raises:
        InvalidParameterValueException, InvalidParameterTypeException: an override is out of range or of
            another type.
    """
    for parameter in parameters:
        node.declare_parameter(parameter.name, parameter.default, parameter.descriptor())
