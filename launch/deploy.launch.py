"""A policy on the real robot. Hang it up first, and keep the emergency stop at hand.

ros2 launch dara_ros deploy.launch.py driver:=unitree_a1 policy:=runs/dara/policy.onnx out:=walk.h5
ros2 service call /robot_node/stand std_srvs/srv/Trigger
ros2 service call /robot_node/enable std_srvs/srv/SetBool "{data: true}"
ros2 service call /robot_node/estop std_srvs/srv/Trigger
"""

from launch import LaunchDescription
from launch.actions import GroupAction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration

from dara_ros.launching import BOOLEAN, argument, common_arguments, controller, node, robot


def generate_launch_description() -> LaunchDescription:
    """Robot node with the robot's driver, controller, and a logger where asked for."""
    return LaunchDescription(
        [
            *common_arguments(__file__),
            argument("robot", "a1", "name of a robot (a1, go1, go2), or its YAML file"),
            argument("driver", None, "name of the installed driver that reaches the robot"),
            argument("policy", None, "ONNX policy file"),
            argument("log", "true", "log what happens", *BOOLEAN),
            argument("out", "walk.h5", "data set file of the log (HDF5)"),
            argument("world", "real", "name of the place, as it shall stand in the log"),
            argument("joystick", "", "joystick (xbox, or a YAML file) whose dead man's button must be held"),
            *robot(robot=str, driver=str, joystick=str),
            *controller(robot=str, policy=str),
            GroupAction(
                [node("logger_node", robot=str, world=str, out=str)],
                condition=IfCondition(LaunchConfiguration("log")),
            ),
        ]
    )
