"""Reads the weights of an encoder from a file and puts them into a network, for `init` and for teachers of a loss.

Nothing is fetched, and reading executes no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin")
"""Endings of files that weights are read from."""
_WRAPPED = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training scripts of timm's kind put weights


ABOUT = "about"
"""The key of the metadata: what the weights are of, as JSON."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Holds the weights of a model as loaded: names to tensors, and what they are of."""

    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]
    """classes (task to names), backbone, preprocessing (image_size, evaluation_crop, mean, std, faces: shape of
    a stored one, prepared: what was done to the pictures before), tasks (the supervised ones, as
    `engine.recipe.written` writes them), epoch, step, init."""


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """Holds the tensors of an encoder, as a file has them."""

    tensors: Mapping[str, Tensor]
    dropped: tuple[str, ...]
    """Names of what else is in the file: a classifier, or heads."""
    about: Mapping[str, Any] | None
    """What a checkpoint of ours says of itself; None for a file of timm's weights."""


def names_a_file(init: str) -> bool:
    """Says whether `init` names a file of weights, by its ending; else it names the folder of a run or checkpoint."""
    return Path(init).suffix in WEIGHT_FILES


def load_weights(path: Path) -> Weights:
    """Loads the weights of a checkpoint folder or of a weights.safetensors file, on the CPU.

    Raises:
        ValueError: Nothing is there, or it is cut, damaged, or not one of this project's.
    """
    file = path / "weights.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"checkpoint: {file} is not there; give a run, or its checkpoints/last or checkpoints/best")
    tensors, about = read_safetensors(file, f"checkpoint: {file}")
    if about is None:
        raise ValueError(
            f"checkpoint: {file} has no class names, it was not written by this engine; give one of a run's checkpoints"
        )
    return Weights(tensors, about)


def read_safetensors(file: Path, where: str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Reads the tensors of a file, on the CPU, and what it says of itself where it is a checkpoint of ours.

    Args:
        where: How the file is named in errors.

    Raises:
        ValueError: It is cut or damaged.
    """
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{where} is cut or damaged ({error}); take another copy") from error
    return tensors, _about(metadata.get(ABOUT, ""))


def _about(text: str) -> dict[str, Any] | None:
    """What a checkpoint of ours says of itself; None for what files of others may hold under the same key."""
    try:
        about = json.loads(text)
    except ValueError:
        return None
    return about if isinstance(about, dict) and "classes" in about else None


def read_encoder(path: Path, where: str, network: nn.Module | None = None) -> EncoderWeights:
    """Reads the encoder in a file of weights.

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
        return encoder_of(Weights(tensors, about))
    dropped = sorted(key for key in tensors if key.startswith(_classifier(network)))
    return EncoderWeights({key: value for key, value in tensors.items() if key not in dropped}, tuple(dropped), None)


def encoder_of(weights: Weights) -> EncoderWeights:
    """Takes the encoder out of a model of ours, its heads left out."""
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
    if wrong := misfits(own, taken, "the encoder"):
        raise ValueError(f"{where} does not fit {architecture} ({wrong}); name weights of this architecture")
    network.load_state_dict(dict(taken), strict=False)


def misfits(own: Mapping[str, Tensor], read: Mapping[str, Tensor], here: str) -> str:
    """Lists why tensors that were read are not those of a module: the first three reasons; empty where they are.

    Args:
        own: The module's, by name.
        read: Those of a file.
        here: What the module is called.
    """
    wrong = [f"{name} is missing there" for name in own if name not in read]
    wrong += [f"{name} is not in {here}" for name in read if name not in own]
    wrong += [
        f"{name} has shape {tuple(read[name].shape)}, here {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in read and read[name].shape != tensor.shape
    ]
    return "; ".join([*wrong[:3], *(["..."] if len(wrong) > 3 else [])])


def _read(path: Path, where: str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """A file's tensors and, where it is a checkpoint of ours, what it says of itself."""
    if path.suffix == ".safetensors":
        return read_safetensors(path, where)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling makes of bytes that are no pickle
        why = "it is empty" if path.stat().st_size == 0 else next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"{where} is no file of torch's, holds more than weights, or is damaged ({why}); take it again, or the "
            ".safetensors file of the same weights"
        ) from error
    for key in _WRAPPED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ValueError(f"{where} holds no table of weights; take a file of timm's weights")
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}, None


def _classifier(network: nn.Module | None) -> tuple[str, ...]:
    """How the names of a timm model's classifier begin."""
    config: Any = getattr(network, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    return tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))
