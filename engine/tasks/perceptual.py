"""A perceptual distance: how far two pictures are apart in the features of a network that is not being trained.

The paper compares the completed picture with the original in the features of a frozen network (in-painting-pl); which
network, which features and which distance is ours. The network, called the teacher, is by default a moving average of
the encoder being trained, which needs no additional data; a checkpoint of an earlier run or a timm model with a local
weights file can be named instead.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

import engine.torchvision_ops  # noqa: F401 - before timm, which imports torchvision
from engine.backbone import Backbone, check_architecture
from engine.weights import WEIGHT_FILES, encoder_of, fill_encoder, load_weights, read_encoder

import timm  # isort: skip
from timm.data import resolve_model_data_config  # isort: skip

EPS = 1e-4
"""Added to the mean square over channels: where a feature is dead, its direction is not blown up."""

Colours = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class EMATeacher:
    """An exponential moving average of the encoder, in step with its training: no additional data.

    After update n, counted from 0, the average is d * average + (1 - d) * encoder with d = min(decay, (1 + n) /
    (10 + n)): it forgets the random start within some tens of steps, so that short runs have a teacher too. The running
    statistics of batch normalisation are the encoder's own.
    """

    decay: float = 0.999

    def check(self, where: str) -> None:
        """Refuses a decay that is none."""
        if not 0 <= self.decay < 1:
            raise ValueError(f"{where}: decay (={self.decay}) must be 0 or more and below 1; e.g. 0.999")

    def build(self, encoder: nn.Module, mean: Colours, std: Colours) -> Teacher:
        return MovingAverage(encoder, self.decay)


@dataclass(frozen=True, slots=True)
class CheckpointTeacher:
    """The encoder of an earlier run of this engine, frozen.

    Args:
        path: Its checkpoint: a folder such as runs/x/checkpoints/best, or a weights.safetensors file.
    """

    path: str

    def check(self, where: str) -> None:
        """The file is looked for when training begins: recipes are read where their files may be missing."""

    def width(self) -> int:
        """Length of its pooled representation."""
        return width_of(Backbone(**load_weights(Path(self.path)).about["backbone"]))

    def build(self, encoder: nn.Module, mean: Colours, std: Colours) -> Teacher:
        weights = load_weights(Path(self.path))
        backbone = Backbone(**weights.about["backbone"])
        network, where = backbone.build(), f"CheckpointTeacher: path (={self.path})"
        fill_encoder(network, encoder_of(weights), where, backbone.name)
        known = weights.about["preprocessing"]
        return Teacher(network, where, (mean, std), (tuple(known["mean"]), tuple(known["std"])))


@dataclass(frozen=True, slots=True)
class TimmTeacher:
    """A timm model with weights from a local file, frozen; it sees colours as its own training did.

    Args:
        name: A timm architecture, with its tag where colours are normalised by it: "efficientnet_b0.ra_in1k".
        weights: A local file with that model's weights (.safetensors, or .pth). Nothing is ever fetched.
    """

    name: str
    weights: str

    def check(self, where: str) -> None:
        """Refuses an architecture that timm does not have."""
        check_architecture(where, self.name)

    def width(self) -> int:
        """Length of its pooled representation."""
        return width_of(Backbone(self.name))

    def build(self, encoder: nn.Module, mean: Colours, std: Colours) -> Teacher:
        network: Any = timm.create_model(self.name, pretrained=False, num_classes=0)
        where = f"TimmTeacher: weights (={self.weights})"
        path = Path(self.weights)
        if path.suffix not in WEIGHT_FILES or not path.is_file():
            raise ValueError(
                f"{where} must be a file of weights ({', '.join(WEIGHT_FILES)}) that is there; nothing is fetched, "
                "put it there first"
            )
        fill_encoder(network, read_encoder(path, where, network), where, self.name)
        known = resolve_model_data_config(network)
        return Teacher(network, where, (mean, std), (tuple(known["mean"]), tuple(known["std"])))


@dataclass(frozen=True, slots=True)
class Perceptual:
    """What a perceptual loss adds to a task's own.

    Args:
        weight: Its weight beside the pixel loss.
        teacher: The network whose features are compared.
        from_epoch: First epoch, counted from 0, in which it counts; in the first a random teacher says nothing.
        strides: Strides of the stages whose features are compared, as timm lists them for the architecture. A
            `small_pictures` stem leaves out the first reductions, so that the same stages then stand at finer strides.
            Of a picture of 48 px the stage at stride 16 has 3 x 3 places.
    """

    weight: float = 1.0
    teacher: EMATeacher | CheckpointTeacher | TimmTeacher = field(default_factory=EMATeacher)
    from_epoch: int = 1
    strides: tuple[int, ...] = (4, 8, 16)

    def check(self, where: str) -> None:
        """Refuses fields that cannot be, with a ValueError."""
        here = f"{where}: perceptual"
        if self.weight <= 0:
            raise ValueError(f"{here}: weight (={self.weight}) must be above 0; perceptual=None leaves it out")
        if self.from_epoch < 0:
            raise ValueError(f"{here}: from_epoch (={self.from_epoch}) must be 0 or more; 0 is from the start")
        if not self.strides or len(set(self.strides)) < len(self.strides):
            raise ValueError(
                f"{here}: strides (={self.strides}) must be one or more different strides of stages; e.g. (4, 8, 16)"
            )
        self.teacher.check(f"{here}.teacher")


class Teacher(nn.Module):
    """A network that is looked at and never trained: always in evaluation mode, its weights without gradients.

    Args:
        network: A timm model.
        where: How it is named in errors.
        seen: (mean, std) by which the pictures it is shown are normalised.
        own: (mean, std) that it was trained with.

    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, network: nn.Module, where: str, seen: tuple[Colours, Colours], own: tuple[Colours, Colours]
    ) -> None:
        super().__init__()
        self.where = where
        self.network = network.requires_grad_(False)
        (mean, std), (own_mean, own_std) = torch.tensor(seen), torch.tensor(own)
        self.register_buffer("scale", (std / own_std).view(3, 1, 1))
        self.register_buffer("shift", ((mean - own_mean) / own_std).view(3, 1, 1))
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode whatever is asked for."""
        super().train(False)
        return self

    def follow(self, encoder: nn.Module) -> None:
        """Called after each optimiser step; a frozen teacher stays as it is."""

    def forward(self, pictures: Float[Tensor, "b 3 y x"], stages: Sequence[int] = ()) -> list[Tensor]:
        """Gives features "b c y x" of some stages, by their indices; without stages the pooled representation alone."""
        network: Any = self.network
        seen = pictures * self.scale + self.shift
        if not stages:
            return [network.forward_head(network.forward_features(seen), pre_logits=True)]
        found: list[Tensor] = network.forward_intermediates(
            seen, indices=list(stages), intermediates_only=True, stop_early=True
        )
        return found


class MovingAverage(Teacher):
    """A moving average of the encoder; see `EMATeacher`."""

    def __init__(self, encoder: nn.Module, decay: float) -> None:
        same = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        super().__init__(copy.deepcopy(encoder), type(encoder).__name__, same, same)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def follow(self, encoder: nn.Module) -> None:
        """Moves the average by one step; see `EMATeacher` for the formula."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.network.parameters()), list(encoder.parameters()), 1 - decay)
        buffers = list(self.network.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(encoder.buffers()))

    def get_extra_state(self) -> int:
        """The number of updates, which is kept with the weights."""
        return self.updates

    def set_extra_state(self, state: int) -> None:
        self.updates = state


