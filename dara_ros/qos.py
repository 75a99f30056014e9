"""Quality of service of the topics: one place, so that no publisher and subscriber can miss each other."""

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

#: Measurements: the newest matters, an old one is not worth sending again.
SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
#: Commands: the newest, and it must arrive.
COMMAND = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
#: Buttons: a short press must arrive, too.
JOY = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
#: The robot's side of it: a queue of one would let another's command, which the robot refuses, push out the
#: controller's.
RECEIVED_COMMAND = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
#: A state that who comes later has to know too.
STATE = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
#: The logger's side of both: a queue deep enough for a flush of the file in the middle of a fast walk.
LOGGED_SENSOR = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
LOGGED_COMMAND = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
