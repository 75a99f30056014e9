"""An A1 in PyBullet that speaks the low-level UDP protocol; `unitree.UnitreeEmulator` starts it as a process.

Like the robot it moves every 2 ms, answers every valid command with a state, ignores commands whose size,
header, checksum or mode is wrong, and damps its motors where none comes (what a real one does then, and when,
nobody told us). Faults come as JSON objects, a line each, on stdin; every line is answered with a status.

A test machine is no real-time machine. What it holds up must not look like a robot that is out of control:
where this process was kept waiting, it makes up for it in quick steps; and where nothing came from the other
side either, the robot's time stands still till something does. Only the watchdog goes by the machine's clock.
"""

from __future__ import annotations

import json
import math
import random
import select
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pybullet
from emulators.unitree_wire import Measured, MotorRequest, Refused, decode_command, encode_state

from dara_ros.hardware.driver import never
from dara_ros.hardware.spec import RobotSpec, load_robot
from dara_ros.hardware.state import MotorCommand, RobotState, up_in_body
from dara_ros.sim.simulator import PyBulletDriver
from dara_ros.sim.world import World, load_world

PERIOD = 0.002  # s
WATCHDOG = 0.1  # s without a valid command
DAMPING = 3.0  # N m s/rad
FRICTION = 0.3  # N m s/rad of gears whose motor is off: legs that hang come to rest
STEADIEST = 1.5  # N m s/rad; a motor damps at 10 kHz, but at our 500 Hz more would shake a leg that rests
SPOILT, STUCK = 0, 2  # joints that faults are about: hip and calf of the front right leg
LIES_STILL = 500  # periods until a robot without motors has come to rest, as one does that is switched on
HUNG = 0.6  # m, height of a robot that is hung up
ALONE = 25  # periods that the robot moves without a valid command; then its time stands still


@dataclass
class Faults:
    """What is wrong with the robot and the way to it.

    Attributes:
        loss: share of packets that get lost, each way.
        delay: s that a state is on its way.
        mute: no states go out.
        stopped_clock: the robot's clock stands still.
        frozen: every state says what the first one said, with stamps that go on.
        not_finite: one joint angle is NaN.
        angle: of that joint, rad, as its encoder says it; None where it says the truth.
        velocity: of that joint, rad/s, likewise.
        stuck: the joint of the knee beside it moves no more.
        yaw_rate: rad/s that the gyroscope adds to the truth.
        upside_down: the IMU says that the robot lies on its back.
        high_level: the robot is not in low-level mode.
        watchdog: s without a valid command after which it damps its motors.
    """

    loss: float = 0.0
    delay: float = 0.0
    mute: bool = False
    stopped_clock: bool = False
    frozen: bool = False
    not_finite: bool = False
    angle: float | None = None
    velocity: float | None = None
    stuck: bool = False
    yaw_rate: float = 0.0
    upside_down: bool = False
    high_level: bool = False
    watchdog: float = WATCHDOG


