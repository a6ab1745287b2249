"""Exports a deployed model, preprocessing and all, as one file that needs nothing of this project."""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

import kernels
from engine.deployed.fitting import fitted
from engine.deployed.model import Deployed
from kernels.views.reference import render_views
from loaders import Loader, Source
from loaders.extras import require
from loaders.feed.order import Order

Format = Literal["onnx", "torch", "hub"]
FILES: Mapping[Format, str] = {"onnx": "model.onnx", "torch": "model.pt2", "hub": "model.safetensors"}
"""What the exported file is called."""
ABOUT = "hmtl"
"""The key under which an exported file says what its inputs and outputs are, as JSON."""
BATCHES = (64, 7)
"""Sizes of the batches by which an exported file is compared with the model."""
MOST_PROBABILITY, MOST_DEGREES = 1e-4, 1e-2
"""How far an answer of the exported file may be off."""

Answer = Callable[[np.ndarray], list[np.ndarray]]
"""Asks an exported file about faces, uint8 "b h w c": an array for each task."""


class Exported(nn.Module):
    """Answers as `Deployed` does, in operations that every format has: faces in, one tensor a task out."""

    where: Tensor
    colour: Tensor
    shows: Tensor

    def __init__(self, model: Deployed) -> None:
        super().__init__()
        self.network, self.said, self.shape = model.network, model.said, model.faces
        renderer = model.renderer
        self.size, self.mean, self.std = renderer.image_size, renderer.mean, renderer.std
        tables = kernels.centre(
            renderer.evaluation_crop, store=self.shape[:2], size=self.size, batch=1, device=torch.device("cpu")
        )
        self.register_buffer("where", tables.where[None])
        self.register_buffer("colour", tables.colour[None])
        # Not int16: onnxruntime does not compare such numbers.
        self.register_buffer("shows", torch.zeros(1, 1, 1, dtype=torch.int64))

    def forward(self, faces: UInt8[Tensor, "b h w c"]) -> tuple[Float32[Tensor, "b k"], ...]:
        """Gives the answers of each task, in the order of `tasks`: probabilities, or degrees."""
        batch = faces.shape[0]  # `len` would be a constant of the graph
        pictures = render_views(
            faces,
            torch.arange(batch, device=faces.device),
            self.where.expand(1, batch, 2, 3),
            self.colour.expand(1, batch, 3, 4),
            self.shows.expand(1, batch, 1),
            size=self.size,
            mean=self.mean,
            std=self.std,
            dtype=torch.float32,
        )[0]
        return tuple(self.said(self.network(pictures)).values())


@dataclass(frozen=True, slots=True)
class Agreement:
    """Says how the answers of an exported file agree with those of the model, for one task."""

    task: str
    largest: float
    """The largest difference of any number, in either batch size."""
    most: float
    """What it may be at most."""
    same: int | None
    """Faces of the same likeliest class; None where the answers are degrees."""
    faces: int
    batches: tuple[int, ...] = BATCHES
    """The sizes of the batches in which they were asked about."""

    def __str__(self) -> str:
        same = "" if self.same is None else f", same class {self.same:,}/{self.faces:,}"
        sizes = " and ".join(map(str, self.batches))
        return f"{self.task}: largest difference {self.largest:.0e}{same}, in batches of {sizes}"


