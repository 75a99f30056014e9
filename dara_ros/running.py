"""The life of a node's process: parameters, signals, one-line errors, exit status."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import LoggingSeverity, get_logger_effective_level, set_logger_level
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from . import output, real_time
from .errors import UserError
from .network import middleware_environment, require_domain
from .parameters import Parameter

# Python lets a thread that computes keep the others waiting for 5 ms by default: a quarter of a period.
THREAD_SWITCH = 0.0001  # s

# Files in ~/.ros/log would be written by whoever logs, however long the disk takes; see `output`.
NO_LOG_FILES = ("--ros-args", "--disable-external-lib-logs", "--")

RCL = "rcl"  # what the logger of ROS's own library is called

MENDABLE = (UserError, InvalidParameterTypeException, InvalidParameterValueException)

# Of a node with deadlines; see `real_time.prepare`.
REAL_TIME_PARAMETERS = (
    Parameter("priority", 0, "SCHED_FIFO priority of all threads; 0: ordinary", 0, 90, read_only=True),
    Parameter("lock_memory", False, "keep all memory from being paged out", read_only=True),
    Parameter("cpus", "", "cores to stay on, as in 1 or 0,1; empty: any", read_only=True),
)


class Runnable(Protocol):
    """What `run_node` needs of a node beside `rclpy.node.Node`."""

    def run(self, stop: threading.Event) -> None:
        """Work in the main thread until `stop` is set; raises where it cannot go on."""

    def close(self) -> None:
        """Leave everything in order: motors damped, files closed. Called always, once."""


def run_node(name: str, make: Callable[[], Any], args: list[str] | None) -> int:
    """Run the node that `make` makes (an rclpy Node and a Runnable) until SIGINT or SIGTERM.

    Its `run` has the main thread; callbacks come in a thread beside it.

    Signals only set an event: ROS stays up until the node has closed, so it can still say what it does.

    Returns:
        0 after a signal, 2 where the user can mend it (wrong arguments, no robot at the other end), 1 where
        the node could not go on; for the last two one line on stderr says why.
    """
    with output.never_waited_for():
        errors = _run(make, sys.argv if args is None else args)
    for error in errors:
        kind = "" if isinstance(error, MENDABLE) else f"{type(error).__name__}: "
        print(f"{name}: {kind}{' '.join(str(error).split())}", file=sys.stderr)
    if not errors:
        return 0
    return 2 if isinstance(errors[0], MENDABLE) else 1


def _run(make: Callable[[], Any], args: Sequence[str]) -> list[Exception]:
    """What went wrong, the first thing first."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):  # HUP: the terminal is gone
        signal.signal(number, lambda *_: stop.set())
    sys.setswitchinterval(THREAD_SWITCH)
    try:
        os.environ.update(middleware_environment(middleware=rclpy.get_rmw_implementation_identifier()))
        require_domain()
        _begin(args)
        node = make()
        _prepare(node)
    except MENDABLE as error:
        rclpy.try_shutdown()
        return [error]
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    errors: list[Exception] = []
    spinning = threading.Thread(target=_spin, args=(executor, stop, errors), name="executor", daemon=True)
    spinning.start()
    try:
        node.run(stop)
    except Exception as error:  # whatever it is, motors have to be damped and files closed
        errors.append(error)
    stop.set()
    executor.create_task(lambda: None)  # wakes it; to shut it down while it waits would race
    spinning.join(timeout=2.0)
    executor.shutdown()
    try:
        node.close()
    except Exception as error:
        errors.append(error)
    node.destroy_node()
    rclpy.try_shutdown()
    return errors


def _begin(args: Sequence[str]) -> None:
    """Begin ROS with the arguments after --ros-args.

    Raises:
        UserError: they are wrong.
    """
    set_logger_level(RCL, LoggingSeverity.FATAL)  # the exception says it all
    try:
        rclpy.init(args=[*NO_LOG_FILES, *args], signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # of classes that rclpy keeps to itself
        reason = re.sub(r"\.?, at /\S+:\d+", "", str(error))  # places in rcl's own code
        raise UserError(
            f"wrong arguments: {reason}; mend what follows --ros-args, or the file named there"
        ) from error
    finally:
        if get_logger_effective_level(RCL) == LoggingSeverity.FATAL:  # else --log-level has set it
            set_logger_level(RCL, LoggingSeverity.UNSET)


def _prepare(node: Node) -> None:
    """Real-time measures for a node that has parameters for them; what is refused becomes a warning."""
    names = [parameter.name for parameter in REAL_TIME_PARAMETERS]
    if not all(map(node.has_parameter, names)):
        return
    priority, lock_memory, cpus = (node.get_parameter(name).value for name in names)
    for refusal in real_time.prepare(priority, lock_memory, cpus):
        node.get_logger().warning(refusal)


def _spin(executor: SingleThreadedExecutor, stop: threading.Event, errors: list[Exception]) -> None:
    try:
        while not stop.is_set():
            executor.spin_once()
    except Exception as error:  # of a callback: without callbacks the node is deaf, so it ends
        errors.append(error)
    finally:
        stop.set()
