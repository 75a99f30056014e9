"""Gets a Go2 out of its own control, which would fight for the motors, by asking its services over ROS 2."""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UserError
from ..driver import never
from ..kinematics import foot_positions
from ..spec import RobotSpec
from .wire import LowState

PATIENCE_VARIABLE = "DARA_SPORT_TIMEOUT"  # s
REPEAT = 0.5  # s after which a request that was not answered is sent again
RELEASE_TIME = 1.0  # s that the robot takes to let go of its motors
LOW = 0.7  # of the gait's height: a robot whose base is lower does not stand
STILL, STILL_TIME = 0.3, 0.5  # rad/s that no joint exceeds, for so many seconds: it has come to rest
ASK_AGAIN = 1.0  # s between two looks at the mode of a robot that we control
FRESH = 0.1  # s; an older state says nothing
POLL = 0.005  # s

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Function:
    """A function of one of the robot's services.

    The id alone means nothing: 1001 checks the mode on motion_switcher, and on sport lets the robot DROP.
    """

    service: str
    api_id: int


CHECK_MODE = Function("motion_switcher", 1001)
RELEASE_MODE = Function("motion_switcher", 1003)
STAND_DOWN = Function("sport", 1005)


class Rest:
    """Whether the robot lies still. Has no clock of its own: times are s of any monotonic one."""

    def __init__(self, spec: RobotSpec) -> None:
        self._spec = spec
        self._since: float | None = None  # all states since then say so
        self._newest = 0.0

    def add(self, state: LowState, now: float) -> None:
        """A state that has come."""
        feet = foot_positions(self._spec, state.joint_positions.tolist())
        height = self._spec.links.foot_radius - min(z for _, _, z in feet)
        still = bool((np.abs(state.joint_velocities) < STILL).all())
        if not (still and height < LOW * self._spec.gait.stance_height):
            self._since = None
        elif self._since is None:
            self._since = now
        self._newest = now

    def lies(self, now: float) -> bool:
        """Whether it does, and has done so for a while."""
        return self._since is not None and now - self._since >= STILL_TIME and now - self._newest < FRESH


def leave_sport_mode(
    node: Any, lies: Callable[[], bool], patience: float, called_off: Callable[[], bool]
) -> None:
    """Lay the robot down and have it release its motors; nothing happens where it has done so already.

    Args:
        node: rclpy's, in a context that works.
        lies: whether the robot lies still; polled.
        patience: s for all of it.
        called_off: asked before every request; once it is true there is none any more.

    Raises:
        UserError: the robot did not do so in time, or refuses, or it was called off.
    """
    services = _Services(node, time.monotonic() + patience, called_off)
    try:
        mode = _active_mode(services)
        if not mode:
            return
        log.warning("the robot is in mode '%s': it lies down now, and lets go of its motors", mode)
        services.problem = f"it does not lie still in mode '{mode}'"
        services.call(STAND_DOWN)
        while not lies():
            services.pause()
        services.problem = f"it stays in mode '{mode}'"
        while mode:
            services.call(RELEASE_MODE)
            time.sleep(RELEASE_TIME)
            mode = _active_mode(services)
            services.pause()
    finally:
        services.close()


def own_mode(node: Any, patience: float) -> str | None:
    """Ask for the robot's own controller that has the motors, which moves nothing.

    Args:
        node: rclpy's, in a context that works.
        patience: s until it has said so.

    Returns:
        its name; empty where none has them, None where the robot does not say.
    """
    services = _Services(node, time.monotonic() + patience)
    try:
        return _active_mode(services)
    except UserError:
        return None
    finally:
        services.close()


class ModeWatch:
    """Asks once a second whether the robot's own control has taken the motors back, and waits for nothing."""

    def __init__(self, node: Any) -> None:
        self._services = _Services(node, deadline=math.inf)
        self._publisher, self._subscription = self._services.topics_of(CHECK_MODE.service)
        self._asked = range(0)  # ids of our requests: an answer may come late
        self._ask_at = 0.0

    def mode(self) -> str:
        """Name of the robot's own mode, where an answer has come that names one; empty else."""
        now = time.monotonic()
        if now >= self._ask_at:
            newest = self._services.request(self._publisher, CHECK_MODE)  # ids are consecutive
            self._asked = range(self._asked.start or newest, newest + 1)
            self._ask_at = now + ASK_AGAIN
        mode = ""
        while (answer := take(self._subscription)) is not None:
            if answer.header.identity.id in self._asked and answer.header.status.code == 0:
                mode = _mode_in(answer.data) or ""
        return mode