class Robot:
    """The robot behind its socket."""

    def __init__(self, robot: str, hung: bool) -> None:
        self.socket: Any = self._open_link()
        self.faults = Faults()
        self._robot = robot
        self._body = _body(hung)
        self._spec = self._body.spec
        self._random = random.Random(0)
        self._valid = b""  # the last packet that was found in order: most are repetitions
        self._command = self._damping()
        self._motors, self._by, self._since = "damped", "start", time.monotonic()
        self._heard = 0.0  # when the last valid command came
        self._alone = 0  # periods since then
        self._commands = 0
        self._refused: Counter[str] = Counter()
        self._on_their_way: deque[tuple[float, bytes, Any]] = deque()
        self._measured = _measured(self._body.read())
        self._packet: bytes | None = None  # what it says, encoded
        self._stuck_at: float | None = None  # angle of the joint that is stuck
        self._ticks = 0
        self._effective: float | None = None  # when the first state went out after faults had changed

    # -- the link: what another robot's emulator replaces ---------------------------------------------------

    def _open_link(self) -> Any:
        """Something that has recvfrom and sendto."""
        link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        link.bind(("127.0.0.1", 0))
        link.setblocking(False)
        return link

    def _waiting(self) -> bool:
        """Whether a packet has come."""
        return bool(select.select([self.socket], [], [], 0.0)[0])

    def _decode(self, packet: bytes) -> list[MotorRequest]:
        return decode_command(self._robot, packet)

    def _encode(self, measured: Measured) -> bytes:
        return encode_state(self._robot, measured, not self.faults.high_level)

    def _damping(self) -> MotorCommand:
        return MotorCommand(self._spec.stand_pose, 0.0, DAMPING)

    # -- one period -----------------------------------------------------------------------------------------

    def step(self, periods: int) -> None:
        """Move for so many times 2 ms, and measure at the end of them."""
        # What waits to be heard came in time: this process was held up, and not who sent it.
        if time.monotonic() - self._heard > self.faults.watchdog and not self._waiting():
            self._valid = b""
            self._drive(self._damping(), "watchdog")
            self._alone = 0
        periods = min(periods, ALONE - self._alone)
        self._packet = None
        for missed in reversed(range(periods)):
            self._body.move(self._command, measure=missed == 0)
            self._stick()
        self._alone += periods
        self._ticks += periods * (not self.faults.stopped_clock)
        if not self.faults.frozen:
            self._measured = _measured(self._body.read())

    def send(self) -> None:
        """Send the states that have been on their way for long enough."""
        while self._on_their_way and self._on_their_way[0][0] <= time.monotonic():
            _, packet, receiver = self._on_their_way.popleft()
            self.socket.sendto(packet, receiver)

    def _stick(self) -> None:
        """Hold the joint that is stuck where it was."""
        if not self.faults.stuck:
            self._stuck_at = None
            return
        if self._stuck_at is None:
            self._stuck_at = float(self._body.state.joint_positions[STUCK])
        self._body.hold(STUCK, self._stuck_at)

    def change(self, faults: dict[str, Any]) -> None:
        """Faults begin or end. `clock_leap`: ms by which its clock leaps, once. `healed`: end all others."""
        if not faults:
            return
        while self._waiting():
            self.receive()  # what came before came under the old faults
        self._ticks += faults.pop("clock_leap", 0) // 2
        before = type(self.faults)() if faults.pop("healed", False) else self.faults
        self.faults, self._effective = replace(before, **faults), None
        self._packet = None

    def receive(self) -> None:
        """Take one packet; answer it where it is a valid command."""
        packet, sender = self.socket.recvfrom(2048)
        if self._random.random() < self.faults.loss:
            return
        try:
            if packet != self._valid:
                self._drive(self._motor_command(self._decode(packet)), "command")
                self._valid = packet
        except Refused as refusal:
            self._refused[str(refusal)] += 1
            return
        self._heard, self._alone = time.monotonic(), 0
        self._commands += 1
        self._answer(sender)

    def _motor_command(self, requests: list[MotorRequest]) -> MotorCommand:
        """The simulator's form of the command: one stiffness for all joints, no feed-forward."""
        gains = {(r.mode, r.kp, r.kd, r.torque, r.dq if r.kd else 0.0) for r in requests}
        if len(gains) > 1:
            raise Refused("different gains")
        ((mode, kp, kd, torque, dq),) = gains
        if mode == 0x00:
            return self._damping()
        if torque or dq:
            raise Refused("feed-forward")
        positions = np.array([request.q for request in requests])
        if kp and not (np.abs(positions) < math.tau).all():
            raise Refused("position")
        return MotorCommand(positions if kp else self._spec.stand_pose, kp, kd)

    def _drive(self, command: MotorCommand, by: str) -> None:
        motors = "servo" if command.kp else "damped" if command.kd else "limp"
        if motors != self._motors:
            self._motors, self._by, self._since = motors, by, time.monotonic()
        self._command = command

    def _answer(self, receiver: Any) -> None:
        self._effective = self._effective or time.monotonic()
        if self.faults.mute or self._random.random() < self.faults.loss:
            return
        if self._packet is None:
            measured = replace(_spoilt(self._measured, self.faults), tick=2 * self._ticks)
            self._packet = self._encode(measured)
        self._on_their_way.append((time.monotonic() + self.faults.delay, self._packet, receiver))

    # -- what a test asks -----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """How the robot is."""
        true = self._body.state
        return {
            "motors": self._motors,
            "by": self._by,
            "since": self._since,
            "commands": self._commands,
            "effective": self._effective,
            "refused": dict(self._refused),
            "position": None if true.position is None else true.position.tolist(),
            "up": float(up_in_body(true.orientation)[2]),
            "joint_positions": true.joint_positions.tolist(),
        }


