"""Initial weights of the encoder that come from elsewhere: an earlier run of ours, or a file of timm's weights.

Only the encoder is taken over, and always all of it: heads start from (seed, module name) as in every recipe, so their
start is the same with and without it. Nothing is fetched, and loading executes no code.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from engine import checkpoint
from engine.model import Backbone

_FILES = (".safetensors", ".pth", ".pt", ".bin")
_WRAPPED = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training scripts of timm's kind put weights


class MissingWeightsError(ValueError):
    """What a recipe's `init` names is not there."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an encoder's initial weights came from."""

    path: str
    """The file, as found from the recipe's `init`."""
    sha256: str
    tensors: int
    """Tensors taken over."""
    dropped: tuple[str, ...]
    """Tensors of the file that are no part of an encoder: its classifier or heads."""

    def __str__(self) -> str:
        left = f"; left out: {', '.join(self.dropped)}" if self.dropped else ""
        return f"the encoder starts from {self.path} ({self.tensors} tensors, sha256 {self.sha256[:12]}){left}"


def is_file(init: str) -> bool:
    """Whether `init` names a file of weights by its ending; else it names the folder of a run or of a checkpoint."""
    return Path(init).suffix in _FILES


def locate(init: str, architecture: str) -> Path:
    """The file that a recipe's `init` stands for; a path that is not absolute begins at the working directory.

    Args:
        init: A weights file; a checkpoint's folder; or the folder of a finished run, which stands for its last epoch.
        architecture: Said where a file is missing.

    Raises:
        MissingWeightsError: It is not there.
        ValueError: The run has not finished, or the folder is neither a run nor a checkpoint.
    """
    path = Path(init).expanduser()
    if is_file(init):
        if not path.is_file():
            raise MissingWeightsError(
                f"Recipe: init (={init}) is not there, and nothing is fetched; put a file of timm's weights of "
                f"{architecture} at this path (.safetensors, or .pth), or train from scratch with init=None"
            )
        return path
    if not path.is_dir():
        raise MissingWeightsError(
            f"Recipe: init (={init}) is not there; train that run first (python -m engine.run RECIPE --out {init}), "
            "or name another run, checkpoint or file of timm's weights"
        )
    if (path / "recipe.json").is_file():
        result = path / "result.json"
        if not (result.is_file() and json.loads(result.read_text()).get("finished")):
            raise ValueError(
                f"Recipe: init (={init}) is a run that has not finished; go on with it by --resume, "
                f"or name one of its checkpoints, such as {path / 'checkpoints' / checkpoint.LAST}"
            )
        path = path / "checkpoints" / checkpoint.LAST
    if damage := checkpoint.damaged(path):
        raise ValueError(
            f"Recipe: init (={init}) must be a run, a checkpoint or a weights file, and {path} is none ({damage}); "
            "name one of these"
        )
    return path / "weights.safetensors"


def take_over(encoder: nn.Module, backbone: Backbone, init: str) -> Origin:
    """Gives an encoder the weights that a recipe's `init` names.

    A stem made for small pictures has the weights of the one it replaces, so a file of timm's fits it as it is.

    Raises:
        ValueError: It is not there, damaged, or of another architecture.
    """
    path = locate(init, backbone.name)
    tensors, about = _read(path)
    if about is not None:
        _refuse_other_backbone(about["backbone"], backbone, path)
        taken = {key.removeprefix("encoder."): value for key, value in tensors.items() if key.startswith("encoder.")}
        dropped = sorted({".".join(key.split(".")[:2]) for key in tensors if not key.startswith("encoder.")})
    else:
        classifier = _classifier(encoder)
        dropped = sorted(key for key in tensors if key.startswith(classifier))
        taken = {key: value for key, value in tensors.items() if key not in dropped}
    _fill(encoder, taken, backbone, path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Origin(str(path), digest, len(taken), tuple(dropped))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """A file's tensors and, where it is a checkpoint of ours, what it says of itself."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt", device="cpu") as opened:
                metadata = opened.metadata() or {}
                tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no mapping
        except SafetensorError as error:
            raise ValueError(f"Recipe: init (={path}) is cut or damaged ({error}); take another copy") from error
        return tensors, json.loads(metadata[checkpoint.ABOUT]) if checkpoint.ABOUT in metadata else None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"Recipe: init (={path}) holds more than weights, or is damaged ({str(error).splitlines()[0]}); "
            "take the .safetensors file of the same weights"
        ) from error
    for key in _WRAPPED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ValueError(f"Recipe: init (={path}) holds no table of weights; take a file of timm's weights")
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}, None


def _classifier(encoder: nn.Module) -> tuple[str, ...]:
    """How the names of a timm model's classifier begin."""
    config: Any = getattr(encoder, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    return tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))


def _refuse_other_backbone(saved: Mapping[str, Any], backbone: Backbone, path: Path) -> None:
    wanted = {"name": backbone.name, "small_pictures": backbone.small_pictures, "options": dict(backbone.options)}
    wanted = json.loads(json.dumps(wanted))  # tuples read as lists, as in the file
    if dict(saved) != wanted:
        raise ValueError(
            f"Recipe: init (={path}) is an encoder of {_words(saved)}, this recipe's is {_words(wanted)}; "
            "give both recipes the same backbone"
        )


def _words(backbone: Mapping[str, Any]) -> str:
    extra = [f"{key}={value}" for key, value in backbone.items() if key != "name" and value]
    return str(backbone["name"]) + (f" ({', '.join(extra)})" if extra else "")


def _fill(encoder: nn.Module, taken: Mapping[str, Tensor], backbone: Backbone, path: Path) -> None:
    own = encoder.state_dict()
    # Files older than PyTorch 0.4.1 do not count batches; nothing here reads the count.
    missing = [name for name in own if name not in taken and not name.endswith("num_batches_tracked")]
    wrong = [f"{name} is missing there" for name in missing]
    wrong += [f"{name} is not in the encoder" for name in taken if name not in own]
    wrong += [
        f"{name} has shape {tuple(taken[name].shape)}, here {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in taken and taken[name].shape != tensor.shape
    ]
    if wrong:
        raise ValueError(
            f"Recipe: init (={path}) does not fit the backbone {backbone.name} "
            f"({'; '.join(wrong[:3])}{'; ...' if len(wrong) > 3 else ''}); take a file of timm's weights of this name"
        )
    encoder.load_state_dict(dict(taken), strict=False)