def _active_mode(services: "_Services") -> str:
    """Name of the robot's own controller that has the motors; empty where none has."""
    answer = services.call(CHECK_MODE)
    mode = _mode_in(answer)
    if mode is None:
        raise UserError(f"the robot does not say its mode: {answer[:100]!r}; is it a Go2?")
    return mode


def _mode_in(answer: str) -> str | None:
    """The name that an answer of CHECK_MODE gives; None where it gives none."""
    try:
        return str(json.loads(answer)["name"])
    except (ValueError, KeyError, TypeError):
        return None


class _Services:
    """Asks functions of the robot's services, until `deadline` (s of the monotonic clock).

    Attributes:
        problem: what is wrong where the time is up.
    """

    def __init__(self, node: Any, deadline: float, called_off: Callable[[], bool] = never) -> None:
        self._node = node
        self._called_off = called_off
        self.problem = "its services do not answer"
        self._deadline = deadline
        self._topics: dict[str, tuple[Any, Any]] = {}  # service -> publisher, subscription
        self._last_id = time.time_ns()

    def call(self, function: Function) -> str:
        """What the function returns.

        Raises:
            UserError: it says that it failed, or nothing in time, or all was called off.
        """
        publisher, subscription = self.topics_of(function.service)
        refuse_if(self._called_off)
        ids = {self.request(publisher, function)}
        asked = time.monotonic()
        while (answer := take(subscription)) is None or answer.header.identity.id not in ids:
            self.pause()
            if time.monotonic() > asked + REPEAT:  # lost, or sent before the service was found
                ids.add(self.request(publisher, function))
                asked = time.monotonic()
        if answer.header.status.code != 0:
            raise UserError(
                f"the robot's service {function.service} refuses {function.api_id} with code "
                f"{answer.header.status.code}; leave its sport mode with the app or the remote"
            )
        return str(answer.data)

    def pause(self) -> None:
        """Let a moment pass; UserError where the time is up, or all was called off."""
        refuse_if(self._called_off)
        if time.monotonic() > self._deadline:
            raise UserError(
                f"the robot did not leave its sport mode in time: {self.problem}; leave it with the app "
                f"or the remote, or set {PATIENCE_VARIABLE} to more seconds"
            )
        time.sleep(POLL)

    def close(self) -> None:
        """Leave the topics."""
        for publisher, subscription in self._topics.values():
            self._node.destroy_publisher(publisher)
            self._node.destroy_subscription(subscription)

    def request(self, publisher: Any, function: Function) -> int:
        """Ask `function`; returns the id of the request."""
        self._last_id += 1
        request = publisher.msg_type()
        request.header.identity.id, request.header.identity.api_id = self._last_id, function.api_id
        request.parameter = "{}"
        publisher.publish(request)
        return self._last_id

    def topics_of(self, service: str) -> tuple[Any, Any]:
        """Publisher of requests and subscription to responses of a service, made when first asked for."""
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from unitree_api.msg import Request, Response

        if service not in self._topics:
            # Best effort hears every publisher; what is lost is asked again.
            hearing = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
            self._topics[service] = (
                self._node.create_publisher(Request, f"/api/{service}/request", QoSProfile(depth=10)),
                self._node.create_subscription(Response, f"/api/{service}/response", polled, hearing),
            )
        return self._topics[service]


def refuse_if(called_off: Callable[[], bool]) -> None:
    """Raise UserError once it is."""
    if called_off():
        raise UserError(
            "stopped before it had the motors: the robot is under its own control, use its remote"
        )


def polled(_: Any) -> None:
    """The callback of a subscription that is read with `take`: nobody calls it."""


def take(subscription: Any) -> Any:
    """The oldest message that has come and was not taken yet; None where there is none.

    Without an executor: that would wake up, and build a list of all that it waits for, at every message.
    """
    with subscription.handle:
        taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    return None if taken is None else taken[0]
