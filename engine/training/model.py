"""Builds the network: one encoder for all views, one head a task."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from engine.backbone import Backbone
from engine.recipe.definition import BatchStatistics
from engine.tasks.base import Features, MapShape, Shape, Task
from engine.training.batchnorm import Parts, normalise_per_view
from engine.views import Cells, Plain, View

import engine.torchvision_ops  # noqa: F401  # isort: skip - before timm, which imports torchvision

from timm.models.vision_transformer import VisionTransformer  # isort: skip


class Encoder(nn.Module):
    """Gives the `Features` of pictures by a timm network, whose own names its weights keep in a state dict."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.register_state_dict_post_hook(_leave_out_network)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_put_in_network)  # type: ignore[no-untyped-call]

    def forward(
        self,
        pictures: Float[Tensor, "b 3 s s"],
        stages: Sequence[int] = (),
        visible: Int64[Tensor, "b k"] | None = None,
    ) -> Features:
        """Encodes pictures.

        Args:
            stages: timm's indices of those whose maps are `Features.finer`.
            visible: The patches that the network is given, of one that `drops_patches`; None gives it all.
        """
        finer: dict[int, Tensor] = {}
        if visible is not None:
            last = tokens_of_visible(self.network, pictures, visible)
        elif stages:
            last, found = self.network.forward_intermediates(pictures, indices=list(stages))
            finer = dict(zip(sorted(stages), found, strict=True))
        else:
            last = self.network.forward_features(pictures)
        pooled = self.network.forward_head(last, pre_logits=True)
        return Features(as_map(last, self.network, pictures, visible), pooled, tuple(finer[stage] for stage in stages))

    @property
    def drops_patches(self) -> bool:
        """Whether the network can be given some of the patches of a picture alone."""
        return isinstance(self.network, VisionTransformer)


def tokens_of_visible(
    network: Any, pictures: Float[Tensor, "b 3 s s"], visible: Int64[Tensor, "b k"]
) -> Float[Tensor, "b prefix+k d"]:
    """Sends the visible patches alone through a `VisionTransformer`, each with the embedding of its position."""
    tokens = network._pos_embed(network.patch_embed(pictures))  # (b, prefix + n, d)
    prefix, patches = tokens.tensor_split([network.num_prefix_tokens], dim=1)
    kept = patches.gather(1, visible.unsqueeze(2).expand(-1, -1, patches.shape[2]))
    encoded: Tensor = network.norm(network.blocks(network.norm_pre(torch.cat([prefix, kept], dim=1))))
    return encoded


def as_map(
    last: Tensor, network: Any, pictures: Tensor, visible: Int64[Tensor, "b k"] | None = None
) -> Float[Tensor, "b d y x"]:
    """Gives a feature map as it is, and lays the tokens of patches out as one; places that are not visible are 0."""
    if last.ndim != 3 or not hasattr(network, "num_prefix_tokens"):
        return last
    tokens = last[:, network.num_prefix_tokens :]
    height, width = network.patch_embed.dynamic_feat_size(pictures.shape[-2:])
    if visible is not None:
        places = visible.unsqueeze(2).expand(-1, -1, tokens.shape[2])
        tokens = tokens.new_zeros(len(tokens), height * width, tokens.shape[2]).scatter(1, places, tokens)
    feature_map: Tensor = tokens.transpose(1, 2).unflatten(2, (height, width))
    return feature_map


def _leave_out_network(encoder: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}network.")]:
        state[prefix + name.removeprefix(f"{prefix}network.")] = state.pop(name)


def _put_in_network(encoder: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}network.{name.removeprefix(prefix)}"] = state.pop(name)


