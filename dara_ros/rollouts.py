"""Walks in the Gymnasium environment, over many processes, in a fixed order.

Each process walks on its own; episodes come back in the order of their seeds whatever the machine does, so
that what is made of them depends on the seeds alone.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import traceback
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from .action_sources import LARGEST_NOISE, action_source
from .errors import UserError
from .hardware.spec import load_robot
from .hardware.task import ACTION_SIZE, WalkingTask
from .interrupts import interrupts_ignored
from .processes import die_with_parent
from .sim import EPISODE_STEPS

if TYPE_CHECKING:  # the environment needs PyBullet, which `dara --help` does without
    from .sim.environment import WalkingEnv


@dataclass(frozen=True)
class Setup:
    """What is walked: where, by which robot, driven by what.

    Attributes:
        world: name or YAML file.
        robot: name or YAML file.
        behaviours: sources of actions, in turn from episode to episode: `trot` (zero action), `random`
            (uniform), `medium` or `expert` (shipped), or the path of an ONNX policy.
        noise: standard deviations of the Gaussian noise on the action; each episode draws one of them.
            `random` has none on top.
        steps: control periods after which an episode is cut.
    """

    world: str
    robot: str = "a1"
    behaviours: tuple[str, ...] = ("trot",)
    noise: tuple[float, ...] = (0.0,)
    steps: int = EPISODE_STEPS


@dataclass(frozen=True, eq=False)
class Steps:
    """T steps of one episode: arrays in the columns of the data set file."""

    observations: np.ndarray  # (T, S) float32
    actions: np.ndarray  # (T, A)
    rewards: np.ndarray  # (T,)
    next_observations: np.ndarray  # (T, S) float32

    def __len__(self) -> int:
        return len(self.rewards)

    def first(self, rows: int, fell: bool) -> dict[str, Any]:
        """The first `rows` rows as arguments of `DataSetWriter.extend`; cut short, they end in a timeout.

        `fell`: how the whole episode ended.
        """
        terminals, timeouts = np.zeros(rows, bool), np.zeros(rows, bool)
        fell = fell and rows == len(self)
        terminals[-1], timeouts[-1] = fell, not fell
        return {
            "observations": self.observations[:rows],
            "actions": self.actions[:rows],
            "rewards": self.rewards[:rows],
            "next_observations": self.next_observations[:rows],
            "terminals": terminals,
            "timeouts": timeouts,
        }


@dataclass(frozen=True, eq=False)
class Episode(Steps):
    """One walk of the robot.

    Attributes:
        infos: stamp and receive_time (T,) ns of simulated time, requested_command and sent_command (T, A)
            rad, base_position (T, 3) m and forward (T,) m since the walk began, both after the step.
        reason: why it fell; empty where it did not.
    """

    infos: dict[str, np.ndarray]
    reason: str

    @property
    def distance(self) -> float:
        """How far it walked along its first heading, m."""
        return float(self.infos["forward"][-1])

    def columns(self, rows: int) -> dict[str, Any]:
        """As `first`, with the infos."""
        infos = {name: values[:rows] for name, values in self.infos.items()}
        return self.first(rows, bool(self.reason)) | {"infos": infos}


def rollouts(setup: Setup, seeds: Iterable[int], workers: int) -> Generator[Episode, None, None]:
    """Walk one episode per seed, in `workers` processes; yield them in the order of the seeds.

    Memory is bounded: a process runs at most two episodes ahead. Closing the generator stops the processes;
    should this process be killed, the kernel ends them.

    Raises:
        UserError: a world, robot or behaviour that does not exist or fit; no PyBullet.
        RuntimeError: an episode failed; the text is that of the process that walked it.
    """
    check(setup)
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        with interrupts_ignored():
            for _ in range(workers):
                here, there = context.Pipe()
                pipes.append(here)
                processes.append(context.Process(target=_work, args=(there, setup), daemon=True))
                processes[-1].start()
                there.close()
        yield from _in_order(pipes, enumerate(seeds))
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.terminate()
            process.join()


def _in_order(pipes: list[Connection], tasks: Iterator[tuple[int, int]]) -> Iterator[Episode]:
    turns = itertools.cycle(pipes)
    waiting: deque[Connection] = deque()
    for task in itertools.islice(tasks, 2 * len(pipes)):
        waiting.append(next(turns))
        waiting[-1].send(task)
    while waiting:
        pipe = waiting.popleft()
        try:
            answer = pipe.recv()
        except EOFError as error:
            raise RuntimeError("a simulation process ended unasked; is the machine out of memory?") from error
        if isinstance(answer, UserError):
            raise answer
        if isinstance(answer, str):
            raise RuntimeError(answer)
        yield answer
        for task in itertools.islice(tasks, 1):
            pipe.send(task)
            waiting.append(pipe)


def check(setup: Setup) -> None:
    """See that the setup can be walked, before any process starts or file is made.

    Raises:
        UserError: a world, robot or behaviour that does not exist or fit; noise out of range; no PyBullet.
    """
    for noise in setup.noise:
        if not 0.0 <= noise <= LARGEST_NOISE:
            raise UserError(f"noise {noise:g} on actions: give one from 0 to {LARGEST_NOISE:g}")
    environment_class()
    from .sim.simulator import PyBulletDriver  # after the class: PyBullet's greeting is swallowed there
    from .sim.world import load_world

    spec = load_robot(setup.robot)
    PyBulletDriver(spec, load_world(setup.world))
    task = WalkingTask(spec)
    for behaviour in setup.behaviours:
        action_source(behaviour, task, np.random.default_rng(0))


def environment_class() -> type[WalkingEnv]:
    """`WalkingEnv`, imported without the greeting that PyBullet writes on the C-level stderr.

    Raises:
        UserError: PyBullet is not installed.
    """
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        from .sim.environment import WalkingEnv
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
    return WalkingEnv


def _work(pipe: Connection, setup: Setup) -> None:
    """A process: walk every (number, seed) that comes through the pipe, until it is closed."""
    die_with_parent()
    try:
        env = environment_class()(setup.world, setup.robot)
        while True:
            number, seed = pipe.recv()
            behaviour = setup.behaviours[number % len(setup.behaviours)]
            pipe.send(walk(env, behaviour, setup, seed))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has gone on
    except UserError as error:
        pipe.send(error)
    except Exception:
        pipe.send(traceback.format_exc().strip().splitlines()[-1])


def walk(env: WalkingEnv, behaviour: str, setup: Setup, seed: int) -> Episode:
    """One episode; world, noise and random actions all follow from `seed`."""
    rng = np.random.default_rng((seed, 1))
    noise = 0.0 if behaviour == "random" else float(rng.choice(setup.noise))
    source = action_source(behaviour, env.task, rng)
    observation, info = env.reset(seed=seed)
    start = info["distance"]
    observations, actions, rewards, infos = [observation], [], [], []
    for _ in range(setup.steps):
        action = np.clip(source(observation) + noise * rng.standard_normal(ACTION_SIZE), -1.0, 1.0)
        observation, reward, fell, stopped, info = env.step(action)
        if stopped:
            break
        observations.append(observation)
        actions.append(action)
        rewards.append(reward)
        infos.append(info)
        if fell:
            break
    if not infos:
        raise UserError(f"the robot did not even begin to walk: {info['reason']}; see world and robot")
    column = {name: np.array([info[name] for info in infos]) for name in INFO_COLUMNS}
    stamps = column["stamp"]
    return Episode(
        observations=np.array(observations[:-1]),
        actions=np.array(actions),
        rewards=np.array(rewards),
        next_observations=np.array(observations[1:]),
        infos={
            **column,
            "receive_time": stamps,  # nothing travels here; the wall clock would differ from run to run
            "forward": np.array([info["distance"] for info in infos]) - start,
        },
        reason=infos[-1]["reason"],
    )


INFO_COLUMNS = ("stamp", "requested_command", "sent_command", "base_position")
