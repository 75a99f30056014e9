"""`dara doctor --robot` beside an emulated A1 and Go1, well and with faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

from emulators.unitree import UnitreeEmulator

from dara_ros.hardware.unitree import low_level, udp_driver

Dara = Callable[..., tuple[int, str, str]]
TIMED = {"state rate"}  # what a busy machine may fail


@pytest.fixture(scope="module")
def emulator() -> Iterator[UnitreeEmulator]:
    with UnitreeEmulator("go1") as running:
        yield running


def findings(dara: Dara, monkeypatch: pytest.MonkeyPatch, emulator: UnitreeEmulator) -> tuple[int, dict]:
    host, port = emulator.address
    monkeypatch.setenv("DARA_ROBOT_ADDRESS", f"{host}:{port}")
    monkeypatch.setenv("DARA_LOCAL_PORT", "0")
    for module in (low_level, udp_driver):
        monkeypatch.setattr(module, "OPEN_TIMEOUT", 1.0)
    status, out, _ = dara("doctor", "--robot", "go1", "--json")
    return status, {check["name"]: check for check in json.loads(out)}


def bad(checks: dict) -> set[str]:
    assert all(check["remedy"] for check in checks.values() if check["status"] != "ok")
    return {name for name, check in checks.items() if check["status"] == "missing"} - TIMED


def test_a_robot_in_order(dara: Dara, monkeypatch: pytest.MonkeyPatch, emulator: UnitreeEmulator) -> None:
    _, checks = findings(dara, monkeypatch, emulator)
    assert bad(checks) == set()
    assert checks["battery"]["detail"] == "80 %"
    assert "not calibrated" in checks["feet"]["detail"]
    damped = emulator.status()
    assert damped.motors == "damped" and damped.commands > 0 and damped.refused == {}


@pytest.mark.parametrize(
    ("fault", "name", "detail"),
    [
        ({"mute": True}, "reachable", "no state from 127.0.0.1"),
        ({"high_level": True}, "reachable", "header fe ef ee"),
        ({"angle": 2.0}, "joints", "FR_hip_joint says 2.00 rad"),
        ({"not_finite": True}, "joints", "FR_hip_joint says nan rad"),
        ({"upside_down": True}, "imu", "not upright"),
    ],
)
def test_a_fault_is_told_with_a_remedy(
    dara: Dara,
    monkeypatch: pytest.MonkeyPatch,
    emulator: UnitreeEmulator,
    fault: dict[str, bool | float],
    name: str,
    detail: str,
) -> None:
    healthy = {"mute": False, "high_level": False, "angle": None, "not_finite": False, "upside_down": False}
    emulator.set(**fault)
    status, checks = findings(dara, monkeypatch, emulator)
    emulator.set(**healthy)
    assert status == 2 and bad(checks) == {name}
    assert detail in checks[name]["detail"]
    assert emulator.status().motors == "damped"
