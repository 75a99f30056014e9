"""A policy on the simulated robot, through the nodes that run the real one.

ros2 launch dara_ros dry_run.launch.py policy:=runs/dara/policy.onnx world:=obstructive
ros2 service call /robot_node/stand std_srvs/srv/Trigger
ros2 service call /robot_node/enable std_srvs/srv/SetBool "{data: true}"
"""

from launch import LaunchDescription

from dara_ros.launching import argument, common_arguments, controller, robot


def generate_launch_description() -> LaunchDescription:
    """Robot node (PyBullet) and controller."""
    return LaunchDescription(
        [
            *common_arguments(__file__),
            argument("robot", "a1", "name of a robot, or its YAML file"),
            argument("world", "obstructive", "simulated world: flat, obstructive, or a YAML file"),
            argument("mode", "real_time", "pace of the simulation", "real_time", "lock_step"),
            argument("seed", "0", "seed of the world"),
            argument("policy", None, "ONNX policy file"),
            argument("joystick", "", "joystick (xbox, or a YAML file) whose dead man's button must be held"),
            *robot(robot=str, world=str, mode=str, seed=int, joystick=str),
            *controller(robot=str, policy=str),
        ]
    )
