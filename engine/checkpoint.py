"""Checkpoints: weights anyone can load, and the state a run goes on from.

A checkpoint is a folder of three files: weights.safetensors (the model that is evaluated, with class names and
preprocessing in its metadata), state.pt (loaded with `weights_only=True`) and files.json, the hash of the others. It is
written under a temporary name and renamed; the one before is kept, so that at every moment a whole one is there.
Loading executes no code.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn

from engine.files import replacing, write_json

LAST, BEFORE, BEST = "last", "before", "best"

ABOUT = "about"
"""The key of the metadata: what the weights are of, as JSON."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's weights as loaded: names to tensors, and what they are of."""

    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]
    """classes (task to names), backbone, preprocessing (image_size, evaluation_crop, mean, std, faces: shape of
    a stored one), tasks (the supervised ones, as `--set` reads them), epoch, step, init."""


def save(folder: Path, name: str, model: nn.Module, about: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Writes one checkpoint whole; when it is `last`, the one it takes the place of becomes `before`.

    Raises:
        OSError: The disk is full; what was there is kept.
    """
    temporary = folder / f".{name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write(temporary, model, about, state)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    # A kill between these leaves the one before, or the whole new one under its temporary name: `newest` finds it.
    target, before = folder / name, folder / (BEFORE if name == LAST else f".{name}.old")
    if target.exists():
        shutil.rmtree(before, ignore_errors=True)
        target.rename(before)
    temporary.rename(target)
    if name != LAST:
        shutil.rmtree(before, ignore_errors=True)


def _write(folder: Path, model: nn.Module, about: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    # Both libraries hide the errno of a write that fails, so the bytes are made first and written here.
    with replacing(folder / "weights.safetensors") as path:
        # One entry: safetensors writes several in no fixed order, and equal runs would differ in their hash.
        path.write_bytes(serialised(tensors, {ABOUT: json.dumps(dict(about))}))
    with replacing(folder / "state.pt") as path:
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        path.write_bytes(buffer.getbuffer())
    hashes = {name: _hash(folder / name) for name in ("weights.safetensors", "state.pt")}
    write_json(folder / "files.json", hashes)
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint to go on from, and what is to be said of those passed over."""
    notes: list[str] = []
    for name in (f".{LAST}.partial", LAST, BEFORE):
        path = folder / name
        if not path.exists():
            continue
        damage = damaged(path)
        if damage is None:
            return path, notes
        if name != f".{LAST}.partial":  # an unfinished one is what a kill leaves, and nothing to worry about
            notes.append(f"checkpoint: {path} is damaged ({damage}); going on from the one before")
    return None, notes


def step_back(folder: Path, bad_step: int) -> None:
    """Drops `last` if its weights already gave a loss that was not finite, so that `last` is a good one.

    A checkpoint after n steps is good if the loss of step n, the first one its weights are used for, was finite.
    """
    last, before = folder / LAST, folder / BEFORE
    if before.exists() and load_weights(last).about["step"] >= bad_step:
        shutil.rmtree(last)
        before.rename(last)


def epoch_of(path: Path) -> int | None:
    """The epoch after which a checkpoint was written, None if none is whole there."""
    return None if damaged(path) is not None else int(load_weights(path).about["epoch"])


def damaged(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        hashes = json.loads((path / "files.json").read_text())
    except (OSError, ValueError):
        return "files.json is missing or cut"
    for name, expected in hashes.items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if _hash(path / name) != expected:
            return f"{name} was cut or changed"
    return None


def load_state(path: Path) -> dict[str, Any]:
    """The training state of a checkpoint, on the CPU."""
    state: dict[str, Any] = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    return state


def load_weights(path: Path) -> Weights:
    """The weights of a checkpoint folder or of a weights.safetensors file, on the CPU.

    Raises:
        ValueError: Nothing is there, or it is cut, damaged, or not one of this project's.
    """
    file = path / "weights.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"checkpoint: {file} is not there; give a run's checkpoints/last or checkpoints/best")
    tensors, about = read_safetensors(file, f"checkpoint: {file}")
    if about is None:
        raise ValueError(
            f"checkpoint: {file} has no class names, it was not written by this engine; give one of a run's checkpoints"
        )
    return Weights(tensors, about)


def read_safetensors(file: Path, where: str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """A file's tensors, on the CPU, and what it says of itself where it is a checkpoint of ours.

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
    return tensors, json.loads(metadata[ABOUT]) if ABOUT in metadata else None


def fill(model: nn.Module, weights: Weights, classes: Mapping[str, Any], where: Path) -> None:
    """Puts weights into a model that must be the very one they were saved from.

    Raises:
        ValueError: Other class names, or another model.
    """
    if weights.about["classes"] != {name: list(names) for name, names in classes.items()}:
        raise ValueError(
            f"checkpoint: {where} was trained on the classes {weights.about['classes']}, "
            f"this model has {dict(classes)}; use the recipe it was trained with"
        )
    if wrong := misfits(model.state_dict(), weights.tensors, "this model"):
        raise ValueError(f"checkpoint: {where} is of another model ({wrong}); use the recipe it was trained with")
    model.load_state_dict(dict(weights.tensors))


def misfits(own: Mapping[str, Tensor], read: Mapping[str, Tensor], here: str) -> str:
    """Why tensors that were read are not those of a module: the first three reasons; empty where they are.

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


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
