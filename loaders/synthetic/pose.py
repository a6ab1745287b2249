"""Head rotation in the convention of 300W-LP, written for a screen frame.

The frame of every drawing: x to the image's right, y down, z toward the viewer. 300W-LP has y up, so its
R = Rx(pitch) Ry(yaw) Rz(roll) stands here conjugated by diag(1, -1, 1).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def rotation(
    yaw: Float64[np.ndarray, " n"], pitch: Float64[np.ndarray, " n"], roll: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 3 3"]:
    """Matrices that turn a frontal head, from angles in degrees.

    yaw > 0 turns the nose to the image's left, pitch > 0 looks up, roll > 0 turns the eye line clockwise on the screen.
    """
    cy, sy = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    cx, sx = np.cos(np.deg2rad(pitch)), np.sin(np.deg2rad(pitch))
    cz, sz = np.cos(np.deg2rad(roll)), np.sin(np.deg2rad(roll))
    # The product written out: a matrix product through BLAS may round differently for other batch sizes.
    rows = (
        (cy * cz, -cy * sz, -sy),
        (cx * sz - sx * sy * cz, cx * cz + sx * sy * sz, -sx * cy),
        (sx * sz + cx * sy * cz, sx * cz - cx * sy * sz, cx * cy),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def turn(matrix: Float64[np.ndarray, "n 3 3"], points: Float64[np.ndarray, "n k 3"]) -> Float64[np.ndarray, "n k 3"]:
    """Apply one matrix per face to its points, elementwise (no BLAS, so a face does not depend on its batch)."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    m = matrix[:, None]
    return np.stack([m[..., i, 0] * x + m[..., i, 1] * y + m[..., i, 2] * z for i in range(3)], axis=-1)
