"""The hazards, one by one: how each is injected, and what has to follow within what time."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from math import inf, nan
from typing import Any

from emulators.unitree import Status
from reaction_policies import YAW_RATE
from reaction_rig import FAULTLESS, PATIENCE, Disturbed, Rig, wait_for
from sensor_msgs.msg import JointState

from dara_ros.hardware.kinematics import trot
from dara_ros.hardware.safety import Mode
from dara_ros.hardware.spec import RobotSpec
from dara_ros.parsing import SentCommand
from dara_ros.session import CONTROLLER, ROBOT, Refused

WATCHDOG = 0.1  # s after which the emulated robot damps itself
HARMLESS = 20  # control periods that a robot walks on, for a hazard to count as harmless
ATTEMPTS = 10  # at a robot that is well when the fault is to come
AT_REST = 20  # commands to a damped robot that leave it damped
STUCK = 2  # the joint that sticks in the emulated robot
INTRUSION = 0.4  # rad at the front right hip, where the trot never wants it


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
        end: ends the fault, where the emulator's own are not all.
    """

    name: str
    prepare: Callable[[Rig], None]
    inject: Callable[[Rig], float]
    limit: Callable[[RobotSpec], float]
    reason: str = ""
    outcome: Outcome = Outcome.DAMPED
    harmless: Callable[[list[SentCommand]], bool] = lambda sent: True
    end: Callable[[Rig], Any] = lambda rig: None


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
    for attempt in range(ATTEMPTS):
        try:
            rig.rest()
            scenario.prepare(rig)
            time.sleep(rig.random.uniform(0.0, rig.spec.control_period))  # any phase of it may be the worst
            sent = len(rig.sent)
            begun = scenario.inject(rig)
            break
        except Disturbed:
            if attempt == ATTEMPTS - 1:
                raise
    damped = None
    if scenario.outcome in (Outcome.DAMPED, Outcome.DAMPED_ITSELF):
        damped = rig.wait_for_motors("damped")
        problem = _stays_damped(rig, scenario, damped)
    elif scenario.outcome is Outcome.WALKS_ON:
        problem = _walks_on(rig, sent, scenario.harmless)
    else:
        problem = _stands_on(rig, sent)
    if rig.processes.nodes.keys() != {ROBOT, CONTROLLER}:
        rig.restart_nodes()
    delay = None if damped is None else max(0.0, damped.since - begun)
    return Result(scenario.name, scenario.limit(rig.spec), delay, problem)


def _stands_on(rig: Rig, sent: int) -> str:
    """What is wrong with a robot that was not to be enabled; empty where all is well."""
    rig.wait_for_states(HARMLESS)
    if rig.mode is Mode.DAMPED:
        return f"damped: {rig.reason()}"
    return "" if rig.mode is Mode.READY and len(rig.sent) == sent else f"it is {rig.mode}"


def _walks_on(rig: Rig, sent: int, harmless: Callable[[list[SentCommand]], bool]) -> str:
    """What is wrong with the walk since command number `sent`; empty where all is well."""
    if len(rig.wait_for_sent(HARMLESS)) < HARMLESS:
        return f"damped: {rig.reason()}"
    if rig.emulator.status().motors != "servo":
        return "the motors are not stiff"
    return "" if harmless(rig.sent[sent:]) else "the walk is not what it should be"


def _stays_damped(rig: Rig, scenario: Scenario, damped: Status) -> str:
    """What is wrong with a robot that is damped; empty where all is well, also when the fault is over."""
    scenario.end(rig)
    if (damped.by == "watchdog") != (scenario.outcome is Outcome.DAMPED_ITSELF):
        return f"damped by {damped.by}"
    if ROBOT not in rig.processes.nodes:
        return ""
    rig.wait_for_mode(Mode.DAMPED)  # a cable that is back before has not been out for long enough
    rig.emulator.set(**FAULTLESS)
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
    """Until the trot has wanted the joint elsewhere for that time, where it sticks at the worst moment."""
    periods = round(spec.gait.period / spec.control_period)
    targets = [trot(spec, period / periods, 0.0)[STUCK] for period in range(periods)]
    needed = spec.safety.stuck_time / spec.control_period
    worst = 0
    for begun in range(periods):
        missed = period = 0
        while missed <= needed:
            period += 1
            missed += abs(targets[(begun + period) % periods] - targets[begun]) > spec.safety.stuck_change
        worst = max(worst, period)
    return worst * spec.control_period


