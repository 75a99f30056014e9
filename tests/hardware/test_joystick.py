"""What the buttons of a joystick ask for, and when the dead man's button counts as held."""

from pathlib import Path

import pytest

from dara_ros.errors import UserError
from dara_ros.hardware.joystick import SILENCE, Joystick, Operator, load_joystick

DEADMAN, ESTOP, STAND, SIT = 3, 1, 0, 4


@pytest.fixture
def operator() -> Operator:
    return Operator(Joystick(name="test", deadman=DEADMAN, estop=ESTOP, stand=STAND, sit=SIT))


def pressed(*buttons: int) -> list[int]:
    return [int(button in buttons) for button in range(6)]


def test_nobody_holds_anything_at_first(operator: Operator) -> None:
    assert not operator.holds(0.0)


def test_the_dead_mans_button_is_held_until_released(operator: Operator) -> None:
    assert operator.hear(pressed(DEADMAN), 1.0) == []
    assert operator.holds(1.0) and operator.holds(1.0 + 0.9 * SILENCE)
    assert operator.hear(pressed(), 1.1) == ["stop"]
    assert not operator.holds(1.1)


def test_silence_is_a_release(operator: Operator) -> None:
    operator.hear(pressed(DEADMAN), 1.0)
    assert not operator.holds(1.0 + 1.1 * SILENCE)


def test_the_emergency_stop_counts_for_as_long_as_it_is_pressed_and_comes_first(operator: Operator) -> None:
    for now in (0.0, 0.1):
        assert operator.hear(pressed(ESTOP, DEADMAN), now) == ["estop"]
    assert operator.hear(pressed(STAND, ESTOP), 0.2) == ["estop"]
    assert operator.hear(pressed(STAND), 0.3) == ["stop"]  # pressed under the emergency stop: not asked for


def test_stand_and_sit_count_when_they_go_down(operator: Operator) -> None:
    assert operator.hear(pressed(STAND, DEADMAN), 0.0) == []  # held since before we listened
    operator.hear(pressed(DEADMAN), 0.1)
    assert operator.hear(pressed(STAND, DEADMAN), 0.2) == ["stand"]
    assert operator.hear(pressed(STAND, SIT, DEADMAN), 0.3) == ["sit"]
    assert operator.hear(pressed(STAND, SIT, DEADMAN), 0.4) == []


def test_a_message_with_too_few_buttons_is_silence(operator: Operator) -> None:
    operator.hear(pressed(DEADMAN), 0.0)
    for now in (0.4, 0.8):
        with pytest.raises(
            UserError, match="joystick test has 4 buttons but should have one number 4"
        ) as error:
            operator.hear([0, 0, 0, 1], now)
        assert "\n" not in str(error.value)
    assert not operator.holds(0.0)


def test_the_emergency_stop_counts_on_a_joystick_with_too_few_buttons(operator: Operator) -> None:
    assert operator.hear(pressed(ESTOP)[: ESTOP + 1], 0.0) == ["estop"]


def test_functions_that_nobody_wants_need_no_button() -> None:
    operator = Operator(Joystick(name="small", deadman=0, estop=1))
    assert operator.hear([1, 0], 0.0) == []
    assert operator.hear([0, 1], 0.1) == ["estop"]


def test_the_shipped_joystick_loads() -> None:
    assert load_joystick("xbox").name == "xbox"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{name: x, deadman: 1, estop: 1}", "two functions have the same button"),
        ("{name: x, deadman: 1, estop: 2, sit: 2}", "two functions have the same button"),
        ("{name: x, deadman: -1, estop: 2}", "deadman"),
        ("{name: x, estop: 2}", "deadman"),
    ],
)
def test_a_wrong_mapping_is_one_line(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "joystick.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=problem) as error:
        load_joystick(path)
    assert len(str(error.value).splitlines()) == 1


def test_an_unknown_joystick_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="known joysticks: xbox"):
        load_joystick("paddle")
