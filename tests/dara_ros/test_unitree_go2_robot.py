"""An emulated Go2 through its driver and the nodes: out of sport mode, up, a walk by a policy, and damped.

The emulated robot has the A1's body, so its specification here is the A1's with another name.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from emulators.driving import calm_robot
from emulators.unitree import UnitreeEmulator
from running_nodes import run_nodes, write_linear_policy

from dara_ros.hardware.safety import Mode
from dara_ros.processes import free_domain_id
from dara_ros.session import CONTROLLER, ROBOT

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")
pytest.importorskip("unitree_go", reason="needs the Go2's messages: make unitree-messages")

from emulators.commander import another_commander

PATIENCE = 1.0  # s that the robot waits for a busy machine's commands
WALK = 0.1  # m that say that it walks
MILD = 0.02  # of a random policy: it changes the gait a little


def test_leaves_sport_mode_stands_walks_is_damped_and_tolerates_no_other_commander(tmp_path: Path) -> None:
    domain, go2 = free_domain_id(), calm_robot(tmp_path, "go2")
    policy = write_linear_policy(tmp_path / "mild.onnx", MILD, robot=go2)
    with UnitreeEmulator("go2", domain=domain) as emulator:
        emulator.set(sport="normal", watchdog=PATIENCE)
        with run_nodes(
            tmp_path, CONTROLLER, robot=go2, domain=domain, driver="unitree_go2", priority=10
        ) as nodes:
            emulator.wait_until(lambda s: s.commands > 0, timeout=60.0)
            assert emulator.status().motors != "servo"  # nobody said that it should move
            nodes.engage(policy)
            nodes.stand()
            assert nodes.client.diagnostics(ROBOT, newer=True, timeout=30.0)["battery_percent"] == "80"
            start = emulator.status().position[:2]
            nodes.client.enable(True)
            walking = emulator.wait_until(lambda s: math.dist(s.position[:2], start) > WALK, timeout=60.0)
            assert walking.motors == "servo" and walking.up > 0.9
            assert nodes.client.mode is Mode.WALKING, nodes.log(ROBOT)
            nodes.client.estop()
            assert emulator.wait_until(lambda s: s.motors == "damped").by == "command"
            assert nodes.client.wait_for_mode(Mode.DAMPED, timeout=5.0) is Mode.DAMPED
            robot = nodes.processes.nodes.pop(ROBOT)
            with another_commander(domain):
                assert robot.process.wait(timeout=20.0) == 2
            assert "somebody else publishes /lowcmd" in robot.last_line()
        assert emulator.status().motors == "damped"
        assert emulator.status().refused == {}
