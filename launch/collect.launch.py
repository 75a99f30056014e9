"""Log transitions of a walking robot into a data set: robot, controller (a behaviour) and logger node.

ros2 launch dara_ros collect.launch.py policy:=medium out:=target.h5 world:=obstructive
ros2 service call /robot_node/stand std_srvs/srv/Trigger
ros2 service call /robot_node/enable std_srvs/srv/SetBool "{data: true}"
"""

from launch import LaunchDescription

from dara_ros.launching import argument, common_arguments, controller, node, robot


def generate_launch_description() -> LaunchDescription:
    """Everything that a recording needs."""
    return LaunchDescription(
        [
            *common_arguments(__file__),
            argument("robot", "a1", "name of a robot (a1, go1, go2), or its YAML file"),
            argument(
                "driver", "pybullet", "how the robot is reached: pybullet, or an installed driver's name"
            ),
            argument(
                "world", "obstructive", "simulated world (flat, obstructive, a YAML file); a name otherwise"
            ),
            argument("mode", "real_time", "pace of a simulated robot", "real_time", "lock_step"),
            argument("policy", "medium", "behaviour that drives: shipped name or ONNX file"),
            argument("exploration_noise", "0.2", "standard deviation of the noise on its actions"),
            argument("out", None, "data set file to make (HDF5)"),
            argument("domain", "target", "what the data are for in training", "source", "target"),
            argument("joystick", "", "joystick (xbox, or a YAML file) whose dead man's button must be held"),
            *robot(robot=str, driver=str, world=str, mode=str, joystick=str),
            *controller(robot=str, policy=str, exploration_noise=float),
            node("logger_node", robot=str, world=str, domain=str, out=str),
        ]
    )
