"""Walks through the ROS nodes with a simulated robot: how a policy does before it meets the real one.

    result = run_episodes("policy.onnx", world="obstructive", seeds=range(5))
    result.distance_m, result.falls

Robot, controller and logger are processes of their own that meet over DDS, exactly as on the robot. What a
walk gave is read from the file that the logger wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .hardware.safety import Mode
from .hardware.spec import RobotSpec, load_robot
from .pictures import make_gif
from .processes import NodeDied, Processes, free_domain_id, log_folder
from .session import CONTROLLER, LOGGER, ROBOT, Refused, RobotClient
from .sim import EPISODE_STEPS
from .sim.world import load_world
from .walks import read_walks

__all__ = ["DryRun", "DryRunResult", "make_gif", "open_dry_run", "run_episodes"]

START_TIMEOUT = 60.0  # s for the nodes to come up on a busy machine
STAND_TIMEOUT = 60.0  # s for standing up
STEP_TIMEOUT = 0.5  # s that a control period may take before the walk counts as stuck

Progress = Callable[[int, int], None]
"""(episodes done, episodes in all)."""


@dataclass(frozen=True)
class DryRunResult:
    """What one policy did; one entry per episode, in the order of the seeds.

    Attributes:
        distance_m: way made good along the heading at the start.
        falls: whether the supervisor had to damp the robot.
        steps: control periods walked.
        nodes: what each node last said of itself on /diagnostics (see `diagnostics`).
        file: the data set of all walks; None where none was asked for.
        interrupted: it was stopped before its last walk was over; a walk that was cut short does not count.
    """

    distance_m: list[float]
    falls: list[bool]
    steps: list[int]
    nodes: dict[str, dict[str, str]]
    file: Path | None
    interrupted: bool = False

    @property
    def loop_ms(self) -> dict[str, float]:
        """p50, p99 and max of the controller, from a complete state to its command."""
        return {name: float(self.nodes[CONTROLLER][f"loop_ms_{name}"]) for name in ("p50", "p99", "max")}


class DryRun:
    """Running nodes of one simulated robot, through which policies walk in turn; `open_dry_run` makes one."""

    def __init__(self, client: RobotClient, spec: RobotSpec, world: str, steps: int, logs: Path) -> None:
        self._client = client
        self._spec = spec
        self._world = world
        self._steps = steps
        self._logs = logs
        self._runs = 0

    def run(
        self,
        policy: str | Path,
        seeds: Sequence[int],
        out: Path | None = None,
        exploration_noise: float = 0.0,
        domain: str = "target",
        progress: Progress = lambda done, total: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> DryRunResult:
        """One walk per seed, each from a freshly laid world.

        Args:
            policy: ONNX file, or the name of a shipped behaviour.
            out: where the logger writes the walks; None keeps no file.
            exploration_noise: standard deviation of Gaussian noise on the action.
            domain: what the data set is marked as, "source" or "target".
            should_stop: asked about five times a second; damps the robot and ends the run.

        Raises:
            UserError: the policy does not fit, or `out` cannot be written.
        """
        self._runs += 1
        file = Path(out) if out is not None else self._logs / f"walks_{self._runs}.h5"
        with _misuse():
            self._begin(str(policy), int(seeds[0]), file, exploration_noise, domain)
        falls: list[bool] = []
        for seed in seeds:
            progress(len(falls), len(seeds))
            end = None if should_stop() else self._walk(int(seed), should_stop)
            if end is None:
                break
            falls.append(end is Mode.DAMPED)
        nodes = self._end()
        progress(len(falls), len(seeds))
        cut = len(falls) < len(seeds)
        distance, steps, terminal = read_walks(file, self._spec, len(falls), cut)
        fell = [bool(damped or end) for damped, end in zip(falls, terminal, strict=True)]
        return DryRunResult(distance, fell, steps, nodes, file if out is not None else None, cut)

    def _begin(self, policy: str, seed: int, file: Path, noise: float, domain: str) -> None:
        client = self._client
        client.set_parameters(CONTROLLER, {"policy": policy, "exploration_noise": float(noise), "seed": seed})
        client.configure()
        client.activate()
        made_by = f"dara dry-run {policy} --world {self._world}, exploration noise {noise:g}, seed {seed}"
        client.set_parameters(LOGGER, {"out": str(file), "domain": domain, "made_by": made_by})
        client.trigger(LOGGER, "start")

    def _walk(self, seed: int, should_stop: Callable[[], bool]) -> Mode | None:
        """One walk; the state of the robot when it is over, None where it was cut short."""
        client = self._client
        client.restart(seed)
        client.stand()
        client.wait_for_mode(Mode.READY, timeout=STAND_TIMEOUT)
        end = client.walk(START_TIMEOUT + STEP_TIMEOUT * self._steps, should_stop)
        if end is not Mode.WALKING:
            return end
        client.damp()
        return None

    def _end(self) -> dict[str, dict[str, str]]:
        """Let go of the nodes; what they said of themselves when all rows were written."""
        self._client.trigger(LOGGER, "stop")
        nodes = self._client.all_diagnostics((ROBOT, CONTROLLER, LOGGER))
        self._client.deactivate()
        self._client.cleanup()
        return nodes


@contextmanager
def open_dry_run(
    robot: str = "a1",
    world: str = "obstructive",
    steps: int = EPISODE_STEPS,
    mode: str = "lock_step",
    logs: Path | None = None,
) -> Iterator[DryRun]:
    """Start robot, controller and logger in a ROS domain of their own; stop them on the way out.

    Args:
        robot, world: names or YAML files.
        steps: control periods after which a walk is over.
        mode: "lock_step" (as fast as the machine allows, the same walk for the same seed) or "real_time".
        logs: folder for the nodes' output; None: a temporary one, which stays where a node died.

    Raises:
        UserError: a node found its parameters wrong.
    """
    spec = load_robot(robot)
    load_world(world)  # here, for its one line without the start of a node
    if steps < 1:
        raise UserError(f"cannot walk {steps} steps; give at least 1")
    with log_folder() as scratch:
        folder = logs or scratch
        domain = free_domain_id()
        with _misuse(), Processes(folder, domain) as processes:
            processes.start(
                ROBOT,
                {"robot": robot, "driver": "pybullet", "world": world, "mode": mode, "walk_steps": steps},
            )
            processes.start(CONTROLLER, {"robot": robot})
            processes.start(LOGGER, {"robot": robot, "world": world})
            with RobotClient(domain, check=processes.check) as client:
                client.wait_for_nodes((ROBOT, CONTROLLER, LOGGER), START_TIMEOUT)
                yield DryRun(client, spec, world, steps, scratch)


def run_episodes(
    policy: str | Path,
    robot: str = "a1",
    world: str = "obstructive",
    seeds: Sequence[int] = (0,),
    steps: int = EPISODE_STEPS,
    mode: str = "lock_step",
    out: Path | None = None,
    exploration_noise: float = 0.0,
    domain: str = "target",
    progress: Progress = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> DryRunResult:
    """Walks of one policy through the nodes; see `open_dry_run` and `DryRun.run`."""
    with open_dry_run(robot, world, steps, mode) as dry_run:
        return dry_run.run(policy, seeds, out, exploration_noise, domain, progress, should_stop)


@contextmanager
def _misuse() -> Iterator[None]:
    """What a node says of its input, as an error that the user can mend."""
    try:
        yield
    except Refused as error:
        raise UserError(str(error)) from error
    except NodeDied as error:
        if error.status == 2:
            raise UserError(str(error)) from error
        raise