class Body(PyBulletDriver):
    """PyBullet's A1; joints can stick, and it can be hung up.

    Args:
        hung: its trunk is held in the air, as on a lab's stand: it cannot fall.
    """

    def __init__(self, spec: RobotSpec, world: World, hung: bool) -> None:
        super().__init__(spec, world)
        self._hung = hung

    def open(self, called_off: Callable[[], bool] = never) -> None:
        """Build the world, and lay the robot down or hang it up."""
        super().open(called_off)
        if self._hung:
            place = (0.0, 0.0, HUNG)
            self._client.resetBasePositionAndOrientation(self._robot, place, (0.0, 0.0, 0.0, 1.0))
            self._client.createConstraint(
                self._robot, -1, -1, -1, pybullet.JOINT_FIXED, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), place
            )
        for missed in reversed(range(LIES_STILL)):
            self.move(MotorCommand(self.spec.stand_pose, 0.0, 0.0), measure=missed == 0)

    def move(self, command: MotorCommand, measure: bool) -> None:
        """Move for one period; what nobody reads need not be measured."""
        if not command.kp:
            command = replace(command, kd=min(max(command.kd, FRICTION), STEADIEST))
        if measure:
            self.write(command)
        else:
            self._apply(command)
            self._step()

    def hold(self, joint: int, angle: float) -> None:
        """Put a joint back to where it is stuck."""
        self._client.resetJointState(self._robot, self._joints[joint], angle, 0.0)
        self._observe(self._base_velocity())


def _body(hung: bool) -> Body:
    """PyBullet's A1 with a control period of 2 ms."""
    spec = RobotSpec.model_validate(load_robot("a1").model_dump() | {"control_period": PERIOD})
    world = load_world("flat").model_dump()
    world["physics"] |= {"timestep": PERIOD, "substeps": 1}
    body = Body(spec, World.model_validate(world), hung)
    body.open()
    return body


def _measured(state: RobotState) -> Measured:
    x, y, z, w = state.orientation.tolist()
    return Measured(
        q=state.joint_positions.tolist(),
        dq=state.joint_velocities.tolist(),
        torque=state.joint_torques.tolist(),
        quaternion_wxyz=(w, x, y, z),
        gyroscope=state.angular_velocity.tolist(),
        accelerometer=state.linear_acceleration.tolist(),
        foot_force=np.minimum(state.foot_forces, 32767).tolist(),
    )


def _spoilt(true: Measured, faults: Faults) -> Measured:
    """What the sensors say instead of the truth."""
    q, dq = list(true.q), list(true.dq)
    if faults.not_finite:
        q[SPOILT] = math.nan
    if faults.angle is not None:
        q[SPOILT] = faults.angle
    if faults.velocity is not None:
        dq[SPOILT] = faults.velocity
    x, y, z = true.gyroscope
    upside_down = (0.0, 1.0, 0.0, 0.0)
    quaternion = upside_down if faults.upside_down else true.quaternion_wxyz
    return replace(true, q=q, dq=dq, gyroscope=(x, y, z + faults.yaw_rate), quaternion_wxyz=quaternion)


def main() -> None:
    """Be the robot until stdin ends: with whoever started it."""
    robot = Robot(sys.argv[1], hung="hung" in sys.argv[2:])
    print(json.dumps(robot.socket.getsockname()[1]), flush=True)
    moved = time.monotonic()  # until when the body has moved
    while True:
        serve(robot, until=moved + PERIOD)
        periods = int((time.monotonic() - moved) / PERIOD)
        robot.step(periods)
        moved += periods * PERIOD


def serve(robot: Robot, until: float) -> None:
    """Take in what comes until then, and what has come already; never for so long that the body waits."""
    latest = max(until, time.monotonic() + ALONE * PERIOD)
    while True:
        robot.send()
        ready = select.select([robot.socket, sys.stdin], [], [], max(until - time.monotonic(), 0.0))[0]
        if robot.socket in ready:
            robot.receive()
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                sys.exit()
            robot.change(json.loads(line))
            print(json.dumps(robot.status()), flush=True)
        if time.monotonic() >= (latest if ready else until):
            return


if __name__ == "__main__":
    main()
