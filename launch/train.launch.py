"""The offline node: train on two data sets, with DARA, into a policy file.

ros2 launch dara_ros train.launch.py source:=source.h5 target:=target.h5 out:=runs/dara
ros2 service call /offline_node/start std_srvs/srv/Trigger
ros2 topic echo /offline_node/progress --qos-durability transient_local
"""

from launch import LaunchDescription

from dara_ros.launching import argument, common_arguments, node

ALGORITHMS = ("awr", "bc", "bcq", "bear", "brac-p", "cql", "mabe", "mopo")


def generate_launch_description() -> LaunchDescription:
    """The offline node with its files and its dose of augmentation."""
    return LaunchDescription(
        [
            *common_arguments(__file__),
            argument("source", None, "data set files and folders of the source domain, with : between them"),
            argument("target", None, "data set files and folders of the target domain, with : between them"),
            argument("out", None, "directory for the policy and all that tells how it came about"),
            argument("algorithm", "bcq", "offline RL algorithm", *ALGORITHMS),
            argument("eta", "0.1", "weight of delta_r in the source's rewards; 0: no augmentation"),
            argument("seed", "0", "seed of everything random"),
            node("offline_node", source=str, target=str, out=str, algorithm=str, eta=float, seed=int),
        ]
    )
