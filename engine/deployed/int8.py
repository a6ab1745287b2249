"""Quantises an exported ONNX file to 8-bit integers by onnxruntime, and measures what that costs.

Static quantisation: ranges are those that faces of the training have, weights have one range a channel, and the graph
says where numbers are rounded (QDQ), so that any runtime does the same. The preprocessing before the first convolution
and what makes answers of scores stay as they are.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from engine.deployed.fitting import fitted
from engine.deployed.model import Deployed
from engine.figures import Figure
from engine.reports.evaluation import Evaluation
from engine.tasks.base import Supervised
from loaders import Loader, Source
from loaders.extras import require
from loaders.feed.order import Order

FILE = "model.int8.onnx"
FACES, BATCH = 512, 64
"""Faces of the training that give the ranges, and how many at once."""
QUANTISED = ("Conv", "Gemm", "MatMul")
"""Operations whose inputs and weights are rounded."""
ANSWERS = ("probability", "angles", "numbers")
"""What the rows of an evaluation call the answers of a task."""
LOSS = 1.0
"""How much worse a figure may be by default, in its unit: a point, or a degree."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Holds the first figure of a task before and after."""

    task: str
    figure: Figure
    before: float
    after: float

    @property
    def loss(self) -> float:
        """How much worse it is, in its unit."""
        worse = self.before - self.after if self.figure.greater_is_better else self.after - self.before
        return self.figure.scale * worse

    def __str__(self) -> str:
        space = "" if self.figure.unit == "°" else " "
        unit = "points" if self.figure.unit == "%" else self.figure.unit
        amount = f"{abs(self.loss):.2f}{space}{unit}".rstrip()
        return (
            f"{self.task}: {self.figure.label} {self.figure.write(self.before)} -> {self.figure.write(self.after)} in "
            f"int8, {amount} {'better' if self.loss < 0 else 'worse'}"
        )


def training_faces(model: Deployed, source: Source, split: str, seed: int) -> UInt8[Tensor, "n h w c"]:
    """Draws `FACES` faces of the training, or all where there are fewer, not augmented, in the model's form.

    Raises:
        ValueError: The faces cannot be opened, or not be brought to that form.
    """
    faces, _ = fitted(source.open(split, "cpu"), model.faces, f"export: {split}")
    samples = faces.split.sample
    drawn = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))[:FACES].sort().values
    with closing(Loader(faces, Order(faces.split, BATCH, 0))) as loader:
        return torch.cat([batch.store[batch.row][batch.sample >= 0] for batch in loader.some(samples[drawn])])


def quantise(exported: Path, folder: Path, faces: UInt8[Tensor, "n h w c"]) -> Path:
    """Writes `FILE` into a folder: an exported model with the weights and inputs of its layers in 8 bits.

    Args:
        exported: What `engine.deployed.export.export` wrote.
        faces: Of the training, as `training_faces` draws them.

    Raises:
        ValueError: A package is missing.
    """
    onnx = require("onnx", extra="export", where="export")
    quantization = require("onnxruntime.quantization", extra="export", where="export")
    shapes = require("onnxruntime.quantization.shape_inference", extra="export", where="export")
    about = {each.key: each.value for each in onnx.load(exported).metadata_props}
    path = folder / FILE
    logging.getLogger(shapes.__name__).disabled = True  # a traceback where the disk is full; the next write says it
    with tempfile.TemporaryDirectory(dir=folder) as place:  # so that what a killed process leaves is found
        prepared = Path(place, "prepared.onnx")
        shapes.quant_pre_process(exported, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            path,
            _Reader(faces),
            op_types_to_quantize=list(QUANTISED),
            nodes_to_quantize=_layers(onnx.load(prepared).graph),
            per_channel=True,
            reduce_range=True,  # of weights, by a bit: products of 8 bits overflow on CPUs without VNNI
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    written = onnx.load(path)
    onnx.helper.set_model_props(written, about)
    onnx.save(written, path)
    return path


def _layers(graph: Any) -> list[str]:
    """Names the operations with weights, from the first convolution on."""
    weights = {each.name for each in graph.initializer}
    first = next((i for i, node in enumerate(graph.node) if node.op_type == "Conv"), 0)
    return [node.name for node in graph.node[first:] if node.op_type in QUANTISED and weights.intersection(node.input)]


class _Reader:
    """Gives batches of faces to onnxruntime, one a call, and None in the end."""

    def __init__(self, faces: UInt8[Tensor, "n h w c"]) -> None:
        self._batches: Iterator[Tensor] = iter(faces.split(BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"faces": batch.numpy()}


def losses(tasks: Mapping[str, Supervised], evaluation: Evaluation, answers: Mapping[str, np.ndarray]) -> list[Loss]:
    """Measures the first figure of each task before and after, by what an evaluation kept and by other answers.

    Args:
        tasks: Of the model.
        evaluation: Of the model on some faces.
        answers: Task to its answers to these faces, in the same order.
    """
    found = []
    for each in evaluation.figures:
        task = tasks[each.task]
        if each.figure != task.figures({})[0]:
            continue
        rows = {
            name.removeprefix(f"{each.task}."): values
            for name, values in evaluation.arrays.items()
            if name.startswith(f"{each.task}.")
        }
        said = next((name for name in ANSWERS if name in rows), None)
        if said is None:
            continue
        after = task.measure({**rows, said: answers[each.task].astype(rows[said].dtype)})
        found.append(Loss(each.task, each.figure, each.value, after[each.figure.name]))
    return found


def refuse_losses(found: Sequence[Loss], most: float) -> None:
    """Refuses a quantised model that is worse than it may be.

    Args:
        most: In the unit of each figure.

    Raises:
        ValueError: A figure is worse by more, or no figure could be measured.
    """
    if not found:
        raise ValueError(
            "export: int8 (=True) must be measured, and no face that it is tried on has a label of the model's; name a "
            "labelled store by --faces"
        )
    if wrong := [each for each in found if not (each.loss <= most or math.isnan(each.before))]:
        raise ValueError(
            f"export: int8 costs more than int8-loss (={most:g}) allows ({'; '.join(map(str, wrong))}), so nothing is "
            "written; allow more by --int8-loss, or leave --int8 out"
        )
