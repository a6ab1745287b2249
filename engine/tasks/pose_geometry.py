"""Head pose as angles and as rotation matrices, and how mirroring and turning the picture change it.

Angles are degrees in the convention of 300W-LP: yaw > 0 turns the nose to the image's left, pitch > 0 looks up,
roll > 0 turns the eye line clockwise on the screen, R = Rx(pitch) Ry(yaw) Rz(roll). Matrices are written for the
screen's frame (x to the right, y down, z towards the viewer), so columns of R are where the head's own axes point, and
the third is the nose. Everything is written out elementwise: a matrix product would run in bf16 under autocast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

ANGLES = ("yaw", "pitch", "roll")
NOSE = 2
"""The column of a rotation matrix that is the direction of the nose; it does not depend on roll."""


def chosen(pose: Float32[Tensor, "b 3"], angles: Sequence[str]) -> Float32[Tensor, "b k"]:
    """Takes some angles of a pose, by their names; an index by a list would be sent to the device at every step."""
    return torch.stack([pose[:, ANGLES.index(angle)] for angle in angles], dim=-1)


def matrix_of(angles: Float32[Tensor, "b 3"]) -> Float32[Tensor, "b 3 3"]:
    """Rx(pitch) Ry(yaw) Rz(roll) of angles (yaw, pitch, roll) in degrees."""
    yaw, pitch, roll = torch.deg2rad(angles).unbind(-1)
    cy, sy, cx, sx, cz, sz = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin(), roll.cos(), roll.sin()
    rows = (
        (cy * cz, -cy * sz, -sy),
        (cx * sz - sx * sy * cz, cx * cz + sx * sy * sz, -sx * cy),
        (sx * sz + cx * sy * cz, sx * cz - cx * sy * sz, cx * cy),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def angles_of(matrix: Float32[Tensor, "b 3 3"]) -> Float32[Tensor, "b 3"]:
    """Yaw in -90..90, pitch and roll in -180..180 degrees of a rotation; at yaw +-90 only pitch +- roll is told."""
    x, y, z = matrix[..., NOSE].unbind(-1)
    yaw = torch.atan2(-x, torch.sqrt(y * y + z * z))
    pitch = torch.atan2(-y, z)
    roll = torch.atan2(-matrix[..., 0, 1], matrix[..., 0, 0])
    return torch.rad2deg(torch.stack([yaw, pitch, roll], dim=-1))


def motion_of(where: Float32[Tensor, "b 2 3"]) -> tuple[Bool[Tensor, " b"], Float32[Tensor, " b"]]:
    """Whether a view mirrors the stored face, and by how many degrees it then turns it clockwise on the screen.

    `where` maps from the view to the store, so it holds the inverse of what is done to the picture: the map of
    `affine` of `kernels.tables.maps`, a mirror, then a stretch along the face's own axes, a turn, a move. The stretch
    is divided out; what it does to the face itself is no rotation and is left out (ours).
    """
    (xx, xy), (yx, yy) = where[:, 0, :2].unbind(-1), where[:, 1, :2].unbind(-1)
    mirrored = xx * yy - xy * yx < 0
    sign = torch.where(mirrored, -1.0, 1.0)
    return mirrored, torch.rad2deg(torch.atan2(xy * sign, xx * sign))


def seen_pose(angles: Float32[Tensor, "b 3"], where: Float32[Tensor, "b 2 3"]) -> Float32[Tensor, "b 3"]:
    """The pose of the face as a view shows it: a mirror negates yaw and roll, a clockwise turn by a makes R Rz(a) R.

    Args:
        angles: Yaw, pitch, roll of the stored face in degrees, NaN where missing.
        where: From pixels of the view to the stored face.

    Returns:
        Degrees, NaN where it cannot be told: what was missing, and every angle of a turned face that lacks yaw or
        pitch. Where roll alone is missing, yaw and pitch are known after a turn too, for the nose does not depend on
        roll. A face that is not turned keeps its angles to the bit; beyond a yaw of 90 degrees a turn gives the
        equal rotation with a yaw within.
    """
    mirrored, turn = motion_of(where)
    sign = torch.where(mirrored, -1.0, 1.0)
    angles = torch.stack([angles[:, 0] * sign, angles[:, 1], angles[:, 2] * sign], dim=-1)
    matrix = matrix_of(torch.cat([angles[:, :2], angles[:, 2:].nan_to_num(0.0)], dim=-1))
    radians = torch.deg2rad(turn)[:, None]
    top, middle, bottom = matrix.unbind(-2)
    cosine, sine = radians.cos(), radians.sin()
    turned = angles_of(torch.stack([cosine * top - sine * middle, sine * top + cosine * middle, bottom], dim=-2))
    # Adding 0 * roll carries a missing roll over.
    turned = torch.cat([turned[:, :2], turned[:, 2:] + 0 * angles[:, 2:]], dim=-1)
    return torch.where(turn[:, None] == 0, angles, turned)


def wrapped(degrees: Float32[Tensor, "*b"]) -> Float32[Tensor, "*b"]:
    """A difference of angles the short way round, in -180..180."""
    return torch.remainder(degrees + 180, 360) - 180


def rotation_of_6d(numbers: Float32[Tensor, "b 6"]) -> Float32[Tensor, "b 3 3"]:
    """The rotation whose first two columns are the two triples of `numbers` made orthonormal (Gram-Schmidt).

    Zhou et al., On the continuity of rotation representations in neural networks, CVPR 2019.
    """
    first = torch.nn.functional.normalize(numbers[:, :3], dim=-1)
    second = numbers[:, 3:]
    second = torch.nn.functional.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def geodesic(one: Float32[Tensor, "b 3 3"], other: Float32[Tensor, "b 3 3"]) -> Float32[Tensor, " b"]:
    """The angle in radians, 0..pi, of the rotation between two.

    By the arc tangent of its sine and cosine, whose gradient stays finite at 0 and at pi; that of the arc cosine
    (6DRepNet clamps its argument) does not.
    """
    cosine = ((one * other).sum((-2, -1)) - 1) / 2
    # The axis of one^T other, times twice the sine, from the columns: sum_i one_i x other_i in the outer frame.
    axis = torch.linalg.cross(one, other, dim=-2).sum(-1) / 2
    return torch.atan2(torch.linalg.vector_norm(axis, dim=-1), cosine)


def between(one: Float32[Tensor, "b 3"], other: Float32[Tensor, "b 3"]) -> Float32[Tensor, " b"]:
    """The angle in radians, 0..pi, between two unit vectors."""
    sine = torch.linalg.vector_norm(torch.linalg.cross(one, other), dim=-1)
    return torch.atan2(sine, (one * other).sum(-1))
