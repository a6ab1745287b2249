"""One face drawn on purpose: a stated pose and expression on a neutral head."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from loaders.synthetic.expression import EXPRESSIONS, units_at
from loaders.synthetic.faces import Build, Faces, Look, Setting
from loaders.synthetic.scene import paint_faces

SMALLEST = 16
"""Pictures of fewer pixels a side are refused: no expression is left in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSpec:
    """A neutral, symmetric head under frontal light, turned and moved as stated.

    Args:
        expression: One of `EXPRESSIONS`.
        intensity: 0 (nothing) to 1 (full).
        variant: Which of the expression's three prototypes: 0, 1 or 2.
        yaw: Degrees; above 0 turns the nose to the image's left.
        pitch: Degrees; above 0 looks up.
        roll: Degrees; above 0 turns the eye line clockwise on the screen.
        glasses: Whether the head wears glasses.

    Raises:
        ValueError: A field is out of range.
    """

    expression: str = "Neutral"
    intensity: float = 1.0
    variant: int = 0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    glasses: bool = False

    def __post_init__(self) -> None:
        if self.expression not in EXPRESSIONS:
            raise ValueError(
                f"FaceSpec: expression (={self.expression!r}) must be one of {', '.join(EXPRESSIONS)}; name one"
            )
        if not 0.0 <= self.intensity <= 1.0:
            raise ValueError(f"FaceSpec: intensity (={self.intensity}) must be in 0..1; 1 is the full expression")
        if self.variant not in (0, 1, 2):
            raise ValueError(
                f"FaceSpec: variant (={self.variant}) must be 0, 1 or 2; each expression has three prototypes"
            )
        for name in ("yaw", "pitch", "roll"):
            angle = getattr(self, name)
            if not (math.isfinite(angle) and abs(angle) <= 90.0):
                raise ValueError(
                    f"FaceSpec: {name} (={angle}) must be within 90 degrees of the front; its back is not drawn"
                )


def draw_face(spec: FaceSpec, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Draw one face, RGB on 0..255; equal arguments give equal bytes.

    Raises:
        ValueError: `size` is below 16.
    """
    if size < SMALLEST:
        raise ValueError(f"draw_face: size (={size}) must be at least {SMALLEST}; smaller faces show no expression")
    faces = Faces(
        units=units_at(spec.expression, spec.intensity, variant=spec.variant),
        yaw=np.array([spec.yaw], np.float64),
        pitch=np.array([spec.pitch], np.float64),
        roll=np.array([spec.roll], np.float64),
        build=Build.neutral(1),
        look=replace(Look.neutral(1), glasses=np.array([float(spec.glasses)])),
        setting=Setting.neutral(1),
        grain=np.zeros(1, np.uint64),
    )
    picture: UInt8[np.ndarray, "{size} {size} 3"] = paint_faces(faces, size)[0]
    return picture
