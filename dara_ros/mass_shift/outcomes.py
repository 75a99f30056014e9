"""What becomes of an action in either domain: MuJoCo can begin anew in a row's state, as no robot can."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..policies.dataset import Batch
from ..sim.mujoco_tasks import MujocoTask, load_task, make_environment

VELOCITY_BOUND = 10.0  # gymnasium clips what it shows of velocities to this


def apart(source: str, target: str, rows: Batch) -> np.ndarray:
    """(N,) how far the next observations of a source's rows are apart in the two domains.

    Squared difference in variances of the source's steps, mean over the columns. Where `is_clipped` it is
    that of the nearest state that can be shown.
    """
    of_source, of_target = (outcomes(load_task(world), rows) for world in (source, target))
    spread = (rows.next_observations - rows.observations).std(0)
    return np.square((of_target - of_source) / spread).mean(1)


def is_clipped(observations: np.ndarray) -> np.ndarray:
    """Of each (N, S) whether a velocity was greater than what is shown; half the columns are velocities."""
    velocities = observations[:, observations.shape[1] // 2 :]
    return (np.abs(velocities) >= VELOCITY_BOUND).any(1)


def outcomes(task: MujocoTask, rows: Batch) -> np.ndarray:
    """The next observations (N, S) of the rows' actions from the rows' states; no noise on the actions."""
    environment: Any = make_environment(task).unwrapped
    positions = environment.model.nq - 1  # the place along the track is not observed, and does not matter
    following = []
    for observation, action in zip(rows.observations.astype(float), rows.actions, strict=True):
        place = np.concatenate(([0.0], observation[:positions]))
        environment.set_state(place, observation[positions:])
        following.append(environment.step(action)[0])
    return np.array(following)
