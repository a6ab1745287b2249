"""Turns the solid head: ellipsoids and their common hull, and the surface that the features lie on.

The frame of every drawing: x to the image's right, y down, z toward the viewer. 300W-LP has y up, so its rotation
R = Rx(pitch) Ry(yaw) Rz(roll) stands here conjugated by diag(1, -1, 1).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic import colour
from loaders.synthetic.tables import Array, Column, Faces

Points = Float64[Array, "#n k 3"]
"""In head coordinates; one row where they are alike for all faces."""
Outline = Float64[Array, "n k 2"]
"""On the screen, in head units."""
Curve = Float64[Array, "#n k"]
Ball = tuple[Points, Points]
"""Centre and radii of an ellipsoid."""

_AROUND = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
_COS, _SIN = np.cos(_AROUND), np.sin(_AROUND)
_PUSH = 1.6  # how far a point on the far side is moved out past the rim, where the head's coverage cuts it off
_QUADRIC = ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))


def rotation(
    yaw: Float64[np.ndarray, " n"], pitch: Float64[np.ndarray, " n"], roll: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 3 3"]:
    """Makes the matrices that turn a frontal head, from angles in degrees.

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


def turn(matrix: Float64[np.ndarray, "n 3 3"], points: Points) -> Float64[np.ndarray, "n k 3"]:
    """Applies one matrix per face to its points, elementwise (no BLAS, so a face does not depend on its batch)."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    m = matrix[:, None]
    return np.stack([m[..., i, 0] * x + m[..., i, 1] * y + m[..., i, 2] * z for i in range(3)], axis=-1)


def point(*coordinates: Curve | float) -> Float64[np.ndarray, "#n k c"]:
    """Stands coordinates side by side on a new last axis: "n 1" or a number makes one point, "n k" a curve."""
    return np.stack(np.broadcast_arrays(*coordinates), axis=-1)


def row(*values: Column | float) -> Curve:
    """Stands numbers of each face side by side."""
    return np.concatenate(np.broadcast_arrays(*map(np.atleast_2d, values)), axis=1)


def path(*pieces: Float64[np.ndarray, "*n k c"]) -> Float64[np.ndarray, "n k c"]:
    """Joins pieces of points, some of which may be alike for all faces, "k c"."""
    n = np.broadcast_shapes(*(piece.shape[:-2] for piece in pieces))
    return np.concatenate([np.broadcast_to(piece, (*n, *piece.shape[-2:])) for piece in pieces], axis=-2)


class Head:
    """The turned heads of one chunk of faces, in head units, with their tables and colours.

    Attributes:
        matrix: Head to screen, "n 3 3".
        skin, hair: Colours, "n 3".
        chin: Height of the chin, moved down by the jaw.
        lip: Height of the line between the lips.
    """

    def __init__(self, faces: Faces) -> None:
        self.n = len(faces)
        self.faces, self.setting, self.look = faces, faces.setting, faces.look
        self.build, self.units = build, units = faces.build, faces.units
        self.matrix = rotation(faces.yaw[:, 0], faces.pitch[:, 0], faces.roll[:, 0])
        self.skin = colour.skin(self.look.skin, self.look.ruddy)
        self.hair = colour.hair(self.look.hair_colour * (1.0 - 0.75 * np.clip((self.look.skin - 0.4) / 0.3, 0.0, 1.0)))
        self.jaw_drop = 0.20 * np.clip(units.au26, 0.0, 1.2) - 0.03 * units.au17
        self.chin = build.chin + self.jaw_drop
        self.nose_tip = build.eye_y + build.nose_length
        self.lip = self.nose_tip + build.mouth_gap
        # The face's own surface, where the features lie: an ellipsoid a little flatter than the skull.
        self.face: Ball = np.array((0.0, 0.08, 0.02)), point(0.98 * build.width, 1.28, 1.02)

    def flat(self, points: Points) -> Outline:
        """Turns points to the screen and drops their depth."""
        return turn(self.matrix, points)[..., :2]

    def on_face(self, x: Curve, y: Curve, lift: Column | float = 0.0) -> Points:
        """Finds the points of the face's surface at frontal (x, y), raised by `lift`."""
        c, r = self.face
        rest = 1.0 - ((x - c[..., 0]) / r[..., 0]) ** 2 - ((y - c[..., 1]) / r[..., 1]) ** 2
        return point(x, y, c[..., 2] + r[..., 2] * np.sqrt(np.maximum(rest, 0.02)) + lift)

    def place(self, x: Curve, y: Curve, lift: float = 0.0) -> Outline:
        """Puts points of the face on the screen; those turned away are moved past the rim, never folded back."""
        return self.beyond(self.on_face(x, y, lift), self.face)

    def band(self, x: Curve, over: Curve, under: Curve, lift: float = 0.0) -> Outline:
        """Puts the part of the face between two curves on the screen."""
        x, over, under = np.broadcast_arrays(x, over, under)
        return self.place(np.concatenate([x, x[:, ::-1]], axis=1), np.concatenate([over, under[:, ::-1]], axis=1), lift)

    def beyond(self, points: Points, ball: Ball) -> Outline:
        """Puts points of an ellipsoid on the screen, those on its far side moved outward past its rim."""
        centre, radius = ball
        normal = turn(self.matrix, (points - centre) / radius**2)
        length = np.sqrt(normal[..., 0] ** 2 + normal[..., 1] ** 2 + normal[..., 2] ** 2)
        behind = np.maximum(-normal[..., 2] / length, 0.0)
        outward = normal[..., :2] / length[..., None]
        moved: Outline = self.flat(points) + outward * (_PUSH * behind)[..., None]
        return moved

    def around(self, ball: Ball, azimuth: Curve, y: Curve, narrowest: float = 0.02) -> Outline:
        """Puts the points of an ellipsoid at these azimuths (radians from the front) and heights on the screen."""
        c, r = ball
        waist = np.sqrt(np.clip(1.0 - ((y - c[..., 1]) / r[..., 1]) ** 2, narrowest, 1.0))
        points = point(r[..., 0] * waist * np.sin(azimuth), y, c[..., 2] + r[..., 2] * waist * np.cos(azimuth))
        return self.beyond(points, ball)

    def patch(self, x: Column | float, y: Column, width: float, height: float) -> Outline:
        """Puts a blob that lies on the face at (x, y) on the screen: centre and ends of its axes."""
        return self.flat(self.on_face(row(x, x + width, x), row(y, y, y + height)))

    def hull(self, *balls: Ball) -> Outline:
        """Outlines the common hull of ellipsoids, by support points in 48 directions of the screen."""
        centre, radius = (
            path(*(np.broadcast_to(v, (self.n, 1, 3)) for v in part)) for part in zip(*balls, strict=True)
        )
        r, c = self.matrix, self.flat(centre)
        a, b, d = (
            sum(r[:, i, k, None] * r[:, j, k, None] * radius[..., k] ** 2 for k in range(3))[..., None]
            for i, j in ((0, 0), (0, 1), (1, 1))
        )
        reach = np.sqrt(a * _COS**2 + 2.0 * b * _COS * _SIN + d * _SIN**2)
        x = c[..., 0, None] + (a * _COS + b * _SIN) / reach
        y = c[..., 1, None] + (b * _COS + d * _SIN) / reach
        best = np.argmax(x * _COS + y * _SIN, axis=1)[:, None]  # n 1 48
        return np.concatenate([np.take_along_axis(v, best, axis=1)[:, 0, :, None] for v in (x, y)], axis=-1)

    def skull(self, grow: Column | float = 1.0) -> Ball:
        """Gives the skull's ellipsoid, all radii times `grow`."""
        radius = point(self.build.width, self.build.crown - 0.18, 1.12)
        return np.array((0.0, -0.18, -0.14)), radius * np.asarray(grow)[..., None]

    def outline(self) -> Outline:
        """Outlines the bare head: skull, cheeks, jaw and chin."""
        build, units = self.build, self.units
        cheek = 0.80 + 0.07 * build.cheek + 0.04 * np.clip(units.au6 + units.au12, 0.0, 2.0) / 2.0
        return self.hull(
            self.skull(),
            (point(0.0, 0.22, 0.06), point(cheek * build.width, 0.78, 0.90)),
            (point(0.0, 0.62 + 0.6 * self.jaw_drop, 0.12), point(build.jaw + 0.06, 0.36, 0.72)),
            (point(0.0, self.chin - 0.22, 0.50), point(0.42 * build.jaw + 0.06, 0.22, 0.34)),
        )

    def quadric(self) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 6"]]:
        """Gives the screen centre and the quadric (xx, xy, yy, xz, yz, zz) of the ellipsoid that takes the light."""
        inverse = np.array((1.0 / 1.03, 1.0 / 1.26, 1.0 / 1.10)) ** 2
        r = self.matrix
        form = [sum(r[:, i, k] * r[:, j, k] * inverse[k] for k in range(3)) for i, j in _QUADRIC]
        return self.flat(np.array((0.0, -0.04, 0.0)))[:, 0], np.stack(form, axis=-1)
