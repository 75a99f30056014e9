"""The life of a node's process: parameters, signals, one-line errors, exit status."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException, ROSInterruptException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from .errors import UserError

# Python lets a thread that computes keep the others waiting for 5 ms by default: a quarter of a period.
THREAD_SWITCH = 0.0005  # s


class Runnable(Protocol):
    """A node that `run_node` can run."""

    def run(self, stop: threading.Event) -> None:
        """Work in the main thread until `stop` is set; raises where it cannot go on."""

    def close(self) -> None:
        """Leave everything in order: motors damped, files closed. Called always, once."""


N = TypeVar("N", bound=Node)


def run_node(name: str, make: Callable[[], N], args: list[str] | None) -> int:
    """Run a node until SIGINT or SIGTERM, callbacks in a thread beside it; returns the exit status.

    Signals only set an event: ROS stays up until the node has closed, so it can still say what it does.

    Returns:
        0 after a signal, 2 where a parameter is wrong, 1 where the node could not go on; for the last two
        one line on stderr says why.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    sys.setswitchinterval(THREAD_SWITCH)
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make()
    except (UserError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        print(f"{name}: {error}", file=sys.stderr)
        rclpy.shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=_spin, args=(executor, stop), name="executor", daemon=True)
    spinning.start()
    try:
        node.run(stop)
        status = 0
    except Exception as error:  # whatever it is, the motors have to be damped and the files closed
        print(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        status = 1
    finally:
        executor.shutdown()
        spinning.join(timeout=2.0)
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()
    return status


def _spin(executor: SingleThreadedExecutor, stop: threading.Event) -> None:
    with contextlib.suppress(ExternalShutdownException, ROSInterruptException):
        executor.spin()
