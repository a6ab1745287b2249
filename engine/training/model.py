"""Builds the network: one encoder for all views, one head a task."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
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


class Encoder(nn.Module):
    """Gives the `Features` of pictures by a timm network, whose own names its weights keep in a state dict."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.register_state_dict_post_hook(_leave_out_network)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_put_in_network)  # type: ignore[no-untyped-call]

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Features:
        feature_map = self.network.forward_features(pictures)
        return Features(feature_map, self.network.forward_head(feature_map, pre_logits=True))


def _leave_out_network(encoder: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}network.")]:
        state[prefix + name.removeprefix(f"{prefix}network.")] = state.pop(name)


def _put_in_network(encoder: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}network.{name.removeprefix(prefix)}"] = state.pop(name)


class Model(nn.Module):
    """Joins the encoder and the heads of a recipe; views of one size pass through the encoder in one batch."""

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
            self.encoder = Encoder(backbone.build())
        self.frozen = frozen_encoder
        if self.frozen:
            self.encoder.requires_grad_(False).eval()
        shape = measure_shape(self.encoder, backbone.name, image_size)
        heads: dict[str, nn.Module] = {}
        for task in (task for task in tasks if task.head_of == task.name):
            with keyed_initialisation(seed, f"heads.{task.name}"):
                heads[task.name] = task.build_head(shape, views)
        self.heads = nn.ModuleDict(heads)
        self.on = {task.name: task.on for task in tasks}
        self.head_of = {task.name: task.head_of for task in tasks}
        self.supervised = tuple(task.name for task in tasks if task.label is not None)
        self.tracked = {
            name: batch_statistics != "per_view_plain" or isinstance(view, Plain) for name, view in views.items()
        }
        self.parts: Parts | None = None if batch_statistics == "joint" else normalise_per_view(self.encoder.network)

    def forward(
        self, pictures: Mapping[str, Float[Tensor, "b 3 s s"]], tasks: Collection[str] | None = None
    ) -> dict[str, dict[str, Tensor]]:
        """Gives task name to view name to output, for each of some tasks (None: all) on each of its views.

        Views may differ in their number of pictures, which then is that of the part of the batch they are of.
        """
        on = {name: views for name, views in self.on.items() if tasks is None or name in tasks}
        wanted = {view for views in on.values() for view in views}
        features = self.encode({name: picture for name, picture in pictures.items() if name in wanted})
        return {
            name: {view: self.heads[self.head_of[name]](features[view]) for view in views if view in features}
            for name, views in on.items()
        }

    def encode(self, pictures: Mapping[str, Float[Tensor, "b 3 s s"]]) -> dict[str, Features]:
        """Gives the features of each view."""
        by_size: dict[int, list[str]] = {}
        for name, picture in pictures.items():
            by_size.setdefault(picture.shape[-1], []).append(name)
        features: dict[str, Features] = {}
        for names in by_size.values():
            lengths = [len(pictures[name]) for name in names]
            if self.parts is not None:
                self.parts.lengths = tuple(lengths)
                self.parts.tracked = tuple(self.tracked.get(name, True) for name in names)
            with torch.no_grad() if self.frozen else nullcontext():
                joined = self.encoder(torch.cat([pictures[name] for name in names]))
            maps, pooled = joined.map.split(lengths), joined.pooled.split(lengths)
            features |= {name: Features(maps[i], pooled[i]) for i, name in enumerate(names)}
        return features

    def train(self, mode: bool = True) -> Model:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def inference(self) -> InferenceModel:
        """Makes the deployed model: the encoder with the supervised heads, sharing this model's weights."""
        return InferenceModel(self.encoder, {name: self.heads[name] for name in self.supervised})


class InferenceModel(nn.Module):
    """Joins an encoder with supervised heads alone: what is left of a trained model without its pretext heads."""

    def __init__(self, encoder: Encoder, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)

    def encode(self, pictures: Mapping[str, Float[Tensor, "b 3 s s"]]) -> dict[str, Features]:
        """Gives the features of each view."""
        return {name: self.encoder(picture) for name, picture in pictures.items()}

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> dict[str, Tensor]:
        """Gives supervised task name to its output (class tasks: logits)."""
        features = self.encoder(pictures)
        return {name: head(features) for name, head in self.heads.items()}


def measure_shape(encoder: Encoder, name: str, image_size: int) -> Shape:
    """Finds what heads must know of an encoder by showing it one blank picture.

    Raises:
        ValueError: Its features are no map of channels, height and width.
    """
    with evaluating(encoder):
        features: Features = encoder(torch.zeros(1, 3, image_size, image_size))
    if features.map.ndim != 4 or features.pooled.ndim != 2 or features.map.shape[2] != features.map.shape[3]:
        raise ValueError(
            f"Backbone: {name} gives features of shape {tuple(features.map.shape)}, not (1, channels, y, x); "
            "choose a convolutional backbone"
        )
    return Shape(features.map.shape[1], features.pooled.shape[1], round(image_size / features.map.shape[-1]))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts a module into evaluation mode, without gradients and without compiled code, and afterwards back."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        module.train(training)


@contextmanager
def keyed_initialisation(seed: int, name: str) -> Iterator[None]:
    """Makes initial weights depend on (seed, name) alone; torch's generators are left as they were."""
    key = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little") >> 1
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key)  # the CPU's alone: weights are made there
        yield
