"""A logged walk as a moving picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .errors import UserError
from .hardware.robot import Robot
from .hardware.safety import Mode
from .hardware.spec import RobotSpec, load_robot
from .hardware.state import MotorCommand
from .policies.dataset import DataSet
from .sim.simulator import PyBulletDriver
from .sim.world import load_world
from .walks import walk_ends

FRAME_EVERY = 5  # control periods
PICTURE_SIZE = (320, 240)
COLOURS = 48  # of the GIF's palette: small files
SAME_PLACE = 1e-3  # m between the logged and the replayed base


@dataclass(frozen=True, eq=False)
class _Log:
    """A logged walk of T control periods.

    Attributes:
        commands: (T, 12) rad, sent to the motors; a lost one repeats the one before it.
        whole: periods from the beginning up to the first lost one.
        position: (3,) m, of the base after these.
    """

    commands: np.ndarray
    whole: int
    position: np.ndarray


def make_gif(
    file: Path, episode: int, seed: int, world: str, path: Path, robot: str = "a1", every: int = FRAME_EVERY
) -> Path:
    """Replay a walk of a lock-step dry run in the simulator and write it as an animated GIF.

    The simulator is deterministic: the same seed, stand-up and motor commands give the same walk. Where the
    log lost a message, the picture is the walk up to there, and from there on only like it.

    Args:
        file: the data set that the logger wrote.
        episode: which of its walks, from 0.
        seed: the seed that this walk began with.
        every: control periods from one frame to the next.

    Raises:
        UserError: there is no such walk, or the replay does not come by where the log says.
    """
    spec = load_robot(robot)
    log = _read(file, episode, spec)
    driver = PyBulletDriver(spec, load_world(world), seed)
    driver.open()
    try:
        _stand_up(spec, driver)
        frames = [driver.picture(*PICTURE_SIZE)]
        for number, targets in enumerate(log.commands, 1):
            driver.write(MotorCommand(targets, spec.gains.kp, spec.gains.kd))
            if number == log.whole:
                error = float(np.abs(driver.state.position - log.position).max())
            if number % every == 0:
                frames.append(driver.picture(*PICTURE_SIZE))
    finally:
        driver.close()
    if error > SAME_PLACE:
        raise UserError(
            f"{file}: walk {episode} cannot be replayed with seed {seed} in world {world} "
            f"({error:.3f} m off); give those of its dry run, which must have been in lock-step"
        )
    _write_gif(frames, path, every * spec.control_period)
    return path


def _read(file: Path, walk: int, spec: RobotSpec) -> _Log:
    with DataSet(file) as data:
        ends = walk_ends(data, spec) + 1
        if not 0 <= walk < len(ends):
            raise UserError(f"{file}: has no walk {walk}; it has {len(ends)}, counted from 0")
        rows = int(ends[walk - 1]) if walk else 0, int(ends[walk])
        stamps = data.column("infos/stamp", *rows)
        commands = np.asarray(data.column("infos/sent_command", *rows), np.float64)
        positions = data.column("infos/base_position", *rows)
    periods = (stamps - stamps[0]) // spec.period_ns
    whole = int(np.sum(periods == np.arange(len(periods))))
    row_of_period = np.searchsorted(periods, np.arange(periods[-1] + 1), side="right") - 1
    return _Log(commands[row_of_period], whole, positions[whole - 1])


def _stand_up(spec: RobotSpec, driver: PyBulletDriver) -> None:
    robot = Robot(spec, driver)
    robot.supervisor.stand()
    while robot.supervisor.mode is Mode.STANDING_UP:
        robot.tick(driver.read(), None)


def _write_gif(frames: list[np.ndarray], path: Path, seconds: float) -> None:
    images = [Image.fromarray(frame).quantize(COLOURS, dither=Image.Dither.NONE) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=round(1e3 * seconds), loop=0, optimize=True
    )
