"""Test-time augmentation: which shifted and mirrored pictures of a face are averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float32
from torch import Tensor

_CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))
_EDGES = ((0, -1), (-1, 0), (1, 0), (0, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Averaging:
    """Which pictures of a face are averaged: flip doubles the crops, so the default shows 10.

    Args:
        flip: Show each crop mirrored too.
        crops: 1 for the one evaluation shows, 5 with those moved towards the corners, 9 with the edges too.
        shift: How far crops are moved along x and y, as share of the side of the one evaluation shows.
    """

    flip: bool = True
    crops: Literal[1, 5, 9] = 5
    shift: float = 0.05

    def __post_init__(self) -> None:
        if self.crops not in (1, 5, 9):
            raise ValueError(f"Averaging: crops (={self.crops}) must be 1, 5 (corners) or 9 (corners and edges)")
        if not 0 < self.shift < 0.5:
            raise ValueError(f"Averaging: shift (={self.shift}) must be above 0 and below 0.5 of the side; e.g. 0.05")
        if self.crops == 1 and not self.flip:
            raise ValueError(
                "Averaging: crops (=1) without flip shows one picture, nothing to average; set flip=True, or crops=5"
            )

    @property
    def pictures(self) -> int:
        """Pictures a face."""
        return self.crops * (2 if self.flip else 1)

    def where(self, centre: Float32[Tensor, "b 2 3"], size: int) -> Float32[Tensor, "v b 2 3"]:
        """The geometry of all pictures from that of the one evaluation shows, which is the first.

        Args:
            centre: Pixels of the view to pixels of the stored face.
            size: Side of the view in pixels.
        """
        moves = ((0, 0), *_CORNERS, *_EDGES)[: self.crops]
        shown = [_composed(centre, 1.0, (x * self.shift * size, y * self.shift * size)) for x, y in moves]
        if self.flip:  # pixel x of the mirrored view is pixel size - x of the view
            shown += [_composed(where, -1.0, (float(size), 0.0)) for where in shown]
        return torch.stack(shown)


def averaged_name(task: str) -> str:
    """Names what a task's averaged figures and predictions go by."""
    return f"{task}_tta"


def _composed(where: Float32[Tensor, "b 2 3"], x: float, move: tuple[float, float]) -> Float32[Tensor, "b 2 3"]:
    """`where` after (u, v) -> (x * u + move[0], v + move[1]); numbers alone, so nothing is copied to the device."""
    offset = where[:, :, 0] * move[0] + where[:, :, 1] * move[1] + where[:, :, 2]
    return torch.stack([where[:, :, 0] * x, where[:, :, 1], offset], dim=2)
