"""Where robots are when a fault comes, and faults: each returns when it began, s on the monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from reaction_rig import WARM_UP, Disturbed, Rig, wait_for
from sensor_msgs.msg import JointState

from dara_ros.hardware.safety import Mode
from dara_ros.session import CONTROLLER, Refused

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


def walking_to_a_substitute(rig: Rig) -> None:
    """To us, where the controller hangs and has lost its lease."""
    walking(rig)
    rig.stop(CONTROLLER)
    rig.wait_for_mode(Mode.DAMPED)
    rig.client.reset()
    rig.wait_for_mode(Mode.PASSIVE)
    rig.commander.take_lease()
    rig.commander.answer()
    rig.walk()


def walking_in_a_flood(rig: Rig) -> None:
    """Of commands that are not its controller's."""
    walking(rig)
    rig.commander.flood()
    rig.wait_for_sent(WARM_UP)


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


def clock_goes_back(rig: Rig) -> float:
    """The robot's, by twice what the supervisor allows."""
    return robot_fault(clock_leap=-round(2e3 * rig.spec.safety.command_timeout))(rig)


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


def late_by_one_period(rig: Rig) -> float:
    """Every answer comes one period after its state."""
    begun = time.monotonic()
    rig.commander.answer(delay=1)
    return begun


def late_by_ten_periods(rig: Rig) -> float:
    """Ten with the A1's own time-out: twice as late as it allows."""
    begun = time.monotonic()
    rig.commander.answer(delay=round(2 * rig.spec.safety.command_timeout / rig.spec.control_period))
    return begun


def leap_wall_clock(rig: Rig, seconds: int) -> float:
    """Of both nodes."""
    begun = time.monotonic()
    rig.wall_clock.leap(seconds)
    return begun


def wake(rig: Rig) -> float:
    """Nodes that were stopped."""
    begun = time.monotonic()
    rig.wake_nodes()
    return begun


def kill(rig: Rig, node: str) -> float:
    """SIGKILL."""
    begun = time.monotonic()
    rig.kill(node)
    return begun


def stop(rig: Rig, node: str) -> float:
    """SIGSTOP: as in a debugger, or where a machine swaps."""
    begun = time.monotonic()
    rig.stop(node)
    return begun


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


def emergency_stop(rig: Rig, mode: Mode) -> float:
    """The service, over DDS.

    Raises:
        Disturbed: the robot was not in `mode` any more.
    """
    begun = time.monotonic()
    rig.client.estop()
    rig.wait_for_mode(Mode.DAMPED)
    if mode is Mode.DAMPED:
        return rig.emulator.status().since  # there is nothing to do
    if rig.modes[-2] is not mode:
        raise Disturbed(f"it was {rig.modes[-2].value}, not {mode.value}")
    return begun
