"""States and commands survive the way through messages; joints go by name; parts meet by stamp."""

from collections.abc import Callable

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Float32MultiArray

from dara_ros import messages, parsing
from dara_ros.errors import UserError
from dara_ros.hardware.spec import RobotSpec
from dara_ros.hardware.state import JointCommand, RobotState
from dara_ros.parsing import FOOT_CONTACTS, IMU, JOINT_STATES, ODOM, SentCommand, StateAssembler

STAMP = 1_234_567_890_123
REST = (JOINT_STATES, FOOT_CONTACTS)
StateAt = Callable[[int], RobotState]


def all_messages(a1: RobotSpec, state: RobotState) -> dict[str, object]:
    return {
        JOINT_STATES: messages.joint_states_message(a1, state),
        IMU: messages.imu_message(state),
        FOOT_CONTACTS: messages.foot_contacts_message(state),
        ODOM: messages.odometry_message(a1, state),
    }


def shuffled(message: JointState) -> JointState:
    """The same message with its joints in another order."""
    order = np.random.default_rng(0).permutation(12)
    for field in ("position", "velocity", "effort"):
        values = getattr(message, field)
        setattr(message, field, [values[i] for i in order] if values else [])
    message.name = [message.name[i] for i in order]
    return message


def test_state_comes_back_exactly_from_its_messages(a1: RobotSpec, state_at: StateAt) -> None:
    sent = state_at(STAMP)
    assembler = StateAssembler(*messages.MESSAGE_TYPES)
    parts = all_messages(a1, sent)
    parts[JOINT_STATES] = shuffled(parts[JOINT_STATES])
    got = [assembler.add(topic, *parsing.parse_part(a1, topic, part)) for topic, part in parts.items()]
    assert got[:3] == [None] * 3
    for name, value in vars(sent).items():
        np.testing.assert_array_equal(getattr(got[3], name), value, err_msg=name)


def test_only_a_state_of_a_walk_asks_for_an_answer(a1: RobotSpec, state_at: StateAt) -> None:
    message = messages.joint_states_message(a1, state_at(STAMP))
    assert parsing.walk_of(message) is None
    assert parsing.walk_of(messages.joint_states_message(a1, state_at(STAMP), walk=3)) == 3
    message.header.frame_id = "base_link"  # somebody else's robot node
    assert parsing.walk_of(message) is None


def test_commands_go_by_joint_name(a1: RobotSpec) -> None:
    command = JointCommand(STAMP, np.arange(12.0))
    got = parsing.parse_command(a1, shuffled(messages.command_message(a1, command)))
    assert got.stamp == STAMP
    np.testing.assert_array_equal(got.positions, command.positions)


def test_sent_command_says_walk_step_and_whether_in_time(a1: RobotSpec) -> None:
    for in_time in (False, True):
        sent = SentCommand(STAMP, np.arange(12.0), 3, 14, in_time)
        got = parsing.parse_sent(a1, messages.sent_message(a1, sent))
        assert (got.stamp, got.walk, got.step, got.in_time) == (STAMP, 3, 14, in_time)
        np.testing.assert_array_equal(got.positions, sent.positions)


def test_sent_command_of_a_stranger_is_refused(a1: RobotSpec) -> None:
    message = messages.command_message(a1, JointCommand(STAMP, np.zeros(12)))
    with pytest.raises(UserError, match="frame_id"):
        parsing.parse_sent(a1, message)


def spoil_missing(message: JointState) -> None:
    message.name, message.position = message.name[1:], message.position[1:]


def spoil_unknown(message: JointState) -> None:
    message.name = [*message.name[:-1], "tail_joint"]


def spoil_extra(message: JointState) -> None:
    message.name, message.position = [*message.name, "tail_joint"], [*message.position, 0.0]


def spoil_twice(message: JointState) -> None:
    message.name, message.position = [*message.name, message.name[0]], [*message.position, 0.0]


def spoil_length(message: JointState) -> None:
    message.position = message.position[:-1]


@pytest.mark.parametrize("spoil", [spoil_missing, spoil_unknown, spoil_extra, spoil_twice, spoil_length])
def test_joints_that_do_not_match_are_one_line(a1: RobotSpec, spoil: Callable[[JointState], None]) -> None:
    message = messages.command_message(a1, JointCommand(STAMP, np.zeros(12)))
    spoil(message)
    with pytest.raises(UserError) as error:
        parsing.parse_command(a1, message)
    assert len(str(error.value).splitlines()) == 1


def feed(
    assembler: StateAssembler, a1: RobotSpec, state: RobotState, *topics: str
) -> list[RobotState | None]:
    parts = all_messages(a1, state)
    return [assembler.add(topic, *parsing.parse_part(a1, topic, parts[topic])) for topic in topics]


def test_assembler_takes_parts_in_any_order_and_between_others(a1: RobotSpec, state_at: StateAt) -> None:
    assembler = StateAssembler(*REST, IMU)
    feed(assembler, a1, state_at(1), IMU)
    feed(assembler, a1, state_at(2), *REST)
    assert feed(assembler, a1, state_at(1), *REST)[1].stamp == 1
    assert feed(assembler, a1, state_at(2), IMU)[0].stamp == 2
    assert assembler.incomplete == 0


def test_assembler_counts_what_never_came_and_forgets_it(a1: RobotSpec, state_at: StateAt) -> None:
    assembler = StateAssembler(*REST, IMU)
    for stamp in range(100):
        feed(assembler, a1, state_at(stamp), *REST)
    assert assembler.incomplete == 100 - parsing.KEPT_STAMPS
    assert feed(assembler, a1, state_at(0), IMU) == [None]  # too late
    assert feed(assembler, a1, state_at(99), IMU)[0].stamp == 99


def test_assembler_gives_a_state_again_when_it_is_published_again(a1: RobotSpec, state_at: StateAt) -> None:
    assembler = StateAssembler(*REST, IMU)
    for _ in range(2):
        assert feed(assembler, a1, state_at(5), *REST, IMU)[2].stamp == 5


def test_foot_contacts_without_stamp_go_with_the_next_states(a1: RobotSpec, state_at: StateAt) -> None:
    assembler = StateAssembler(JOINT_STATES, IMU, FOOT_CONTACTS)
    assert feed(assembler, a1, state_at(1), JOINT_STATES, IMU) == [None, None]
    foreign = Float32MultiArray(data=[1.0, 2.0, 3.0, 4.0])
    assert assembler.add(FOOT_CONTACTS, *parsing.parse_part(a1, FOOT_CONTACTS, foreign)) is None
    got = feed(assembler, a1, state_at(2), JOINT_STATES, IMU)[1]
    np.testing.assert_array_equal(got.foot_forces, [1.0, 2.0, 3.0, 4.0])
