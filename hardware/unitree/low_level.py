"""What the drivers of Unitree robots share: a thread repeats the last command at 500 Hz, and has a watchdog.

What a robot does when commands stop coming (this process killed, cable out) is its own affair, and
unknown to us: try it with the robot hung up.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...errors import UserError
from ..driver import never
from ..health import Health
from ..odometry import Odometry, advance
from ..spec import RobotSpec
from ..state import MotorCommand, RobotState
from .state_buffer import StateBuffer
from .wire import JOINTS, NO_POSITION, NO_VELOCITY, LowCommand, LowState

SEND_PERIOD_NS = 2_000_000
OPEN_TIMEOUT = 2.0  # s until the first state
LAST_WORDS = 0.02  # s of damping before the driver falls silent: one packet could be lost

log = logging.getLogger(__name__)


class LowLevelDriver(ABC):
    """A Driver of one robot, which never moves it by itself; a subclass brings the link to the robot.

    Motors are damped from `open` until the first `write`, after `damp`, and where `write` stays away for the
    spec's `safety.command_timeout`. In that last case the driver wants to hear a command without stiffness
    (kp 0) before it energises motors again, and until then shows no new state: so the supervisor damps too,
    instead of going on with a robot that has sagged.

    Attributes:
        received: states that were taken in.
        refused: packets that were no state of this robot; `problem` says what was wrong with the last.
        health: what the newest state says of battery and motors; None before the first.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self.received = self.refused = 0
        self.problem = ""
        self.health: Health | None = None
        self._watchdog_ns = round(spec.safety.command_timeout * 1e9)
        self._damping = self._encode(low_command(MotorCommand(spec.stand_pose, 0.0, spec.safety.damping)))
        self._called_off: Callable[[], bool] = never
        self._thread: threading.Thread | None = None  # while open
        self._stop = threading.Event()
        self._first_state = threading.Event()
        self._lock = threading.Lock()  # guards everything below
        self._packet = self._damping  # what is sent
        self._written: int | None = None  # when `write` last came, ns
        self._expired = False  # it stayed away for too long
        self._shown: RobotState | None = None  # what `read` gave the last time
        self._odometry: Odometry | None = None  # at it
        self._fault = ""  # why this driver commands nothing but damping any more

    # -- the link -------------------------------------------------------------------------------------------

    @abstractmethod
    def _encode(self, command: LowCommand) -> bytes:
        """The packet that asks for `command`; ValueError where it does not fit."""

    @abstractmethod
    def _connect(self) -> None:
        """Reach the robot, or raise a UserError and leave nothing behind; moves nothing once called off."""

    @abstractmethod
    def _disconnect(self) -> None:
        """The opposite of `_connect`."""

    @abstractmethod
    def _send(self, packet: bytes) -> None:
        """Send it to the robot, once."""

    @abstractmethod
    def _receive_until(self, deadline: int) -> None:
        """Give all states that come till `deadline` (ns of the monotonic clock) to `_take_in`."""

    @abstractmethod
    def _silence(self) -> str:
        """Why there is no state, one line."""

    def _look_around(self) -> str:
        """Why the robot must be damped, as this driver alone can know it; empty where all is well."""
        return ""

    # -- Driver ---------------------------------------------------------------------------------------------

    def open(self, called_off: Callable[[], bool] = never) -> None:
        """Connect, send damping, and wait for the first state.

        Raises:
            UserError: the robot cannot be reached, no state arrives, or it was called off.
        """
        self._called_off = called_off
        self._connect()
        samples = max(1, self.spec.period_ns // SEND_PERIOD_NS)
        self._states = StateBuffer(self.spec.period_ns, samples, epoch=time.time_ns())
        self._packet, self._written, self._expired, self._fault = self._damping, None, False, ""
        self._shown, self._odometry = None, None
        self._stop.clear()
        self._first_state.clear()
        self._thread = threading.Thread(target=self._run, name="unitree", daemon=True)
        self._thread.start()
        if not self._first_state.wait(OPEN_TIMEOUT):
            self.close()
            raise UserError(self._silence())

    def read(self) -> RobotState:
        """The newest state, its position by leg odometry; its stamp stands still while none arrives.

        Raises:
            UserError: somebody else may command the robot; this driver sends damping.
        """
        with self._lock:
            if self._fault:
                raise UserError(self._fault)
            if self._expired and self._shown is not None:
                return self._shown
            taken = self._states.take(time.monotonic_ns())
            if self._shown is None or taken.stamp > self._shown.stamp:
                self._shown = self._measured(taken)
            return self._shown

    def _measured(self, state: RobotState) -> RobotState:
        """`state` with forces in N, and with its position."""
        sensors = self.spec.sensors
        forces = sensors.newtons_per_count * (state.foot_forces - np.array(sensors.foot_offset))
        state = replace(state, foot_forces=forces)
        self._odometry = advance(self.spec, self._odometry, state)
        return replace(state, position=None if self._odometry is None else self._odometry.position)

    def write(self, command: MotorCommand) -> None:
        """Send `command` from now on.

        Raises:
            ValueError: it is not finite or does not fit the protocol; the motors are damped.
        """
        try:
            packet = self._encode(low_command(command))
        except ValueError:
            self.damp()
            raise
        with self._lock:
            self._watch()  # a process that was held up may come here before its thread has looked
            if self._fault or (self._expired and command.kp > 0.0):
                return
            self._packet, self._written, self._expired = packet, time.monotonic_ns(), False

    def damp(self) -> None:
        """Send damping, now and from now on."""
        with self._lock:
            self._packet = self._damping
            if self._thread is not None:
                self._send(self._packet)

    def close(self) -> None:
        """Damp and disconnect. May be called twice."""
        if self._thread is None:
            return
        self.damp()
        self._stop.wait(LAST_WORDS)
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._disconnect()

    # -- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Send, take in states till the next deadline, and so on."""
        deadline = time.monotonic_ns()
        while not self._stop.is_set():
            with self._lock:
                self._watch()
                self._send(self._packet)
            # A deadline that was missed is not caught up in a burst.
            deadline = max(deadline + SEND_PERIOD_NS, time.monotonic_ns())
            self._receive_until(deadline)

    def _watch(self) -> None:
        """Damp where `write` has stayed away, or the driver sees a fault."""
        if not self._fault:
            self._fault = self._look_around()
            if self._fault:
                self._packet = self._damping
                log.error("motors damped: %s", self._fault)
        if self._expired or self._written is None:
            return
        silence = time.monotonic_ns() - self._written
        if silence > self._watchdog_ns:
            self._packet, self._expired = self._damping, True
            log.error("motors damped: no command from the control loop for %.0f ms", silence / 1e6)

    def _take_in(self, state: LowState) -> None:
        with self._lock:
            self._states.add(state, time.monotonic_ns())
        self.health = state.health
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
