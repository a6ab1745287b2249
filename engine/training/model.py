"""The network: one encoder for all views, one head a task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engine.backbone import Backbone
from engine.recipe.definition import BatchStatistics
from engine.tasks.base import Features, Shape, Task
from engine.training.batchnorm import Parts, normalise_per_view
from engine.views import Plain, View


class Model(nn.Module):
    """Encoder and heads of a recipe; views of one size pass through the encoder in one batch."""

    def __init__(
        self,
        backbone: Backbone,
        views: Mapping[str, View],
        tasks: Sequence[Task],
        batch_statistics: BatchStatistics,
        *,
        seed: int,
        image_size: int,
        frozen_encoder: bool = False,
    ) -> None:
        super().__init__()
        with keyed_initialisation(seed, "encoder"):
            self.encoder = backbone.build()
        self.frozen = frozen_encoder
        if self.frozen:
            self.encoder.requires_grad_(False).eval()
        shape = measure_shape(self.encoder, backbone.name, image_size)
        heads: dict[str, nn.Module] = {}
        for task in tasks:
            with keyed_initialisation(seed, f"heads.{task.name}"):
                heads[task.name] = task.head(shape, views)
        self.heads = nn.ModuleDict(heads)
        self.on = {task.name: task.on for task in tasks}
        self.supervised = tuple(task.name for task in tasks if task.label is not None)
        self.tracked = {
            name: batch_statistics != "per_view_plain" or isinstance(view, Plain) for name, view in views.items()
        }
        self.training_pass: Callable[[nn.Module, Tensor], Features] = encode
        """Takes a batch through the encoder in training; `engine.training.objective` may put a compiled one here."""
        self.parts: Parts | None = None if batch_statistics == "joint" else normalise_per_view(self.encoder)

    def forward(self, pictures: Mapping[str, Float[Tensor, "b 3 s s"]]) -> dict[str, dict[str, Tensor]]:
        """Task name to view name to output, for each task on each of its views."""
        wanted = {view for views in self.on.values() for view in views}
        features = self.encode({name: picture for name, picture in pictures.items() if name in wanted})
        return {
            name: {view: self.heads[name](features[view]) for view in views if view in features}
            for name, views in self.on.items()
        }

    def encode(self, pictures: Mapping[str, Float[Tensor, "b 3 s s"]]) -> dict[str, Features]:
        """The features of each view."""
        by_size: dict[int, list[str]] = {}
        for name, picture in pictures.items():
            by_size.setdefault(picture.shape[-1], []).append(name)
        features: dict[str, Features] = {}
        through = self.training_pass if self.training else encode
        for names in by_size.values():
            if self.parts is not None:
                self.parts.tracked = tuple(self.tracked.get(name, True) for name in names)
            with torch.no_grad() if self.frozen else nullcontext():
                joined = through(self.encoder, torch.cat([pictures[name] for name in names]))
            maps, pooled = joined.map.chunk(len(names)), joined.pooled.chunk(len(names))
            features |= {name: Features(maps[i], pooled[i]) for i, name in enumerate(names)}
        return features

    def train(self, mode: bool = True) -> Model:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def inference(self) -> InferenceModel:
        """The deployed model: the encoder with the supervised heads, sharing this model's weights."""
        return InferenceModel(self.encoder, {name: self.heads[name] for name in self.supervised})


class InferenceModel(nn.Module):
    """What is left of a trained model when the pretext heads are dropped: exactly the supervised model."""

    def __init__(self, encoder: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> dict[str, Tensor]:
        """Supervised task name to its output (class tasks: logits)."""
        features = encode(self.encoder, pictures)
        return {name: head(features) for name, head in self.heads.items()}


def encode(encoder: nn.Module, pictures: Float[Tensor, "b 3 s s"]) -> Features:
    """The features of a batch of pictures."""
    timm_model: Any = encoder
    feature_map = timm_model.forward_features(pictures)
    return Features(feature_map, timm_model.forward_head(feature_map, pre_logits=True))


def measure_shape(encoder: nn.Module, name: str, image_size: int) -> Shape:
    """What heads must know of an encoder, found by showing it one blank picture.

    Raises:
        ValueError: Its features are no map of channels, height and width.
    """
    with evaluating(encoder):
        features = encode(encoder, torch.zeros(1, 3, image_size, image_size))
    if features.map.ndim != 4 or features.pooled.ndim != 2 or features.map.shape[2] != features.map.shape[3]:
        raise ValueError(
            f"Backbone: {name} gives features of shape {tuple(features.map.shape)}, not (1, channels, y, x); "
            "choose a convolutional backbone"
        )
    return Shape(features.map.shape[1], features.pooled.shape[1], round(image_size / features.map.shape[-1]))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, a module is in evaluation mode and nothing has a gradient; afterwards it is in the mode it was in."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)


@contextmanager
def keyed_initialisation(seed: int, name: str) -> Iterator[None]:
    """Initial weights made inside depend on (seed, name) alone, and torch's generators are left as they were."""
    key = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little") >> 1
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key)  # the CPU's alone: weights are made there
        yield
