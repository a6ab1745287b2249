"""The solid head: ellipsoids and their common hull, and the surface the features lie on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic.columns import Array
from loaders.synthetic.faces import Faces
from loaders.synthetic.pose import rotation, turn

_AROUND = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
_COS, _SIN = np.cos(_AROUND), np.sin(_AROUND)
_PUSH = 1.6  # how far a point on the far side is moved out past the rim, where the head's coverage cuts it off


def column(values: Array | float, n: int) -> Float64[np.ndarray, "n 1"]:
    """A number per face (or one for all) as a column that broadcasts against its points."""
    return np.broadcast_to(np.asarray(values, np.float64), (n,))[:, None]


def joined(*parts: Array) -> Array:
    """Coordinates (n, k) or (n, 1) side by side on a last axis."""
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


class Head:
    """One chunk's turned heads. Head units; x to the image's right, y down, z toward the viewer."""

    def __init__(self, faces: Faces) -> None:
        self.faces = faces
        self.n = len(faces)
        self.matrix = rotation(faces.yaw, faces.pitch, faces.roll)
        build, units = faces.build, faces.units
        self.jaw_drop = 0.20 * np.clip(units.au26, 0.0, 1.2) - 0.03 * units.au17
        self.chin_y = build.chin + self.jaw_drop
        # The face's own surface, where the features lie: an ellipsoid a little flatter than the skull.
        self.face_centre = np.stack([np.zeros(self.n), np.full(self.n, 0.08), np.full(self.n, 0.02)], axis=-1)
        self.face_radius = np.stack([0.98 * build.width, np.full(self.n, 1.28), np.full(self.n, 1.02)], axis=-1)

    def turn(self, points: Float64[np.ndarray, "n k 3"]) -> Float64[np.ndarray, "n k 3"]:
        """Head to screen."""
        return turn(self.matrix, points)

    def flat(self, points: Float64[np.ndarray, "n k 3"]) -> Float64[np.ndarray, "n k 2"]:
        """Head to screen, depth dropped."""
        return self.turn(points)[..., :2]

    def on_face(self, x: Array, y: Array, lift: Array | float = 0.0) -> Float64[np.ndarray, "n k 3"]:
        """Points of the face's surface at frontal (x, y), raised by `lift`, in head coordinates."""
        x, y = np.broadcast_arrays(x, y)
        c, r = self.face_centre[:, None], self.face_radius[:, None]
        rest = 1.0 - ((x - c[..., 0]) / r[..., 0]) ** 2 - ((y - c[..., 1]) / r[..., 1]) ** 2
        return np.stack([x, y, c[..., 2] + r[..., 2] * np.sqrt(np.maximum(rest, 0.02)) + lift], axis=-1)

    def place(self, x: Array, y: Array, lift: Array | float = 0.0) -> Float64[np.ndarray, "n k 2"]:
        """Screen positions of points of the face; those turned away are moved past the rim, never folded back."""
        return self.beyond(self.on_face(x, y, lift), self.face_centre, self.face_radius)

    def beyond(
        self,
        points: Float64[np.ndarray, "n k 3"],
        centre: Float64[np.ndarray, "n 3"],
        radius: Float64[np.ndarray, "n 3"],
    ) -> Float64[np.ndarray, "n k 2"]:
        """Screen positions of points on an ellipsoid, those on its far side moved outward past its rim."""
        normal = (points - centre[:, None]) / radius[:, None] ** 2
        normal = self.turn(normal)
        length = np.sqrt(normal[..., 0] ** 2 + normal[..., 1] ** 2 + normal[..., 2] ** 2)
        behind = np.maximum(-normal[..., 2] / length, 0.0)
        outward = normal[..., :2] / length[..., None]
        moved: Array = self.flat(points) + outward * (_PUSH * behind)[..., None]
        return moved

    def patch(self, x: Array, y: Array, width: Array | float, height: Array | float) -> Float64[np.ndarray, "n 3 2"]:
        """A blob lying on the face at (x, y), each "n": centre and ends of its axes."""
        w, h = (np.broadcast_to(np.asarray(v, np.float64), (self.n,)) for v in (width, height))
        x, y = np.broadcast_to(x, (self.n,)), np.broadcast_to(y, (self.n,))
        points = self.on_face(np.stack([x, x + w, x], axis=-1), np.stack([y, y, y + h], axis=-1))
        return self.flat(points)

    def ellipsoid(
        self, centre: Float64[np.ndarray, "n m 3"], radius: Float64[np.ndarray, "n m 3"]
    ) -> Float64[np.ndarray, "n k 2"]:
        """Outline of the common hull of m ellipsoids, by support points in 48 directions of the screen."""
        r, c = self.matrix, self.flat(centre)
        a, b, d = (
            sum(r[:, i, k, None] * r[:, j, k, None] * radius[..., k] ** 2 for k in range(3))
            for i, j in ((0, 0), (0, 1), (1, 1))
        )
        a, b, d = a[..., None], b[..., None], d[..., None]
        reach = np.sqrt(a * _COS**2 + 2.0 * b * _COS * _SIN + d * _SIN**2)
        x = c[..., 0, None] + (a * _COS + b * _SIN) / reach
        y = c[..., 1, None] + (b * _COS + d * _SIN) / reach
        best = np.argmax(x * _COS + y * _SIN, axis=1)[:, None]  # (n, 1, 48)
        return np.concatenate([np.take_along_axis(v, best, axis=1)[:, 0, :, None] for v in (x, y)], axis=-1)

    def skull(self, grow: Array | float = 1.0) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]:
        """Centre and radii of the skull's ellipsoid, all radii times `grow`."""
        build = self.faces.build
        centre = np.stack([np.zeros(self.n), np.full(self.n, -0.18), np.full(self.n, -0.14)], axis=-1)
        radius = np.stack([build.width, build.crown - 0.18, np.full(self.n, 1.12)], axis=-1)
        return centre, radius * column(grow, self.n)

    def outline(self) -> Float64[np.ndarray, "n k 2"]:
        """Outline of the bare head: skull, cheeks, jaw and chin."""
        build, zero = self.faces.build, np.zeros(self.n)
        one = np.ones(self.n)
        centre, radius = self.skull()
        centres, radii = [centre], [radius]
        cheek = 0.80 + 0.07 * build.cheek + 0.04 * np.clip(self.faces.units.au6 + self.faces.units.au12, 0.0, 2.0) / 2.0
        centres.append(np.stack([zero, 0.22 * one, 0.06 * one], axis=-1))
        radii.append(np.stack([cheek * build.width, 0.78 * one, 0.90 * one], axis=-1))
        centres.append(np.stack([zero, 0.62 + 0.6 * self.jaw_drop, 0.12 * one], axis=-1))
        radii.append(np.stack([build.jaw + 0.06, 0.36 * one, 0.72 * one], axis=-1))
        centres.append(np.stack([zero, self.chin_y - 0.22, 0.50 * one], axis=-1))
        radii.append(np.stack([0.42 * build.jaw + 0.06, 0.22 * one, 0.34 * one], axis=-1))
        return self.ellipsoid(np.stack(centres, axis=1), np.stack(radii, axis=1))

    def quadric(self) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 6"]]:
        """Screen centre and quadric (xx, xy, yy, xz, yz, zz) of the ellipsoid that takes the light."""
        centre = np.stack([np.zeros(self.n), np.full(self.n, -0.04), np.zeros(self.n)], axis=-1)
        inverse = np.array((1.0 / 1.03, 1.0 / 1.26, 1.0 / 1.10)) ** 2
        r = self.matrix
        form = [sum(r[:, i, k] * r[:, j, k] * inverse[k] for k in range(3)) for i, j in _ENTRIES]
        return self.flat(centre[:, None])[:, 0], np.stack(form, axis=-1)


_ENTRIES = ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))
