"""The embedded data set: drawn faces with expression, pose, glasses and age, ready without any file.

A head of ellipsoids is turned and projected; brows, eyes, mouth and folds follow action units of the expression; who it
is, hair, hats, beard, light, background, blur, noise and things in the way vary (`loaders.synthetic`).

How hard it is, on 1,000 unseen faces of the test split after 6,000 of the train split, 48 px, seed 0 (one run,
2026-11-23, one core of an AMD EPYC, torch 2.13.0, `python -m benchmarks.measure_synthetic`):

| | test | train |
|---|---|---|
| expression: the commonest class | 15.9 % | |
| expression: logistic regression on pixels | 23.7 % | 45.2 % |
| expression: timm's test_resnet, 0.4 million weights, 20 epochs in 77 CPU seconds | 88.1 % | 91.5 % |
| glasses: logistic regression on pixels | 74.2 % | 80.0 % |
| glasses: the same network | 98.6 % | |
| yaw, pitch, roll: mean absolute error of the mean, degrees | 14.6, 7.6, 6.2 | |
| yaw, pitch, roll: of the same network | 3.5, 3.4, 2.7 | |

8,000 faces of 48 px were drawn in 2.4 s on 2 idle cores (2026-11-23); a machine's first call compiles beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from loaders.base import Classes, Faces, Label, Numbers, Split
from loaders.decoding.pictures import mean_colour
from loaders.synthetic import EXPRESSIONS, draw_faces

SPLITS = ("train", "val", "test")
SMALLEST = 16
"""Pictures of fewer pixels a side are refused: no expression is left in them."""
LABELS: dict[str, Label] = {
    "expression": Classes(EXPRESSIONS),
    "pose": Numbers(("yaw", "pitch", "roll")),
    "glasses": Classes(("no", "yes")),
    "age": Numbers(("years",)),
}
YOUNGEST, OLDEST = 18.0, 80.0
"""What the lines of a drawn face tell, put in years."""


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A source of drawn faces; every split is drawn into memory when it is opened.

    A face is a pure function of (seed, split, its position in the split, size): no identity occurs in two splits, and
    the size of one split changes no face of another. Sample ids count through train, val and test.

    Args:
        train: Faces of the split "train".
        val: Faces of the split "val".
        test: Faces of the split "test".
        size: Side of the pictures in pixels.
        seed: Key of all draws, 0..2**64-1.

    Raises:
        ValueError: A field is out of range.
    """

    train: int = 6000
    val: int = 1000
    test: int = 1000
    size: int = 48
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, why in (
            *((split, 1, "a split without faces cannot be opened") for split in SPLITS),
            ("size", SMALLEST, "smaller faces show no expression"),
            ("seed", 0, "it keys the random numbers"),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"Synthetic: {name} (={value!r}) must be an integer of at least {least}; {why}")
        if self.seed >= 2**64:
            raise ValueError(f"Synthetic: seed (={self.seed}) must be below 2**64; it is the key of a 64-bit generator")

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Draws one split into memory; see `loaders.base.Source`.

        Raises:
            ValueError: There is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"Synthetic: split (={split!r}) must be one of {', '.join(SPLITS)}; choose one of them")
        counts = [getattr(self, name) for name in SPLITS]
        place = SPLITS.index(split)
        index = np.arange(counts[place], dtype=np.int64)
        pictures, faces = draw_faces(self.seed, split, index, self.size)
        angles = np.concatenate([faces.yaw, faces.pitch, faces.roll], axis=1)
        opened = Split(
            name=split,
            sample=torch.from_numpy(index + sum(counts[:place])),
            shape=(self.size, self.size, 3),
            labels=LABELS,
            target={
                "expression": torch.from_numpy(faces.expression),
                "pose": torch.from_numpy(angles.astype(np.float32)),
                "glasses": torch.from_numpy(faces.look.glasses[:, 0].astype(np.int64)),
                "age": torch.from_numpy((YOUNGEST + (OLDEST - YOUNGEST) * faces.build.age).astype(np.float32)),
            },
        )
        mean = torch.from_numpy(np.ascontiguousarray(mean_colour(pictures)))
        return Faces(opened, mean, torch.from_numpy(pictures).to(device), torch.device(device))
