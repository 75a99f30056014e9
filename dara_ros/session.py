"""A client that drives the nodes: stand up, walk, change the controller's policy, record.

    with RobotClient(domain_id) as client:
        client.wait_for_nodes([ROBOT, CONTROLLER])
        client.configure()
        client.activate()
        client.stand()
        client.wait_for_mode(Mode.READY)
        client.enable(True)

Its executor spins in a thread of its own; every method may be called from any other thread, and blocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import LoggingSeverity
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from .hardware.safety import Mode
from .network import LOCALHOST, middleware_environment

ROBOT, CONTROLLER, LOGGER, OFFLINE = "robot_node", "controller_node", "logger_node", "offline_node"
LATCHED = QoSProfile(
    depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
CALL_TIMEOUT = 30.0  # s that a node may take for an answer; configure loads and warms up a policy
POLL = 0.2  # s between two looks at whether the nodes still live


class Refused(Exception):  # noqa: N818 (says what happened)
    """A node refused a request; the message is its one line."""


class SessionTimeout(Exception):  # noqa: N818
    """A node did not answer, or did not come to a state, in time."""


class RobotClient:
    """One participant that talks to the nodes of one robot.

    Args:
        domain_id: ROS_DOMAIN_ID; None takes the environment's.
        namespace: where the nodes live.
        loopback: keep discovery on this machine, as `Processes` does; else what the environment says.
        check: called about five times a second while waiting; raises where waiting is hopeless, as
            `Processes.check` does when a node has died.
    """

    def __init__(
        self,
        domain_id: int | None = None,
        namespace: str = "",
        loopback: bool = True,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        # The middleware reads it when a context begins.
        os.environ.update(middleware_environment(LOCALHOST if loopback else None))
        self._check = check
        self._prefix = f"/{namespace.strip('/')}" if namespace else ""
        self._context = rclpy.Context()
        self._context.init(domain_id=domain_id)
        self.node = rclpy.create_node(
            f"client_{os.getpid()}",
            context=self._context,
            namespace=namespace,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._changed = threading.Condition()
        self._modes: list[Mode] = []  # every one that was seen, the newest last
        self._clients: dict[str, Client] = {}
        self._progress: dict[str, Any] = {}
        self._diagnostics: dict[str, dict[str, str]] = {}
        self._errors: dict[str, str] = {}
        self.node.create_subscription(String, f"{ROBOT}/state", self._on_mode, LATCHED)
        self.node.create_subscription(String, f"{OFFLINE}/progress", self._on_progress, LATCHED)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.node.create_subscription(Log, "/rosout", self._on_log, 100)
        self._closing = False
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name="robot_client", daemon=True)
        self._thread.start()

    def __enter__(self) -> RobotClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the ROS graph; closing twice is harmless."""
        if not self._context.ok():
            return
        self._closing = True
        self._executor.create_task(lambda: None)  # wakes it; to shut it down while it waits would race
        self._thread.join()
        self._executor.shutdown()
        self._context.try_shutdown()
        self.node.destroy_node()

    # -- the robot --------------------------------------------------------------------------------------

    def wait_for_nodes(self, names: Iterable[str], timeout: float = 60.0) -> None:
        """Wait until all of the nodes answer. (That a service is in the graph does not say that it does.)

        Raises:
            SessionTimeout: naming the service that does not.
        """
        deadline = time.monotonic() + timeout
        for name in names:
            request = GetParameters.Request(names=["use_sim_time"])
            service = self._service(name, "get_parameters")
            self._call(GetParameters, service, request, max(0.0, deadline - time.monotonic()))

    @property
    def mode(self) -> Mode | None:
        """The supervisor's state; None as long as the robot node has not said it."""
        return self._modes[-1] if self._modes else None

    def wait_for_mode(self, *modes: Mode, timeout: float = 60.0) -> Mode:
        """Wait until the robot is in one of `modes`; returns which.

        Raises:
            SessionTimeout: it is not within `timeout` seconds.
            Refused: it is damped, and nobody waits for that.
        """

        def arrived() -> bool:
            if self.mode is Mode.DAMPED and Mode.DAMPED not in modes:
                raise Refused(f"robot node: {self._errors.get(ROBOT, 'damped; its log says why')}")
            return self.mode in modes

        self._wait(arrived, timeout, lambda: f"the robot is not {' or '.join(m.value for m in modes)}")
        return self._modes[-1]

    def stand(self, patience: float = 5.0) -> None:
        """Begin to stand up; wait_for_mode(Mode.READY) waits for its end.

        Args:
            patience: s in which a passive robot that refuses is asked again: it may still be sinking down.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                self.trigger(ROBOT, "stand")
                return
            except Refused:
                if self.mode is not Mode.PASSIVE or time.monotonic() > deadline:
                    raise
            time.sleep(POLL)

    def sit(self) -> None:
        """Begin to sit down."""
        self.trigger(ROBOT, "sit")

    def damp(self) -> None:
        """Damp the motors."""
        self.trigger(ROBOT, "damp")

    def estop(self) -> None:
        """Emergency stop."""
        self.trigger(ROBOT, "estop")

    def reset(self) -> None:
        """Leave damped for passive."""
        self.trigger(ROBOT, "reset")

    def enable(self, walk: bool) -> None:
        """Let the controller's commands through, or no longer."""
        response = self._call(SetBool, self._service(ROBOT, "enable"), SetBool.Request(data=walk))
        if not response.success:
            raise Refused(response.message)

    def walk(self, timeout: float, should_stop: Callable[[], bool] = lambda: False) -> Mode:
        """Enable, and wait until the walk is over, or `should_stop`; returns the state of the robot then.

        Raises:
            SessionTimeout: it still walks after `timeout` seconds.
        """
        seen = len(self._modes)
        self.enable(True)

        def over() -> bool:
            return any(mode is not Mode.WALKING for mode in self._modes[seen:])

        self._wait(lambda: over() or should_stop(), timeout, lambda: "the walk has not ended")
        return self._modes[-1] if over() else Mode.WALKING

    def restart(self, seed: int) -> None:
        """Put a simulated robot back to its start, everything drawn anew from `seed`; it is passive then."""
        self._errors.pop(ROBOT, None)
        self.set_parameters(ROBOT, {"seed": seed})
        self.trigger(ROBOT, "restart")
        self._wait(lambda: self.mode is Mode.PASSIVE, CALL_TIMEOUT, lambda: "the robot has not restarted")

    # -- the controller ---------------------------------------------------------------------------------

    def configure(self) -> None:
        """Controller: load and check the policy."""
        self._change_state(Transition.TRANSITION_CONFIGURE, "configure")

    def activate(self) -> None:
        """Controller: answer states with commands."""
        self._change_state(Transition.TRANSITION_ACTIVATE, "activate")

    def deactivate(self) -> None:
        """Controller: send no more commands."""
        self._change_state(Transition.TRANSITION_DEACTIVATE, "deactivate")

    def cleanup(self) -> None:
        """Controller: forget the policy."""
        self._change_state(Transition.TRANSITION_CLEANUP, "clean up")

    # -- any node ---------------------------------------------------------------------------------------

    def trigger(self, node: str, service: str) -> str:
        """Call the Trigger service ~/`service` of a node; returns what it said.

        Raises:
            Refused: with the node's reason.
        """
        response = self._call(Trigger, self._service(node, service), Trigger.Request())
        if not response.success:
            raise Refused(response.message)
        return response.message

    def set_parameters(self, node: str, parameters: Mapping[str, bool | int | float | str]) -> None:
        """Set parameters of a node.

        Raises:
            Refused: the node refuses one of them; those before it are set.
        """
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg() for name, value in parameters.items()]
        )
        response = self._call(SetParameters, self._service(node, "set_parameters"), request)
        for name, result in zip(parameters, response.results, strict=True):
            if not result.successful:
                raise Refused(f"{node}: parameter {name}: {result.reason}")

    def get_parameters(self, node: str, names: Sequence[str]) -> list[Any]:
        """Values of parameters of a node, in order; None for one that it does not have."""
        request = GetParameters.Request(names=list(names))
        response = self._call(GetParameters, self._service(node, "get_parameters"), request)
        return [parameter_value_to_python(value) for value in response.values]

    def diagnostics(self, node: str, newer: bool = False, timeout: float = 5.0) -> dict[str, str]:
        """The newest diagnostic values of a node; with `newer` the first that come after this call.

        Raises:
            SessionTimeout: none come.
        """
        with self._changed:
            if newer:
                self._diagnostics.pop(node, None)
        self._wait(lambda: node in self._diagnostics, timeout, lambda: f"no diagnostics from {node}")
        return self._diagnostics[node]

    def all_diagnostics(self, newer: Sequence[str] = (), timeout: float = 5.0) -> dict[str, dict[str, str]]:
        """The newest diagnostic values of all nodes; first those in `newer`: what comes after this call.

        Raises:
            SessionTimeout: none come.
        """
        for node in newer:
            self._diagnostics.pop(node, None)
        for node in newer:
            self.diagnostics(node, timeout=timeout)
        return {node: self._diagnostics[node] for node in (*newer, *self._diagnostics)}

    def progress(self) -> dict[str, Any]:
        """What the offline node last said on ~/progress; empty before it said anything."""
        return self._progress

    def wait_for_progress(
        self, done: Callable[[dict[str, Any]], bool], timeout: float = 3600.0
    ) -> dict[str, Any]:
        """Wait until the offline node's progress satisfies `done`; returns that progress."""
        self._wait(lambda: done(self._progress), timeout, lambda: f"{OFFLINE} is at {self._progress}")
        return self._progress

    # -- inside -----------------------------------------------------------------------------------------

    def _service(self, node: str, service: str) -> str:
        return f"{self._prefix}/{node}/{service}"

    def _change_state(self, transition: int, verb: str) -> None:
        self._errors.pop(CONTROLLER, None)
        request = ChangeState.Request(transition=Transition(id=transition))
        if self._call(ChangeState, self._service(CONTROLLER, "change_state"), request).success:
            return
        deadline = time.monotonic() + 1.0  # the reason comes by another topic than the answer
        while CONTROLLER not in self._errors and time.monotonic() < deadline:
            time.sleep(0.01)
        reason = self._errors.get(CONTROLLER, "it gave no reason; see its log")
        raise Refused(f"the controller refused to {verb}: {reason}")

    def _call(self, kind: Any, service: str, request: Any, timeout: float = CALL_TIMEOUT) -> Any:
        client = self._client(kind, service)
        self._wait(client.service_is_ready, timeout, lambda: f"no node offers {service}")
        future = client.call_async(request)
        future.add_done_callback(lambda _: self._notify())
        self._wait(future.done, timeout, lambda: f"no answer from {service}")
        return future.result()

    def _client(self, kind: Any, service: str) -> Client:
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        return self._clients[service]

    def _wait(self, condition: Callable[[], bool], timeout: float, problem: Callable[[], str]) -> None:
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition():
                self._check()
                if time.monotonic() > deadline:
                    raise SessionTimeout(f"{problem()} after {timeout:.0f} s")
                self._changed.wait(POLL)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _on_mode(self, message: String) -> None:
        self._modes.append(Mode(message.data))
        self._notify()

    def _on_progress(self, message: String) -> None:
        self._progress = json.loads(message.data)
        self._notify()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            node = status.name.split(":")[0].strip("/ ").split("/")[-1]
            self._diagnostics[node] = {value.key: value.value for value in status.values}
        self._notify()

    def _on_log(self, message: Log) -> None:
        if message.level >= LoggingSeverity.ERROR:
            self._errors[message.name.split(".")[-1]] = message.msg
            self._notify()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            while not self._closing:
                self._executor.spin_once()
