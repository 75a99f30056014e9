"""`dara doctor --robot` beside an emulated Go2: it is listened to, and nothing else.

The emulated robot has the A1's body, so its specification here is the A1's with another name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")
pytest.importorskip("unitree_go", reason="needs the Go2's messages: make unitree-messages")

from emulators.commander import another_commander
from emulators.driving import calm_robot
from emulators.unitree import UnitreeEmulator

from dara_ros.hardware.spec import load_robot
from dara_ros.hardware.unitree import go2_driver

Findings = Callable[[], tuple[int, dict]]
TIMED = {"state rate"}  # what a busy machine may fail


@pytest.fixture(scope="module")
def running() -> Iterator[UnitreeEmulator]:
    with UnitreeEmulator("go2", hung=True) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: UnitreeEmulator) -> UnitreeEmulator:
    """In order; its own watchdog has nothing to do."""
    running.set(healed=True, watchdog=3600.0)
    return running


@pytest.fixture
def findings(
    dara: Callable[..., tuple[int, str, str]],
    emulator: UnitreeEmulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Findings:
    """Examine it: exit status and checks. The robot must hear no command, good or bad, and stay as it is."""
    monkeypatch.setattr(go2_driver, "LISTENING", 0.2)

    def examine() -> tuple[int, dict]:
        before = emulator.status()
        status, out, _ = dara("doctor", "--robot", calm_robot(tmp_path, "go2"), "--json")
        after = emulator.status()
        assert (after.commands, after.refused) == (before.commands, before.refused)
        assert (after.by, after.since) == (before.by, before.since)
        return status, {check["name"]: check for check in json.loads(out)}

    return examine


def bad(checks: dict) -> set[str]:
    assert all(check["remedy"] for check in checks.values() if check["status"] != "ok")
    return {name for name, check in checks.items() if check["status"] == "missing"} - TIMED


def test_a_robot_in_order(findings: Findings) -> None:
    _, checks = findings()
    assert bad(checks) == set()
    assert checks["battery"]["detail"] == "80 %"
    assert checks["sport mode"]["status"] == checks["company"]["status"] == "ok"
    assert {"reachable", "state rate", "motors", "joints", "imu", "feet"} < set(checks)


def test_a_robot_that_stands_by_itself_is_left_standing(
    findings: Findings, emulator: UnitreeEmulator
) -> None:
    emulator.set(sport="normal")
    pose = load_robot("a1").stand_pose
    emulator.wait_until(lambda s: bool(np.abs(np.array(s.joint_positions) - pose).max() < 0.1), timeout=60.0)
    _, checks = findings()
    assert bad(checks) == set()
    assert checks["sport mode"]["status"] == "note" and "'normal'" in checks["sport mode"]["detail"]
    assert np.abs(np.array(emulator.status().joint_positions) - pose).max() < 0.1


@pytest.mark.parametrize(
    ("fault", "name", "detail"),
    [
        ({"mute": True}, "reachable", "no state on /lowstate"),
        ({"level": 0xEE}, "reachable", "head and level fe ef ee"),
        ({"angle": 2.0}, "joints", "FR_hip_joint says 2.00 rad"),
        ({"upside_down": True}, "imu", "not upright"),
        ({"services": False}, "sport mode", "does not say its mode"),
    ],
    ids=str,
)
def test_a_fault_is_told_with_a_remedy(
    findings: Findings,
    emulator: UnitreeEmulator,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, bool | float],
    name: str,
    detail: str,
) -> None:
    monkeypatch.setattr(go2_driver, "DISCOVERY", 4.0)
    emulator.set(**fault)
    status, checks = findings()
    assert status == 2 and bad(checks) == {name}
    assert detail in checks[name]["detail"]


def test_somebody_else_who_commands_it_is_told(findings: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go2_driver, "LISTENING", 3.0)
    with another_commander():
        status, checks = findings()
    assert status == 2 and bad(checks) == {"company"}
    assert "walk_these_ways" in checks["company"]["detail"]
