"""A Go2 with the A1's body, in PyBullet, on ROS 2 topics; `unitree.UnitreeEmulator("go2")` starts it.

As `unitree_robot`, and beyond that: it says its state 500 times a second whether or not it is commanded, and
has a sport mode that stands on its own and ignores commands, until it is laid down and told to let go.
"""

from __future__ import annotations

import json
import select
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from emulators.unitree_go2_wire import Seal, decode_command, encode_state
from emulators.unitree_robot import PERIOD, Faults, Robot
from emulators.unitree_wire import Measured, MotorRequest, Refused
from rclpy.qos import QoSProfile, ReliabilityPolicy
from unitree_api.msg import Request, Response
from unitree_go.msg import LowCmd, LowState

from dara_ros.hardware.state import MotorCommand

CHECK_MODE, RELEASE_MODE = 1001, 1003  # of the service motion_switcher
DAMP, STAND_DOWN = 1001, 1005  # of the service sport
FOLDED = 0.3  # rad from the sitting pose; with other legs a robot drops when its motors let go
SPEED = 2.0  # rad/s, of the sport mode's motions
POLL = 0.0005  # s


@dataclass
class Go2Faults(Faults):
    """What is wrong with the robot, or how it is.

    Attributes:
        sport: the mode that has the motors; empty where none has.
        stubborn: it never leaves that mode.
        stands_by: it does not lie down.
        services: it has those that switch modes.
        refusal: the code with which its services answer.
        checksum: of its states: "right", "wrong" or "none".
        level: level flag of its states.
    """

    sport: str = ""
    stubborn: bool = False
    stands_by: bool = False
    services: bool = True
    refusal: int = 0
    checksum: str = "right"
    level: int = 0xFF


class Topics:
    """Commands come from here and states go there, as through a socket."""

    def __init__(self, node: Any) -> None:
        hearing = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._commands = node.create_subscription(LowCmd, "/lowcmd", print, hearing, raw=True)
        self._states = node.create_publisher(LowState, "/lowstate", QoSProfile(depth=1))
        self._next: bytes | None = None

    def ready(self) -> bool:
        """Whether a command has come."""
        self._next = self._next or take(self._commands)
        return self._next is not None

    def recvfrom(self, _: int) -> tuple[bytes | None, None]:
        """The command that has come."""
        message, self._next = self._next, None
        return message, None

    def sendto(self, message: bytes, _: None) -> None:
        """Say a state."""
        self._states.publish(message)


class Go2(Robot):
    """The robot behind its topics."""

    faults: Go2Faults

    def __init__(self, hung: bool) -> None:
        self._node = rclpy.create_node("emulated_go2", enable_rosout=False, start_parameter_services=False)
        super().__init__("go2", hung)
        self.faults = Go2Faults()
        self._pose = self._goal = self._spec.stand_pose  # of the sport mode
        self._services = {
            service: (
                self._node.create_subscription(Request, f"/api/{service}/request", print, 10),
                self._node.create_publisher(Response, f"/api/{service}/response", 10),
            )
            for service in ("motion_switcher", "sport")
        }

    def change(self, faults: dict[str, Any]) -> None:
        """Faults begin or end; in sport mode the robot stands up."""
        super().change(faults)
        if faults.get("sport"):
            self._pose, self._goal = self._body.state.joint_positions, self._spec.stand_pose
            self._valid = b""

    def poll(self) -> None:
        """Take in what has come, and answer."""
        while self._waiting():
            self.receive()
        for service, (requests, responses) in self._services.items():
            while (request := take(requests)) is not None:
                if self.faults.services and self._random.random() >= self.faults.loss:
                    responses.publish(self._answer_to(service, request))

    def step(self, periods: int) -> None:
        """Move for so many times 2 ms, by itself in sport mode, and say how it is."""
        if self.faults.sport:
            most = SPEED * PERIOD * periods
            self._pose = self._pose + np.clip(self._goal - self._pose, -most, most)
            self._drive(MotorCommand(self._pose, 80.0, 2.0), "sport")
            self._heard, self._alone = time.monotonic(), 0
        super().step(periods)
        super()._answer(None)
        self.send()

    def _answer(self, _: Any) -> None:
        """Commands are not answered: states go out all the time."""

    def _open_link(self) -> Topics:
        return Topics(self._node)

    def _waiting(self) -> bool:
        return self.socket.ready()

    def _decode(self, packet: bytes) -> list[MotorRequest]:
        if self.faults.sport:
            raise Refused("sport mode")
        return decode_command(packet)

    def _encode(self, measured: Measured) -> bytes:
        return encode_state(measured, Seal(self.faults.level, self.faults.checksum))

    def _answer_to(self, service: str, request: Request) -> Response:
        response = Response()
        response.header.identity = request.header.identity
        response.header.status.code = self.faults.refusal
        if not self.faults.refusal:
            response.data = self._do(service, request.header.identity.api_id, json.loads(request.parameter))
        return response

    def _do(self, service: str, function: int, parameter: dict[str, Any]) -> str:
        if service == "motion_switcher" and function == CHECK_MODE:
            return json.dumps({"form": "0", "name": self.faults.sport})
        if service == "motion_switcher" and function == RELEASE_MODE:
            if not self.faults.stubborn:
                folded = np.abs(self._body.state.joint_positions - self._spec.sit_pose).max() < FOLDED
                if self.faults.sport and not folded:
                    self._refused["dropped"] += 1
                self.faults.sport = ""
                self._drive(self._damping(), "released")
        elif service == "sport" and function == STAND_DOWN:
            if not self.faults.stands_by:
                self._goal = self._spec.sit_pose
        else:
            self._refused[f"{service} {function}"] += 1
        return ""


def take(subscription: Any) -> Any:
    with subscription.handle:
        taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    return None if taken is None else taken[0]


def main() -> None:
    """Be the robot until stdin ends: with whoever started it."""
    rclpy.init(args=[])
    robot = Go2(hung="hung" in sys.argv[2:])
    print(json.dumps(0), flush=True)
    moved = time.monotonic()  # until when the body has moved
    while True:
        while time.monotonic() < moved + PERIOD:
            robot.poll()
            if select.select([sys.stdin], [], [], POLL)[0]:
                line = sys.stdin.readline()
                if not line:
                    sys.exit()
                robot.change(json.loads(line))
                print(json.dumps(robot.status()), flush=True)
        periods = int((time.monotonic() - moved) / PERIOD)
        robot.step(periods)
        moved += periods * PERIOD


if __name__ == "__main__":
    main()
