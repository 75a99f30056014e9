"""Driver of the Unitree A1 and Go1 over low-level UDP.

    DARA_ROBOT_ADDRESS=192.168.123.10 ros2 run dara_ros robot_node --ros-args -p driver:=unitree_a1

A thread repeats the last command at 500 Hz, as the robots expect it, and takes in the states that answer it.
What a robot does when commands stop coming (this process killed, cable out) is its own affair, and
unknown to us: try it with the robot hung up.
"""

import logging
import os
import select
import socket
import threading
import time

import numpy as np

from ...errors import UserError
from ..spec import RobotSpec
from ..state import MotorCommand, RobotState
from .state_buffer import StateBuffer
from .wire import JOINTS, NO_POSITION, NO_VELOCITY, WIRES, BadPacket, LowCommand, decode_state, encode_command

ADDRESS = ("192.168.123.10", 8007)  # of the low-level board, both robots
LOCAL_PORT = 8080
ADDRESS_VARIABLE = "DARA_ROBOT_ADDRESS"  # HOST or HOST:PORT
LOCAL_PORT_VARIABLE = "DARA_LOCAL_PORT"
SEND_PERIOD_NS = 2_000_000
OPEN_TIMEOUT = 2.0  # s until the first state
LAST_WORDS = 0.02  # s of damping before the driver falls silent: one packet could be lost
LARGEST_PACKET = 2048  # bytes; every packet of the protocol is smaller

log = logging.getLogger(__name__)


