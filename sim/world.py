"""A world as data: every number of it, from sim/worlds/*.yaml. SI units."""

from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)

from ..hardware.config import Model, load_named, names_in

WORLDS = Path(__file__).resolve().parent / "worlds"


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the lower bound comes first")
    return bounds


Count = Annotated[int, Field(ge=0, le=1_000)]
Steps = Annotated[int, Field(ge=1, le=10_000)]
Range = Annotated[tuple[float, float], AfterValidator(_ascending)]


class Noise(Model):
    """Standard deviations of the sensors' white noise: rad, rad/s, rad, rad/s, m/s^2."""

    joint_position: NonNegativeFloat
    joint_velocity: NonNegativeFloat
    orientation: NonNegativeFloat
    angular_velocity: NonNegativeFloat
    linear_acceleration: NonNegativeFloat


class Motor(Model):
    """Condition of motors and battery.

    strength scales every torque; above knee x greatest speed torque fades; every watt that all motors draw
    takes the share `sag` from the greatest torque of each, as a weak battery's voltage falls.
    """

    strength: float = Field(gt=0, le=1)
    knee: float = Field(ge=0, lt=1)
    sag: NonNegativeFloat


class Start(Model):
    """Where the robot is put: height of the base, and standard deviation of its yaw."""

    height: PositiveFloat
    yaw: NonNegativeFloat


class Bricks(Model):
    """Fixed bricks, laid anew in every episode: count, how far they stand out, sides, area."""

    count: Count
    height: Range
    size: Range
    x: Range
    y: Range


class Blocks(Model):
    """Cubes pushed to and fro across the way; `turn` is the chance per control period to turn back."""

    count: Count
    size: PositiveFloat
    mass: PositiveFloat
    speed: Range
    x: Range
    y: Range
    turn: float = Field(ge=0, le=1)


class Physics(Model):
    """PyBullet's time step, s; steps per control period; iterations of its solver."""

    timestep: PositiveFloat
    substeps: Steps
    solver_iterations: Steps


class World(Model):
    """A world and the condition of the robot in it; see the comments in sim/worlds/flat.yaml."""

    name: str
    ground_friction: PositiveFloat
    foot_friction: PositiveFloat
    payload: NonNegativeFloat
    motor: Motor
    drag: NonNegativeFloat
    latency: NonNegativeFloat
    noise: Noise
    start: Start
    bricks: Bricks
    blocks: Blocks
    physics: Physics

    @model_validator(mode="after")
    def _latency_within_a_period(self) -> "World":
        period = self.physics.timestep * self.physics.substeps
        if self.latency > period:
            raise ValueError(f"latency must not exceed the control period, {period:g} s")
        return self


def world_names() -> list[str]:
    """The worlds that come with the package."""
    return names_in(WORLDS)


def load_world(world: str | Path) -> World:
    """Read a World by name (`flat`) or from a YAML file.

    Raises:
        UserError: no such world, not YAML, or a field that is missing, unknown or out of range.
    """
    return load_named(world, WORLDS, World)
