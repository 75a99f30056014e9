"""The hazards, one by one: how each is injected, and what has to follow within what time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from math import inf, nan

import numpy as np
from emulators.unitree import Status
from reaction_faults import (
    clock_goes_back,
    command_fault,
    emergency_stop,
    enable_a_foreign_policy,
    first_position,
    in_mode,
    kill,
    late_by_one_period,
    late_by_ten_periods,
    leap_wall_clock,
    rename_joints,
    robot_fault,
    standing,
    stop,
    wake,
    walking,
    walking_in_a_flood,
    walking_to_a_policy,
    walking_to_a_substitute,
    walking_to_us,
)
from reaction_policies import YAW_RATE
from reaction_rig import PATIENCE, Disturbed, Rig

from dara_ros.hardware.kinematics import trot
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import RobotSpec
from dara_ros.parsing import SentCommand
from dara_ros.session import CONTROLLER, ROBOT, Refused

WATCHDOG = 0.1  # s after which the emulated robot damps itself
LONG_ENOUGH = 20  # control periods that a robot walks on, for a hazard to count as harmless
ATTEMPTS = 10  # at a robot that is well when the fault is to come
AT_REST = 20  # commands to a damped robot that leave it damped
STUCK = 2  # the joint that sticks in the emulated robot
INTRUSION = 0.4  # rad at the front right hip, where the trot never wants it

Check = Callable[[list[SentCommand]], bool]
"""Whether commands that were sent to the motors are as they should be."""


def anything(sent: list[SentCommand]) -> bool:
    """Whatever they are."""
    return True


def some_late(sent: list[SentCommand]) -> bool:
    """The robot went by older ones."""
    return any(not command.in_time for command in sent)


def no_intrusion(sent: list[SentCommand]) -> bool:
    """None of them is an intruder's."""
    return all(command.positions[0] < INTRUSION / 2 for command in sent)


def all_the_same(sent: list[SentCommand]) -> bool:
    """As ours are, and the trot's are not."""
    return all((command.positions == sent[0].positions).all() for command in sent)


class Outcome(str, Enum):
    """What becomes of the robot."""

    DAMPED = "damped"  # by the robot node
    DAMPED_ITSELF = "damped by its own watchdog"
    WALKS_ON = "walks on"
    REFUSED = "not enabled"


@dataclass(frozen=True)
class Scenario:
    """One hazard.

    Attributes:
        prepare: brings a robot at rest to where the fault is injected.
        inject: the fault; returns when it began, s on the monotonic clock.
        limit: s, within which it is to be detected.
        outcome: what has to follow.
        reason: regular expression for why the robot node says that it damped the robot.
        harmless: of the commands that were sent to the motors since the fault, where it walks on.
    """

    name: str
    prepare: Callable[[Rig], None]
    inject: Callable[[Rig], float]
    limit: Callable[[RobotSpec], float]
    reason: str = ""
    outcome: Outcome = Outcome.DAMPED
    harmless: Check = anything


@dataclass(frozen=True)
class Result:
    """One repetition.

    Attributes:
        limit: s, see Scenario.
        delay: s from the beginning of the fault to damped motors, both by the emulator's clock; None where
            they were not damped.
        problem: what else came than was expected, one line; empty where nothing did.
    """

    scenario: str
    limit: float
    delay: float | None
    problem: str


def run(rig: Rig, scenario: Scenario) -> Result:
    """Inject the fault into a robot that is well, and see what becomes of it.

    Raises:
        Disturbed: the robot is never well when the fault is to come.
    """
    for _ in range(ATTEMPTS):
        try:
            return _attempt(rig, scenario)
        except Disturbed as disturbance:
            rig.disturbances.append(f"{scenario.name}: {disturbance}")
    raise Disturbed(rig.disturbances[-1])


def _attempt(rig: Rig, scenario: Scenario) -> Result:
    rig.rest()
    scenario.prepare(rig)
    time.sleep(rig.random.uniform(0.0, rig.spec.control_period))  # any phase of it may be the worst
    sent = len(rig.sent)
    begun = scenario.inject(rig)
    limit, delay = scenario.limit(rig.spec), None
    if scenario.outcome is Outcome.WALKS_ON:
        problem = _walks_on(rig, sent, scenario.harmless)
    elif scenario.outcome is Outcome.REFUSED:
        problem = _stands_on(rig, sent)
    else:
        damped = rig.wait_for_motors("damped")
        if damped.since < begun:
            raise Disturbed(f"damped by {damped.by} before the fault came")
        delay = damped.since - begun
        problem = _stays_damped(rig, scenario, damped)
    return Result(scenario.name, limit, delay, problem)


def _stands_on(rig: Rig, sent: int) -> str:
    """What is wrong with a robot that was not to be enabled; empty where all is well."""
    rig.wait_for_states(LONG_ENOUGH)
    if rig.mode is Mode.DAMPED:
        return f"damped: {rig.reason()}"
    return "" if rig.mode is Mode.READY and len(rig.sent) == sent else f"it is {rig.mode}"


def _walks_on(rig: Rig, sent: int, harmless: Check) -> str:
    """What is wrong with the walk since command number `sent`; empty where all is well."""
    if len(rig.wait_for_sent(LONG_ENOUGH)) < LONG_ENOUGH:
        return f"damped: {rig.reason()}"
    if (status := rig.emulator.status()).motors != "servo":
        return f"the motors are {status.motors} by {status.by}"
    return "" if harmless(rig.sent[sent:]) else "the walk is not what it should be"