def width_of(backbone: Backbone) -> int:
    """Tells the length of an architecture's pooled representation, without its weights."""
    with torch.device("meta"):
        network: Any = backbone.build()
    return int(getattr(network, "head_hidden_size", network.num_features))


def compared_stages(network: nn.Module, where: str, strides: Sequence[int]) -> list[int]:
    """Finds the indices of a timm model's stages at some strides.

    Raises:
        ValueError: It has none at one of them, or gives no features of stages.
    """
    listed: Any = getattr(network, "feature_info", None)
    if not isinstance(listed, list) or not hasattr(network, "forward_intermediates"):
        raise ValueError(
            f"Perceptual: the teacher, {where}, gives no features of its stages; "
            "take a timm model with forward_intermediates, e.g. resnet18 or efficientnet_b0"
        )
    last = {info["reduction"]: index for index, info in enumerate(listed)}
    if not set(strides) <= last.keys():
        known = ", ".join(str(stride) for stride in sorted(last))
        raise ValueError(
            f"Perceptual: the teacher, {where}, has stages at the strides {known}, those at "
            f"{', '.join(map(str, strides))} are compared; name some of them as strides, or take a convolutional "
            "pyramid, e.g. resnet18"
        )
    return [last[stride] for stride in strides]


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Float32[Tensor, " b"]:
    """Mean over stages of the mean absolute difference of channel-normalised features; 0 for equal pictures.

    At each position the feature vector is divided by its root mean square over channels (ours: unlike a unit length, it
    makes stages of few and of many channels count alike). In fp32 whatever the features' dtype.
    """
    each = [
        (_channel_normalised(a) - _channel_normalised(b)).abs().mean(dim=(1, 2, 3))
        for a, b in zip(ours, theirs, strict=True)
    ]
    return torch.stack(each).mean(dim=0)


def _channel_normalised(features: Tensor) -> Tensor:
    features = features.float()
    return features * (features.square().mean(dim=1, keepdim=True) + EPS).rsqrt()
