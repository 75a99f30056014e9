"""The nodes as launch actions, for the files in launch/. Needs the ROS packages launch and launch_ros."""

from __future__ import annotations

import os
from pathlib import Path

from launch import LaunchContext, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler, Shutdown
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

from .network import LOCALHOST, VARIABLE, middleware_environment

PACKAGE = "dara_ros"
BOOLEAN = ("true", "false")


def argument(name: str, default: str | None, description: str, *choices: str) -> DeclareLaunchArgument:
    """A launch argument; without a default it must be given, with choices it must be one of them."""
    return DeclareLaunchArgument(
        name, default_value=default, description=description, choices=list(choices) or None
    )


def common_arguments(launch_file: str) -> list[LaunchDescriptionEntity]:
    """The arguments of every launch file, obeyed; the parameter file's default lies beside it, in config/."""
    path = Path(launch_file)
    config = path.parent / "config" / f"{path.name.removesuffix('.launch.py')}.yaml"
    return [
        argument("namespace", "", "ROS namespace of all nodes"),
        argument(
            "use_sim_time", "false", "ROS time from /clock, as a simulated robot publishes it", *BOOLEAN
        ),
        argument(
            "parameters", str(config), "YAML file with the nodes' parameters; launch arguments win over it"
        ),
        argument(
            "network",
            os.environ.get(VARIABLE) or LOCALHOST,
            "localhost; an IPv4 address of this machine: its network too; any: whoever is there",
        ),
        argument("enclave", "", "folder of security enclaves, one per node: ENCLAVE/robot_node and so on"),
        OpaqueFunction(function=_confine),  # before launch makes a participant of its own
    ]


def _confine(context: LaunchContext) -> None:
    os.environ.update(middleware_environment(LaunchConfiguration("network").perform(context)))


def node(name: str, **parameters: type) -> Node:
    """One of the plain nodes.

    Args:
        name: executable and node name.
        parameters: those that come from launch arguments of the same name, with their types.
    """
    return Node(**_common(name, parameters))


def robot(**parameters: type) -> list[LaunchDescriptionEntity]:
    """The robot node. Where it ends, all ends: a robot without its supervisor is for people to look at."""
    robot_node = node("robot_node", **parameters)
    ended = Shutdown(reason="the robot node has ended")
    return [robot_node, RegisterEventHandler(OnProcessExit(target_action=robot_node, on_exit=[ended]))]


def controller(**parameters: type) -> list[LaunchDescriptionEntity]:
    """The controller, configured when it has started and activated when that went well.

    It only answers while the robot walks, and the robot walks only after ~/enable.
    """
    lifecycle_node = LifecycleNode(**_common("controller_node", parameters))
    configure = _change(lifecycle_node, Transition.TRANSITION_CONFIGURE)
    activate = _change(lifecycle_node, Transition.TRANSITION_ACTIVATE)
    wanted = IfCondition(LaunchConfiguration("autostart"))
    return [
        argument(
            "autostart", "true", "configure and activate the controller; else you do, by service", *BOOLEAN
        ),
        lifecycle_node,
        RegisterEventHandler(
            OnProcessStart(target_action=lifecycle_node, on_start=[configure]), condition=wanted
        ),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=lifecycle_node,
                start_state="configuring",
                goal_state="inactive",
                entities=[activate],
            ),
            condition=wanted,
        ),
    ]


def _common(name: str, parameters: dict[str, type]) -> dict[str, object]:
    types = {**parameters, "use_sim_time": bool}
    values = {key: ParameterValue(LaunchConfiguration(key), value_type=kind) for key, kind in types.items()}
    return {
        "package": PACKAGE,
        "executable": name,
        "name": name,
        "namespace": LaunchConfiguration("namespace"),
        "parameters": [LaunchConfiguration("parameters"), values],
        "ros_arguments": ["--enclave", [LaunchConfiguration("enclave"), f"/{name}"]],
        "output": "screen",
        "respawn": False,
    }


def _change(lifecycle_node: LifecycleNode, transition: int) -> EmitEvent:
    matcher = matches_action(lifecycle_node)
    return EmitEvent(event=ChangeState(lifecycle_node_matcher=matcher, transition_id=transition))
