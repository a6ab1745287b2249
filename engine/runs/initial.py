"""Initial weights of the encoder that come from elsewhere: an earlier run of ours, or a file of timm's weights.

Only the encoder is taken over, and always all of it: heads start from (seed, module name) as in every recipe, so their
start is the same with and without it. Nothing is fetched, and loading executes no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from engine.backbone import Backbone
from engine.runs import checkpoint
from engine.weights import fill_encoder, names_a_file, read_encoder
from loaders.targets import with_home


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


def locate(init: str, architecture: str) -> Path:
    """The file that a recipe's `init` stands for; a path that is not absolute begins at the working directory.

    Args:
        init: A weights file; a checkpoint's folder; or the folder of a finished run, which stands for its last epoch.
        architecture: Said where a file is missing.

    Raises:
        MissingWeightsError: It is not there.
        ValueError: The run has not finished, or the folder is neither a run nor a checkpoint.
    """
    path = with_home(init)
    if path.is_file() or names_a_file(init):
        if not path.is_file():
            raise MissingWeightsError(
                f"Recipe: init (={init}) is not there, and nothing is fetched; put a file of timm's weights of "
                f"{architecture} at this path (.safetensors, or .pth), or train from scratch with init=None"
            )
        return path
    if not path.is_dir():
        raise MissingWeightsError(
            f"Recipe: init (={init}) is not there; train that run first (hmtl train RECIPE --out {init}), "
            "or name another run, checkpoint or file of timm's weights"
        )
    if (path / "recipe.json").is_file():
        result = path / "result.json"
        if not (result.is_file() and json.loads(result.read_text(encoding="utf-8")).get("finished")):
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
    where = f"Recipe: init (={path})"
    weights = read_encoder(path, where, encoder)
    if weights.about is not None and "backbone" in weights.about:
        _refuse_other_backbone(weights.about["backbone"], backbone, path)
    fill_encoder(encoder, weights, where, f"the backbone {backbone.name}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Origin(str(path), digest, len(weights.tensors), weights.dropped)


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
