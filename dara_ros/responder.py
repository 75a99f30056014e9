"""From states to commands: the controller without ROS."""

from __future__ import annotations

import time

import numpy as np

from .action_sources import action_source
from .errors import UserError
from .hardware.state import Array, JointCommand, RobotState
from .hardware.task import ACTION_SIZE, Walk, WalkingTask


class SeededActions:
    """Actions of one source with exploration noise, whose random numbers are another stream in every walk.

    So no walk depends on how many states of the one before it were answered: its last may be or not.

    Args:
        name: an ONNX file, a shipped behaviour, `trot` (the gait and nothing else) or `random`.
        noise: standard deviation of Gaussian exploration noise on the action.

    Raises:
        UserError: the policy does not exist, is damaged, or was made for something else.
    """

    def __init__(self, name: str, task: WalkingTask, noise: float, seed: int) -> None:
        if not name:
            raise UserError("parameter policy is empty; set it to an ONNX file or a shipped behaviour")
        self._noise = noise
        self._seed = seed
        self._walks = 0
        self._rng = np.random.default_rng(seed)
        self._source = action_source(name, task, self._rng)

    def begin(self) -> None:
        """Random numbers of the next walk from now on."""
        self._walks += 1
        self._rng.bit_generator.state = np.random.default_rng((self._seed, self._walks)).bit_generator.state

    def __call__(self, observation: np.ndarray) -> Array:
        """Observation (S,) float32 -> action (A,), not yet clipped."""
        action = self._source(observation)
        return action + self._noise * self._rng.standard_normal(ACTION_SIZE) if self._noise else action


class Responder:
    """Answers the states of one walk after the other, exactly as `sim.environment.WalkingEnv` would.

    Attributes:
        spec: of the robot.
        repeated: states that were answered before and came again; they get the same answer.
        not_finite: states that got no answer because observation or action was not finite.
        inference_ms: what the last action took.
    """

    def __init__(self, task: WalkingTask, act: SeededActions) -> None:
        self.repeated = 0
        self.not_finite = 0
        self.inference_ms = 0.0
        self.spec = task.spec
        self._task = task
        self._act = act
        self._last: tuple[Walk, Array, JointCommand] | None = None  # of this walk

    def begin(self) -> None:
        """The next state is the first one of a new walk."""
        self._act.begin()
        self._last = None

    def answer(self, state: RobotState) -> JointCommand | None:
        """The command for `state`; None where something is not finite: on silence the robot damps itself."""
        if self._last is not None and state.stamp == self._last[2].stamp:
            self.repeated += 1
            return self._last[2]
        if not state.is_finite():  # the task's trigonometry is undefined there
            self.not_finite += 1
            return None
        walk = self._walk_at(state)
        action = self._decide(self._task.observation(walk, state))
        if action is None:
            self.not_finite += 1
            return None
        command = self._task.command(walk, state, action)
        self._last = walk, action, command
        return command

    def _walk_at(self, state: RobotState) -> Walk:
        if self._last is None or state.stamp < self._last[2].stamp:
            return self._task.begin(state)
        walk, action, _ = self._last
        return self._task.advance(walk, action, state)

    def _decide(self, observation: np.ndarray) -> Array | None:
        """The action in [-1, 1]."""
        if not np.isfinite(observation).all():
            return None
        begin = time.perf_counter()
        action = self._act(observation)
        self.inference_ms = 1e3 * (time.perf_counter() - begin)
        return np.clip(action, -1.0, 1.0) if np.isfinite(action).all() else None
