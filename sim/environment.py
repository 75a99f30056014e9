"""The walking task as a Gymnasium environment: the robot node without ROS."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from ..hardware.robot import Robot
from ..hardware.safety import Mode, Supervisor, fall
from ..hardware.spec import RobotSpec, load_robot
from ..hardware.state import RobotState
from ..hardware.task import ACTION_SIZE, OBSERVATION_SIZE, Walk, WalkingTask
from .simulator import Moment, PyBulletDriver
from .world import World, load_world


@dataclass(frozen=True)
class Situation:
    """All of an environment that what comes next depends on."""

    moment: Moment
    supervisor: Supervisor
    state: RobotState
    walk: Walk


class WalkingEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One A1 in one world, behind the same supervisor as on the robot.

    Observation and action are those of `hardware.task`. An episode begins when the robot has stood up and
    terminates with a fall: a step after which the supervisor has to damp the motors (`hardware.safety.fall`).
    It is truncated where the supervisor has damped them for what one step does not tell (a joint that
    sticks); that last step is none of a walk. `info["reason"]` says why.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}

    def __init__(
        self, world: str | World = "flat", robot: str | RobotSpec = "a1", render_mode: str | None = None
    ) -> None:
        self.robot_spec = robot if isinstance(robot, RobotSpec) else load_robot(robot)
        self.task = WalkingTask(self.robot_spec)
        self.world = world if isinstance(world, World) else load_world(world)
        self.driver = PyBulletDriver(self.robot_spec, self.world)
        self.driver.open()
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Lay the world anew, stand up, and be ready to walk."""
        super().reset(seed=seed)
        self.driver.restart(int(self.np_random.integers(2**31)) if seed is None else seed)
        self.robot = Robot(self.robot_spec, self.driver)
        self.robot.supervisor.stand()
        while self.robot.supervisor.mode is Mode.STANDING_UP:
            self.robot.tick(self.driver.read(), None)
        self.robot.supervisor.enable(True)
        self.state = self.driver.read()
        self.walk = self.task.begin(self.state)
        return self.task.observation(self.walk, self.state), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold `action` (12,) for one control period; it is clipped to [-1, 1]."""
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        command = self.task.command(self.walk, self.state, action)
        decision = self.robot.tick(self.state, command)
        before, self.state = self.state, self.driver.read()
        self.walk = self.task.advance(self.walk, action, self.state)
        reason = fall(self.robot_spec, before, self.state)
        stopped = decision.mode is not Mode.WALKING
        reward = self.task.reward(self.walk, self.state, bool(reason))
        info = self._info() | {
            "stamp": command.stamp,
            "requested_command": command.positions,
            "sent_command": decision.motors.positions,
            "reason": reason or self.robot.supervisor.reason,
        }
        return self.task.observation(self.walk, self.state), reward, bool(reason), stopped, info

    def situation(self) -> Situation:
        """Now, for `elsewhere`; its moment is for `driver.forget` when it is of no use any more."""
        supervisor = self._copy(self.robot.supervisor)
        return Situation(self.driver.moment(), supervisor, self.state, self.walk)

    @contextmanager
    def elsewhere(self, situation: Situation, world: World) -> Iterator[None]:
        """Within it the walk is back in `situation`, in the dynamics of `world`; after it, here and now."""
        now = self.robot.supervisor, self.state, self.walk
        try:
            self.robot.supervisor = self._copy(situation.supervisor)
            self.state, self.walk = situation.state, situation.walk
            with self.driver.elsewhere(situation.moment, world):
                yield
        finally:
            self.robot.supervisor, self.state, self.walk = now

    def _copy(self, supervisor: Supervisor) -> Supervisor:
        return deepcopy(supervisor, {id(self.robot_spec): self.robot_spec})  # all but the spec

    def _info(self) -> dict[str, Any]:
        return {"base_position": self.state.position, "distance": self.walk.forward[-1]}

    def render(self) -> np.ndarray:
        """A picture (240, 320, 3) uint8 of the robot."""
        return self.driver.picture()

    def close(self) -> None:
        """Leave PyBullet."""
        self.driver.close()
