"""Uses a trained model: from faces to probabilities and degrees, with nothing of the training left."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from engine.backbone import Backbone
from engine.calibration import fit_temperature
from engine.recipe import settings, written
from engine.runs import checkpoint as checkpoints
from engine.runs.result import read_arrays
from engine.tasks.base import Supervised
from engine.training.model import Encoder, InferenceModel, keyed_initialisation, measure_shape
from engine.training.render import Renderer
from engine.views import EVALUATION
from engine.weights import load_weights, misfits
from kernels import Augment
from loaders.base import Batch
from loaders.store.preparation import read_preparation

Which = Literal["last", "best"]
"""The checkpoint of a run: that of the last epoch, or of the best one on val."""


def load(
    path: str | Path,
    device: torch.device | str = "cpu",
    *,
    checkpoint: Which | None = None,
    calibrated: bool = False,
    headless: bool = False,
) -> Deployed:
    """Loads the model of a run for inference, from its checkpoint alone and without executing code of it.

    Args:
        path: A run folder, a checkpoint folder, or a `weights.safetensors` file.
        checkpoint: Which one of a run folder: "last", or by default "best", the epoch that val chose.
        calibrated: Divide the scores of each task with classes by the temperature that suits val best, so that its
            probabilities say how often they are right; no answer changes. For a run folder.
        headless: Take a run without supervised heads too, whose encoder alone is of use.

    Raises:
        ValueError: There is no such checkpoint, it is damaged, or was not written by this engine; or a task of it is
            of a class that is not known: import the file that defines it first.
    """
    path = Path(path)
    where, chosen = f"deployed: {path}", _chosen(path, checkpoint)
    folder = chosen if chosen.is_dir() else chosen.parent
    if (folder / "files.json").is_file() and (damage := checkpoints.damaged(folder)):
        raise ValueError(f"{where} is damaged ({damage}); take another checkpoint")
    weights = load_weights(chosen)
    known = weights.about
    if "tasks" not in known or "faces" not in known["preprocessing"]:
        raise ValueError(f"{where} does not say which heads it has; it is of an older version, train it again")
    if not known["tasks"] and not headless:
        raise ValueError(
            f"{where} has no supervised head, only pretext ones; fine-tune it first, by `init` of a recipe"
        )
    tasks = {name: _task(task, where) for name, task in known["tasks"].items()}
    with keyed_initialisation(0, "deployed"):  # its values are replaced; torch's generator stays as it was
        encoder = Encoder(Backbone(**known["backbone"]).build())
        shape = measure_shape(encoder, known["backbone"]["name"], known["preprocessing"]["image_size"])
        network = InferenceModel(encoder, {name: task.build_head(shape, {}) for name, task in tasks.items()})
    kept = {key: tensor for key, tensor in weights.tensors.items() if _is_part(key, tasks)}
    if wrong := misfits(network.state_dict(), kept, "the model"):
        raise ValueError(f"{where} does not fit what it says of itself ({wrong}); take another copy")
    network.load_state_dict(kept)
    temperatures = _temperatures(path, chosen, known["classes"], where) if calibrated else {}
    return Deployed(network, tasks, known, chosen, temperatures).to(device)


def _temperatures(run: Path, chosen: Path, tasks: Collection[str], where: str) -> dict[str, float]:
    """Fits the temperature of each task with classes on what the checkpoint said of val."""
    if not tasks:
        raise ValueError(f"{where} has no task with classes, and calibrated (=True) is for those; leave it out")
    if chosen == run:
        raise ValueError(
            f"{where} is no run folder, whose predictions on val calibrated (=True) needs; name the folder of the run"
        )
    try:
        said = read_arrays(run / "predictions" / f"val-{chosen.name}.npz")
    except ValueError as error:
        raise ValueError(f"{where} cannot be calibrated: {error}; leave calibrated out") from error
    found = {}
    for task in tasks:
        target, probability = (said.get(f"{task}.{what}") for what in ("target", "probability"))
        if target is None or probability is None or (temperature := fit_temperature(probability, target)) is None:
            raise ValueError(f"{where} cannot be calibrated: {task} has no labels on val; leave calibrated out")
        found[task] = temperature
    return found


def _chosen(path: Path, which: Which | None) -> Path:
    """Finds the checkpoint of a run folder; another path is one itself."""
    folder = path / "checkpoints"
    if not folder.is_dir():
        if which is not None:
            raise ValueError(
                f"deployed: checkpoint (={which}) chooses one of a run folder, and {path} is none; leave it out, or "
                "name the folder of the run"
            )
        return path
    chosen = folder / (which or checkpoints.BEST)
    if not chosen.is_dir():
        there = [name for name in get_args(Which) if (folder / name).is_dir()]
        take = f"take {' or '.join(there)}" if there else "go on with the run by --resume"
        raise ValueError(f"deployed: {path} must have the checkpoint {chosen.name}, and has none; {take}")
    return chosen


def _task(described: Any, where: str) -> Supervised:
    if isinstance(described, str):
        return _task_of_version_0_1(described, where)
    task: Supervised = written.read(
        described,
        Supervised,
        f"{where}: its task",
        unknown="import the file that defines it first, or name it by hmtl predict --tasks FILE",
    )
    return task


def _task_of_version_0_1(text: str, where: str) -> Supervised:
    """Reads a task of a checkpoint of version 0.1, which holds its `repr`."""
    try:
        task: Supervised = settings.parse(text, Supervised, "its task")
    except ValueError as error:
        raise ValueError(
            f"{where} has a head that `engine.tasks` does not make ({error}); build its model yourself"
        ) from error
    return task


def _is_part(key: str, tasks: Mapping[str, Supervised]) -> bool:
    """Whether a tensor is of the encoder or of the head of one of these tasks."""
    part, name, *_ = key.split(".")
    return part == "encoder" or name in tasks


class Deployed(nn.Module):
    """Holds the encoder and supervised heads of a trained run: the supervised model, whatever was trained beside it.

    Attributes:
        tasks: Supervised task name to the task.
        about: What the checkpoint says of it: classes, backbone, preprocessing, epoch, ...
        faces: (height, width, channels) of the faces it was trained on.
        prepared: What had been done to pictures to make these faces, one for each way it was done; none where they were
            drawn, or where the checkpoint is of an older version, which did not say it.
        checkpoint: Where it was loaded from.
        temperatures: Task name to what its scores are divided by, of the tasks that are calibrated.
    """

    def __init__(
        self,
        network: InferenceModel,
        tasks: Mapping[str, Supervised],
        about: Mapping[str, Any],
        checkpoint: Path,
        temperatures: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.network = network
        self.tasks = tasks
        self.about = about
        self.checkpoint = checkpoint
        self.temperatures = temperatures
        known = about["preprocessing"]
        height, width, channels = known["faces"]
        self.faces: tuple[int, int, int] = (height, width, channels)
        self.prepared = tuple(map(read_preparation, known.get("prepared", ())))
        self.renderer = Renderer(
            views={},
            augment=Augment(),
            image_size=known["image_size"],
            evaluation_crop=known["evaluation_crop"],
            mean=tuple(known["mean"]),
            std=tuple(known["std"]),
            seed=0,
        )
        self.eval()

    @property
    def taken(self) -> str:
        """Says which checkpoint this is, and whether it is calibrated."""
        said = [f"{name} at temperature {value:.2f}" for name, value in self.temperatures.items()]
        return ", ".join([f"{self.checkpoint}, epoch {self.about['epoch']}", *said])

    @property
    def answers(self) -> dict[str, tuple[str, ...]]:
        """Gives task name to what its numbers are: the names of its classes, or yaw, pitch and roll."""
        return {name: task.answers for name, task in self.tasks.items()}

    @torch.no_grad()
    def forward(self, faces: UInt8[Tensor, "b h w c"]) -> dict[str, Float32[Tensor, "b k"]]:
        """Answers the tasks for each face.

        Args:
            faces: As `pictures` takes them.

        Returns:
            Task name to its `answers`: probabilities, or degrees.

        Raises:
            ValueError: No faces, faces of another type or with other channels, or on another device.
        """
        return self.said(self.network(self.pictures(faces)))

    def pictures(self, faces: UInt8[Tensor, "b h w c"]) -> Float32[Tensor, "b 3 s s"]:
        """Renders faces as the network sees them: cropped, resized, normalised.

        Args:
            faces: Cut out as those it was trained on, on the device of the model, gray or RGB as `faces` of this says.
                Height and width may be others; the view is then interpolated without smoothing, so shrink much larger
                faces first, as `hmtl predict` does.

        Raises:
            ValueError: No faces, faces of another type or with other channels, or on another device.
        """
        if len(faces) == 0:
            raise ValueError(f"Deployed: faces (={tuple(faces.shape)}) must be one or more; skip empty batches")
        if faces.dtype != torch.uint8 or faces.ndim != 4 or faces.shape[3] != self.faces[2]:
            raise ValueError(
                f"Deployed: faces (={tuple(faces.shape)}, {faces.dtype}) must be uint8 of shape (batch, height, width, "
                f"{self.faces[2]}), as it was trained on; convert them first"
            )
        if faces.device != (here := next(self.parameters()).device):
            raise ValueError(
                f"Deployed: faces (on {faces.device}) must be where the model is ({here}); move them there"
            )
        index = torch.arange(len(faces), device=faces.device)
        mean = torch.zeros(len(faces), 3, device=faces.device)  # contrast turns about it, and none is changed
        first = torch.zeros_like(index, dtype=torch.int32)
        rendered = self.renderer.evaluation(Batch(faces.contiguous(), index, index, first, mean, {}))
        return rendered.pictures[EVALUATION]

    def said(self, outputs: Mapping[str, Tensor]) -> dict[str, Float32[Tensor, "b k"]]:
        """Gives what the outputs of all heads say: probabilities, calibrated where they are, or degrees."""
        found = {name: task.answer(outputs[name]) for name, task in self.tasks.items()}
        for name, temperature in self.temperatures.items():
            found[name] = (found[name].clamp(min=1e-12).log() / temperature).softmax(dim=1)
        return found
