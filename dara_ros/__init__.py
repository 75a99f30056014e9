"""Sim-to-real for legged robots: log, augment with DARA, learn offline, run through ROS 2."""

__version__ = "0.1.0"
