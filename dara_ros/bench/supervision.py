"""How far walks stay from what the supervisor damps on although it is no fall: stuck joints, joint limits."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace

import numpy as np

from dara_ros.action_sources import action_source
from dara_ros.bench import machine, positive_int
from dara_ros.hardware.safety import ENERGISED, Mode, Supervisor
from dara_ros.hardware.spec import RobotSpec, load_robot
from dara_ros.hardware.state import JointCommand, RobotState
from dara_ros.hardware.task import ACTION_SIZE
from dara_ros.hardware.watch import Watch
from dara_ros.rollouts import environment_class
from dara_ros.sim import EPISODE_STEPS


@dataclass
class Margins:
    """The worst of some walks.

    Attributes:
        damped: walks in which the motors were damped although it was no fall; there should be none.
        stuck_s: the longest time that a joint ignored its target, s.
        speed_at_limit: the greatest speed towards a limit of a joint within the margin of it, rad/s.
        beyond_limit: the farthest that a joint was past a limit, rad; negative: the closest to one.
    """

    walks: int = 0
    steps: int = 0
    damped: int = 0
    stuck_s: float = 0.0
    speed_at_limit: float = 0.0
    beyond_limit: float = -np.pi

    def add(self, spec: RobotSpec, state: RobotState, watch: Watch) -> None:
        """Take in the state after one control period."""
        self.steps += 1
        self.stuck_s = max(self.stuck_s, float(watch.missed.max()) * spec.control_period)
        for beyond, outward in (
            (state.joint_positions - spec.upper, state.joint_velocities),
            (spec.lower - state.joint_positions, -state.joint_velocities),
        ):
            self.beyond_limit = max(self.beyond_limit, float(beyond.max()))
            near = beyond > -spec.safety.limit_margin
            self.speed_at_limit = max(self.speed_at_limit, float(np.where(near, outward, 0.0).max()))


def measure(world: str, behaviour: str, noise: float, episodes: int) -> Margins:
    """Walk `episodes` times, with Gaussian noise on the action."""
    env = environment_class()(world)
    rng = np.random.default_rng(0)
    act = action_source(behaviour, env.task, rng)
    margins = Margins()
    for episode in range(episodes):
        observation, _ = env.reset(seed=3000 + episode)
        watch = Watch(env.robot_spec, env.state)
        margins.walks += 1
        for _ in range(EPISODE_STEPS):
            action = act(observation) + noise * rng.standard_normal(ACTION_SIZE)
            observation, _, fell, stopped, info = env.step(action)
            margins.damped += stopped
            if fell or stopped:
                break
            watch.problem(env.state, info["sent_command"])
            margins.add(env.robot_spec, env.state, watch)
    env.close()
    return margins


def step_us(spec: RobotSpec, steps: int = 2000) -> float:
    """What one step of the supervisor takes while a robot walks, microseconds of processor time."""
    rng = np.random.default_rng(0)
    supervisor = Supervisor(spec)
    state = RobotState(
        stamp=0,
        joint_positions=spec.stand_pose,
        joint_velocities=np.zeros(12),
        joint_torques=np.zeros(12),
        orientation=np.array([0.0, 0.0, 0.0, 1.0]),
        angular_velocity=np.zeros(3),
        linear_acceleration=np.array([0.0, 0.0, 9.81]),
        foot_forces=np.full(4, 30.0),
    )
    supervisor.stand()
    begin = 0.0
    for step in range(-200, steps):
        if supervisor.mode is Mode.READY:
            supervisor.enable(True)
        if step == 0:
            begin = time.process_time()
        noise = 0.002 * rng.standard_normal((2, 12))
        state = replace(
            state,
            stamp=state.stamp + spec.period_ns,
            joint_positions=spec.stand_pose + noise[0],
            angular_velocity=noise[1, :3],
        )
        supervisor.step(state, JointCommand(state.stamp, spec.stand_pose + noise[1]))
    assert supervisor.mode in ENERGISED, supervisor.reason
    return 1e6 * (time.process_time() - begin) / steps


def main() -> None:
    """Print the margins of the shipped behaviours in both worlds, beside what the motors are damped at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=positive_int, default=5, help="per world, behaviour and noise")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    spec = load_robot("a1")
    safety = spec.safety
    figures = {
        f"{world}, {behaviour}, noise {noise}": measure(world, behaviour, noise, arguments.episodes)
        for world in ("flat", "obstructive")
        for behaviour in ("trot", "medium", "expert")
        for noise in (0.0, 0.2)
    }
    if arguments.json:
        rows = {name: asdict(margins) for name, margins in figures.items()}
        print(json.dumps({"limits": safety.model_dump(), "step_us": step_us(spec), **rows}))
        return
    print(f"{machine()}; one step of the supervisor: {step_us(spec):.0f} us")
    print(f"{'':36s} walks damped   stuck  speed at limit  beyond limit")
    limits = (
        f"{safety.stuck_time:6.2f}s {safety.limit_velocity:9.1f} rad/s {safety.max_target_change:9.2f} rad"
    )
    print(f"{'the motors are damped at':36s}              {limits}")
    for name, m in figures.items():
        worst = f"{m.stuck_s:6.2f}s {m.speed_at_limit:9.1f} rad/s {m.beyond_limit:9.2f} rad"
        print(f"{name:36s} {m.walks:5d} {m.damped:6d} {worst}")


if __name__ == "__main__":
    main()
