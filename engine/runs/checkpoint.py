"""Writes and reads checkpoints: weights anyone can load, and the state a run goes on from.

A checkpoint is a folder of three files: weights.safetensors (the model that is evaluated, with class names and
preprocessing in its metadata), state.pt (loaded with `weights_only=True`) and files.json, the hash of the others. It is
written under a temporary name and renamed; the one before is kept, so that at every moment a whole one is there.
Loading executes no code.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialised
from torch import Tensor, nn

from engine.weights import ABOUT, Weights, load_weights, misfits
from loaders.files import flush, replacing, write_json

LAST, BEFORE, BEST = "last", "before", "best"


def copied(state: Any) -> Any:
    """Copies what a state holds in mappings, lists and tuples to the CPU; nothing that trains on changes it.

    Tensors keep their order in memory: a fused optimiser reads moments in the order of the weights.
    """
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(copied(value) for value in state)
    return state


def save(
    folder: Path, name: str, weights: Mapping[str, Tensor], about: Mapping[str, Any], state: Mapping[str, Any]
) -> None:
    """Writes one checkpoint whole; when it is `last`, the one it takes the place of becomes `before`.

    Args:
        weights: Of the model that is evaluated, on the CPU.

    Raises:
        OSError: The disk is full; what was there is kept.
    """
    temporary = folder / f".{name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write(temporary, weights, about, state)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _name(folder, name)


def _name(folder: Path, name: str) -> None:
    """Gives a checkpoint that is written its name; a kill in between leaves what `settle` ends."""
    temporary, target = folder / f".{name}.partial", folder / name
    before = folder / (BEFORE if name == LAST else f".{name}.old")
    if target.exists():
        shutil.rmtree(before, ignore_errors=True)
        target.rename(before)
    temporary.rename(target)
    if name != LAST:
        shutil.rmtree(before, ignore_errors=True)


def _write(folder: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    tensors = {key: value.contiguous() for key, value in weights.items()}
    # Both libraries hide the errno of a write that fails, so the bytes are made first and written here.
    with replacing(folder / "weights.safetensors") as path:
        # One entry: safetensors writes several in no fixed order, and equal runs would differ in their hash.
        path.write_bytes(serialised(tensors, {ABOUT: json.dumps(dict(about))}))
    with replacing(folder / "state.pt") as path:
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        # Released at once: in the cycle of a failed write's traceback, it crashes Python 3.12's collector.
        with buffer.getbuffer() as view:
            path.write_bytes(view)
    hashes = {name: _hash(folder / name) for name in ("weights.safetensors", "state.pt")}
    write_json(folder / "files.json", hashes)
    flush(folder)


def settle(folder: Path) -> None:
    """Ends what a kill cut off: a whole new `last` gets its name, the old `best` comes back, half a one goes."""
    written, best, old = folder / f".{LAST}.partial", folder / BEST, folder / f".{BEST}.old"
    if written.exists() and damaged(written) is None:
        _name(folder, LAST)
    if old.exists() and not best.exists():
        old.rename(best)  # the state in `last` knows no newer one
    for left in (written, folder / f".{BEST}.partial", old):
        shutil.rmtree(left, ignore_errors=True)


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """Finds the newest whole checkpoint to go on from, and what is to be said of those that are damaged."""
    whole: Path | None = None
    notes: list[str] = []
    for path in (folder / name for name in (f".{LAST}.partial", LAST, BEFORE)):
        if not path.exists():
            continue
        damage = damaged(path)
        if damage is None:
            whole = whole or path
        elif path.name in (LAST, BEFORE):  # an unfinished one is what a kill leaves, and nothing to worry about
            going_on = "from the one before" if whole is None else "without one to fall back on"
            notes.append(f"checkpoint: {path} is damaged ({damage}); going on {going_on}")
    return whole, notes


def step_back(folder: Path, bad_step: int) -> None:
    """Drops `last` if its weights already gave a loss that was not finite, so that `last` is a good one.

    A checkpoint after n steps is good if the loss of step n, the first one its weights are used for, was finite.
    """
    last, before = folder / LAST, folder / BEFORE
    if before.exists() and load_weights(last).about["step"] >= bad_step:
        shutil.rmtree(last)
        before.rename(last)


def epoch_of(path: Path) -> int | None:
    """Reads the epoch after which a checkpoint was written, None if none is whole there."""
    return None if damaged(path) is not None else int(load_weights(path).about["epoch"])


def damaged(path: Path) -> str | None:
    """Says what is wrong with a checkpoint, or None."""
    try:
        hashes = json.loads((path / "files.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "files.json is missing or cut"
    if not isinstance(hashes, dict) or hashes.keys() != {"weights.safetensors", "state.pt"}:
        return "files.json was changed"
    for name, expected in hashes.items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if _hash(path / name) != expected:
            return f"{name} was cut or changed"
    return None


def load_state(path: Path) -> dict[str, Any]:
    """Loads the training state of a checkpoint, on the CPU."""
    state: dict[str, Any] = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    return state


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


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