def _stays_damped(rig: Rig, scenario: Scenario, damped: Status) -> str:
    """What is wrong with a robot that is damped; empty where all is well, also when the fault is over."""
    if (damped.by == "watchdog") != (scenario.outcome is Outcome.DAMPED_ITSELF):
        return f"damped by {damped.by}"
    if ROBOT not in rig.processes.nodes:
        return ""
    rig.wake_nodes()
    rig.wait_for_mode(Mode.DAMPED)  # a cable that is back before has not been out for long enough
    rig.emulator.heal()
    if not re.search(scenario.reason, rig.reason()):
        return f"damped: {rig.reason()}"
    with suppress(Refused):
        rig.client.stand()
        return "it stands up without a reset"
    commands = rig.emulator.status().commands
    later = rig.emulator.wait_until(lambda s: s.commands > commands + AT_REST, timeout=PATIENCE)
    return "" if later.since == damped.since else f"it moved again: {later.motors}"


# -- limits -------------------------------------------------------------------------------------------------


def at_once(spec: RobotSpec) -> float:
    """No time at all."""
    return 0.0


def one_period(spec: RobotSpec) -> float:
    """The next state shows it."""
    return spec.control_period


def command_timeout(spec: RobotSpec) -> float:
    """Nothing new for as long as that."""
    return spec.safety.command_timeout


def stuck_time(spec: RobotSpec) -> float:
    """Since the trot has wanted the joint elsewhere, where it sticks at the worst moment."""
    periods, change = round(spec.gait.period / spec.control_period), spec.safety.stuck_change
    targets = np.array([trot(spec, period / periods, 0.0)[STUCK] for period in range(periods)])
    away = np.abs(targets - targets[:, None]) > change  # [target when it sticks, target later]
    worst = max(int(np.argmax(np.roll(row, -begun))) for row in away for begun in range(1, 1 + periods))
    return (1 + worst) * spec.control_period + spec.safety.stuck_time


def watchdog(spec: RobotSpec) -> float:
    """The robot's own."""
    return WATCHDOG


# -- the table ----------------------------------------------------------------------------------------------


WALKING = tuple(
    Scenario(name, walking, inject, limit, reason)
    for name, inject, limit, reason in (
        ("NaN in the state", robot_fault(not_finite=True), one_period, "state is not finite"),
        ("infinity in the state", robot_fault(angle=inf), one_period, "state is not finite"),
        ("state stops", robot_fault(mute=True), command_timeout, "no new state"),
        ("state freezes, its stamps go on", robot_fault(frozen=True), command_timeout, "no new reading"),
        ("the robot's clock stops", robot_fault(stopped_clock=True), command_timeout, "no new state"),
        ("the robot's clock goes back", clock_goes_back, command_timeout, "no new state"),
        ("the IMU flips", robot_fault(upside_down=True), one_period, "tilt beyond"),
        ("a joint sticks", robot_fault(stuck=True), stuck_time, "sticks"),
        ("a joint runs into its limit", robot_fault(angle=0.8, velocity=5.0), one_period, "into its limit"),
        ("an encoder is far off", robot_fault(angle=2.0), one_period, "far outside its limits"),
        ("the controller hangs", partial(stop, node=CONTROLLER), command_timeout, "no command"),
        ("the controller is killed", partial(kill, node=CONTROLLER), command_timeout, "no command"),
    )
)
COMMANDED = tuple(
    Scenario(name, walking_to_us, inject, limit, reason)
    for name, inject, limit, reason in (
        ("NaN in a command", command_fault(first_position(nan)), one_period, "command is not finite"),
        ("infinity in a command", command_fault(first_position(inf)), one_period, "command is not finite"),
        ("commands for other joints", command_fault(rename_joints), command_timeout, "no command"),
        ("policy late by ten periods", late_by_ten_periods, command_timeout, "no command"),
    )
)
turning = robot_fault(yaw_rate=YAW_RATE)
FAILING = Scenario("NaN in the action", walking_to_a_policy, turning, command_timeout, "no command")
UNREACHABLE = tuple(
    Scenario(name, walking, inject, watchdog, outcome=Outcome.DAMPED_ITSELF)
    for name, inject in (
        ("the robot node hangs", partial(stop, node=ROBOT)),
        ("the robot node is killed", partial(kill, node=ROBOT)),
        ("the cable is out", robot_fault(loss=1.0)),
    )
)
STOPPED = tuple(
    Scenario(
        f"emergency stop, {mode.value}",
        partial(in_mode, mode=mode),
        partial(emergency_stop, mode=mode),
        at_once,
        "on request" if mode is Mode.DAMPED else "emergency stop",
    )
    for mode in Mode
)
FLOODED = Scenario(
    "emergency stop, in a command flood",
    walking_in_a_flood,
    partial(emergency_stop, mode=Mode.WALKING),
    at_once,
    "emergency stop",
)
HARMLESS = tuple(
    Scenario(name, prepare, inject, at_once, outcome=Outcome.WALKS_ON, harmless=harmless)
    for name, prepare, inject, harmless in (
        ("policy late by one period", walking_to_us, late_by_one_period, some_late),
        ("two controllers at once", walking, command_fault(first_position(INTRUSION)), no_intrusion),
        ("a controller wakes when replaced", walking_to_a_substitute, wake, all_the_same),
        ("the robot's clock leaps ahead", walking, robot_fault(clock_leap=3_600_000), anything),
        ("the wall clock leaps ahead", walking, partial(leap_wall_clock, seconds=3600), anything),
        ("the wall clock goes back", walking, partial(leap_wall_clock, seconds=-3600), anything),
    )
)
REFUSED = Scenario(
    "a policy for another robot", standing, enable_a_foreign_policy, at_once, outcome=Outcome.REFUSED
)
SCENARIOS = (*WALKING, FAILING, *COMMANDED, *UNREACHABLE, *STOPPED, FLOODED, *HARMLESS, REFUSED)
