"""Makes what the benchmarks of views show: the same inputs for every opponent, and the opponents.

A case is a store of faces as large as the view, and per sample a mirror, a turn, a crop and a contrast, for `strong` a
brightness, noise, a blur and a cut-out too, drawn once. The tables of `render_views` are made from these numbers, and
so is what the others do, so that outputs can be compared before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import engine.torchvision_ops  # noqa: F401  (before torchvision)

from torchvision.transforms.v2 import InterpolationMode  # isort: skip
from torchvision.transforms.v2 import functional as tv  # isort: skip

import kernels
from kernels.tables.maps import LUMA, affine, colour_matrix
from kernels.views import reference

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CASES = ("identity", "weak", "strong", "weak + puzzle", "weak + holes", "two views")
PUZZLE, HOLES = 2, 14
"""Grids. With 2, of the paper's 2 and 3, tiles are whole pixels at both sizes, which the others need."""

ROTATION, CROP, CONTRAST = 7.0, 0.8, 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Holds one batch. Tables have axes v, b like those of `render_views`; single numbers have axis b."""

    case: str
    size: int
    store: Tensor
    row: Tensor
    flip: Tensor
    rotation: Tensor
    crop: Tensor
    contrast: Tensor
    brightness: Tensor
    where: Tensor
    colour: Tensor
    shows: Tensor
    blur: Tensor | None
    noise: Tensor | None
    key: Tensor | None
    cut: Tensor | None

    @property
    def tables(self) -> dict[str, Tensor | None]:
        names = ("where", "colour", "shows", "blur", "noise", "key", "cut")
        return {name: getattr(self, name) for name in names}

    @property
    def batch(self) -> int:
        return self.row.shape[0]

    @property
    def puzzled(self) -> bool:
        return self.case in ("weak + puzzle", "two views")


def faces(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draws smooth pictures away from black and white: whether a step clips first or last does not matter."""
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    smooth = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    return (110 + 60 * smooth).clamp(60, 190).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def make(case: str, batch: int, size: int, *, seed: int = 0, closed: bool = False) -> Inputs:
    """Makes the inputs of one case; `closed` gives samples one mirror, turn, crop and contrast, and nothing else."""
    generator = torch.Generator().manual_seed(seed)
    store = faces(min(batch, 256), size, generator).repeat(-(-batch // 256), 1, 1, 1)[:batch].contiguous()

    def between(low: float, high: float) -> Tensor:
        return torch.rand(batch, generator=generator) * (high - low) + low

    one, zero = torch.ones(batch), torch.zeros(batch)
    plain, strong = case == "identity", case == "strong" and not closed
    flip = zero.bool() if plain else between(0, 1) < 0.5
    rotation = zero if plain else between(-20, 20) if strong else between(-15, 15)
    crop = one if plain else between(0.69, 0.99)
    contrast = one if plain else between(0.6, 1.4)
    brightness = between(-0.05, 0.05) if strong else zero
    if closed and not plain:
        flip, rotation, crop, contrast = one.bool(), ROTATION * one, CROP * one, CONTRAST * one
    where = affine(
        flip=1.0 - 2.0 * flip.float(),
        rotation=rotation,
        crop=crop,
        scale=one,
        aspect=one,
        shift_x=zero,
        shift_y=zero,
        store=(size, size),
        size=size,
    )
    gray = (store.float() @ torch.tensor(LUMA)).mean((1, 2))  # torchvision's and kornia's contrast turns about it
    colour = colour_matrix(
        contrast=contrast,
        brightness_factor=one,
        brightness=brightness,
        saturation=one,
        hue=zero,
        gray=zero.bool(),
        mean=gray[:, None].expand(batch, 3),
    )
    drawn = kernels.Key(seed, 0, torch.arange(batch))
    cells = {
        "weak + puzzle": [kernels.draw_permutation(PUZZLE, drawn.stream("puzzle"))],
        "weak + holes": [kernels.draw_holes(HOLES, drawn.stream("holes"))],
        "two views": [
            kernels.identity_cells(PUZZLE, batch, "cpu"),
            kernels.draw_permutation(PUZZLE, drawn.stream("puzzle")),
        ],
    }.get(case, [kernels.identity_cells(1, batch, "cpu")])
    views = len(cells)

    def shared(table: Tensor) -> Tensor:
        return table.expand(views, *table.shape).contiguous()

    cut = None
    if strong:
        side = round(60 / 224 * size)
        corner = torch.stack([between(0, size - side), between(0, size - side)], dim=-1).to(torch.int16)
        cut = shared(torch.cat([corner, corner + side], dim=-1))
    return Inputs(
        case=case,
        size=size,
        store=store,
        row=torch.arange(batch),
        flip=flip,
        rotation=rotation,
        crop=crop,
        contrast=contrast,
        brightness=brightness,
        where=shared(where),
        colour=shared(colour),
        shows=torch.stack(cells),
        blur=shared((between(0, 1) < 0.5) * 1.5) if strong else None,
        noise=shared(between(0, 0.05) * 255) if strong else None,
        key=shared(torch.arange(batch)) if strong else None,
        cut=cut,
    )


def part(inputs: Inputs, count: int, **changes: Tensor | None) -> Inputs:
    """Takes the first samples alone, as they are in the whole batch."""
    tables = {name: None if table is None else table[:, :count] for name, table in inputs.tables.items()}
    single = {name: getattr(inputs, name)[:count] for name in ("flip", "rotation", "crop", "contrast", "brightness")}
    store, row = inputs.store[:count].contiguous(), inputs.row[:count]
    return Inputs(case=inputs.case, size=inputs.size, store=store, row=row, **(single | tables | changes))


def settings(inputs: Inputs, dtype: torch.dtype) -> dict[str, object]:
    return {"size": inputs.size, "mean": MEAN, "std": STD, "dtype": dtype}


def ours(inputs: Inputs, dtype: torch.dtype) -> Tensor:
    """Runs `kernels.render_views`, tables drawn before."""
    return kernels.render_views(inputs.store, inputs.row, **inputs.tables, **settings(inputs, dtype))


def drawn_and_ours(inputs: Inputs, dtype: torch.dtype) -> Tensor:
    """Runs `kernels.render_views` with the drawing of tables of the same kind, as a training step calls it."""
    drawn = kernels.Key(0, 1, inputs.row)
    augment = {"identity": kernels.Augment(), "strong": kernels.strong()}.get(inputs.case, kernels.weak())
    mean = torch.full((inputs.batch, 3), 128.0, device=inputs.store.device)
    tables = kernels.draw(augment, drawn, mean=mean, store=(inputs.size, inputs.size), size=inputs.size)
    shows = {
        "weak + puzzle": lambda: [kernels.draw_permutation(PUZZLE, drawn.stream("puzzle"))],
        "weak + holes": lambda: [kernels.draw_holes(HOLES, drawn.stream("holes"))],
        "two views": lambda: [inputs.shows[0], kernels.draw_permutation(PUZZLE, drawn.stream("puzzle"))],
    }.get(inputs.case, lambda: [inputs.shows[0]])()

    def shared(table: Tensor) -> Tensor:
        return table.expand(len(shows), *table.shape)

    return kernels.render_views(
        inputs.store,
        inputs.row,
        shared(tables.where),
        shared(tables.colour),
        torch.stack(shows),
        blur=shared(tables.blur) if augment.blurs else None,
        noise=shared(tables.noise) if augment.adds_noise else None,
        key=shared(tables.key) if augment.adds_noise else None,
        cut=shared(tables.cut) if augment.cuts else None,
        **settings(inputs, dtype),
    )


def eager(inputs: Inputs, dtype: torch.dtype) -> Tensor:
    """Runs the reference, uncompiled."""
    return reference.render_views(inputs.store, inputs.row, **inputs.tables, **settings(inputs, dtype))


def eager_in_blocks(inputs: Inputs, dtype: torch.dtype) -> Tensor:
    """Runs the reference, uncompiled, block by block of samples: its many passes then stay in the cache."""
    views, batch = inputs.where.shape[:2]
    block = max(1, (1 << 17) // (views * inputs.size**2))
    out = torch.empty(views, batch, inputs.size, inputs.size, 3, dtype=dtype).permute(0, 1, 4, 2, 3)
    for start in range(0, batch, block):
        samples = slice(start, start + block)
        tables = {name: None if table is None else table[:, samples] for name, table in inputs.tables.items()}
        out[:, samples] = reference.render_views(inputs.store, inputs.row[samples], **tables, **settings(inputs, dtype))
    return out


class Compiled:
    """Runs the reference under torch.compile with Inductor: once a case and size, for any batch."""

    def __init__(self) -> None:
        self.programs: dict[tuple[str, int], Callable[..., Tensor]] = {}
        self.kernels: dict[tuple[str, int], int] = {}

    def __call__(self, inputs: Inputs, dtype: torch.dtype) -> Tensor:
        import torch._inductor.metrics as metrics

        case = "weak" if inputs.case == "identity" else inputs.case  # the same program
        if (case, inputs.size) in self.programs:
            return self._run(self.programs[case, inputs.size], inputs, dtype)
        torch._dynamo.reset()
        program = torch.compile(reference.render_views, fullgraph=True)
        before = metrics.generated_kernel_count
        out = self._run(program, inputs, dtype)
        self.kernels[case, inputs.size] = metrics.generated_kernel_count - before
        self.programs[case, inputs.size] = program
        return out

    def _run(self, program: Callable[..., Tensor], inputs: Inputs, dtype: torch.dtype) -> Tensor:
        for table, axis in ((inputs.store, 0), (inputs.row, 0), *((t, 1) for t in inputs.tables.values())):
            if table is not None:
                torch._dynamo.maybe_mark_dynamic(table, axis)
        return program(inputs.store, inputs.row, **inputs.tables, **settings(inputs, dtype))


def batched(inputs: Inputs, dtype: torch.dtype) -> Tensor:
    """Renders a whole batch by `affine_grid`, `grid_sample`, a convolution, matrix products and a gather of tiles."""
    b, size = inputs.batch, inputs.size
    store = inputs.store[inputs.row].permute(0, 3, 1, 2).float()
    m = inputs.where[0] * (2 / size)  # store and view are of one size
    offset = m[:, :, 2] + m[:, :, :2].sum(-1) * (size / 2) - 1
    theta = torch.cat([m[:, :, :2] * (size / 2), offset[:, :, None]], dim=-1)
    grid = F.affine_grid(theta, [b, 3, size, size], align_corners=False)
    x = F.grid_sample(store, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if inputs.blur is not None:
        line = torch.exp(
            -0.5 * (torch.tensor([-1.0, 0.0, 1.0], device=x.device) / inputs.blur[0, :, None].clamp(min=1e-3)) ** 2
        )
        line = line / line.sum(1, keepdim=True)
        weight = (line[:, :, None] * line[:, None, :])[:, None].repeat_interleave(3, 0)
        padded = F.pad(x.view(1, 3 * b, size, size), (1, 1, 1, 1), mode="replicate")
        x = F.conv2d(padded, weight, groups=3 * b).view(b, 3, size, size)
    colour = inputs.colour[0]
    x = torch.baddbmm(colour[:, :, 3:], colour[:, :, :3], x.flatten(2)).view_as(x).clamp_(0, 255)
    if inputs.noise is not None:
        x = (x + torch.randn_like(x) * inputs.noise[0, :, None, None, None]).clamp_(0, 255)
    mean, std = (torch.tensor(numbers, device=x.device)[:, None, None] for numbers in (MEAN, STD))
    x = (x / 255 - mean) / std
    out = []
    for v, shows in enumerate(inputs.shows):
        y = x
        if inputs.puzzled and v == len(inputs.shows) - 1:
            tiles = tiles_of(x)
            y = whole_of(tiles.gather(1, shows.long()[:, :, None, None, None].expand_as(tiles)))
        elif inputs.case == "weak + holes":
            known = (shows >= 0).view(b, 1, HOLES, HOLES).float()
            y = x * F.interpolate(known, (size, size), mode="nearest")
        out.append(y)
    if inputs.cut is not None:
        pixel = torch.arange(size, device=x.device)
        left, top, right, bottom = inputs.cut[0, :, :, None].unbind(1)
        box = ((pixel >= top) & (pixel < bottom))[:, :, None] & ((pixel >= left) & (pixel < right))[:, None, :]
        out[0] = out[0].masked_fill(box[:, None], 0)
    return torch.stack(out).to(dtype)


def tiles_of(x: Tensor) -> Tensor:
    """Cuts b c h w into b n c h/g w/g."""
    b, c, size, _ = x.shape
    side = size // PUZZLE
    return x.view(b, c, PUZZLE, side, PUZZLE, side).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c, side, side)


def whole_of(tiles: Tensor) -> Tensor:
    """Puts the tiles of `tiles_of` together again."""
    b, _, c, side, _ = tiles.shape
    together = tiles.view(b, PUZZLE, PUZZLE, c, side, side).permute(0, 3, 1, 4, 2, 5)
    return together.reshape(b, c, PUZZLE * side, PUZZLE * side)


def torchvision(inputs: Inputs, dtype: torch.dtype) -> Tensor:
    """Runs torchvision's v2 functions sample by sample: one call has one set of parameters."""
    out = []
    numbers = (inputs.flip, inputs.rotation, inputs.crop, inputs.contrast, inputs.brightness)
    for k, (flip, rotation, crop, contrast, brightness) in enumerate(zip(*(n.tolist() for n in numbers), strict=True)):
        x = tv.to_dtype(inputs.store[k].permute(2, 0, 1), torch.float32, scale=True)
        if inputs.case != "identity":
            x = tv.horizontal_flip(x) if flip else x
            x = tv.adjust_contrast(x, contrast)
            x = tv.affine(x, rotation, [0, 0], 1 / crop, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
        if inputs.case == "strong":
            assert inputs.blur is not None
            assert inputs.noise is not None
            sigma = float(inputs.blur[0, k])
            x = tv.gaussian_blur(x, [3, 3], [sigma, sigma]) if sigma > 0 else x
            x = tv.gaussian_noise((x + brightness).clamp_(0, 1), sigma=float(inputs.noise[0, k]) / 255)
        x = tv.normalize(x, list(MEAN), list(STD))
        for v, shows in enumerate(inputs.shows):
            y = x
            if inputs.puzzled and v == len(inputs.shows) - 1:
                y = whole_of(tiles_of(x[None])[:, shows[k].long()])[0]
            elif inputs.case == "weak + holes":
                known = (shows[k] >= 0).view(1, 1, HOLES, HOLES).float()
                y = x * F.interpolate(known, (inputs.size, inputs.size), mode="nearest")[0]
            out.append(y)
        if inputs.cut is not None:
            left, top, right, bottom = inputs.cut[0, k].tolist()
            out[-1] = tv.erase(out[-1], top, left, bottom - top, right - left, x.new_zeros(1))
    views = len(inputs.shows)
    return torch.stack(out).unflatten(0, (-1, views)).transpose(0, 1).to(dtype)


class Kornia:
    """Runs kornia's batched modules. They draw their own parameters; `closed` closes the ranges, see `make`."""

    def __init__(self, *, closed: bool = False) -> None:
        self.closed = closed
        self.programs: dict[str, Callable[[Tensor], Tensor]] = {}

    def program(self, case: str) -> Callable[[Tensor], Tensor]:
        import kornia.augmentation as ka

        normalise = ka.Normalize(torch.tensor(MEAN), torch.tensor(STD))
        if case == "identity":
            return ka.AugmentationSequential(normalise)
        strong = case == "strong"
        if self.closed:
            flip, contrast, angle, crop = 1.0, (CONTRAST, CONTRAST), (ROTATION, ROTATION), (CROP, CROP)
        else:
            flip, contrast, angle, crop = 0.5, (0.6, 1.4), (-20.0, 20.0) if strong else (-15.0, 15.0), (0.69, 0.99)
        steps = [
            ka.RandomHorizontalFlip(p=flip),
            ka.ColorJitter(contrast=contrast, p=1.0),
            ka.RandomAffine(angle, scale=(1 / crop[1], 1 / crop[0]), padding_mode="border", p=1.0),
        ]
        if strong and not self.closed:
            steps += [
                ka.RandomGaussianBlur((3, 3), (1.5, 1.5), p=0.5),
                ka.RandomBrightness((0.95, 1.05), p=1.0),
                ka.RandomGaussianNoise(std=0.025, p=1.0),
            ]
        if case == "weak + puzzle":
            steps.append(ka.RandomJigsaw((PUZZLE, PUZZLE), p=1.0))
        steps.append(normalise)
        if strong and not self.closed:
            area = (60 / 224) ** 2
            steps.append(ka.RandomErasing(scale=(area, area), ratio=(1.0, 1.0), p=1.0))
        return ka.AugmentationSequential(*steps)

    def __call__(self, inputs: Inputs, dtype: torch.dtype) -> Tensor:
        if inputs.case not in self.programs:
            self.programs[inputs.case] = self.program(inputs.case)
        store = inputs.store[inputs.row].permute(0, 3, 1, 2).float() / 255
        return self.programs[inputs.case](store)[None].to(dtype)