def watchdog(spec: RobotSpec) -> float:
    """The robot's own."""
    return WATCHDOG


# -- preparations -------------------------------------------------------------------------------------------


def walking(rig: Rig) -> None:
    """To the trot of the controller."""
    rig.command_with("trot")
    rig.walk()


def walking_to_a_policy(rig: Rig) -> None:
    """Which will fail."""
    rig.command_with(rig.failing_policy)
    rig.walk()


def walking_to_us(rig: Rig) -> None:
    """We hold the lease and answer states."""
    rig.command_ourselves()
    rig.commander.answer()
    rig.walk()


def standing(rig: Rig) -> None:
    """With nobody to command it."""
    rig.release()
    rig.stand()


def in_mode(rig: Rig, mode: Mode) -> None:
    """Before an emergency stop."""
    rig.command_with("trot")
    if mode is Mode.PASSIVE:
        rig.wait_for_motors("limp")
    elif mode is Mode.STANDING_UP:
        rig.client.stand()
        rig.wait_for_motors("servo")
    elif mode is Mode.READY:
        rig.stand()
    elif mode is Mode.WALKING:
        rig.walk()
    elif mode is Mode.SITTING_DOWN:
        rig.walk()
        rig.client.sit()
    elif mode is Mode.DAMPED:
        rig.walk()
        rig.client.damp()
        rig.wait_for_motors("damped")


# -- faults -------------------------------------------------------------------------------------------------


def robot_fault(**faults: Any) -> Callable[[Rig], float]:
    """A fault of the emulated robot, which says itself when it began."""

    def inject(rig: Rig) -> float:
        before = time.monotonic()
        rig.emulator.set(**faults)
        if faults.get("loss"):  # then nothing ever reaches anybody
            return before
        return rig.emulator.wait_until(lambda status: status.effective is not None).effective or before

    return inject


def command_fault(spoil: Callable[[JointState], None]) -> Callable[[Rig], float]:
    """A fault in the commands of who holds the lease."""

    def inject(rig: Rig) -> float:
        rig.commander.answer(spoil)
        wait_for(lambda: rig.commander.effective is not None, "no state is answered")
        return rig.commander.effective or 0.0

    return inject


def first_position(value: float) -> Callable[[JointState], None]:
    """A command's first target becomes `value`."""

    def spoil(command: JointState) -> None:
        command.position[0] = value

    return spoil


def rename_joints(command: JointState) -> None:
    """Of another robot."""
    command.name = [f"front_{name}" for name in command.name]


def late(rig: Rig, periods: Callable[[RobotSpec], int]) -> float:
    """Every answer comes so many periods after its state."""
    begun = time.monotonic()
    rig.commander.answer(delay=periods(rig.spec))
    return begun


def leap_wall_clock(rig: Rig, seconds: int) -> float:
    """Of both nodes."""
    begun = time.monotonic()
    rig.wall_clock.leap(seconds)
    return begun


def kill(rig: Rig, node: str) -> float:
    """SIGKILL."""
    begun = time.monotonic()
    rig.kill(node)
    return begun


def signal_node(rig: Rig, node: str, number: int) -> float:
    """SIGSTOP, SIGCONT."""
    begun = time.monotonic()
    os.kill(rig.processes.nodes[node].process.pid, number)
    return begun


def wake_robot_node(rig: Rig) -> None:
    """After a hang that was too long to be overlooked."""
    time.sleep(rig.spec.safety.command_timeout)
    signal_node(rig, ROBOT, signal.SIGCONT)


def enable_a_foreign_policy(rig: Rig) -> float:
    """Neither does the controller take it, nor the robot go without a controller."""
    begun = time.monotonic()
    try:
        rig.command_with(rig.foreign_policy)
    except Refused as refusal:
        assert "go1" in str(refusal), refusal
    with suppress(Refused):
        rig.client.enable(True)
    return begun


def stop_in(mode: Mode) -> Callable[[Rig], float]:
    """An emergency stop; disturbed where the robot was in another mode by then."""

    def inject(rig: Rig) -> float:
        begun = time.monotonic()
        rig.client.estop()
        rig.wait_for_mode(Mode.DAMPED)
        if mode is not Mode.DAMPED and rig.modes[-2] is not mode:
            raise Disturbed(f"it was {rig.modes[-2].value}, not {mode.value}")
        return begun

    return inject


# -- the table ----------------------------------------------------------------------------------------------


def _ten_times(spec: RobotSpec) -> int:
    """Ten periods with the A1's own time-out: twice as many as it allows."""
    return round(2 * spec.safety.command_timeout / spec.control_period)


