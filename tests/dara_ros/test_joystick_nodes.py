"""A joystick over DDS: stands the robot up, keeps it walking, and stops it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from running_nodes import Nodes, run_nodes
from sensor_msgs.msg import Joy

from dara_ros import qos
from dara_ros.hardware.safety import Mode
from dara_ros.session import CONTROLLER, ROBOT, Refused

pytest.importorskip("pybullet", reason="needs the simulator: pip install 'dara_ros[sim]'")

MAPPING = "{name: test, deadman: 3, estop: 1, stand: 0}"
HOLD, RELEASE, ESTOP, STAND = [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]
TOO_FEW = [0]


class Pad:
    """Publishes its buttons over and over, as joy_node does; None: it is silent."""

    def __init__(self, nodes: Nodes) -> None:
        self.buttons: list[int] | None = RELEASE
        self._publisher = nodes.client.node.create_publisher(Joy, "joy", qos.JOY)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Pad:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            if self.buttons is not None:
                self._publisher.publish(Joy(buttons=self.buttons))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    logs = tmp_path_factory.mktemp("logs")
    mapping = logs / "joystick.yaml"
    mapping.write_text(MAPPING)
    parameters = {"mode": "lock_step", "answer_timeout": 5.0, "joystick": str(mapping)}
    with run_nodes(logs, CONTROLLER, **parameters) as nodes:
        nodes.engage("trot")
        yield nodes


@pytest.fixture
def pad(nodes: Nodes) -> Iterator[Pad]:
    with Pad(nodes) as pad:
        yield pad


def begin(nodes: Nodes, pad: Pad) -> None:
    """Walk, from a new beginning."""
    nodes.client.restart(0)
    pad.buttons = HOLD
    nodes.stand()
    walk(nodes)


def walk(nodes: Nodes) -> None:
    """Enable, as soon as the robot node has heard that the button is held."""
    for _ in range(500):
        try:
            nodes.client.enable(True)
        except Refused as refusal:
            assert str(refusal) == "hold the dead man's button of the joystick"
            threading.Event().wait(0.02)
        else:
            nodes.client.wait_for_mode(Mode.WALKING)
            return
    raise AssertionError("the robot node does not hear the joystick")


def test_it_stands_up_on_a_button_and_walks_only_while_another_is_held(nodes: Nodes, pad: Pad) -> None:
    nodes.client.restart(0)
    while nodes.client.mode is Mode.PASSIVE:  # it hears a press only where it has heard the button up before
        for pad.buttons in (RELEASE, STAND):
            threading.Event().wait(0.1)
    nodes.client.wait_for_mode(Mode.READY)
    pad.buttons = RELEASE
    with pytest.raises(Refused, match="hold the dead man's button of the joystick"):
        nodes.client.enable(True)
    pad.buttons = HOLD
    walk(nodes)
    pad.buttons = RELEASE
    nodes.client.wait_for_mode(Mode.READY)


@pytest.mark.parametrize("silence", [None, TOO_FEW])
def test_a_joystick_that_falls_silent_stops_the_walk(
    nodes: Nodes, pad: Pad, silence: list[int] | None
) -> None:
    begin(nodes, pad)
    pad.buttons = silence
    nodes.client.wait_for_mode(Mode.READY)
    if silence is TOO_FEW:
        assert int(nodes.client.diagnostics(ROBOT, newer=True)["refused"]) > 0
        nodes.wait_for_log(ROBOT, "joystick test has 1 buttons")


def test_its_emergency_stop_damps_and_keeps_damped_while_pressed(nodes: Nodes, pad: Pad) -> None:
    begin(nodes, pad)
    pad.buttons = ESTOP
    nodes.client.wait_for_mode(Mode.DAMPED)
    nodes.wait_for_log(ROBOT, "damped: emergency stop")
    nodes.client.reset()
    nodes.client.wait_for_mode(Mode.DAMPED)
