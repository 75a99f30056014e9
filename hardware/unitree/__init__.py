"""Unitree robots. Nothing in this folder was verified on a physical robot: hang it up for the first try."""
