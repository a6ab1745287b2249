"""Holds the head of tasks whose answer is numbers."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from engine.tasks.base import Features


class LinearHead(nn.Module):
    """Dropout and one linear layer on the pooled representation, its outputs in a given shape."""

    def __init__(self, width: int, shape: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, math.prod(shape))

    def forward(self, features: Features) -> Float[Tensor, "b ..."]:
        numbers: Tensor = self.linear(self.dropout(features.pooled))
        return numbers.view(-1, *self.shape)