def export(model: Deployed, to: Format, folder: Path) -> Path:
    """Writes the model into a folder as `FILES` says; the file says what it is under `ABOUT`.

    Args:
        model: On the CPU.

    Raises:
        ValueError: A package is missing, or a task computes what cannot be exported.
    """
    for package in ("onnx", "onnxscript", "onnxruntime") if to == "onnx" else ():
        require(package, extra="export", where="export")
    path = folder / FILES[to]
    about = facts_of(model)
    most = (2**31 - 1) // math.prod(model.faces)  # the reference counts bytes in int32
    shapes = ({0: torch.export.Dim("batch", max=most)},)
    faces = torch.zeros(2, *model.faces, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)  # of torch about itself
        try:
            program = torch.export.export(Exported(model).eval().requires_grad_(False), (faces,), dynamic_shapes=shapes)
            if to == "torch":
                buffer = io.BytesIO()  # torch's own writing of a file aborts the process where the disk is full
                torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(about)})
                with buffer.getbuffer() as view:  # released at once: see engine/runs/checkpoint.py
                    path.write_bytes(view)
                return path
            graph = torch.onnx.export(
                program, dynamo=True, input_names=["faces"], output_names=list(model.tasks), verbose=False
            )
        except RuntimeError as error:  # of torch.export and of the exporter
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(
                f"export: the model cannot be written as {to} ({first}); a task of your own must compute its answer by "
                "torch's operations alone, without asking for values"
            ) from error
    assert graph is not None
    graph.model.metadata_props[ABOUT] = json.dumps(about)
    graph.save(str(path))
    return path


def facts_of(model: Deployed) -> dict[str, Any]:
    """Gives what an exported file says of itself under `ABOUT`."""
    return {
        "answers": {name: list(names) for name, names in model.answers.items()},
        "classes": sorted(model.about["classes"]),
        "faces": list(model.faces),
        "prepared": [asdict(each) for each in model.prepared],
        "checkpoint": model.taken,
    }


def opened(path: Path, to: Format) -> Answer:
    """Opens an exported file as its user would."""
    if to == "onnx":
        runtime = require("onnxruntime", extra="export", where="export")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda faces: list(session.run(None, {"faces": faces}))
    module = torch.export.load(path).module()
    return lambda faces: [answer.detach().numpy() for answer in module(torch.from_numpy(faces))]


def compare(model: Deployed, answer: Answer, faces: UInt8[Tensor, "n h w c"]) -> list[Agreement]:
    """Compares an exported file with the model on some faces, in batches of two sizes.

    Raises:
        ValueError: An answer is further off than it may be.
    """
    said = [model(some) for some in faces.split(BATCHES[0])]
    found = []
    exported = [answers_of(answer, faces.numpy(), size) for size in BATCHES]
    for i, task in enumerate(model.tasks):
        truth = torch.cat([each[task] for each in said]).numpy()
        found.append(agreement(task, truth, [answers[i] for answers in exported], task in model.about["classes"]))
    refuse_other_answers(found)
    return found


def agreement(
    task: str, truth: Float32[np.ndarray, "n k"], answers: Sequence[Float32[np.ndarray, "n k"]], classes: bool
) -> Agreement:
    """Measures how the answers in batches of some sizes agree with those of the model."""
    largest = max(float(np.abs(each - truth).max()) for each in answers)
    same = min(int((each.argmax(1) == truth.argmax(1)).sum()) for each in answers) if classes else None
    return Agreement(task, largest, MOST_PROBABILITY if classes else MOST_DEGREES, same, len(truth))


def refuse_other_answers(found: Sequence[Agreement]) -> None:
    """Refuses an exported file whose answers are further off than they may be, with a ValueError."""
    if wrong := [each for each in found if not each.largest <= each.most]:
        raise ValueError(
            f"export: the exported file does not say what the model says ({'; '.join(map(str, wrong))}; "
            f"{wrong[0].most:g} is allowed), so nothing is written; please report it with the recipe"
        )


def faces_of(model: Deployed, source: Source, split: str) -> UInt8[Tensor, "n h w c"]:
    """Reads the faces of a split in the size and colour of the model's.

    Raises:
        ValueError: The faces cannot be opened, or not be brought to that size.
    """
    faces, _ = fitted(source.open(split, "cpu"), model.faces, f"export: {split}")
    with closing(Loader(faces, Order(faces.split, BATCHES[0], 0))) as loader:
        return torch.cat([batch.store[batch.row][batch.sample >= 0] for batch in loader.epoch(0)])


def answers_of(answer: Answer, faces: UInt8[np.ndarray, "n h w c"], size: int) -> list[np.ndarray]:
    """Asks an exported file in batches of a size; gives an array a task."""
    each = [answer(faces[first : first + size]) for first in range(0, len(faces), size)]
    return [np.concatenate(of) for of in zip(*each, strict=True)]
