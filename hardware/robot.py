"""A driver with its supervisor in front: the simulator's environment and the robot node both host one."""

from .driver import Driver
from .safety import Decision, Mode, Supervisor
from .spec import RobotSpec
from .state import JointCommand, RobotState


class Robot:
    """One robot, advanced by one control period per `tick`. Nothing else may write to the driver."""

    def __init__(self, spec: RobotSpec, driver: Driver) -> None:
        self.spec = spec
        self.driver = driver
        self.supervisor = Supervisor(spec)

    def tick(self, state: RobotState, command: JointCommand | None, periods: int = 1) -> Decision:
        """Supervise `command` in `state` and hand the result to the motors; arguments as in `step`."""
        decision = self.supervisor.step(state, command, periods)
        if decision.mode is Mode.DAMPED:
            self.driver.damp()
        self.driver.write(decision.motors)
        return decision
