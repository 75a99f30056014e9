"""A robot to inject faults into: an emulated A1 on a stand, robot and controller node, and we on their DDS.

All times are of CLOCK_MONOTONIC, which the processes of a machine share: the emulator's and ours compare.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from emulators.unitree import Status, UnitreeEmulator
from reaction_policies import write_failing_policy
from reaction_wall_clock import WallClock
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from dara_ros import messages, parsing, qos
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import ROBOTS, RobotSpec, load_robot
from dara_ros.parsing import SentCommand
from dara_ros.processes import Parameter, Processes, free_domain_id
from dara_ros.session import CONTROLLER, LATCHED, ROBOT, Refused, RobotClient

PATIENCE = 30.0  # s that anything may take which does not depend on a time-out of the robot
FLOOD = 2000.0  # commands a second
WARM_UP = 5  # control periods of a walk before a fault


class Disturbed(Exception):  # noqa: N818 (says what happened)
    """The robot was not well before the fault came: nothing was measured."""


Spoil = Callable[[JointState], None]
"""Changes a command."""


class Commander:
    """A controller of our own on the robot's DDS: it answers states with the stand pose.

    Attributes:
        effective: when the first command went out as `answer` wants it, s on the monotonic clock.
    """

    def __init__(self, client: RobotClient, spec: RobotSpec) -> None:
        self.effective: float | None = None
        self._client, self._spec = client, spec
        self._token = ""  # of the lease; empty: we have none
        self._spoil: Spoil | None = None
        self._waiting: deque[JointState] = deque()
        self._flooding = threading.Event()
        self._delay = 0
        self._publisher = client.node.create_publisher(JointState, parsing.JOINT_COMMANDS, qos.COMMAND)
        client.node.create_subscription(JointState, parsing.JOINT_STATES, self._on_state, qos.SENSOR)

    @property
    def holds_lease(self) -> bool:
        """Whether the robot is ours."""
        return bool(self._token)

    def take_lease(self) -> None:
        """Hold the robot; waits until its last holder's lease has ended."""
        if self._token:
            return

        def taken() -> bool:
            with suppress(Refused):
                self._token = self._client.trigger(ROBOT, "lease")
            return bool(self._token)

        wait_for(taken, "the lease does not come free")

    def drop_lease(self) -> None:
        """Give the robot back."""
        if self._token:
            self._publisher.publish(messages.release_message(self._token))
        self._token = ""

    def answer(self, spoil: Spoil = lambda command: None, delay: int = 0) -> None:
        """Answer every state, with a command that `spoil` has changed, after `delay` states more."""
        self._waiting.clear()
        self._spoil, self._delay, self.effective = spoil, delay, None

    def flood(self) -> None:
        """Publish commands without a lease, FLOOD a second."""
        self._flooding.set()
        threading.Thread(target=self._flood, name="flood", daemon=True).start()

    def be_silent(self) -> None:
        """Answer and flood no more; a lease is kept."""
        self._spoil = None
        self._flooding.clear()

    def _flood(self) -> None:
        message = self._command()
        while self._flooding.is_set():
            self._publisher.publish(message)
            time.sleep(1.0 / FLOOD)

    def _command(self) -> JointState:
        return JointState(name=list(self._spec.joint_names), position=array("d", self._spec.stand_pose))

    def _on_state(self, state: JointState) -> None:
        if self._spoil is None:
            if self._token:
                self._publisher.publish(messages.keep_alive_message(self._token))
            return
        message = self._command()
        message.header.stamp = state.header.stamp
        message.header.frame_id = f"{parsing.LEASE}{self._token}"
        self._spoil(message)
        self.effective = self.effective or time.monotonic()
        self._waiting.append(message)
        if len(self._waiting) > self._delay:
            self._publisher.publish(self._waiting.popleft())