class Model(nn.Module):
    """Joins the encoder and the heads of a recipe.

    Views of one size pass through the encoder in one batch, but those that leave out cells in one of their own.
    """

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
        most = max(tasks, key=lambda task: task.maps)
        self.stages: tuple[int, ...] = ()
        """Those whose maps some head reads beside the last one."""
        if most.maps > 1:
            self.stages, finer = finer_maps(self.encoder, most, backbone.name, image_size)
            shape = replace(shape, finer=finer)
        check_patches(self.encoder, views, shape, backbone.name, image_size)
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
        self,
        pictures: Mapping[str, Float[Tensor, "b 3 s s"]],
        tasks: Collection[str] | None = None,
        cells: Mapping[str, Cells] | None = None,
    ) -> dict[str, dict[str, Tensor]]:
        """Gives task name to view name to output, for each of some tasks (None: all) on each of its views.

        Views may differ in their number of pictures, which then is that of the part of the batch they are of.

        Args:
            cells: What was drawn for each view, where views leave out cells or tasks ask about places of them.
        """
        on = {name: views for name, views in self.on.items() if tasks is None or name in tasks}
        wanted = {view for views in on.values() for view in views}
        features = self.encode({name: picture for name, picture in pictures.items() if name in wanted}, cells)
        return {
            name: {view: self.heads[self.head_of[name]](features[view]) for view in views if view in features}
            for name, views in on.items()
        }

    def encode(
        self, pictures: Mapping[str, Float[Tensor, "b 3 s s"]], cells: Mapping[str, Cells] | None = None
    ) -> dict[str, Features]:
        """Gives the features of each view; see `forward`."""
        drawn = cells or {}
        visible = {name: each.visible for name, each in drawn.items() if each.visible is not None}
        alike: dict[tuple[int, int | None], list[str]] = {}
        for name, picture in pictures.items():
            given = visible[name].shape[1] if name in visible else None
            alike.setdefault((picture.shape[-1], given), []).append(name)
        features: dict[str, Features] = {}
        for names in alike.values():
            lengths = [len(pictures[name]) for name in names]
            if self.parts is not None:
                self.parts.lengths = tuple(lengths)
                self.parts.tracked = tuple(self.tracked.get(name, True) for name in names)
            with torch.no_grad() if self.frozen else nullcontext():
                joined = self.encoder(
                    torch.cat([pictures[name] for name in names]),
                    self.stages,
                    torch.cat([visible[name] for name in names]) if names[0] in visible else None,
                )
            maps, pooled, *finer = (part.split(lengths) for part in (joined.map, joined.pooled, *joined.finer))
            features |= {
                name: Features(maps[i], pooled[i], tuple(each[i] for each in finer), drawn.get(name))
                for i, name in enumerate(names)
            }
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

    def encode(
        self, pictures: Mapping[str, Float[Tensor, "b 3 s s"]], cells: Mapping[str, Cells] | None = None
    ) -> dict[str, Features]:
        """Gives the features of each view; no supervised head asks what was drawn for it."""
        return {name: self.encoder(picture) for name, picture in pictures.items()}

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> dict[str, Tensor]:
        """Gives supervised task name to its output (class tasks: logits)."""
        features = self.encoder(pictures)
        return {name: head(features) for name, head in self.heads.items()}


def measure_shape(encoder: Encoder, name: str, image_size: int) -> Shape:
    """Finds what heads must know of an encoder by showing it one blank picture.

    Raises:
        ValueError: It takes no such picture, or its features are no map of channels, height and width.
    """
    try:
        with evaluating(encoder):
            features: Features = encoder(torch.zeros(1, 3, image_size, image_size))
    except Exception as error:  # timm's architectures refuse what they do not take in ways of their own
        raise ValueError(
            f"Backbone: {name} must take pictures of 3 channels and image_size (={image_size}) x {image_size} "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); correct image_size, or the options"
        ) from error
    if features.map.ndim != 4 or features.pooled.ndim != 2 or features.map.shape[2] != features.map.shape[3]:
        raise ValueError(
            f"Backbone: {name} gives features of shape {tuple(features.map.shape)}, not (1, channels, y, x); "
            "choose a convolutional backbone, or a vision transformer of timm"
        )
    return Shape(features.map.shape[1], features.pooled.shape[1], round(image_size / features.map.shape[-1]))


def check_patches(encoder: Encoder, views: Mapping[str, View], shape: Shape, name: str, image_size: int) -> None:
    """Refuses views that leave out cells of an encoder that must be given all, or whose patches are not these cells."""
    for view_name, view in views.items():
        if view.visible is None:
            continue
        where = f"Recipe: views[{view_name!r}] (={view})"
        if not encoder.drops_patches:
            raise ValueError(
                f"{where} leaves patches out before the encoder, and {name} must be given whole pictures; take a "
                "VisionTransformer of timm such as vit_tiny_patch16_224, or a view Holes()"
            )
        for side in view.size or (image_size,):
            if view.grid * shape.stride != side:
                raise ValueError(
                    f"{where} has grid (={view.grid}), and {name} cuts {side} px into patches of {shape.stride} px; "
                    f"set grid={side // shape.stride}, or the backbone's patch_size"
                )


def finer_maps(
    encoder: Encoder, task: Task, name: str, image_size: int
) -> tuple[tuple[int, ...], tuple[MapShape, ...]]:
    """Finds the stages that give the maps a task reads beside the last one, from the next finer resolution on.

    Raises:
        ValueError: The encoder has fewer resolutions.
    """
    picture = torch.zeros(1, 3, image_size, image_size)
    with evaluating(encoder):
        network: Any = encoder.network
        last, found = (
            network.forward_intermediates(picture)
            if hasattr(network, "forward_intermediates")
            else (encoder(picture).map, [])
        )
    of_side = {each.shape[-1]: index for index, each in enumerate(found) if each.shape[-1] > last.shape[-1]}
    if len(of_side) < task.maps - 1:
        raise ValueError(
            f"{task}: maps (={task.maps}) must be at most {len(of_side) + 1}, the resolutions of which {name} has "
            f"feature maps at image_size (={image_size}); lower it, or take another backbone"
        )
    sides = sorted(of_side)[: task.maps - 1]
    stages = tuple(of_side[side] for side in sides)
    shapes = tuple(MapShape(found[stage].shape[1], round(image_size / found[stage].shape[-1])) for stage in stages)
    return stages, shapes


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
