"""Makes faces worse, in nine ways at five strengths each, the same for every run.

Modelled on Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(ICLR 2019): several kinds at five strengths, whose mean is the figure. The kinds that faces meet, and their strengths,
are ours. Kernel tables say how a face is shown, and `render_views` shows it; JPEG, blur and low resolution change the
stored bytes first, by Pillow: the kernel's blur is 3 x 3 pixels, and it does not average when it makes a face smaller.
What is drawn (the part, the direction, the noise) is a pure function of the sample's id and of the kind.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image, ImageFilter
from torch import Tensor

import kernels
from engine.views import FAIRFACE_PARTS, FER2013_PARTS, Box
from kernels import Key, Tables
from loaders.base import Batch

PARTS: Mapping[str, tuple[Box, ...]] = {"fer2013": FER2013_PARTS, "fairface": FAIRFACE_PARTS}
"""Where eyes, nose and mouth lie on the stored faces, by the data they were read off."""
_DIRECTIONS = tuple((math.cos(turn * math.pi / 8), math.sin(turn * math.pi / 8)) for turn in range(16))
"""Of a table, as a vectorised cosine may round by the length of the batch."""


@dataclass(frozen=True, slots=True)
class Faces:
    """Says which faces a kind of corruption makes worse."""

    key: Key
    """Of the samples and the kind."""
    mean: Float32[Tensor, "b 3"]
    """Mean colour of each stored face on 0..255."""
    store: tuple[int, int]
    """(height, width) of the stored faces."""
    size: int
    """Side of the view in pixels."""
    parts: tuple[Box, ...]
    """Boxes of the face's parts, as shares of the stored face."""

    def drawn(self) -> Float32[Tensor, " b"]:
        """Draws a number in [0, 1) a sample."""
        return kernels.uniform(self.key, 1)[:, 0]

    def sign(self) -> Float32[Tensor, " b"]:
        """Draws -1 or 1 a sample."""
        return 1 - 2 * (self.drawn() < 0.5).float()


@dataclass(frozen=True, slots=True)
class Corruption:
    """Names a kind of corruption and its strengths, the weakest first."""

    name: str
    measure: str
    """What a strength is, in words."""
    strengths: tuple[float, ...]
    shown: Callable[[Tables, float, Faces], Tables] | None = None
    """Changes the tables of evaluation."""
    stored: Callable[[Image.Image, float], Image.Image] | None = None
    """Changes a stored face."""

    def faces(self, batch: Batch, strength: float) -> Batch:
        """Changes the stored faces of a batch, where this kind does: those of the batch alone, in its order."""
        if self.stored is None:
            return batch
        faces = batch.store[batch.row].cpu().numpy()
        changed = np.stack([_changed(face, self.stored, strength) for face in faces])
        store = torch.from_numpy(changed).to(batch.store.device)
        return replace(batch, store=store, row=torch.arange(len(faces), device=batch.row.device))

    def tables(self, tables: Tables, strength: float, faces: Faces) -> Tables:
        """Changes the tables of a batch, where this kind does."""
        return tables if self.shown is None else self.shown(tables, strength, faces)


def _changed(
    face: UInt8[np.ndarray, "h w c"], change: Callable[[Image.Image, float], Image.Image], strength: float
) -> UInt8[np.ndarray, "H W c"]:
    gray = face.shape[2] == 1
    changed = np.asarray(change(Image.fromarray(face[:, :, 0] if gray else face), strength))
    return changed[:, :, None] if gray else changed


def _jpeg(face: Image.Image, quality: float) -> Image.Image:
    written = io.BytesIO()
    face.save(written, "JPEG", quality=int(quality))
    return Image.open(written)


def _blurred(face: Image.Image, sigma: float) -> Image.Image:
    return face.filter(ImageFilter.GaussianBlur(sigma * min(face.size)))


def _small(face: Image.Image, share: float) -> Image.Image:
    width, height = (max(1, round(share * side)) for side in face.size)
    return face.resize((width, height), Image.Resampling.BOX)


