"""Defines `Augment`, the ranges that random views are drawn from, and the paper's levels of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

Range = tuple[float, float]

_PROBABILITIES = ("flip", "jitter", "gray", "blur_probability", "resize_probability", "cut_probability")
_LOWEST = {"contrast": 0.0, "brightness_factor": 0.0, "saturation": 0.0, "noise": 0.0}
_POSITIVE = ("resize", "crop", "scale", "aspect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """Holds the ranges of the augmentation; the default does nothing. Every value is drawn uniformly, once an image.

    A pair is (lowest, highest); the field's meaning is in the same units. The picture is changed in this order:
    geometry, blur, colour, clip, noise, clip; the cut-out comes last, after the pretext transform.

    Raises:
        ValueError: A pair is reversed, a probability leaves 0..1, or a number is not finite or out of its range.
    """

    flip: float = 0.0
    """Probability of a horizontal mirror."""

    jitter: float = 1.0
    """Probability that contrast, brightness_factor, saturation and hue, together, are applied at all."""
    contrast: Range = (1.0, 1.0)
    """Factor about the stored face's mean, channel by channel."""
    brightness: Range = (0.0, 0.0)
    """Shift, as share of full scale; not subject to `jitter`."""
    brightness_factor: Range = (1.0, 1.0)
    """Factor about black."""
    saturation: Range = (1.0, 1.0)
    """Factor on the distance from gray."""
    hue: Range = (0.0, 0.0)
    """Turn of the chroma plane in whole turns, red towards yellow; a linear rotation in YIQ."""
    gray: float = 0.0
    """Probability that all colour is taken away."""

    noise: Range = (0.0, 0.0)
    """Standard deviation of Gaussian noise, as share of full scale."""
    blur: float = 0.0
    """Sigma, in view pixels, of a Gaussian on 3 x 3 pixels."""
    blur_probability: float = 1.0
    """Probability that the blur is applied."""
    resize: Range = (1.0, 1.0)
    """Side, as share of the view's, to which the view is shrunk and enlarged again. Done as a blur of matching width
    (ours): shrinking by f = 1 / share averages over f pixels, which adds (f^2 - 1) / 12 to the variance, and linear
    enlarging adds twice that, so sigma = sqrt(f^2 - 1) / 2, and 0 for shares above 1. It joins `blur` as the root of
    the sum of squares. On 3 x 3 pixels it is close up to f = 2."""
    resize_probability: float = 1.0
    """Probability that the resize is applied."""

    rotation: Range = (0.0, 0.0)
    """Degrees; positive turns the picture clockwise on the screen."""
    crop: Range = (1.0, 1.0)
    """Side of the central square that fills the view, as share of the stored face's shorter side."""
    scale: Range = (1.0, 1.0)
    """Magnification of the face, on top of `crop`."""
    shift: Range = (0.0, 0.0)
    """Move to the right and, drawn independently, downwards, as share of the view's side."""
    aspect: Range = (1.0, 1.0)
    """Stretch across over stretch down, along the face's own axes; its area stays."""

    cut: float = 0.0
    """Side of one square cut-out that lies inside the view, as share of the view's side."""
    cut_probability: float = 1.0
    """Probability of the cut-out."""

    def __post_init__(self) -> None:
        for field in fields(self):
            checked = _pair if isinstance(field.default, tuple) else _number
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name)))
        for name in _PROBABILITIES:
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"Augment: {name} (={value}) must be in 0..1; it is a probability")
        if not 0.0 <= self.cut <= 1.0:
            raise ValueError(f"Augment: cut (={self.cut}) must be in 0..1; it is a share of the view's side")
        if self.blur < 0.0:
            raise ValueError(f"Augment: blur (={self.blur}) must be at least 0; it is a sigma in view pixels")
        for name, lowest in _LOWEST.items():
            if getattr(self, name)[0] < lowest:
                raise ValueError(f"Augment: {name} (={getattr(self, name)}) must not go below {lowest:g}; raise it")
        for name in _POSITIVE:
            if getattr(self, name)[0] <= 0.0:
                raise ValueError(f"Augment: {name} (={getattr(self, name)}) must stay above 0; it divides or scales")

    def numbers(self) -> list[float]:
        """Spells all fields in their order, a pair as two numbers; `of_numbers` is the way back."""
        values = [getattr(self, field.name) for field in fields(self)]
        return [number for value in values for number in (value if isinstance(value, tuple) else (value,))]

    @classmethod
    def of_numbers(cls, numbers: Sequence[float]) -> Augment:
        """Reads back the ranges that `numbers` spelled out."""
        left = iter(numbers)
        found: dict[str, Any] = {
            field.name: (next(left), next(left)) if isinstance(field.default, tuple) else next(left)
            for field in fields(cls)
        }
        return cls(**found)

    @property
    def blurs(self) -> bool:
        """Whether any view can be blurred; where not, `render_views` is faster without `blur`."""
        return (self.blur > 0.0 and self.blur_probability > 0.0) or (
            self.resize[0] < 1.0 and self.resize_probability > 0.0
        )

    @property
    def adds_noise(self) -> bool:
        """Whether any view can be noisy; where not, `render_views` is faster without `noise` and `key`."""
        return self.noise[1] > 0.0

    @property
    def cuts(self) -> bool:
        """Whether any view can have a cut-out; where not, `render_views` needs no `cut`."""
        return self.cut > 0.0 and self.cut_probability > 0.0


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"Augment: {name} (={value!r}) must be a finite number; give one")
    return float(value)


