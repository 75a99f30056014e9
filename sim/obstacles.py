"""Bricks and moving blocks: built once, laid anew for every episode."""

from typing import Any

import numpy as np
import pybullet

from .world import World

BRICK_HEIGHT = 0.2  # m; a brick is sunk into the floor until only the drawn height stands out
OUT_OF_THE_WAY = (0.0, 0.0, -10.0)


class Obstacles:
    """What stands and moves in the way of the robot.

    The order of random draws is fixed, so a seed gives the same layout whatever was done before.
    """

    def __init__(self, client: Any, world: World) -> None:
        self._client = client
        self._world = world
        sizes = np.random.default_rng(0).uniform(*world.bricks.size, (world.bricks.count, 2))
        self._bricks = [self._brick(length, width) for length, width in sizes]
        self._blocks = [self._block() for _ in range(world.blocks.count)]
        self._velocities = np.zeros(world.blocks.count)

    def lay(self, rng: np.random.Generator) -> None:
        """Lay bricks and blocks where `rng` says."""
        self._rng = rng
        bricks, blocks = self._world.bricks, self._world.blocks
        for brick in self._bricks:
            x, y, height = rng.uniform(*bricks.x), rng.uniform(*bricks.y), rng.uniform(*bricks.height)
            pose = (x, y, height - 0.5 * BRICK_HEIGHT), (0.0, 0.0, 0.0, 1.0)
            self._client.resetBasePositionAndOrientation(brick, *pose)
        count = len(self._blocks)
        self._velocities = rng.uniform(*blocks.speed, count) * rng.choice((-1, 1), count)
        for block in self._blocks:
            pose = (rng.uniform(*blocks.x), rng.uniform(*blocks.y), 0.5 * blocks.size), (0.0, 0.0, 0.0, 1.0)
            self._client.resetBasePositionAndOrientation(block, *pose)
            self._client.resetBaseVelocity(block, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))

    def push(self) -> None:
        """Keep the blocks moving across the way; called once per control period."""
        blocks = self._world.blocks
        turns = self._rng.random(len(self._blocks)) < blocks.turn
        for index, block in enumerate(self._blocks):
            (_, y, _), _ = self._client.getBasePositionAndOrientation(block)
            if turns[index]:
                self._velocities[index] *= -1
            speed = abs(self._velocities[index])
            if y < blocks.y[0]:
                self._velocities[index] = speed
            elif y > blocks.y[1]:
                self._velocities[index] = -speed
            (vx, _, vz), spin = self._client.getBaseVelocity(block)
            self._client.resetBaseVelocity(block, (vx, self._velocities[index], vz), spin)

    def _brick(self, length: float, width: float) -> int:
        half = (0.5 * length, 0.5 * width, 0.5 * BRICK_HEIGHT)
        return self._body(0.0, half)

    def _block(self) -> int:
        half = 3 * (0.5 * self._world.blocks.size,)
        return self._body(self._world.blocks.mass, half)

    def _body(self, mass: float, half: tuple[float, ...]) -> int:
        shape = self._client.createCollisionShape(pybullet.GEOM_BOX, halfExtents=half)
        body = self._client.createMultiBody(mass, shape, basePosition=OUT_OF_THE_WAY)
        self._client.changeDynamics(body, -1, lateralFriction=self._world.ground_friction)
        return body
