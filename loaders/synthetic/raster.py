"""Paints stacked shapes into uint8 pictures: exact-area polygons, Gaussian blobs, a sensor at the end.

Every face of a chunk has the same list of layers, bottom first; one that a face does not show has alpha 0. Shapes come
in head units (half a head's width is about 1) and are painted in pixels.

A polygon covers a pixel by the exact area it shares with it (signed-area accumulation, as font rasterisers do), so a
brow half a pixel wide is drawn half as strong at any size, and no supersampling is needed. One call paints a chunk of
faces without holding the interpreter lock; each face is computed alone, so its bits depend on nothing but itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float64, UInt8, UInt64

from kernels.numba_jit import part, whole

Array = npt.NDArray[np.float64]
Alpha = Float64[np.ndarray, "n 1"] | Bool[np.ndarray, "n 1"] | float

NONE, HEAD, NECK, HAIR, OPENING, BELOW_HAT, HAT, EYE_LEFT, EYE_RIGHT, MOUTH = range(-1, 9)
"""Coverage planes: a layer may keep its coverage in one, and later layers may be clipped to it or carved by it."""
_PLANES = 9
_REACH = 3.0  # a blob ends at this many standard deviations


class Stack:
    """Collects the layers of n faces in the order they are painted.

    A layer has a colour (RGB on 0..255) and an alpha (0..1); `lit` is 0 where it keeps its colour and 1 where it is
    multiplied by the head's shading.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._points: list[Array] = []
        self._paint: list[Array] = []
        self._layers: list[tuple[int, bool, int, int, int]] = []
        self._lit: list[float] = []

    def polygon(
        self,
        points: Float64[np.ndarray, "#n k 2"],
        colour: Float64[np.ndarray, "#n 3"],
        alpha: Alpha = 1.0,
        *,
        lit: float = 1.0,
        clip: int = NONE,
        carve: int = NONE,
        keep: int = NONE,
        soft: bool = False,
    ) -> None:
        """Adds a filled closed polygon."""
        assert points.shape[-2] >= 3, points.shape
        self._points.append(np.broadcast_to(points, (self._n, *points.shape[-2:])))
        paint = np.empty((self._n, 4))
        paint[:, :3], paint[:, 3:] = colour, alpha
        self._paint.append(paint)
        self._layers.append((points.shape[-2], soft, clip, carve, keep))
        self._lit.append(lit)

    def stroke(
        self,
        points: Float64[np.ndarray, "n k 2"],
        width: Float64[np.ndarray, "#n #k"] | float,
        colour: Float64[np.ndarray, "#n 3"],
        alpha: Alpha = 1.0,
        **how: Any,
    ) -> None:
        """Adds an open line with its full width at each point; the rest as for `polygon`."""
        along = np.empty_like(points)
        along[:, 1:-1] = points[:, 2:] - points[:, :-2]
        along[:, 0], along[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
        length = np.sqrt(along[..., 0] ** 2 + along[..., 1] ** 2) + 1e-9
        half = 0.5 * width / length
        side = np.stack([-along[..., 1] * half, along[..., 0] * half], axis=-1)
        self.polygon(np.concatenate([points + side, (points - side)[:, ::-1]], axis=1), colour, alpha, **how)

    def blob(
        self, points: Float64[np.ndarray, "n 3 2"], colour: Float64[np.ndarray, "#n 3"], alpha: Alpha = 1.0, **how: Any
    ) -> None:
        """Adds a Gaussian: centre, and the ends of two axes one standard deviation long; the rest as for `polygon`."""
        self.polygon(points, colour, alpha, soft=True, **how)

    def paint(
        self,
        size: int,
        *,
        centre: Float64[np.ndarray, "n 2"],
        scale: Float64[np.ndarray, "n 1"],
        solid: Float64[np.ndarray, "n 8"],
        light: Float64[np.ndarray, "n 5"],
        ground: Float64[np.ndarray, "n 14"],
        camera: Float64[np.ndarray, "n 6"],
        key: UInt64[np.ndarray, " n"],
    ) -> UInt8[np.ndarray, "n {size} {size} 3"]:
        """Paints all layers, bottom first.

        Args:
            size: Side of the pictures.
            centre: Where the shapes' origin is, in pixels from the outer corner of the first pixel.
            scale: Pixels of a head unit.
            solid: The ellipsoid that is lit: centre (pixels), then xx, xy, yy, xz, yz, zz of its quadric.
            light: Unit direction to the lamp, ambient share, diffuse share.
            ground: Two RGB colours (0..255), gradient (x, y), texture: depth (gray levels), frequency (x, y), two
                phases, and 0 for stripes to 1 for checks.
            camera: Gain per channel, contrast about 128, sigma of the blur (pixels), standard deviation of the noise
                (gray levels).
            key: Of the noise, beside the pixel.
        """
        points = np.concatenate(self._points, axis=1) * scale[..., None] + centre[:, None]
        layers = np.array(self._layers, np.int64)
        out = np.empty((self._n, size, size, 3), np.uint8)
        paint = np.stack(self._paint, axis=1)
        _paint(points, layers, np.array(self._lit), paint, solid, light, ground, camera, key, _PLANES, out)
        return out


@part
def _area(xy: Array, first: int, last: int, size: int, area: Array, box: Any) -> bool:
    """Write the share of each pixel covered by one closed polygon into area[y, x] inside `box` (x0, x1, y0, y1)."""
    left = right = xy[first, 0]
    top = bottom = xy[first, 1]
    for i in range(first + 1, last):
        left, right = min(left, xy[i, 0]), max(right, xy[i, 0])
        top, bottom = min(top, xy[i, 1]), max(bottom, xy[i, 1])
    x0, x1 = int(max(0.0, math.floor(left))), int(min(float(size), math.ceil(right)))
    y0, y1 = int(max(0.0, math.floor(top))), int(min(float(size), math.ceil(bottom)))
    box[0], box[1], box[2], box[3] = x0, x1, y0, y1
    if x0 >= x1 or y0 >= y1:
        return False
    for y in range(y0, y1):
        for x in range(x0, x1 + 2):
            area[y, x] = 0.0
    for i in range(first, last):
        j = i + 1 if i + 1 < last else first
        ax, ay, bx, by = xy[i, 0], xy[i, 1], xy[j, 0], xy[j, 1]
        if ay == by:
            continue
        sign = 1.0
        if ay > by:
            ax, ay, bx, by = bx, by, ax, ay
            sign = -1.0
        if by <= y0 or ay >= y1:
            continue
        slope = (bx - ax) / (by - ay)
        begin, end = max(ay, float(y0)), min(by, float(y1))
        row = int(begin)
        while row < end:
            ya, yb = max(begin, float(row)), min(end, row + 1.0)
            dy = (yb - ya) * sign
            xa, xb = ax + slope * (ya - ay), ax + slope * (yb - ay)
            lo, hi = min(xa, xb), max(xa, xb)
            if lo < x0:  # the part left of the picture covers whole rows of it
                outside = 1.0 if hi <= x0 else (x0 - lo) / (hi - lo)
                area[row, x0] += dy * outside
                dy *= 1.0 - outside
                lo, hi = float(x0), max(hi, float(x0))
            if hi > x1:  # the part right of it covers nothing of it
                dy *= 0.0 if lo >= x1 else (x1 - lo) / (hi - lo)
                lo, hi = min(lo, float(x1)), float(x1)
            a, z = int(lo), math.ceil(hi)
            if z <= a + 1:
                share = 0.5 * (lo + hi) - a
                area[row, a] += dy * (1.0 - share)
                area[row, a + 1] += dy * share
            else:
                s = 1.0 / (hi - lo)
                head = 1.0 - (lo - a)
                tail = hi - (z - 1)
                covered = 0.5 * s * head * head
                area[row, a] += dy * covered
                for x in range(a + 1, z - 1):
                    upto = s * (x + 0.5 - lo)
                    area[row, x] += dy * (upto - covered)
                    covered = upto
                upto = 1.0 - 0.5 * s * tail * tail
                area[row, z - 1] += dy * (upto - covered)
                area[row, z] += dy * (1.0 - upto)
            row += 1
    for y in range(y0, y1):
        total = 0.0
        for x in range(x0, x1):
            total += area[y, x]
            area[y, x] = min(abs(total), 1.0)
    return True


@part
def _splat(xy: Array, first: int, size: int, area: Array, box: Any) -> bool:
    """Write a Gaussian blob into area: centre and two conjugate axes, one standard deviation long."""
    cx, cy = xy[first, 0], xy[first, 1]
    ux, uy = xy[first + 1, 0] - cx, xy[first + 1, 1] - cy
    vx, vy = xy[first + 2, 0] - cx, xy[first + 2, 1] - cy
    det = ux * vy - uy * vx
    width, height = _REACH * math.sqrt(ux * ux + vx * vx), _REACH * math.sqrt(uy * uy + vy * vy)
    x0, x1 = int(max(0.0, math.floor(cx - width))), int(min(float(size), math.ceil(cx + width)))
    y0, y1 = int(max(0.0, math.floor(cy - height))), int(min(float(size), math.ceil(cy + height)))
    box[0], box[1], box[2], box[3] = x0, x1, y0, y1
    if x0 >= x1 or y0 >= y1 or abs(det) < 1e-6:  # seen edge-on
        return False
    for y in range(y0, y1):
        for x in range(x0, x1):
            dx, dy = x + 0.5 - cx, y + 0.5 - cy
            s, t = (dx * vy - dy * vx) / det, (dy * ux - dx * uy) / det
            q = s * s + t * t
            area[y, x] = math.exp(-0.5 * q) if q < _REACH * _REACH else 0.0
    return True


@part
def _shade(solid: Array, light: Array, size: int, shade: Array) -> None:
    """Brightness of each pixel as if the head were one ellipsoid under one lamp; its rim goes on outside it."""
    cx, cy = solid[0], solid[1]
    qxx, qxy, qyy, qxz, qyz, qzz = solid[2], solid[3], solid[4], solid[5], solid[6], solid[7]
    for y in range(size):
        for x in range(size):
            dx, dy = x + 0.5 - cx, y + 0.5 - cy
            b = qxz * dx + qyz * dy
            c = qxx * dx * dx + 2.0 * qxy * dx * dy + qyy * dy * dy - 1.0
            z = (-b + math.sqrt(max(b * b - qzz * c, 0.0))) / qzz
            nx = qxx * dx + qxy * dy + qxz * z
            ny = qxy * dx + qyy * dy + qyz * z
            nz = qxz * dx + qyz * dy + qzz * z
            cosine = (nx * light[0] + ny * light[1] + nz * light[2]) / math.sqrt(nx * nx + ny * ny + nz * nz)
            shade[y, x] = light[3] + light[4] * max(cosine, 0.0)


@part
def _ground(ground: Array, size: int, canvas: Array) -> None:
    """A two-colour gradient with a woven texture of `ground[8]` gray levels."""
    for y in range(size):
        v = (y + 0.5) / size - 0.5
        for x in range(size):
            u = (x + 0.5) / size - 0.5
            t = min(max(0.5 + ground[6] * u + ground[7] * v, 0.0), 1.0)
            a = math.sin(ground[9] * u + ground[10] * v + ground[11])
            b = math.sin(ground[10] * u - ground[9] * v + ground[12])
            weave = ground[8] * (a * (1.0 - ground[13]) + a * b * ground[13])
            for c in range(3):
                canvas[y, x, c] = ground[c] * (1.0 - t) + ground[3 + c] * t + weave


@part
def _blur(canvas: Array, other: Array, sigma: float, size: int) -> None:
    """A separable Gaussian of `sigma` pixels in place; outside the picture the nearest edge pixel."""
    reach = math.ceil(3.0 * sigma)
    weight = np.empty(2 * reach + 1)
    total = 0.0
    for k in range(-reach, reach + 1):
        weight[k + reach] = math.exp(-0.5 * (k / sigma) ** 2)
        total += weight[k + reach]
    weight /= total
    for y in range(size):
        for x in range(size):
            for c in range(3):
                s = 0.0
                for k in range(-reach, reach + 1):
                    s += weight[k + reach] * canvas[y, min(max(x + k, 0), size - 1), c]
                other[y, x, c] = s
    for y in range(size):
        for x in range(size):
            for c in range(3):
                s = 0.0
                for k in range(-reach, reach + 1):
                    s += weight[k + reach] * other[min(max(y + k, 0), size - 1), x, c]
                canvas[y, x, c] = s


@part
def _grain(key: Any, index: int) -> float:
    """A standard, nearly normal number: splitmix64 of (key, index), its four 16-bit parts summed (Irwin-Hall)."""
    z = key + np.uint64(index + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    low = np.uint64(0xFFFF)
    parts = (z & low) + ((z >> np.uint64(16)) & low) + ((z >> np.uint64(32)) & low) + (z >> np.uint64(48))
    return (np.float64(parts) / 65536.0 - 2.0) * 1.7320508075688772  # four uniforms have variance 4 / 12


@part
def _sensor(canvas: Array, camera: Array, key: Any, size: int, out: Any) -> None:
    """Gain per channel, contrast about mid gray, noise (half of it common to the channels), rounding to 0..255."""
    noise = camera[5]
    for y in range(size):
        for x in range(size):
            base = (y * size + x) * 4
            common = _grain(key, base) if noise > 0.0 else 0.0
            for c in range(3):
                value = (canvas[y, x, c] * camera[c] - 128.0) * camera[3] + 128.0
                if noise > 0.0:
                    value += noise * 0.7071067811865476 * (common + _grain(key, base + 1 + c))
                out[y, x, c] = np.uint8(min(max(value, 0.0), 255.0) + 0.5)


@whole
def _paint(
    points: Array,
    layers: Any,
    lit: Array,
    paint: Array,
    solid: Array,
    light: Array,
    ground: Array,
    camera: Array,
    key: Any,
    planes: int,
    out: Any,
) -> None:
    """Paints faces one by one; `layers` has the points of each layer, whether it is soft, and clip, carve and keep."""
    n, size = out.shape[0], out.shape[1]
    canvas, other = np.empty((size, size, 3)), np.empty((size, size, 3))
    area, shade = np.empty((size, size + 2)), np.empty((size, size))
    plane = np.empty((planes, size, size))
    box = np.empty(4, np.int64)
    for i in range(n):
        plane[:] = 0.0
        _ground(ground[i], size, canvas)
        _shade(solid[i], light[i], size, shade)
        xy, last = points[i], 0
        for k in range(len(layers)):
            soft, clip, carve, keep = layers[k, 1], layers[k, 2], layers[k, 3], layers[k, 4]
            first, last = last, last + layers[k, 0]
            alpha = paint[i, k, 3]
            if alpha <= 0.0 and keep < 0:
                continue
            seen = _splat(xy, first, size, area, box) if soft else _area(xy, first, last, size, area, box)
            if not seen:
                continue
            for y in range(box[2], box[3]):
                for x in range(box[0], box[1]):
                    cover = area[y, x]
                    if clip >= 0:
                        cover *= plane[clip, y, x]
                    if keep >= 0:
                        plane[keep, y, x] = cover
                    if carve >= 0:
                        cover *= 1.0 - plane[carve, y, x]
                    cover *= alpha
                    if cover > 0.0:
                        glow = 1.0 + lit[k] * (shade[y, x] - 1.0)
                        for c in range(3):
                            canvas[y, x, c] += cover * (paint[i, k, c] * glow - canvas[y, x, c])
        if camera[i, 4] > 0.15:  # narrower than this, the neighbours' weight is below 1e-9
            _blur(canvas, other, camera[i, 4], size)
        _sensor(canvas, camera[i], key[i], size, out[i])
