"""States the rule of `render_views` in plain PyTorch: every faster kernel is compared with this.

For view v, sample b and output pixel (x, y), with g = grid and S = size:

1.  Cell. The pixel lies in cell j = (jx, jy), jx = floor((2 x + 1) g / (2 S)), likewise jy. If shows[v, b, j] < 0 it
    is hidden. Else cell s = (sx, sy) = (shows mod g, shows div g) stands there.
2.  Un-cut position. In units of 1 / (2 g) pixel everything is a whole number: the pixel's centre lies
    ux = (2 x + 1) g - (2 jx + 1) S right of its cell's centre and uy, likewise, below it. Turned by t quarters
    that is (ux, uy), (-uy, ux), (-ux, -uy), (uy, -ux) for t = 0, 1, 2, 3; then
    q = ((2 sx + 1) S + ux', (2 sy + 1) S + uy') / (2 g), one fp32 division each.
3.  Store position, fp32, rounded at each step, in this order: X = m00 qx + (m01 qy + (m02 - 0.5)), likewise Y, where
    m = where[v, b]. A tap at q + (dx, dy) adds (m00 dx + m01 dy) to X and (m10 dx + m11 dy) to Y.
4.  Tap. X is clamped to 0..w-1 and Y to 0..h-1 (outside the store the nearest edge pixel is shown); with
    x0 = floor(X), x1 = min(x0 + 1, w - 1), f = X - x0 the four neighbours are joined as p + f (p' - p), first along
    x, then along y. With supersample 2 a tap is the mean of four, at (dx, dy) + (-+1/4, -+1/4).
5.  Blur, where sigma is given: e = exp(-0.5 / sigma^2), mid = 1 / (1 + 2 e), side = e mid; the centre tap weighs
    mid mid, the four at distance 1 side mid, the four corners side side. Taps are 1 un-cut view pixel apart and may
    lie beyond the cell and the view: they read the store there.
6.  Colour: R' = ((c0 R + c1 G) + c2 B) + c3 for the rows c of colour[v, b]; of a gray store (c0 + c1 + c2) gray + c3.
    Clamp to 0..255.
7.  Noise, where given: (x0, x1, x2, x3) = Philox4x32-10 of counter (floor(qy) S + floor(qx), 0, 0, 0) under
    key (key mod 2^32, key div 2^32 mod 2^32), floor(q) taken exactly from the whole numbers of step 2. With
    r(a) = sqrt(-2 ln(((a >> 8) + 1) 2^-24)) and p(b) = 2 pi (b >> 8) 2^-24 the normals of R, G, B are
    r(x0) cos p(x1), r(x0) sin p(x1), r(x2) cos p(x3). Add noise[v, b] times them, clamp to 0..255 again.
8.  Normalise: (value / 255 - mean) / std. Hidden pixels and those with left <= x < right, top <= y < bottom of
    cut[v, b] are exactly 0. Cast to dtype.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Float32, Int16, Int32, Int64, UInt8
from torch import Tensor

from kernels.grid import cell_of_pixel, over_pixels
from kernels.tables.philox import LOW_32, philox4x32

Planes = list[Float32[Tensor, "v b y x"]]
"""One tensor a colour channel."""

# Bounds a table that is not finite or absurd, so that the arithmetic on it stays finite and addresses stay valid.
_LARGEST_WHERE = 1e9


def render_views(
    store: UInt8[Tensor, "s h w c"],
    row: Int64[Tensor, " b"],
    where: Float32[Tensor, "v b 2 3"],
    colour: Float32[Tensor, "v b 3 4"],
    shows: Int16[Tensor, "v b n"],
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
    blur: Float32[Tensor, "v b"] | None = None,
    noise: Float32[Tensor, "v b"] | None = None,
    key: Int64[Tensor, "v b"] | None = None,
    turn: UInt8[Tensor, "v b n"] | None = None,
    cut: Int16[Tensor, "v b 4"] | None = None,
    supersample: int = 1,
) -> Float[Tensor, "v b 3 size size"]:
    """See `kernels.render_views`, which checks the arguments; here they are trusted in shape and clamped in value."""
    faces = store.index_select(0, row.clamp(0, store.shape[0] - 1))
    where = where.nan_to_num(0.0, 0.0, 0.0).clamp(-_LARGEST_WHERE, _LARGEST_WHERE)
    shows = shows.clamp(max=shows.shape[-1] - 1)

    qx, qy = _uncut(shows, turn, size)
    unit = 2 * math.isqrt(shows.shape[-1])
    sampler = _Sampler(faces, where, qx.float() / unit, qy.float() / unit, supersample)
    planes = sampler.at(0, 0) if blur is None else _blurred(sampler, blur)
    planes = [plane.clamp(0.0, 255.0) for plane in _coloured(planes, colour)]
    if noise is not None:
        assert key is not None
        normals = _normals(qx // unit, qy // unit, size, key)
        amount = noise[:, :, None, None]
        planes = [(p + amount * n).clamp(0.0, 255.0) for p, n in zip(planes, normals, strict=True)]

    blank = _blank(shows, cut, size)
    out = []
    for channel, plane in enumerate(planes):
        normal = (plane / 255.0 - mean[channel]) / std[channel]
        out.append(normal.masked_fill(blank, 0.0).to(dtype))
    return torch.stack(out, dim=-1).permute(0, 1, 4, 2, 3)  # v b 3 y x, in memory v b y x 3


def _uncut(
    shows: Int16[Tensor, "v b n"], turn: UInt8[Tensor, "v b n"] | None, size: int
) -> tuple[Int32[Tensor, "#v #b #y x"], Int32[Tensor, "#v #b y #x"]]:
    """Positions in the un-cut view in units of 1 / (2 grid) pixel; broadcastable where they do not vary."""
    grid = math.isqrt(shows.shape[-1])
    pixel = torch.arange(size, dtype=torch.int32, device=shows.device)
    if grid == 1 and turn is None:
        place = 2 * pixel + 1
        return place.view(1, 1, 1, size), place.view(1, 1, size, 1)
    cell = cell_of_pixel(size, grid, shows.device)
    local = (2 * pixel + 1) * grid - (2 * cell + 1) * size
    ux, uy = local.view(1, 1, 1, size), local.view(1, 1, size, 1)
    source = shows.clamp(min=0).int()
    centre_x = over_pixels((2 * (source % grid) + 1) * size, size)
    centre_y = over_pixels((2 * (source // grid) + 1) * size, size)
    if turn is None:
        return centre_x + ux, centre_y + uy
    quarter = turn.int() & 3
    cosine = over_pixels((1 - quarter) * (1 - quarter % 2), size)  # 1 0 -1 0
    sine = over_pixels((2 - quarter) * (quarter % 2), size)  # 0 1 0 -1
    return centre_x + cosine * ux - sine * uy, centre_y + sine * ux + cosine * uy


class _Sampler:
    """Reads the stored faces at un-cut view positions."""

    def __init__(
        self,
        faces: UInt8[Tensor, "b h w c"],
        where: Float32[Tensor, "v b 2 3"],
        qx: Float32[Tensor, "#v #b #y x"],
        qy: Float32[Tensor, "#v #b y #x"],
        supersample: int,
    ) -> None:
        batch, self.height, self.width, self.channels = faces.shape
        # Offsets inside the batch's faces; int32 is the faster index where they fit.
        index = torch.int32 if faces.numel() < 2**31 else torch.int64
        face = torch.arange(batch, dtype=index, device=faces.device) * (self.height * self.width)
        self.face = face.view(batch, 1, 1)
        self.bytes = faces.reshape(-1)
        self.xx, self.xy, x = (where[:, :, 0, i, None, None] for i in range(3))
        self.yx, self.yy, y = (where[:, :, 1, i, None, None] for i in range(3))
        self.x = self.xx * qx + (self.xy * qy + (x - 0.5))
        self.y = self.yx * qx + (self.yy * qy + (y - 0.5))
        self.shifts = (-0.25, 0.25) if supersample == 2 else (0.0,)

    def at(self, dx: int, dy: int) -> Planes:
        """The store at q + (dx, dy), one tap; channels apart."""
        samples = [self._bilinear(dx + sub_x, dy + sub_y) for sub_y in self.shifts for sub_x in self.shifts]
        if len(samples) == 1:
            return samples[0]
        return [(((a + b) + c) + d) * 0.25 for a, b, c, d in zip(*samples, strict=True)]

    def _bilinear(self, dx: float, dy: float) -> Planes:
        x, y = self.x, self.y
        if dx != 0.0 or dy != 0.0:
            x = x + (self.xx * dx + self.xy * dy)
            y = y + (self.yx * dx + self.yy * dy)
        x = x.clamp(0.0, self.width - 1.0)
        y = y.clamp(0.0, self.height - 1.0)
        left, top = x.floor(), y.floor()
        fx, fy = x - left, y - top
        x0 = left.to(self.face.dtype)
        y0 = top.to(self.face.dtype)
        x1 = (x0 + 1).clamp(max=self.width - 1)
        y1 = (y0 + 1).clamp(max=self.height - 1)
        row0 = y0 * self.width + self.face
        row1 = y1 * self.width + self.face
        corners = [(row + column) * self.channels for row in (row0, row1) for column in (x0, x1)]
        planes = []
        for channel in range(self.channels):
            # Shifting the bytes instead of four index planes gives the channel for free.
            values = self.bytes[channel:]
            p00, p01, p10, p11 = (
                values.index_select(0, corner.reshape(-1)).view(corner.shape).float() for corner in corners
            )
            upper = p00 + fx * (p01 - p00)
            lower = p10 + fx * (p11 - p10)
            planes.append(upper + fy * (lower - upper))
        return planes


def _blurred(sampler: _Sampler, blur: Float32[Tensor, "v b"]) -> Planes:
    edge = torch.exp(-0.5 / (blur * blur))[:, :, None, None]
    mid = 1.0 / (1.0 + 2.0 * edge)
    side = edge * mid
    weights = (mid * mid, side * mid, side * side)
    total = [weights[0] * plane for plane in sampler.at(0, 0)]
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dx != 0 or dy != 0:
                weight = weights[abs(dx) + abs(dy)]
                total = [t + weight * plane for t, plane in zip(total, sampler.at(dx, dy), strict=True)]
    return total


def _coloured(planes: Planes, colour: Float32[Tensor, "v b 3 4"]) -> Planes:
    out = []
    for channel in range(3):
        red, green, blue, offset = (colour[:, :, channel, i, None, None] for i in range(4))
        if len(planes) == 1:
            out.append((red + green + blue) * planes[0] + offset)
        else:
            out.append(((red * planes[0] + green * planes[1]) + blue * planes[2]) + offset)
    return out


def _normals(x: Int32[Tensor, "#v #b #y x"], y: Int32[Tensor, "#v #b y #x"], size: int, key: Tensor) -> Planes:
    counter = (y * size + x).long()
    zero = torch.zeros_like(counter)
    key = key[:, :, None, None]
    words = philox4x32((counter, zero, zero, zero), (key & LOW_32, (key >> 32) & LOW_32))
    upper = [(word >> 8).float() for word in words]
    radius0, radius1 = (torch.sqrt(-2.0 * torch.log((upper[i] + 1.0) * 2.0**-24)) for i in (0, 2))
    angle0, angle1 = (upper[i] * (2.0 * math.pi * 2.0**-24) for i in (1, 3))
    return [radius0 * torch.cos(angle0), radius0 * torch.sin(angle0), radius1 * torch.cos(angle1)]


def _blank(shows: Int16[Tensor, "v b n"], cut: Int16[Tensor, "v b 4"] | None, size: int) -> Bool[Tensor, "v b #y #x"]:
    hidden = shows < 0
    blank = hidden[:, :, :, None] if shows.shape[-1] == 1 else over_pixels(hidden, size)
    if cut is None:
        return blank
    pixel = torch.arange(size, device=shows.device)
    left, top, right, bottom = (cut[:, :, i, None] for i in range(4))
    across = (pixel >= left) & (pixel < right)  # v b x
    down = (pixel >= top) & (pixel < bottom)  # v b y
    return blank | (down[:, :, :, None] & across[:, :, None, :])
