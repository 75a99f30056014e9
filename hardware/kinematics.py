"""Leg geometry: gait to joint angles, joint angles to feet, feet to base velocity.

Four legs of three joints are too small for array arithmetic to pay: plain floats are five times faster.
"""

from math import acos, atan2, cos, pi, sin, sqrt

import numpy as np

from .spec import RobotSpec
from .state import Array, RobotState

TROT_OFFSETS = (0.0, 0.5, 0.5, 0.0)  # of the period, FR FL RR RL: diagonal legs together


def trot(spec: RobotSpec, phase: float, heading: float) -> Array:
    """Joint targets (12,) rad of an open-loop trot that steers back to heading zero.

    A foot moves straight back while it stands and along a half cosine, lifted by a half sine, while it
    swings. Where the body points to the left of its heading, the right legs stride shorter and the left
    ones longer.

    Args:
        phase: of the gait, [0, 1).
        heading: rad, positive to the left.
    """
    gait = spec.gait
    steer = min(max(-heading, -gait.steering), gait.steering)
    targets: list[float] = []
    for leg, offset in zip(spec.legs, TROT_OFFSETS, strict=True):
        stride = gait.stride * (1.0 - leg.side * steer)
        u = 2.0 * ((phase + offset) % 1.0)
        if u < 1.0:  # stance
            forward, height = stride * (0.5 - u), gait.stance_height
        else:
            u -= 1.0
            forward = -0.5 * stride * cos(pi * u)
            height = gait.stance_height - gait.swing_height * sin(pi * u)
        targets += (0.0, *_leg_angles(spec, forward, height))
    return np.array(targets)


def _leg_angles(spec: RobotSpec, forward: float, height: float) -> tuple[float, float]:
    """Thigh and calf angle that put the foot `forward` of and `height` below the hip (planar two-link)."""
    thigh, calf = spec.links.thigh, spec.links.calf
    reach = min(sqrt(forward * forward + height * height), thigh + calf)
    knee = acos((reach * reach - thigh * thigh - calf * calf) / (2 * thigh * calf))
    lean = acos((thigh * thigh + reach * reach - calf * calf) / (2 * thigh * reach))
    return lean - atan2(forward, height), -knee


def leg_height(spec: RobotSpec, state: RobotState, up: Array) -> float:
    """Height of the base above the sole of its lowest foot along `up` (body frame), m."""
    ux, uy, uz = up.tolist()
    feet = foot_positions(spec, state.joint_positions.tolist())
    return max(-(ux * x + uy * y + uz * z) for x, y, z in feet) + spec.links.foot_radius


def leg_velocity(spec: RobotSpec, state: RobotState) -> Array | None:
    """Base velocity (3,) m/s in the body frame from the feet that stand, or None where none does.

    None as well where an encoder is not finite: infinity has no sine, and to damp is the supervisor's part.
    A standing foot does not move in the world, so v = -(J dq + omega x p); feet are averaged. A foot that
    slips shows as a velocity that the accelerometer does not confirm.
    """
    if not np.isfinite(state.joint_positions).all():
        return None
    q, dq = state.joint_positions.tolist(), state.joint_velocities.tolist()
    wx, wy, wz = state.angular_velocity.tolist()
    feet = foot_positions(spec, q)
    total, standing = [0.0, 0.0, 0.0], 0
    for leg, force in enumerate(state.foot_forces.tolist()):
        if force <= spec.contact_force:
            continue
        px, py, pz = feet[leg]
        jx, jy, jz = _foot_velocity(spec, leg, q, dq)
        total[0] -= jx + wy * pz - wz * py
        total[1] -= jy + wz * px - wx * pz
        total[2] -= jz + wx * py - wy * px
        standing += 1
    return np.array(total) / standing if standing else None


def foot_positions(spec: RobotSpec, q: list[float]) -> list[tuple[float, float, float]]:
    """Centres of the feet (4 x 3) in the body frame, m, for joint angles (12,)."""
    feet = []
    for leg, (hip, thigh, calf) in zip(spec.legs, zip(q[0::3], q[1::3], q[2::3], strict=True), strict=True):
        ox, oy, oz = leg.hip_origin
        x = -spec.links.thigh * sin(thigh) - spec.links.calf * sin(thigh + calf)
        drop = -spec.links.thigh * cos(thigh) - spec.links.calf * cos(thigh + calf)
        side = leg.side * spec.links.hip
        feet.append((ox + x, oy + side * cos(hip) - drop * sin(hip), oz + side * sin(hip) + drop * cos(hip)))
    return feet


def _foot_velocity(spec: RobotSpec, leg: int, q: list[float], dq: list[float]) -> tuple[float, float, float]:
    """Foot velocity in the body frame from the joints alone, J dq, m/s."""
    hip, thigh, calf = q[3 * leg : 3 * leg + 3]
    dhip, dthigh, dcalf = dq[3 * leg : 3 * leg + 3]
    drop = -spec.links.thigh * cos(thigh) - spec.links.calf * cos(thigh + calf)
    side = spec.legs[leg].side * spec.links.hip
    dx = -spec.links.thigh * cos(thigh) * dthigh - spec.links.calf * cos(thigh + calf) * (dthigh + dcalf)
    ddrop = spec.links.thigh * sin(thigh) * dthigh + spec.links.calf * sin(thigh + calf) * (dthigh + dcalf)
    dy = -(side * sin(hip) + drop * cos(hip)) * dhip - ddrop * sin(hip)
    dz = (side * cos(hip) - drop * sin(hip)) * dhip + ddrop * cos(hip)
    return dx, dy, dz
