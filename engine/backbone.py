"""The encoder of a recipe: a timm architecture by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

import engine.torchvision_ops  # noqa: F401 - before timm, which imports torchvision

import timm  # isort: skip


@dataclass(frozen=True, slots=True)
class Backbone:
    """A timm architecture by its name, with fresh weights.

    Args:
        name: Any name of `timm.list_models()` that gives a feature map; the paper uses efficientnet_b0 and _b2.
        small_pictures: Stem with stride 1 and no first pooling, for pictures of about 32 to 64 px (ours).
        drop_path: Stochastic depth.
        options: Further keyword arguments of the architecture, e.g. {"channels": (32, 64, 128, 256)}.
    """

    name: str
    small_pictures: bool = False
    drop_path: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"Backbone: drop_path (={self.drop_path}) must be 0 or more and below 1; e.g. 0.1")

    def build(self) -> nn.Module:
        """The encoder, without a classifier.

        Raises:
            ValueError: timm has no such architecture, or does not take the options.
        """
        check_architecture("Backbone", self.name)
        options: dict[str, Any] = dict(self.options)
        if self.drop_path:
            options["drop_path_rate"] = self.drop_path
        try:
            encoder: nn.Module = timm.create_model(self.name, pretrained=False, num_classes=0, **options)
        except Exception as error:  # timm's architectures refuse what they do not take in ways of their own
            raise ValueError(
                f"Backbone: options (={options}) must fit {self.name} ({type(error).__name__}: {error}); name "
                "arguments that timm has for it"
            ) from error
        if self.small_pictures:
            _full_resolution_stem(encoder, self.name)
        return encoder


def check_architecture(where: str, name: str) -> None:
    """Refuses a name that is none of timm's architectures, with a ValueError that names some near it."""
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:6])
        raise ValueError(f"{where}: name (={name!r}) must be one of timm's; near it: {near or 'none'}")


def _full_resolution_stem(encoder: nn.Module, name: str) -> None:
    """The first convolution at stride 1, the first pooling gone."""
    first = next((module for module in encoder.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.stride != (2, 2):
        raise ValueError(
            f"Backbone: small_pictures needs a first convolution of stride 2, {name} has none; leave it False"
        )
    first.stride = (1, 1)
    if isinstance(getattr(encoder, "maxpool", None), nn.Module):
        encoder.maxpool = nn.Identity()
