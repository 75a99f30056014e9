"""The A1 in PyBullet: a Driver whose `write` advances the simulation by one control period."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import UserError
from ..hardware.driver import never
from ..hardware.spec import RobotSpec
from ..hardware.state import Array, MotorCommand, RobotState
from .obstacles import Obstacles
from .world import World

try:
    import pybullet
    import pybullet_data
    from pybullet_utils.bullet_client import BulletClient
except ImportError as error:  # pragma: no cover
    raise UserError("PyBullet is not installed; run: pip install 'dara_ros[sim]'") from error

GRAVITY = 9.81
URDF_JOINTS = {"hip": "hip", "thigh": "upper", "calf": "lower"}  # the URDF's names for the same joints
DEEPEST_SAG = 0.8  # share of torque that a weak battery takes at most
# kg m^2, about the least that turns with a joint while all else is free. A torque taken from the speed at a
# step's begin carries light, fast legs too far: drag to and fro, faster each time, and motors past their
# greatest speed. So it is at most what so light a link would bear in a step.
LEAST_INERTIA = {"hip": 0.0033, "thigh": 0.0058, "calf": 0.003}
TRUNK = -1  # PyBullet's index of the base link
MEMORY = ("_motors", "_power", "_torques", "_stamp", "state", "_measured")  # of the driver, beside PyBullet's


@dataclass(frozen=True)
class Moment:
    """All that what comes next depends on."""

    physics: int  # PyBullet's number of a saved state
    memory: dict[str, Any]
    noise: Mapping[str, Any]  # state of the random generator


class PyBulletDriver:
    """The robot of `spec` in `world`, reached as a Driver.

    Motors are PD at the physics rate: torque = strength * clip(kp (target - q) - kd dq, limits), where the
    limits fall linearly from `knee` times the greatest speed to zero at it, and by `sag` for every watt that
    all motors drew one physics step before. Around the legs `drag` dq |dq| resists. For the first `latency`
    seconds of a control period the old target holds. Deterministic for a seed.

    Attributes:
        state: the true state, without sensor noise.
    """

    def __init__(self, spec: RobotSpec, world: World, seed: int = 0) -> None:
        if spec.name != "a1":
            raise UserError(f"the simulator has no model of robot '{spec.name}'; use --robot a1")
        period = world.physics.timestep * world.physics.substeps
        if abs(period - spec.control_period) > 1e-9:
            raise UserError(
                f"world {world.name}: timestep x substeps is {period} s but the robot's control period is "
                f"{spec.control_period} s; make them equal"
            )
        self.spec = spec
        self.world = world
        self._seed = seed
        self._motors = MotorCommand(spec.stand_pose, 0.0, 0.0)
        self._client: Any = None  # BulletClient while open; it has no types

    # -- Driver ----------------------------------------------------------------------------------------

    def open(self, called_off: Callable[[], bool] = never) -> None:
        """Build the world and put the robot at its start."""
        self._client = _connect()
        self._build()
        self.restart(self._seed)

    def read(self) -> RobotState:
        """The state as the robot's sensors see it, stamped with simulated time."""
        return self._measured

    def write(self, command: MotorCommand) -> None:
        """Advance by one control period under `command`."""
        physics = self.world.physics
        old, self._motors = self._motors, command
        held = round(self.world.latency / physics.timestep)
        velocity = self._base_velocity()
        self.obstacles.push()
        for substep in range(physics.substeps):
            self._apply(old if substep < held else command)
            self._step()
        self._stamp += self.spec.period_ns
        self._observe(velocity)

    def damp(self) -> None:
        """Motors resist motion and nothing else, also during the latency of the next period."""
        self._motors = MotorCommand(self.spec.stand_pose, 0.0, self.spec.safety.damping)

    def close(self) -> None:
        """Leave PyBullet."""
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    # -- beyond a Driver: only a simulation can do it -----------------------------------------------------

    def restart(self, seed: int, stamp: int = 0) -> None:
        """Put the robot back to its start with everything drawn anew from `seed`; the clock shows `stamp`."""
        self._rng = np.random.default_rng(seed)
        self._stamp = stamp
        self._motors = MotorCommand(self.spec.stand_pose, 0.0, 0.0)
        start = self.world.start
        orientation = pybullet.getQuaternionFromEuler((0.0, 0.0, start.yaw * self._rng.standard_normal()))
        self._client.resetBasePositionAndOrientation(self._robot, (0.0, 0.0, start.height), orientation)
        self._client.resetBaseVelocity(self._robot, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
        for joint, angle in zip(self._joints, self.spec.stand_pose, strict=True):
            self._client.resetJointState(self._robot, joint, angle, 0.0)
        self.obstacles.lay(self._rng)
        self._torques, self._power = [0.0] * len(self._joints), 0.0
        self._observe(self._base_velocity())

    def picture(self, width: int = 320, height: int = 240) -> np.ndarray:
        """A picture (height, width, 3) uint8 that follows the robot from the side."""
        (x, y, _), _ = self._client.getBasePositionAndOrientation(self._robot)
        target = np.array((x, y, 0.15))
        view = pybullet.computeViewMatrix(target + (0.6, -1.3, 0.6), target, (0.0, 0.0, 1.0))
        lens = pybullet.computeProjectionMatrixFOV(50.0, width / height, 0.05, 20.0)
        image = self._client.getCameraImage(
            width, height, view, lens, shadow=0, renderer=pybullet.ER_TINY_RENDERER
        )
        return np.reshape(np.asarray(image[2], np.uint8), (height, width, 4))[:, :, :3]

    def moment(self) -> Moment:
        """Now, for `elsewhere`; give it to `forget` when it is of no use any more."""
        memory = {name: getattr(self, name) for name in MEMORY}
        return Moment(self._client.saveState(), memory, self._rng.bit_generator.state)

    def forget(self, moment: Moment) -> None:
        """Free what PyBullet holds of it."""
        self._client.removeState(moment.physics)

    @contextmanager
    def elsewhere(self, moment: Moment, world: World) -> Iterator[None]:
        """Within it the robot is back at `moment`, and in the dynamics of `world`; after it, here and now.

        Friction, payload, motors, drag and latency are that world's, obstacles are not.
        """
        here, now = self.world, self.moment()
        try:
            self._return_to(moment)
            self._take_on(world)
            yield
        finally:
            self._take_on(here)
            self._return_to(now)
            self.forget(now)

    # -- inside ---------------------------------------------------------------------------------------------

    def _build(self) -> None:
        client, physics = self._client, self.world.physics
        client.setAdditionalSearchPath(pybullet_data.getDataPath())
        client.setGravity(0.0, 0.0, -GRAVITY)
        client.setPhysicsEngineParameter(
            fixedTimeStep=physics.timestep,
            numSolverIterations=physics.solver_iterations,
            deterministicOverlappingPairs=1,
        )
        self._floor = client.createMultiBody(0.0, client.createCollisionShape(pybullet.GEOM_PLANE))
        self._load_robot()
        self._take_on(self.world)
        self.obstacles = Obstacles(client, self.world)

    def _load_robot(self) -> None:
        client = self._client
        self._robot = client.loadURDF("a1/a1.urdf")
        named = {
            client.getJointInfo(self._robot, joint)[1].decode(): joint
            for joint in range(client.getNumJoints(self._robot))
        }
        self._joints = [named[_urdf_name(name)] for name in self.spec.joint_names]
        self._feet = [named[f"{foot}_toe_fixed"] for foot in self.spec.foot_names]
        for link in range(-1, client.getNumJoints(self._robot)):
            client.changeDynamics(self._robot, link, linearDamping=0.0, angularDamping=0.0)
        self._own_mass = client.getDynamicsInfo(self._robot, TRUNK)[0]
        # PyBullet's own motors would hold every joint: switch them off.
        client.setJointMotorControlArray(
            self._robot, self._joints, pybullet.VELOCITY_CONTROL, forces=[0.0] * len(self._joints)
        )
        # Bound once: they are called at the physics rate, and the client's attributes are slow.
        self._step = client.stepSimulation
        self._joint_states = partial(client.getJointStates, self._robot, self._joints)
        self._set_torques = partial(
            client.setJointMotorControlArray, self._robot, self._joints, pybullet.TORQUE_CONTROL
        )

    def _take_on(self, world: World) -> None:
        """A world's dynamics: all of it but obstacles, start and physics engine."""
        client, knee = self._client, world.motor.knee
        client.changeDynamics(self._floor, TRUNK, lateralFriction=world.ground_friction)
        for foot in self._feet:
            client.changeDynamics(self._robot, foot, lateralFriction=world.foot_friction)
        client.changeDynamics(self._robot, TRUNK, mass=self._own_mass + world.payload)
        self._motor_limits = [  # of each joint: torque, speed where it begins to fade, and where it is gone
            (
                j.max_torque,
                knee * j.max_velocity,
                j.max_velocity,
                1.0 / ((1.0 - knee) * j.max_velocity),
                LEAST_INERTIA[j.name.split("_")[1]] / world.physics.timestep,
            )
            for j in self.spec.joints
        ]
        self.world = world

    def _return_to(self, moment: Moment) -> None:
        self._client.restoreState(moment.physics)
        for name, value in moment.memory.items():
            setattr(self, name, value)
        self._rng.bit_generator.state = moment.noise

    def _apply(self, motors: MotorCommand) -> None:
        """One physics step's torques. Plain floats: for twelve joints they are three times faster."""
        kp, kd, strength = motors.kp, motors.kd, self.world.motor.strength
        drag, sag = self.world.drag, self.world.motor.sag
        left = 1.0 - min(sag * self._power, DEEPEST_SAG)
        states = self._joint_states()
        targets, torques = motors.positions.tolist(), []
        for target, (q, dq, _, _), motor in zip(targets, states, self._motor_limits, strict=True):
            limit, knee, max_velocity, inverse_fade, stiffest = motor
            limit *= left
            torque = kp * (target - q) - kd * dq
            # A motor that turns the way it pushes loses torque towards its greatest speed.
            speed = dq if torque > 0.0 else -dq
            if speed > knee:
                limit *= max((max_velocity - speed) * inverse_fade, 0.0)
            # Nor does it drive itself past that speed, as a step of full torque would with a free calf.
            limit = min(limit, max((max_velocity - speed) * stiffest, 0.0))
            if torque > limit:
                torque = limit
            elif torque < -limit:
                torque = -limit
            torques.append(strength * torque)
        loads, speeds = torques, [state[1] for state in states]
        if sag:  # what flows back does not fill the battery
            self._power = sum(max(torque * dq, 0.0) for torque, dq in zip(torques, speeds, strict=True))
        if drag:
            stiff = self.world.physics.timestep * drag / LEAST_INERTIA["calf"]
            loads = [
                torque - drag * dq * abs(dq) / (1.0 + stiff * abs(dq))
                for torque, dq in zip(torques, speeds, strict=True)
            ]
        self._set_torques(forces=loads)
        self._torques = torques

    def _joint_state(self) -> tuple[Array, Array]:
        table = np.array([row[:2] for row in self._joint_states()])
        return table[:, 0], table[:, 1]

    def _base_velocity(self) -> Array:
        return np.array(self._client.getBaseVelocity(self._robot)[0])

    def _observe(self, velocity_before: Array) -> None:
        """Read everything that the robot measures; `velocity_before` is of one control period ago."""
        client = self._client
        position, orientation = client.getBasePositionAndOrientation(self._robot)
        velocity, spin = client.getBaseVelocity(self._robot)
        into_body = np.array(client.getMatrixFromQuaternion(orientation)).reshape(3, 3).T
        force = (np.array(velocity) - velocity_before) / self.spec.control_period + (0.0, 0.0, GRAVITY)
        q, dq = self._joint_state()
        self.state = RobotState(
            stamp=self._stamp,
            joint_positions=q,
            joint_velocities=dq,
            joint_torques=np.array(self._torques),
            orientation=np.array(orientation),
            angular_velocity=into_body @ spin,
            linear_acceleration=into_body @ force,
            foot_forces=self._foot_forces(),
            position=np.array(position),
        )
        self._measured = self._with_noise(self.state)

    def _foot_forces(self) -> Array:
        forces = dict.fromkeys(self._feet, 0.0)
        for contact in self._client.getContactPoints(bodyA=self._robot):
            if contact[3] in forces:
                forces[contact[3]] += contact[9]
        # Rounded as the topic foot_contacts carries them, so that every reader sees the same contacts.
        return np.array(list(forces.values()), np.float32).astype(np.float64)

    def _with_noise(self, true: RobotState) -> RobotState:
        noise, draw = self.world.noise, self._rng.standard_normal(34)
        orientation = true.orientation + 0.5 * noise.orientation * draw[24:28]
        return RobotState(
            stamp=true.stamp,
            joint_positions=true.joint_positions + noise.joint_position * draw[0:12],
            joint_velocities=true.joint_velocities + noise.joint_velocity * draw[12:24],
            joint_torques=true.joint_torques,
            orientation=orientation / np.sqrt(orientation @ orientation),
            angular_velocity=true.angular_velocity + noise.angular_velocity * draw[28:31],
            linear_acceleration=true.linear_acceleration + noise.linear_acceleration * draw[31:34],
            foot_forces=true.foot_forces,
            position=true.position,
        )


def _urdf_name(joint: str) -> str:
    leg, part, suffix = joint.split("_")
    return f"{leg}_{URDF_JOINTS[part]}_{suffix}"


def _connect() -> BulletClient:
    with _quiet_stdout():
        return BulletClient(connection_mode=pybullet.DIRECT)


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """PyBullet prints its build time on the C-level stdout, which belongs to the user's --json."""
    sys.stdout.flush()
    saved = os.dup(1)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(saved, 1)
        os.close(saved)
        os.close(sink)
