"""Weights of an encoder in a file, read and put into a network: what `init` and the teachers of a loss share.

Nothing is fetched, and reading executes no code.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine import checkpoint

WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin")
"""Endings of files that weights are read from."""
_WRAPPED = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training scripts of timm's kind put weights


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """An encoder's tensors, as a file has them."""

    tensors: Mapping[str, Tensor]
    dropped: tuple[str, ...]
    """Names of what else is in the file: a classifier, or heads."""
    about: Mapping[str, Any] | None
    """What a checkpoint of ours says of itself; None for a file of timm's weights."""


def read_encoder(path: Path, where: str, network: nn.Module | None = None) -> EncoderWeights:
    """The encoder in a file of weights.

    Args:
        path: A checkpoint's weights.safetensors, or a file of timm's weights: .safetensors, or one that torch loads
            with `weights_only=True`.
        where: How the file is named in errors, with its path.
        network: The timm model that it is read for, which tells how its classifier is called.

    Raises:
        ValueError: It is cut, damaged, or holds more than weights.
    """
    tensors, about = _read(path, where)
    if about is not None:
        return encoder_of(checkpoint.Weights(tensors, about))
    dropped = sorted(key for key in tensors if key.startswith(_classifier(network)))
    return EncoderWeights({key: value for key, value in tensors.items() if key not in dropped}, tuple(dropped), None)


def encoder_of(weights: checkpoint.Weights) -> EncoderWeights:
    """The encoder of a model of ours, its heads left out."""
    taken = {key.removeprefix("encoder."): v for key, v in weights.tensors.items() if key.startswith("encoder.")}
    dropped = sorted({".".join(key.split(".")[:2]) for key in weights.tensors if not key.startswith("encoder.")})
    return EncoderWeights(taken, tuple(dropped), weights.about)


def fill_encoder(network: nn.Module, weights: EncoderWeights, where: str, architecture: str) -> None:
    """Puts weights into the network they are of.

    Raises:
        ValueError: A tensor is missing, is one too many, or has another shape.
    """
    taken = weights.tensors
    # Files older than PyTorch 0.4.1 do not count batches; nothing here reads the count.
    own = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name in taken or not name.endswith("num_batches_tracked")
    }
    if wrong := checkpoint.misfits(own, taken, "the encoder"):
        raise ValueError(f"{where} does not fit {architecture} ({wrong}); name weights of this architecture")
    network.load_state_dict(dict(taken), strict=False)


def _read(path: Path, where: str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """A file's tensors and, where it is a checkpoint of ours, what it says of itself."""
    if path.suffix == ".safetensors":
        return checkpoint.read_safetensors(path, where)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{where} holds more than weights, or is damaged ({str(error).splitlines()[0]}); "
            "take the .safetensors file of the same weights"
        ) from error
    for key in _WRAPPED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError(f"{where} holds no table of weights; take a file of timm's weights")
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}, None


def _classifier(network: nn.Module | None) -> tuple[str, ...]:
    """How the names of a timm model's classifier begin."""
    config: Any = getattr(network, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    return tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))
