"""Every hazard of the table, over real DDS and UDP: the robot is damped, or not harmed, as the table says.

How soon, `measure.py` measures; here nothing depends on how fast the machine is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs the ROS client library: pip install 'dara_ros[ros]'")
pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

from reaction_rig import Rig
from reaction_scenarios import SCENARIOS, Scenario, run
from reaction_wall_clock import Unavailable

PATIENCE = 5.0  # times the A1's own: a command_timeout of 0.5 s


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("logs"), patience=PATIENCE) as running:
        yield running


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: re.sub(r"\W+", "_", scenario.name))
def test_hazard(rig: Rig, scenario: Scenario) -> None:
    try:
        result = run(rig, scenario)
    except Unavailable as reason:
        pytest.skip(str(reason))
    except BaseException:
        rig.restart_nodes()  # the next one finds a robot that is well
        raise
    assert result.problem == ""
