"""Trains `affectnet_hmtl` for one epoch of as many faces as AffectNet-8 has: how long it takes, not what it learns.

    python -m engine.run benchmarks/affectnet_size.py --device cuda --out /tmp/epoch

A recipe for `engine.run`. Its faces are random bytes, drawn on the device; their labels are the eight classes in turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from engine.recipe import Recipe
from engine.recipe import file as recipe_file
from engine.tasks import AFFECTNET_8
from loaders.base import Classes, Faces, Split

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class RandomBytes:
    """A source of faces that nobody drew; `train`, `val` and `test` are how many, `size` is their side in pixels."""

    train: int = 287_651
    val: int = 4000
    test: int = 4000
    size: int = 128

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Draws one split on the device; see `loaders.base.Source`."""
        place = SPLITS.index(split)
        counts = [getattr(self, name) for name in SPLITS]
        count, shape = counts[place], (self.size, self.size, 3)
        generator = torch.Generator(device).manual_seed(place)
        pixels = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, device=device, generator=generator)
        sample = torch.arange(count) + sum(counts[:place])
        labels = {"expression": Classes(AFFECTNET_8)}
        opened = Split(split, sample, shape, labels, {"expression": sample % len(AFFECTNET_8)})
        return Faces(opened, torch.full((count, 3), 127.5), pixels, torch.device(device))


published = recipe_file.read("affectnet_hmtl").recipe
recipe: Recipe = replace(published, data=RandomBytes(), epochs=1, optim=replace(published.optim, warmup_epochs=0))