WALKING = tuple(
    Scenario(name, walking, inject, limit, reason)
    for name, inject, limit, reason in (
        ("NaN in the state", robot_fault(not_finite=True), one_period, "state is not finite"),
        ("infinity in the state", robot_fault(angle=inf), one_period, "state is not finite"),
        ("state stops", robot_fault(mute=True), command_timeout, "no new state"),
        ("state freezes, its stamps go on", robot_fault(frozen=True), command_timeout, "no new reading"),
        ("the robot's clock stops", robot_fault(stopped_clock=True), command_timeout, "no new state"),
        ("the IMU flips", robot_fault(upside_down=True), one_period, "tilt beyond"),
        ("a joint sticks", robot_fault(stuck=True), stuck_time, "sticks"),
        ("a joint runs into its limit", robot_fault(angle=0.8, velocity=5.0), one_period, "into its limit"),
        ("an encoder is far off", robot_fault(angle=2.0), one_period, "far outside its limits"),
        ("the controller is killed", partial(kill, node=CONTROLLER), command_timeout, "no command"),
    )
)
COMMANDED = tuple(
    Scenario(name, walking_to_us, inject, limit, reason)
    for name, inject, limit, reason in (
        ("NaN in a command", command_fault(first_position(nan)), one_period, "command is not finite"),
        ("infinity in a command", command_fault(first_position(inf)), one_period, "command is not finite"),
        ("commands for other joints", command_fault(rename_joints), command_timeout, "no command"),
        ("policy late by ten periods", partial(late, periods=_ten_times), command_timeout, "no command"),
    )
)
STOPPED = tuple(
    Scenario(
        f"emergency stop, {mode.value}",
        partial(in_mode, mode=mode),
        stop_in(mode),
        at_once,
        "on request" if mode is Mode.DAMPED else "emergency stop",
    )
    for mode in Mode
)
OTHERS = (
    Scenario(
        "NaN in the action",
        walking_to_a_policy,
        robot_fault(yaw_rate=YAW_RATE),
        command_timeout,
        "no command",
    ),
    Scenario(
        "the controller hangs",
        walking,
        partial(signal_node, node=CONTROLLER, number=signal.SIGSTOP),
        command_timeout,
        "no command",
        end=partial(signal_node, node=CONTROLLER, number=signal.SIGCONT),
    ),
    Scenario(
        "the robot node hangs",
        walking,
        partial(signal_node, node=ROBOT, number=signal.SIGSTOP),
        watchdog,
        outcome=Outcome.DAMPED_ITSELF,
        end=wake_robot_node,
    ),
    Scenario(
        "the robot node is killed",
        walking,
        partial(kill, node=ROBOT),
        watchdog,
        outcome=Outcome.DAMPED_ITSELF,
    ),
    Scenario(
        "the robot's clock goes back",
        walking,
        robot_fault(clock_leap=-1000),
        command_timeout,
        "no new state",
        end=lambda rig: rig.emulator.set(clock_leap=1000),
    ),
    Scenario("the cable is out", walking, robot_fault(loss=1.0), watchdog, outcome=Outcome.DAMPED_ITSELF),
    Scenario(
        "policy late by one period",
        walking_to_us,
        partial(late, periods=lambda spec: 1),
        command_timeout,
        outcome=Outcome.WALKS_ON,
        harmless=lambda sent: any(not command.in_time for command in sent),
    ),
    Scenario(
        "two controllers at once",
        walking,
        command_fault(first_position(INTRUSION)),
        at_once,
        outcome=Outcome.WALKS_ON,
        harmless=lambda sent: all(command.positions[0] < INTRUSION / 2 for command in sent),
    ),
    Scenario(
        "the robot's clock leaps ahead",
        walking,
        robot_fault(clock_leap=3_600_000),
        at_once,
        outcome=Outcome.WALKS_ON,
    ),
    *(
        Scenario(
            f"the wall clock {leaps}",
            walking,
            partial(leap_wall_clock, seconds=seconds),
            at_once,
            outcome=Outcome.WALKS_ON,
        )
        for leaps, seconds in (("leaps ahead", 3600), ("goes back", -3600))
    ),
    Scenario(
        "a policy for another robot", standing, enable_a_foreign_policy, at_once, outcome=Outcome.REFUSED
    ),
)
SCENARIOS = (*WALKING, *OTHERS, *STOPPED, *COMMANDED)
