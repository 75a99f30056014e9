"""Driver of the Unitree A1 and Go1 over low-level UDP.

    DARA_ROBOT_ADDRESS=192.168.123.10 ros2 run dara_ros robot_node --ros-args -p driver:=unitree_a1

The robots expect a command every 2 ms and answer each with a state.
"""

import os
import select
import socket
import time

from ...errors import UserError
from ..spec import RobotSpec
from .low_level import OPEN_TIMEOUT, SEND_PERIOD_NS, LowLevelDriver
from .wire import WIRES, BadPacket, LowCommand, decode_state, encode_command

ADDRESS = ("192.168.123.10", 8007)  # of the low-level board, both robots
LOCAL_PORT = 8080
ADDRESS_VARIABLE = "DARA_ROBOT_ADDRESS"  # HOST or HOST:PORT
LOCAL_PORT_VARIABLE = "DARA_LOCAL_PORT"
LARGEST_PACKET = 2048  # bytes; every packet of the protocol is smaller


class UnitreeUdpDriver(LowLevelDriver):
    """Reaches one A1 or Go1, as a Driver.

    Attributes:
        foreign: packets that came from somewhere else.
    """

    def __init__(
        self, spec: RobotSpec, address: tuple[str, int] = ADDRESS, local_port: int = LOCAL_PORT
    ) -> None:
        if spec.name not in WIRES:
            raise UserError(
                f"no UDP protocol of robot '{spec.name}' is known; known robots: {', '.join(WIRES)}"
            )
        self.foreign = 0
        self._wire = WIRES[spec.name]
        self._address = address
        self._local_port = local_port
        super().__init__(spec)

    def _encode(self, command: LowCommand) -> bytes:
        return encode_command(self._wire, command)

    def _connect(self) -> None:
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
        self._socket = link

    def _disconnect(self) -> None:
        self._socket.close()

    def _send(self, packet: bytes) -> None:
        try:
            self._socket.sendto(packet, self._robot)
        except OSError as error:  # cable out, no route: states stop too, and the supervisor sees it
            self.problem = f"cannot send: {error.strerror}"

    def _silence(self) -> str:
        host, port = self._address
        said = f" ({self.refused} packets refused, the last: {self.problem})" if self.refused else ""
        said += f" ({self.foreign} packets came from elsewhere)" if self.foreign else ""
        return (
            f"no state from {host}:{port} within {OPEN_TIMEOUT:g} s{said}; is the robot on, can this "
            f"computer ping it ({ADDRESS_VARIABLE} sets the address), and is it in low-level mode?"
        )

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
        self._take_in(state)


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
