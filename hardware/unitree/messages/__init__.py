"""Message packages of the Go2, for machines whose ROS has none: `build` makes Python modules of them."""
