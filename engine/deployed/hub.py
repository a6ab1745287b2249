"""Exports a deployed model in timm's own form: weights, config.json and a model card, for `timm.create_model`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from safetensors.torch import save as serialised
from torch import Tensor, nn

from engine.backbone import Backbone
from engine.deployed.export import (
    ABOUT,
    BATCHES,
    FILES,
    MOST_PROBABILITY,
    Agreement,
    agreement,
    facts_of,
    refuse_other_answers,
)
from engine.deployed.model import Deployed
from engine.tasks.softmax import ClassHead

import timm  # isort: skip - after engine.backbone, which readies torchvision for it
from timm.data import create_transform, resolve_data_config  # isort: skip
from timm.models._hub import save_config_for_hf  # isort: skip

CONFIG = "config.json"
ENCODER = "encoder"
"""What agreements call the pooled representation."""


def export(model: Deployed, folder: Path, *, encoder: bool, licence: str) -> None:
    """Writes `model.safetensors` and timm's `config.json` into a folder.

    Probabilities of a calibrated model are: its last layer is divided by the temperature.

    Args:
        model: On the CPU.
        encoder: Leave the head out; the timm model then gives the pooled representation.
        licence: Of the weights, as the config and the card state it.

    Raises:
        ValueError: timm has no place for a part of the model.
    """
    backbone = Backbone(**model.about["backbone"])
    if backbone.small_pictures:
        raise ValueError(
            "export: small_pictures (=True) must be False for --to hub: timm cannot build a stem of stride 1 in this "
            "network; take --to onnx or --to torch"
        )
    task, head = (None, None) if encoder else _one_head(model)
    options = dict(backbone.options)  # without drop_path, which is for training
    names = () if task is None else model.answers[task]
    network: Any = timm.create_model(backbone.name, pretrained=False, num_classes=len(names), **options)
    network.load_state_dict(model.network.encoder.network.state_dict(), strict=False)
    if head is not None:
        _fill(network, head, model.temperatures.get(str(task), 1.0), backbone.name)
    known = model.about["preprocessing"]
    # Not timm's save_for_hf: its weights are written past Python, and a full disk would not be told as one.
    (folder / FILES["hub"]).write_bytes(serialised(network.state_dict(), metadata={"format": "pt"}))
    save_config_for_hf(
        network,
        folder / CONFIG,
        model_config={
            **({} if task is None else {"label_names": list(names)}),
            "pretrained_cfg": {"tag": ABOUT, "license": licence},  # those of timm's own weights stood there
            ABOUT: facts_of(model),
        },
        data_config={
            "input_size": (3, known["image_size"], known["image_size"]),
            "mean": known["mean"],
            "std": known["std"],
            "crop_pct": known["evaluation_crop"],
            "crop_mode": "center",
            "interpolation": "bilinear",
        },
    )


def _one_head(model: Deployed) -> tuple[str, ClassHead]:
    """Finds the head that timm can hold, and the name of its task."""
    tasks = ", ".join(model.tasks)
    otherwise = "write the encoder alone by --encoder, or all of it by --to onnx"
    if len(model.tasks) != 1:
        raise ValueError(f"export: heads (={tasks}) must be one for --to hub, as timm holds one; {otherwise}")
    head = model.network.heads[tasks]
    if not isinstance(head, ClassHead) or head.hidden is not None:
        raise ValueError(
            f"export: head of {tasks} (={type(head).__name__}) must be one linear layer over classes for --to hub; "
            f"{otherwise}"
        )
    return tasks, head


def _fill(network: Any, head: ClassHead, temperature: float, name: str) -> None:
    """Puts the head of a task in the place of timm's classifier."""
    own, its = head.linear, network.get_classifier()
    if not isinstance(its, nn.Linear) or its.weight.shape != own.weight.shape:
        raise ValueError(
            f"export: classifier of {name} (={type(its).__name__}) must be one linear layer for --to hub; write the "
            "encoder alone by --encoder, or all of it by --to onnx"
        )
    with torch.no_grad():
        its.weight.copy_(own.weight / temperature)
        its.bias.copy_(own.bias / temperature)


def opened(folder: Path) -> Any:
    """Opens an exported folder as its user would."""
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


@torch.no_grad()
def compare(model: Deployed, folder: Path, faces: UInt8[Tensor, "n h w c"]) -> list[Agreement]:
    """Compares an exported folder with the model on some faces, in batches of two sizes.

    Returns:
        How closely they agree on the same pictures and, of classes, on those that timm's own preprocessing makes.

    Raises:
        ValueError: On the same pictures they differ by more than they may.
    """
    network = opened(folder)
    if not network.num_classes:
        truth = _in_batches(lambda some: model.network.encoder(model.pictures(some)).pooled, faces, BATCHES[0])
        features = [_in_batches(lambda some: network(model.pictures(some)), faces, size) for size in BATCHES]
        found = agreement(ENCODER, truth, features, classes=False)
        found = replace(found, most=MOST_PROBABILITY * max(1.0, float(np.abs(truth).max())))
        refuse_other_answers([found])
        return [found]
    (task,) = model.tasks

    def ask(pictures: Tensor) -> Tensor:
        probabilities: Tensor = network(pictures).softmax(1)
        return probabilities

    truth = _in_batches(lambda some: model(some)[task], faces, BATCHES[0])
    answers = [_in_batches(lambda some: ask(model.pictures(some)), faces, size) for size in BATCHES]
    found = agreement(task, truth, answers, classes=True)
    refuse_other_answers([found])
    prepare = create_transform(**resolve_data_config({}, model=network))

    def prepared(some: UInt8[Tensor, "b h w c"]) -> Tensor:
        pictures = [Image.fromarray(face.squeeze(2) if face.shape[2] == 1 else face) for face in some.numpy()]
        return ask(torch.stack([prepare(picture.convert("RGB")) for picture in pictures]))

    by_timm = agreement(f"{task}, pictures prepared by timm", truth, [_in_batches(prepared, faces, BATCHES[0])], True)
    return [found, replace(by_timm, batches=BATCHES[:1])]


def _in_batches(
    ask: Callable[[UInt8[Tensor, "b h w c"]], Tensor], faces: UInt8[Tensor, "n h w c"], size: int
) -> Float32[np.ndarray, "n k"]:
    return np.concatenate([ask(some).numpy() for some in faces.split(size)])
