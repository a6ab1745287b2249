"""Writes a first recipe for a prepared store, in the shape of the recipes that come along."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from loaders.base import Classes, Label
from loaders.files import write_text
from loaders.store.opening import FFCV_STORE, open_store, prepared_as

SHOWN = 140_000
"""How many unlabelled faces the semi-supervised recipe shows in all, as `fer2013_semi` does."""
SMALL = 80
"""The greatest side in pixels for which the small backbone is taken."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What a recipe needs to know of a store."""

    label: str
    task: str
    """The task as a recipe writes it, without the closing bracket."""
    kind: str
    """The task's class."""
    name: str
    """The task's name."""
    size: int
    labelled: int
    """Training faces with the label."""
    faces: int
    """All training faces, those of the second store too."""
    test: bool


def write_recipe(store: Path, *, label: str = "", unlabelled: Path | None = None, out: Path | None = None) -> Path:
    """Writes a recipe of hybrid training on a store, with its baselines, to be changed by hand.

    Where most training faces have no label it is the semi-supervised one of `recipes/fer2013_semi.py`, else the one of
    `recipes/fer2013_hmtl.py`; settings are theirs and were chosen on FER2013 (ours).

    Args:
        store: A packed store.
        label: What to learn; by default its first label of two classes or more, else of numbers.
        unlabelled: A second store of faces without that label, used for the pretext task.
        out: The file; by default the store's name in the working directory.

    Returns:
        The file.

    Raises:
        ValueError: The store, the label or the second store is not what it must be, or the file is there already.
    """
    to = out or Path(f"{store.resolve().name}.py")
    if to.exists():
        raise ValueError(f"recipes: {to} must not be there yet; move it away, or name another by --out")
    if to.suffix != ".py" or not to.stem.isidentifier():
        raise ValueError(f"recipes: out (={to}) must be a name for a Python file, such as mine.py; give one by --out")
    found = _look(store, label, unlabelled)
    few = found.labelled < found.faces / 2
    data = f"Packed({str(store)!r})"
    if unlabelled is not None:
        data = f"Union({data}, (Packed({str(unlabelled)!r}),))"
    common: dict[str, Any] = {
        "store": _in_docstring(str(store)),
        "file": _in_docstring(str(to)),
        "data": data,
        "loaders": "Composed, Packed" if few else "Packed",
        "task": found.task,
        "kind": found.kind,
        "label": found.label,
        "said_label": _in_docstring(found.label),
        "size": found.size,
        "backbone": "resnet10t" if found.size <= SMALL else "resnet18",
        "test": "" if found.test else "    test=None,\n",
        "said": f"{found.labelled:,} of the {found.faces:,} training faces have {_in_docstring(found.label)}",
        "labelled": (labelled := min(64, found.labelled)),
        "unlabelled": (unlabelled_faces := min(64, found.faces - found.labelled)),
        "batch": labelled + unlabelled_faces if few else labelled,
        **_pseudo(found),
        "epochs": (epochs := max(5, round(SHOWN / max(found.faces - found.labelled, 1)))),
        "every": max(1, epochs // 20),
    }
    if unlabelled is not None:
        common["loaders"] += ", Union"
    text = (_FEW_LABELS if few else _ALL_LABELLED).format(**common)
    write_text(to, text)
    return to


def _in_docstring(text: str) -> str:
    """Writes text so that nothing in it ends or changes the docstring it stands in."""
    return text.replace("\\", "\\\\").replace('"', "'")


def _pseudo(found: _Found) -> dict[str, str]:
    """What pseudo-labels add to a recipe: a task and two views; nothing where numbers are learned."""
    if found.kind not in ("Expression", "Attribute"):
        return {"pseudo": "", "pseudo_views": "", "pseudo_kind": "", "gentle": ""}
    of = "" if found.name == "expression" else f"of={found.name!r}, "
    return {
        "pseudo": f"        PseudoLabels({of}weight=RampWeight(1.0, start=0.7, end=0.7)),\n",
        "pseudo_views": (
            '        "weak": Plain(of="unlabelled", fresh=True, augment=gentle),\n'
            '        "strong": Plain(of="unlabelled", fresh=True, augment=strong),\n'
        ),
        "pseudo_kind": "PseudoLabels, ",
        "gentle": "gentle = Augment(flip=0.5, scale=(0.9, 1.0), shift=(-0.05, 0.05))\n",
    }


def _look(store: Path, label: str, unlabelled: Path | None) -> _Found:
    where = f"recipes: store {store}"
    if prepared_as(store) == FFCV_STORE:
        raise ValueError(f"{where} must be a packed one; prepare a packed one and write FFCV(...) into its recipe")
    found = open_store(store)
    manifest = found.manifest
    for split in ("train", "val"):
        if split not in manifest.splits:
            raise ValueError(f"{where} must have a {split} split; prepare it again with --val-share 0.1")
    name = _chosen(where, manifest.labels, label, manifest.group)
    train = manifest.part("train", found.shape, where)
    target = train.target[name]
    labelled = int((target >= 0).sum() if target.ndim == 1 else (~target.isnan()).all(dim=1).sum())
    if not labelled:
        raise ValueError(f"{where}: no training face has {name}; name another label by --label")
    faces = len(train.sample)
    if unlabelled is not None:
        other = open_store(unlabelled)
        faces += len(other.manifest.part("train", other.shape, f"recipes: store {unlabelled}").sample)
    height, width, _ = found.shape
    size = min(height, width) // 4 * 4  # which parts into the tiles of puzzles
    kind, task = _task(name, manifest.labels[name], target)
    return _Found(name, task, kind, _word(name), size, labelled, faces, "test" in manifest.splits)


def _chosen(where: str, labels: Mapping[str, Label], label: str, group: str | None) -> str:
    usable = [name for name, kind in labels.items() if not isinstance(kind, Classes) or len(kind.names) > 1]
    usable = [name for name in usable if name != group]
    usable.sort(key=lambda name: not isinstance(labels[name], Classes))
    if label and label not in usable:
        raise ValueError(f"{where}: label (={label!r}) must be one of {', '.join(usable) or 'none'}; name one of these")
    if not usable:
        raise ValueError(f"{where} must have a label to learn; it has none, prepare it with labels")
    return label or usable[0]


def _task(name: str, label: Label, target: Tensor) -> tuple[str, str]:
    """The class of the task that learns a label, and the task as a recipe writes it, still open."""
    if isinstance(label, Classes):
        names = "(" + ", ".join(map(repr, label.names)) + ")"
        kind = "Expression" if "expression" in name else "Attribute"
        own = "" if (kind, name) == ("Expression", "expression") else f", label={name!r}, name={_word(name)!r}"
        return kind, f"{kind}({names}{own}, label_smoothing=0.1"
    if set(label.columns) >= {"yaw", "pitch", "roll"}:
        return "PoseRotation", f"PoseRotation(label={name!r}, name={_word(name)!r}"
    known = target[:, 0][~target[:, 0].isnan()]
    low, high = math.floor(known.min()), math.ceil(known.max())
    scale = f"low={low}, high={max(high, low + 1)}"
    return "Number", f"Number(label={name!r}, name={_word(name)!r}, column={label.columns[0]!r}, {scale}"


def _word(name: str) -> str:
    return "".join(c if c.isidentifier() or c.isdigit() else "_" for c in name).lstrip("0123456789_") or "task"


_ALL_LABELLED = '''"""{said_label} on {store} by hybrid training: a supervised head beside one that solves puzzles.

Source:  written by hmtl recipes new; settings of recipes/fer2013_hmtl.py, which were chosen on FER2013.
Expect:  not run yet; {said}.
Differs: everything here is yours to change.
Run:     hmtl train {file}
         hmtl train {file}:supervised               (its baseline: one plain view)
         hmtl train {file}:supervised_equal_cost    (as many plain views as cost the same)
"""

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.tasks import {kind}, SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import Augment
from loaders import {loaders}

recipe = Recipe(
    data={data},
{test}    augment=Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-15, 15), scale=(0.8, 1.05), shift=(-0.1, 0.1)),
    views={{"plain": Plain(), "puzzle": Puzzle(grid=2)}},
    backbone=Backbone({backbone!r}),
    tasks=({task}), SolvePuzzle(weight=0.3)),
    optim=AdamW(lr=4e-3, weight_decay=0.05, warmup_epochs=4),
    batch_statistics="per_view_plain",
    epochs=40,
    batch_size={batch},
    ema=0.995,
    image_size={size},
    evaluation_crop=1.0,
)
supervised = one_view(recipe)
supervised_equal_cost = equal_cost(recipe)
'''

_FEW_LABELS = '''"""{said_label} on {store} with few labels: puzzles first, then labels, then pseudo-labels, in one run.

Source:  written by hmtl recipes new; settings of recipes/fer2013_semi.py, which were chosen on FER2013.
Expect:  not run yet; {said}.
Differs: everything here is yours to change.
Run:     hmtl train {file}
         hmtl train {file}:supervised               (its baseline: the labelled faces alone, one view)
         hmtl train {file}:supervised_equal_cost    (as many views of them as cost the same)
"""

from dataclasses import replace

from engine.backbone import Backbone
from engine.baselines import supervised as one_view
from engine.baselines import supervised_equal_cost as equal_cost
from engine.losses import AnnealWeight, RampWeight
from engine.optim import AdamW, CosineRestarts
from engine.recipe import Recipe
from engine.tasks import {kind}, {pseudo_kind}SolvePuzzle
from engine.views import Plain, Puzzle
from kernels import Augment
from loaders import {loaders}

ordinary = Augment(flip=0.5, contrast=(0.6, 1.4), rotation=(-15, 15), scale=(0.8, 1.05), shift=(-0.1, 0.1))
{gentle}strong = Augment(
    flip=0.5,
    contrast=(0.4, 1.6),
    brightness=(-0.2, 0.2),
    rotation=(-30, 30),
    scale=(0.7, 1.1),
    shift=(-0.15, 0.15),
    cut=0.4,
)
learnt = {task}, on=("plain",))

recipe = Recipe(
    data={data},
{test}    sampler=Composed(labelled={labelled}, unlabelled={unlabelled}, label={label!r}),
    batch_size={batch},
    augment=ordinary,
    views={{
        "plain": Plain(of="labelled", augment=strong),
        "puzzle": Puzzle(grid=2, of="unlabelled"),
{pseudo_views}    }},
    backbone=Backbone({backbone!r}),
    tasks=(
        replace(learnt, weight=RampWeight(1.0, start=0.35, end=0.35)),
        SolvePuzzle(weight=AnnealWeight(1.0, hold=0.35, end=0.35)),
{pseudo}    ),
    optim=AdamW(lr=4e-3, weight_decay=0.05, schedule=CosineRestarts(at=(0.35,))),
    batch_statistics="per_view",
    epochs={epochs},
    evaluate_every={every},
    ema=0.995,
    image_size={size},
    evaluation_crop=1.0,
)
as_alone = replace(recipe, augment=strong, optim=AdamW(lr=4e-3, weight_decay=0.05, warmup_epochs=1))
supervised = one_view(as_alone)
supervised_equal_cost = equal_cost(as_alone)
'''