class Rig:
    """Everything that runs; leaving the context stops it.

    Args:
        logs: folder for the nodes' logs and what they read.
        patience: the A1's own time-outs are longer by it: a busy machine may hold up who is well.
        priority: SCHED_FIFO priority of the nodes, as far as the machine permits it.
    """

    def __init__(self, logs: Path, patience: float = 1.0, priority: int = 10) -> None:
        self._logs, self._priority = logs, priority
        text = (ROBOTS / "a1.yaml").read_text()
        text = re.sub(r"stand_duration: [\d.]+", "stand_duration: 0.1", text)
        if patience != 1.0:
            text = re.sub(r"(command_timeout|stuck_time): ([\d.]+)", partial(_longer, times=patience), text)
        logs.mkdir(parents=True, exist_ok=True)
        self._robot = logs / "a1.yaml"
        self._robot.write_text(text)
        self.spec = load_robot(self._robot)
        self.failing_policy = write_failing_policy(logs / "failing.onnx", self.spec)
        self.foreign_policy = write_failing_policy(logs / "foreign.onnx", self.spec, robot="go1")
        self.emulator = UnitreeEmulator("a1", hung=True)
        self.wall_clock = WallClock(logs)  # of the nodes
        self.random = random.Random(0)
        self.disturbances: list[str] = []  # robots that were not well when a fault was to come
        self.modes: list[Mode] = []
        self.sent: list[SentCommand] = []
        self._states, self._stamp = 0, 0  # that were heard, and the last one's
        self._policy = ""  # that the controller answers with
        self._told = 0  # reasons that robot nodes before this one gave
        self._stopped: list[str] = []  # nodes

    def __enter__(self) -> Rig:
        with ExitStack() as stack:
            stack.enter_context(self.emulator)
            stack.callback(self._stop_nodes)
            self._start_nodes()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    # -- nodes ----------------------------------------------------------------------------------------------

    def _start_nodes(self) -> None:
        domain = free_domain_id()
        host, port = self.emulator.address
        before = dict(os.environ)
        os.environ |= {"DARA_ROBOT_ADDRESS": f"{host}:{port}", "DARA_LOCAL_PORT": "0"}
        os.environ |= self.wall_clock.environment
        self.processes = Processes(self._logs, domain)
        os.environ.clear()
        os.environ.update(before)
        threads = set(os.listdir("/proc/self/task"))
        self.client = RobotClient(domain, check=self.processes.check)
        self._prioritise(set(os.listdir("/proc/self/task")) - threads)
        common: dict[str, Parameter] = {"robot": str(self._robot), "priority": self._priority}
        self.processes.start(ROBOT, {"driver": "unitree_a1", **common})
        self.processes.start(CONTROLLER, common)
        node = self.client.node
        self.modes.clear()
        self._told += len(self._reasons())
        self._policy = ""
        node.create_subscription(String, f"{ROBOT}/state", self._on_mode, LATCHED)
        node.create_subscription(JointState, parsing.SENT_COMMANDS, self._on_sent, qos.COMMAND)
        node.create_subscription(JointState, parsing.JOINT_STATES, self._on_state, qos.SENSOR)
        self.commander = Commander(self.client, self.spec)
        self.client.wait_for_nodes((ROBOT, CONTROLLER))

    def _prioritise(self, threads: Iterable[str]) -> None:
        """Have threads of this process run as a controller does: we are to answer in time."""
        if self._priority:
            with suppress(OSError):
                for thread in threads:
                    os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(self._priority))

    def _stop_nodes(self) -> None:
        self.commander.be_silent()
        self.client.close()
        self.processes.stop()

    def restart_nodes(self) -> None:
        """Start robot and controller anew, in another ROS domain, after one of them was killed."""
        self._stopped.clear()
        for node in tuple(self.processes.nodes):
            self.kill(node)  # sooner than to stop it
        self._stop_nodes()
        self._start_nodes()

    def kill(self, node: str) -> None:
        """End a node as the kernel does when memory runs out: it can do nothing any more."""
        process = self.processes.nodes.pop(node).process  # nobody is to miss it
        process.kill()
        process.wait()

    def stop(self, node: str) -> None:
        """Have a node do nothing till `wake_nodes`."""
        self.processes.nodes[node].process.send_signal(signal.SIGSTOP)
        self._stopped.append(node)

    def wake_nodes(self) -> None:
        """Have those go on that were stopped, after a time that nobody may overlook."""
        if self._stopped:
            time.sleep(self.spec.safety.command_timeout)
        while self._stopped:
            self.processes.nodes[self._stopped.pop()].process.send_signal(signal.SIGCONT)

    def reason(self) -> str:
        """Why the robot was damped the last time, as the robot node's log says it."""
        dampings = self.modes.count(Mode.DAMPED)
        wait_for(lambda: len(self._reasons()) >= dampings, "the robot node does not say why it is damped")
        return self._reasons()[-1]

    def _reasons(self) -> list[str]:
        """All of this robot node."""
        log = self._logs / f"{ROBOT}.log"
        said = re.findall(r"\]: damped: (.*)\n", log.read_text()) if log.exists() else []
        return said[self._told :]

    def _on_mode(self, message: String) -> None:
        self.modes.append(Mode(message.data))

    def _on_sent(self, message: JointState) -> None:
        self.sent.append(parsing.parse_sent(self.spec, message))

    def _on_state(self, message: JointState) -> None:
        stamp = parsing.stamp_of(message.header.stamp)
        self._states += stamp != self._stamp  # one that comes again is no new one
        self._stamp = stamp

    # -- the robot ------------------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode | None:
        """The supervisor's state, as it was heard last."""
        return self.modes[-1] if self.modes else None

    def wait_for_mode(self, mode: Mode) -> None:
        """Wait until the supervisor says so."""
        wait_for(lambda: self.mode is mode, f"the robot is not {mode.value}")

    def wait_for_motors(self, motors: str) -> Status:
        """The emulated robot's status as soon as its motors are so; see `Status`."""
        return self.emulator.wait_until(lambda status: status.motors == motors, timeout=PATIENCE)

    def wait_for_states(self, number: int) -> None:
        """Wait until the robot node has published so many new states."""
        target = self._states + number
        wait_for(lambda: self._states >= target, "no more states come")

    def wait_for_sent(self, number: int) -> list[SentCommand]:
        """The next so many commands that the motors of the walking robot were sent; fewer if it is damped."""
        begin = len(self.sent)
        wait_for(
            lambda: len(self.sent) >= begin + number or self.mode is Mode.DAMPED,
            "no more commands are sent to the motors",
        )
        return self.sent[begin:]

    def rest(self) -> None:
        """Faultless and passive, with all nodes."""
        if self.processes.nodes.keys() != {ROBOT, CONTROLLER}:
            self.restart_nodes()
        self.commander.be_silent()
        self.wake_nodes()
        self.emulator.heal()
        self.wait_for_states(2)  # the newest is faultless
        wait_for(lambda: self.mode is not None, "the robot node does not say its state")
        if self.mode is not Mode.PASSIVE:
            self.client.damp()
            self.client.reset()
            self.wait_for_mode(Mode.PASSIVE)

    def command_with(self, policy: str | Path) -> None:
        """Have the controller answer with `policy`."""
        if str(policy) == self._policy and not self.commander.holds_lease:
            return
        self.release()
        self.client.set_parameters(CONTROLLER, {"policy": str(policy)})
        self.client.configure()
        self._policy = str(policy)

        def active() -> bool:
            with suppress(Refused):
                self.client.activate()
                return True
            return False

        wait_for(active, "the controller cannot be activated")

    def command_ourselves(self) -> None:
        """Answer states ourselves, and not the controller."""
        self.release(but_us=True)
        self.commander.take_lease()

    def release(self, but_us: bool = False) -> None:
        """Nobody commands the robot."""
        if not but_us:
            self.commander.drop_lease()
        if self._policy:
            self.client.deactivate()
            self.client.cleanup()
            self._policy = ""

    def stand(self) -> None:
        """Stand up, from passive."""
        self.client.stand()
        wait_for(lambda: self.mode in (Mode.READY, Mode.DAMPED), "the robot does not stand up")
        if self.mode is Mode.DAMPED:
            raise Disturbed(self.reason())

    def walk(self) -> None:
        """Stand up, and walk a few control periods."""
        self.stand()
        self.client.enable(True)
        if len(self.wait_for_sent(WARM_UP)) < WARM_UP:
            raise Disturbed(self.reason())


def _longer(found: re.Match[str], times: float) -> str:
    """A setting of the robot's YAML file, multiplied."""
    return f"{found[1]}: {times * float(found[2])}"


def wait_for(condition: Callable[[], bool], problem: str) -> None:
    """Wait until `condition` holds; fails with `problem` where it does not."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, problem
        time.sleep(0.002)
