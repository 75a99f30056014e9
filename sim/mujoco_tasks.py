"""MuJoCo's walking tasks in two dynamics each: every number of them from sim/mujoco/*.yaml. SI units.

The tasks are gymnasium's own; what is changed is the mass of some bodies and, where asked for, the action.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium
import numpy as np
from pydantic import Field

from ..errors import UserError
from ..hardware.config import Model, load_named, names_in

TASKS = Path(__file__).resolve().parent / "mujoco"

Factor = Annotated[
    float, Field(ge=0.1, le=10)
]  # beyond, gymnasium's time step is no longer sure to be stable


class MujocoTask(Model):
    """A task of gymnasium's in one dynamics; see the comments in sim/mujoco/hopper_shifted.yaml."""

    name: str
    environment: Literal["Hopper-v5", "Walker2d-v5"]
    mass_factors: dict[str, Factor]
    action_noise: float = Field(ge=0, le=1)


def task_names() -> list[str]:
    """The tasks that come with the package."""
    return names_in(TASKS)


def load_task(task: str | Path) -> MujocoTask:
    """Read a MujocoTask by name (`hopper_plain`) or from a YAML file.

    Raises:
        UserError: no such task, not YAML, or a field that is missing, unknown or out of range.
    """
    return load_named(task, TASKS, MujocoTask)


def make_environment(task: MujocoTask) -> gymnasium.Env[np.ndarray, np.ndarray]:
    """The task as a Gymnasium environment; an episode is cut after 1,000 steps, or ends with a fall.

    Everything that is random in it follows from the seed given to `reset`.

    Raises:
        UserError: MuJoCo is not installed, or the task names a body that the robot does not have.
    """
    try:
        environment = gymnasium.make(task.environment, disable_env_checker=True)
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise UserError("MuJoCo is missing; run: pip install 'dara_ros[mujoco]'") from error
    _scale_masses(environment.unwrapped, task)
    return ActionNoise(environment, task.action_noise) if task.action_noise else environment


def _scale_masses(environment: Any, task: MujocoTask) -> None:
    """Bodies of another density: scale mass and inertia, and renew what the model derives from them."""
    import mujoco

    model = environment.model
    bodies = [model.body(number).name for number in range(1, model.nbody)]  # 0 is the world
    for body, factor in task.mass_factors.items():
        if body not in bodies:
            known = ", ".join(bodies)
            raise UserError(
                f"{task.name}: mass_factors: no body {body!r} in {task.environment}; it has {known}"
            )
        model.body(body).mass *= factor
        model.body(body).inertia *= factor
    mujoco.mj_setConst(model, mujoco.MjData(model))


class ActionNoise(gymnasium.ActionWrapper[np.ndarray, np.ndarray, np.ndarray]):
    """Motors that do not quite do as told: uniform noise of `half_width` on every action of [-1, 1]."""

    def __init__(self, environment: gymnasium.Env[np.ndarray, np.ndarray], half_width: float) -> None:
        super().__init__(environment)
        self.half_width = half_width

    def action(self, action: np.ndarray) -> np.ndarray:
        """What acts in place of `action`; it may leave [-1, 1], where MuJoCo clips it."""
        return action + self.np_random.uniform(-self.half_width, self.half_width, action.shape)