def _pair(name: str, value: object) -> Range:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(f"Augment: {name} (={value!r}) must be a pair (lowest, highest); give two numbers")
    low, high = (_number(name, part) for part in cast(Sequence[object], value))
    if low > high:
        raise ValueError(f"Augment: {name} (={value!r}) must be ordered (lowest, highest); swap them")
    return low, high


def none() -> Augment:
    """Gives the paper's level without augmentation: mirrored half of the time, central crop of 0.69 of the side."""
    return Augment(flip=0.5, crop=(0.69, 0.69))


def weak() -> Augment:
    """Gives the paper's weak level, as in the authors' 224-px code: contrast, rotation by up to 15 degrees, crop.

    The mirror is ours.
    """
    return Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-15.0, 15.0), crop=(0.69, 0.99))


def strong() -> Augment:
    """Gives the paper's strong level, as in the authors' 224-px code.

    It is weak with brightness, noise, blur, more rotation and a cut-out of 60 px of 224. The mirror is ours, and so is
    that the cut-out lies inside the view.
    """
    return Augment(
        flip=0.5,
        contrast=(0.6, 1.4),
        brightness=(-0.05, 0.05),
        noise=(0.0, 0.05),
        blur=1.5,
        blur_probability=0.5,
        rotation=(-20.0, 20.0),
        crop=(0.69, 0.99),
        cut=60 / 224,
    )


def simclr_weak() -> Augment:
    """Gives the weak level of the authors' later 112-px scripts (after SimCLR, Chen et al., ICML 2020).

    Jitter at strength 0.4 with probability 0.4, hue 0.08, gray 0.2, blur 0.2, a resize through 64..128 px with 0.2,
    rotation by up to 25 degrees. Ours: the blur's sigma, the mirror and the crop, taken over from `weak` and `strong`.
    """
    return Augment(
        flip=0.5,
        jitter=0.4,
        contrast=(0.6, 1.4),
        brightness_factor=(0.6, 1.4),
        saturation=(0.6, 1.4),
        hue=(-0.08, 0.08),
        gray=0.2,
        blur=1.5,
        blur_probability=0.2,
        resize=(64 / 112, 128 / 112),
        resize_probability=0.2,
        rotation=(-25.0, 25.0),
        crop=(0.69, 0.99),
    )


def simclr_strong() -> Augment:
    """Gives the strong level of the authors' later 112-px scripts.

    It is `simclr_weak` with jitter at probability 0.9, gray 0.3 and a cut-out of 40 px of 112.
    """
    return Augment(
        flip=0.5,
        jitter=0.9,
        contrast=(0.6, 1.4),
        brightness_factor=(0.6, 1.4),
        saturation=(0.6, 1.4),
        hue=(-0.08, 0.08),
        gray=0.3,
        blur=1.5,
        blur_probability=0.2,
        resize=(64 / 112, 128 / 112),
        resize_probability=0.2,
        rotation=(-25.0, 25.0),
        crop=(0.69, 0.99),
        cut=40 / 112,
    )
