"""What a robot says of itself before anything moves: `dara doctor --robot a1`.

The motors are never energised. The A1 and Go1 answer commands only, so they are sent damping, as whenever
their driver is open. A Go2 talks by itself: it is sent no command, and stays in the mode in which it is.
"""

from __future__ import annotations

import os
import time

import numpy as np

from .doctor import Check
from .errors import UserError
from .hardware.health import Health
from .hardware.spec import RobotSpec, Sensors, load_robot
from .hardware.state import RobotState, up_in_body
from .hardware.unitree.go2_driver import COMMANDS, UnitreeGo2Listener
from .hardware.unitree.low_level import SEND_PERIOD_NS
from .hardware.unitree.udp_driver import UnitreeUdpDriver, unitree_a1, unitree_go1
from .network import middleware_environment

PART = "robot"
UDP_DRIVERS = {"a1": unitree_a1, "go1": unitree_go1}
LISTEN = 1.0  # s
ENOUGH, BARELY = 0.9, 0.5  # of the states that should come
ENCODER = 0.05  # rad that a joint may stand beyond its limits
LEVEL = 15.0  # degrees between what accelerometer and orientation call up
LOW_CHARGE = 20  # %
HOT = 70  # degrees Celsius


def examine_robot(robot: str) -> list[Check]:
    """All checks of one robot, in reading order; only the first where it cannot be reached.

    Raises:
        UserError: there is no such robot, none of its kind can be examined, or DARA_NETWORK is wrong.
    """
    spec = load_robot(robot)
    driver = _driver(spec)
    try:
        driver.open()
    except UserError as error:
        problem, _, remedy = str(error).partition("; ")
        return [Check(PART, "reachable", "missing", problem, remedy)]
    try:
        driver.read()
        before, begin = driver.received, time.monotonic()
        time.sleep(LISTEN)
        rate = (driver.received - before) / (time.monotonic() - begin)
        state, health = driver.read(), driver.health
    finally:
        driver.close()
    return [
        Check(PART, "reachable", "ok", "its low-level states come"),
        _rate(rate),
        _company(driver),
        *([_sport_mode(driver.mode)] if isinstance(driver, UnitreeGo2Listener) else []),
        *([] if health is None else [_battery(health), _motors(spec, health)]),
        _joints(spec, state),
        _imu(spec, state),
        _feet(spec, state),
    ]


def _driver(spec: RobotSpec) -> UnitreeUdpDriver | UnitreeGo2Listener:
    if spec.name == "go2":
        os.environ |= middleware_environment()
        return UnitreeGo2Listener(spec)
    if spec.name not in UDP_DRIVERS:
        raise UserError(f"robot '{spec.name}' cannot be examined; examine an a1, go1 or go2")
    return UDP_DRIVERS[spec.name](spec)


def _rate(rate: float) -> Check:
    wanted = 1e9 / SEND_PERIOD_NS
    said = f"{rate:.0f} Hz, {wanted:.0f} wanted"
    remedy = "use a cable, not Wi-Fi; end what else this computer does; see dara doctor's real-time part"
    if rate >= ENOUGH * wanted:
        return Check(PART, "state rate", "ok", said)
    return Check(PART, "state rate", "note" if rate >= BARELY * wanted else "missing", said, remedy)


def _company(driver: UnitreeUdpDriver | UnitreeGo2Listener) -> Check:
    if isinstance(driver, UnitreeGo2Listener):
        return _publishers(driver)
    if driver.foreign or driver.refused:
        said = f"{driver.foreign} packets from elsewhere, {driver.refused} refused ({driver.problem})"
        return Check(PART, "company", "missing", said, "end the other program, and take the robot's to rest")
    said = "nobody else was heard; over UDP, who else commands the robot cannot be known"
    return Check(PART, "company", "ok", said)


def _publishers(driver: UnitreeGo2Listener) -> Check:
    if driver.company:
        problem, _, remedy = driver.company.partition("; ")
        return Check(PART, "company", "missing", problem, remedy)
    if driver.refused:
        said = f"{driver.refused} messages were no states ({driver.problem})"
        return Check(PART, "company", "missing", said, "end what else publishes them; is this a Go2?")
    return Check(PART, "company", "ok", f"nobody else publishes {COMMANDS}")


def _sport_mode(mode: str | None) -> Check:
    if mode is None:
        said = "the robot does not say its mode, without which its driver does not start"
        return Check(PART, "sport mode", "missing", said, "restart the robot; leave sport mode with the app")
    if mode:
        said = f"'{mode}' has the motors; when robot_node starts, the robot lies down and leaves it"
        return Check(PART, "sport mode", "note", said, "clear the ground below and around it first")
    return Check(PART, "sport mode", "ok", "it was left: nothing of the robot's own has the motors")


def _battery(health: Health) -> Check:
    if health.charge is None:
        return Check(PART, "battery", "note", "this robot does not say it", "read it off the robot itself")
    if health.charge < LOW_CHARGE:
        return Check(PART, "battery", "missing", f"{health.charge} %", "charge it")
    return Check(PART, "battery", "ok", f"{health.charge} %")


def _motors(spec: RobotSpec, health: Health) -> Check:
    hottest = int(np.argmax(health.temperatures))
    said = f"hottest: {spec.joint_names[hottest]}, {health.temperatures[hottest]} degrees Celsius"
    if health.temperatures[hottest] > HOT:
        return Check(PART, "motors", "missing", said, "let it cool down")
    return Check(PART, "motors", "ok", said)


def _joints(spec: RobotSpec, state: RobotState) -> Check:
    q = state.joint_positions
    outside = ~((q >= spec.lower - ENCODER) & (q <= spec.upper + ENCODER))  # also what is no number
    if not outside.any():
        return Check(PART, "joints", "ok", "all twelve within their limits")
    said = ", ".join(
        f"{spec.joint_names[j]} says {q[j]:.2f} rad ({spec.lower[j]:g} to {spec.upper[j]:g})"
        for j in np.flatnonzero(outside)
    )
    remedy = "check encoders, their zeros and the order of the motors; is this the robot that the file is of?"
    return Check(PART, "joints", "missing", said, remedy)


def _imu(spec: RobotSpec, state: RobotState) -> Check:
    remedy = (
        "put the robot upright on level ground, wait until its IMU has started, and check how it is fixed"
    )
    if not abs(state.orientation @ state.orientation - 1.0) < 0.1:
        return Check(PART, "imu", "missing", "its orientation is no unit quaternion", remedy)
    up, force = up_in_body(state.orientation), state.linear_acceleration
    if not up[2] > np.cos(spec.safety.tilt):
        return Check(PART, "imu", "missing", f"the robot is not upright (cosine {up[2]:.2f})", remedy)
    apart = np.degrees(np.arccos(np.clip(up @ force / (float(np.linalg.norm(force)) + 1e-9), -1.0, 1.0)))
    said = f"upright; the accelerometer's up is {apart:.0f} degrees away"
    return Check(PART, "imu", "ok", said) if apart < LEVEL else Check(PART, "imu", "missing", said, remedy)


def _feet(spec: RobotSpec, state: RobotState) -> Check:
    forces = ", ".join(
        f"{foot} {force:.0f}" for foot, force in zip(spec.foot_names, state.foot_forces, strict=True)
    )
    said = f"{forces} N, threshold {spec.contact_force:g} N"
    if spec.sensors == Sensors():
        remedy = "weigh each foot, and put the sensors block into the robot's YAML file"
        return Check(PART, "feet", "note", f"{said}; not calibrated: these are raw counts", remedy)
    return Check(PART, "feet", "ok", said)