class UnitreeUdpDriver:
    """Reaches one A1 or Go1, as a Driver. Never moves it by itself.

    Motors are damped from `open` until the first `write`, after `damp`, and where `write` stays away for the
    spec's `safety.command_timeout`. In that last case the driver wants to hear a command without stiffness
    (kp 0) before it energises motors again, and until then shows no new state: so the supervisor damps too,
    instead of going on with a robot that has sagged.

    Attributes:
        received: states that were taken in.
        refused: packets that were no state of this robot; `problem` says what was wrong with the last.
        foreign: packets that came from somewhere else.
    """

    def __init__(
        self, spec: RobotSpec, address: tuple[str, int] = ADDRESS, local_port: int = LOCAL_PORT
    ) -> None:
        if spec.name not in WIRES:
            raise UserError(
                f"no UDP protocol of robot '{spec.name}' is known; known robots: {', '.join(WIRES)}"
            )
        self.spec = spec
        self.received = self.refused = self.foreign = 0
        self.problem = ""
        self._wire = WIRES[spec.name]
        self._address = address
        self._local_port = local_port
        self._watchdog_ns = round(spec.safety.command_timeout * 1e9)
        self._damping = encode_command(
            self._wire, low_command(MotorCommand(spec.stand_pose, 0.0, spec.safety.damping))
        )
        self._thread: threading.Thread | None = None  # while open
        self._stop = threading.Event()
        self._first_state = threading.Event()
        self._lock = threading.Lock()  # guards everything below
        self._packet = self._damping  # what is sent
        self._written: int | None = None  # when `write` last came, ns
        self._expired = False  # it stayed away for too long

    # -- Driver ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, send damping, and wait for the first state.

        Raises:
            UserError: the local port is taken, or no state arrives.
        """
        self._socket = self._bind()
        samples = max(1, self.spec.period_ns // SEND_PERIOD_NS)
        self._states = StateBuffer(self.spec.period_ns, samples, epoch=time.time_ns())
        self._packet, self._written, self._expired = self._damping, None, False
        self._stop.clear()
        self._first_state.clear()
        self._thread = threading.Thread(target=self._run, name="unitree_udp", daemon=True)
        self._thread.start()
        if not self._first_state.wait(OPEN_TIMEOUT):
            self.close()
            raise UserError(self._silence())

    def read(self) -> RobotState:
        """The newest state; its stamp stands still while none arrives. `position` is None."""
        with self._lock:
            last = self._states.last_taken
            if self._expired and last is not None:
                return last
            return self._states.take(time.monotonic_ns())

    def write(self, command: MotorCommand) -> None:
        """Send `command` from now on.

        Raises:
            ValueError: it is not finite or does not fit the protocol; the motors are damped.
        """
        try:
            packet = encode_command(self._wire, low_command(command))
        except ValueError:
            self.damp()
            raise
        with self._lock:
            if self._expired and command.kp > 0.0:
                return
            self._packet, self._written, self._expired = packet, time.monotonic_ns(), False

    def damp(self) -> None:
        """Send damping, now and from now on."""
        with self._lock:
            self._packet = self._damping
            if self._thread is not None:
                self._send()

    def close(self) -> None:
        """Damp and disconnect. May be called twice."""
        if self._thread is None:
            return
        self.damp()
        self._stop.wait(LAST_WORDS)
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._socket.close()

    # -- inside ---------------------------------------------------------------------------------------------

    def _bind(self) -> socket.socket:
        host, port = self._address
        try:
            self._robot = (socket.gethostbyname(host), port)
        except OSError as error:
            raise UserError(f"robot address '{host}' does not exist; mend {ADDRESS_VARIABLE}") from error
        link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        link.setblocking(False)
        try:
            link.bind(("", self._local_port))
        except OSError as error:
            link.close()
            raise UserError(
                f"UDP port {self._local_port} of this computer is not free ({error.strerror}); end the "
                f"program that uses it (does it command the robot?), or set {LOCAL_PORT_VARIABLE}"
            ) from error
        return link

    def _silence(self) -> str:
        """Why there is no state, one line."""
        host, port = self._address
        said = f" ({self.refused} packets refused, the last: {self.problem})" if self.refused else ""
        said += f" ({self.foreign} packets came from elsewhere)" if self.foreign else ""
        return (
            f"no state from {host}:{port} within {OPEN_TIMEOUT:g} s{said}; is the robot on, can this "
            f"computer ping it ({ADDRESS_VARIABLE} sets the address), and is it in low-level mode?"
        )

    def _run(self) -> None:
        """The thread: send, take in states till the next deadline, and so on."""
        deadline = time.monotonic_ns()
        while not self._stop.is_set():
            with self._lock:
                self._watch()
                self._send()
            # A deadline that was missed is not caught up in a burst.
            deadline = max(deadline + SEND_PERIOD_NS, time.monotonic_ns())
            self._receive_until(deadline)

    def _watch(self) -> None:
        """Damp where `write` has stayed away."""
        if self._expired or self._written is None:
            return
        silence = time.monotonic_ns() - self._written
        if silence > self._watchdog_ns:
            self._packet, self._expired = self._damping, True
            log.error("motors damped: no command from the control loop for %.0f ms", silence / 1e6)

    def _send(self) -> None:
        try:
            self._socket.sendto(self._packet, self._robot)
        except OSError as error:  # cable out, no route: states stop too, and the supervisor sees it
            self.problem = f"cannot send: {error.strerror}"

    def _receive_until(self, deadline: int) -> None:
        """Take in all that has come and comes; a flooded port delays commands by one period at most."""
        remaining = deadline - time.monotonic_ns()
        while remaining > -SEND_PERIOD_NS:
            if not select.select([self._socket], [], [], max(remaining, 0) * 1e-9)[0]:
                return
            self._receive()
            remaining = deadline - time.monotonic_ns()

    def _receive(self) -> None:
        try:
            packet, sender = self._socket.recvfrom(LARGEST_PACKET)
        except OSError:
            return
        if sender[0] != self._robot[0]:
            self.foreign += 1
            return
        try:
            state = decode_state(self._wire, packet)
        except BadPacket as error:
            self.refused += 1
            self.problem = str(error)
            return
        with self._lock:
            self._states.add(state, time.monotonic_ns())
        self.received += 1
        self._first_state.set()


def low_command(command: MotorCommand) -> LowCommand:
    """The protocol's form of what the supervisor lets through."""
    stiff, damped = command.kp > 0.0, command.kd > 0.0
    return LowCommand(
        positions=command.positions if stiff else np.full(JOINTS, NO_POSITION),
        velocities=np.zeros(JOINTS) if damped else np.full(JOINTS, NO_VELOCITY),
        kp=np.full(JOINTS, command.kp),
        kd=np.full(JOINTS, command.kd),
    )


# -- entry points of group dara_ros.drivers -----------------------------------------------------------------


def unitree_a1(spec: RobotSpec) -> UnitreeUdpDriver:
    """Driver of an A1 at the address that the environment gives, or at its usual one."""
    return _from_environment(spec, "a1")


def unitree_go1(spec: RobotSpec) -> UnitreeUdpDriver:
    """Driver of a Go1 at the address that the environment gives, or at its usual one."""
    return _from_environment(spec, "go1")


def _from_environment(spec: RobotSpec, robot: str) -> UnitreeUdpDriver:
    if spec.name != robot:
        raise UserError(f"driver unitree_{robot} cannot drive robot '{spec.name}'; set robot to {robot}")
    host, _, port = os.environ.get(ADDRESS_VARIABLE, ADDRESS[0]).partition(":")
    local_port = os.environ.get(LOCAL_PORT_VARIABLE, str(LOCAL_PORT))
    address = (host, _port(port or str(ADDRESS[1]), ADDRESS_VARIABLE))
    return UnitreeUdpDriver(spec, address, _port(local_port, LOCAL_PORT_VARIABLE))


def _port(text: str, variable: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise UserError(f"'{text}' in {variable} is no port; give a number up to 65535")
    return int(text)
