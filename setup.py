"""Packaging for pip and for colcon (ament_python): one list of requirements, entry points and data files."""

import sys
from glob import glob

from setuptools import Distribution, find_packages, setup

NODES = ("robot_node", "controller_node", "logger_node", "offline_node")

EXTRAS = {
    "train": ["torch>=2.2", "tensorboard>=2.12", "onnx>=1.15", "onnxscript>=0.1", "matplotlib>=3.7"],
    "sim": ["pybullet>=3.2.5", "gymnasium>=0.29", "pillow>=9"],
    "mujoco": ["gymnasium[mujoco]>=1.0"],
    "behaviours": ["stable-baselines3>=2.3"],
    "convert": ["minari>=0.5", "rosbags>=0.11", "pillow>=9"],
    "benchmark": ["scipy>=1.15"],
    "ray": ["ray>=2.40"],
    # Real rclpy and Fast DDS as wheels, for machines without a ROS 2 installation. A robot has its own.
    "ros": [
        "ros-jazzy-rclpy>=7.1.6,<8",
        "ros-rclpy[fastrtps]>=7.1.6,<8",
        "ros-jazzy-sensor-msgs>=5.3,<6",
        "ros-jazzy-nav-msgs>=5.3,<6",
        "ros-jazzy-std-srvs>=5.3,<6",
        "ros-jazzy-diagnostic-msgs>=5.3,<6",
        "ros-jazzy-lifecycle-msgs>=2.0,<3",
        "ros-jazzy-rosgraph-msgs>=2.0,<3",
    ],
    "unitree": ["catkin-pkg>=0.5"],  # with [ros]'s rosidl generators: `make unitree-messages`
    "test": [
        "pytest>=7",
        "pytest-timeout>=2",
        "hypothesis>=6",
        "psutil>=6",
        "colcon-common-extensions>=0.3",
        "colcon-ros>=0.5",
        "d3rlpy>=2.8",
    ],
    "dev": ["ruff>=0.5", "mypy>=1.10", "types-PyYAML"],
}


def data_files() -> list[tuple[str, list[str]]]:
    """What ROS 2 looks for under the install prefix: the index, the manifest, launch files."""
    files = [
        ("share/ament_index/resource_index/packages", ["resource/dara_ros"]),
        ("share/dara_ros", ["package.xml"]),
        ("share/dara_ros/launch", glob("launch/*.launch.py")),
        ("share/dara_ros/launch/config", glob("launch/config/*.yaml")),
    ]
    # colcon puts the nodes where `ros2 run` and launch files look, lib/dara_ros; pip knows only bin, so its
    # wheels carry launchers that lead from there to bin.
    if {"bdist_wheel", "editable_wheel"} & set(sys.argv):
        files.append(("lib/dara_ros", [f"resource/launchers/{node}" for node in NODES]))
    return files


class DistributionWithData(Distribution):
    """Lets `pip install -e .` install data files: setuptools asks for has_data, which it does not define."""

    def has_data(self) -> bool:
        return self.has_data_files()


setup(
    distclass=DistributionWithData,
    name="dara_ros",
    version="0.1.0",
    description="Sim-to-real for legged robots: log, augment with DARA, learn offline, run through ROS 2",
    long_description="See README.md in the repository.",
    license="MIT",
    author="The dara_ros authors",
    maintainer="The dara_ros authors",
    maintainer_email="maintainers@dara-ros.invalid",
    python_requires=">=3.10",
    # dara_ros/{hardware,sim,policies} are relative links to the folders of that name at the top.
    packages=find_packages(include=["dara_ros", "dara_ros.*"]),
    package_data={
        "dara_ros": ["*.xml", "py.typed"],
        "dara_ros.hardware": ["robots/*.yaml", "joysticks/*.yaml"],
        "dara_ros.hardware.unitree.messages": ["*/package.xml", "*/msg/*.msg"],
        "dara_ros.sim": ["worlds/*.yaml", "mujoco/*.yaml", "behaviours/*"],
    },
    data_files=data_files(),
    zip_safe=False,
    install_requires=[
        "numpy>=1.24",
        "h5py>=3.8",
        "pyyaml>=6",
        "onnxruntime>=1.16",
        "pydantic>=2.5",
        "typer>=0.12",
        "rich>=13",
    ],
    extras_require={
        **EXTRAS,
        "all": [r for name in EXTRAS if name not in ("test", "dev") for r in EXTRAS[name]],
    },
    entry_points={
        "console_scripts": [
            "dara = dara_ros.command:main",
            *(f"{node} = dara_ros.{node}:main" for node in NODES),
        ],
        "dara_ros.drivers": [
            "unitree_a1 = dara_ros.hardware.unitree.udp_driver:unitree_a1",
            "unitree_go1 = dara_ros.hardware.unitree.udp_driver:unitree_go1",
            "unitree_go2 = dara_ros.hardware.unitree.go2_driver:unitree_go2",
        ],
    },
)