def _hide_part(tables: Tables, share: float, faces: Faces) -> Tables:
    """Hides one part of each face, drawn by sample: a box of so many times its sides, about its centre."""
    boxes = tables.where.new_tensor(faces.parts)
    part = (faces.drawn() * len(boxes)).long()
    left, top, right, bottom = boxes[part].unbind(1)
    where, (height, width) = tables.where, faces.store  # upright, as evaluation shows faces
    sides = []
    for low, high, scale, shift, side in (
        (left, right, where[:, 0, 0], where[:, 0, 2], width),
        (top, bottom, where[:, 1, 1], where[:, 1, 2], height),
    ):
        middle, half = (low + high) / 2, share * (high - low) / 2
        sides.append([((at * side - shift) / scale).round() for at in (middle - half, middle + half)])
    (x0, x1), (y0, y1) = sides
    return replace(tables, cut=torch.stack([x0, y0, x1, y1], dim=1).clamp(0, faces.size).to(torch.int16))


def _add_noise(tables: Tables, deviation: float, faces: Faces) -> Tables:
    bits = kernels.random_bits(faces.key, 2)
    return replace(tables, noise=torch.full_like(tables.noise, deviation), key=bits[:, 0] | bits[:, 1] << 32)


def _less_contrast(tables: Tables, factor: float, faces: Faces) -> Tables:
    return replace(
        tables, colour=torch.cat([factor * tables.colour[:, :, :3], (1 - factor) * faces.mean[:, :, None]], 2)
    )


def _other_brightness(tables: Tables, share: float, faces: Faces) -> Tables:
    colour = tables.colour.clone()
    colour[:, :, 3] += 255 * share * faces.sign()[:, None]
    return replace(tables, colour=colour)


def _shifted(tables: Tables, share: float, faces: Faces) -> Tables:
    """Moves each face in one of `_DIRECTIONS`."""
    direction = tables.where.new_tensor(_DIRECTIONS)[(faces.drawn() * len(_DIRECTIONS)).long()]
    by = share * faces.size * direction  # (b, 2), in pixels of the view
    where = tables.where.clone()
    where[:, :, 2] -= where[:, :, 0] * by[:, :1] + where[:, :, 1] * by[:, 1:]
    return replace(tables, where=where)


def _rotated(tables: Tables, degrees: float, faces: Faces) -> Tables:
    """Turns each face about the centre of its view."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)) * faces.sign()[:, None]
    right, down, middle = tables.where[:, :, 0], tables.where[:, :, 1], faces.size / 2
    turned_right, turned_down = cosine * right + sine * down, cosine * down - sine * right
    moved = tables.where[:, :, 2] + middle * ((right - turned_right) + (down - turned_down))
    return replace(tables, where=torch.stack([turned_right, turned_down, moved], dim=2))


CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption("occlusion", "sides of the hidden eyes, nose or mouth", (0.4, 0.6, 0.8, 1.0, 1.2), shown=_hide_part),
    Corruption("blur", "sigma, of the side", (0.01, 0.015, 0.02, 0.03, 0.04), stored=_blurred),
    Corruption("noise", "standard deviation of each colour, in gray levels", (8, 16, 24, 36, 48), shown=_add_noise),
    Corruption("JPEG", "quality", (25, 18, 15, 10, 7), stored=_jpeg),
    Corruption("contrast", "times that of the face", (0.7, 0.5, 0.35, 0.2, 0.1), shown=_less_contrast),
    Corruption("brightness", "added or taken away, of 255", (0.1, 0.2, 0.3, 0.4, 0.5), shown=_other_brightness),
    Corruption("shift", "of the side, in one of 16 directions", (0.04, 0.08, 0.12, 0.16, 0.2), shown=_shifted),
    Corruption("rotation", "degrees, either way", (6, 12, 18, 24, 30), shown=_rotated),
    Corruption("low resolution", "of the side", (0.7, 0.5, 0.4, 0.3, 0.2), stored=_small),
)
