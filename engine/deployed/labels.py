"""Finds the labels of a trained model in another store, by the names of labels, classes and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.reports.evaluation import MatchedClass, MatchedLabel
from engine.tasks.base import Supervised
from loaders.base import Classes, Label, Numbers, Split, missing
from loaders.class_map import Renamed, nearest


@dataclass(frozen=True, slots=True)
class Matching:
    """Holds a split with the labels that the tasks of a model want, by their names and in their order."""

    split: Split
    tasks: tuple[Supervised, ...]
    """Those whose label the store has."""
    labels: tuple[MatchedLabel, ...]
    notes: tuple[str, ...]
    """What the store does not cover, a sentence each."""


def read_labels(text: str) -> dict[str, str]:
    """Reads `--label`: "expression=ferplus" takes a label of the store under another name.

    Raises:
        ValueError: A part of it is no pair.
    """
    pairs = [[word.strip() for word in part.split("=")] for part in text.split(",") if part.strip()]
    if wrong := next((pair for pair in pairs if len(pair) != 2 or not all(pair)), None):
        raise ValueError(
            f"evaluate: label (={'='.join(wrong)!r}) must read OWN=STORE, the model's label and the store's; "
            "e.g. --label expression=ferplus"
        )
    return dict(pairs)


def match(
    split: Split, tasks: Sequence[Supervised], *, renamed: Renamed, labels: Mapping[str, str], where: str
) -> Matching:
    """Matches the labels of a split with what tasks want of them.

    Classes are the same where their names are, or differ in capitals alone. A task whose label the store does not have
    is left out, and so is the label by which it groups.

    Args:
        renamed: Classes of the store that have other names, or are to be left out.
        labels: Label of the model to the store's label that is taken for it, where the names differ.
        where: Opens the errors.

    Raises:
        ValueError: No task is left; a class or label that is named is not there; faces have a class that the model does
            not know and that is not renamed; a label holds numbers in place of classes, or none of the numbers wanted.
    """
    _refuse_unknown_labels(split, tasks, labels, where)
    matched: dict[str, MatchedLabel] = {}
    targets: dict[str, Tensor] = {}
    wanted_labels: dict[str, Label] = {}
    notes: list[str] = []
    for task in tasks:
        for name, wanted in task.wants().items():
            own = labels.get(name, name)
            wanted_labels[name] = wanted
            if own not in split.labels:
                targets[name] = _no_target(wanted, len(split.sample))
                lost = "is left out" if name == task.label else f"has no figures by {name}"
                notes.append(f"{task} {lost}: the store has no label {own!r}")
            elif isinstance(wanted, Classes):
                targets[name], matched[name] = _classes(split, name, own, wanted, renamed, where)
            else:
                targets[name], matched[name] = _numbers(split, name, own, wanted, where)
    _refuse_unknown_classes(split, matched, renamed, where)
    left = tuple(task for task in tasks if _is_known(targets[task.label]))
    if not left:
        raise ValueError(
            f"{where}: no face has one of the labels of the model ({', '.join(task.label for task in tasks)}); the "
            f"store has {', '.join(split.labels) or 'none'}. Say which is which by --label {tasks[0].label}=NAME, "
            "or take another split"
        )
    notes += [note for label in matched.values() for note in label.uncovered()]
    return Matching(replace(split, labels=wanted_labels, target=targets), left, tuple(matched.values()), tuple(notes))


def _refuse_unknown_labels(split: Split, tasks: Sequence[Supervised], labels: Mapping[str, str], where: str) -> None:
    wanted = dict.fromkeys(name for task in tasks for name in task.wants())
    for own, other in labels.items():
        if own not in wanted:
            raise ValueError(f"{where}: label (={own!r}) must be one of the model's, {', '.join(wanted)}; name one")
        if other not in split.labels:
            raise ValueError(
                f"{where}: label {other!r} is not there; it has {', '.join(split.labels) or 'none'}, name one of these"
            )


def _classes(
    split: Split, name: str, own: str, wanted: Classes, renamed: Renamed, where: str
) -> tuple[Tensor, MatchedLabel]:
    """Renumbers the classes of a label to those wanted, by name."""
    kind, target = split.labels[own], split.target[own]
    if not isinstance(kind, Classes):
        raise ValueError(f"{where}: label {own!r} must have classes and holds numbers; name another by --label")
    counts = torch.bincount(target + 1, minlength=len(kind.names) + 1)[1:].tolist()
    rows, places = [], []
    for old, count in zip(kind.names, counts, strict=True):
        new = renamed[old] if old in renamed else _same(old, wanted.names)
        if new is not None and new not in wanted.names:
            raise ValueError(
                f"{where}: map ({old}={new}) must lead to a class of the model; {nearest(new, wanted.names)}"
            )
        rows.append(MatchedClass(old, new, count, unknown=new is None and old not in renamed))
        places.append(-1 if new is None else wanted.names.index(new))
    label = MatchedLabel(name, own, tuple(rows), wanted.names, classes=True, missing=int((target < 0).sum()))
    return torch.tensor([*places, -1])[target], label


def _same(old: str, names: Sequence[str]) -> str | None:
    """Finds the class of the same name, capitals aside; None where there is none, or several."""
    alike = [name for name in names if name.casefold() == old.casefold()]
    return old if old in names else alike[0] if len(alike) == 1 else None


def _numbers(split: Split, name: str, own: str, wanted: Numbers, where: str) -> tuple[Tensor, MatchedLabel]:
    """Takes the numbers of a label that are wanted, by name; one that it does not have is missing."""
    kind, target = split.labels[own], split.target[own]
    if not isinstance(kind, Numbers) or not set(kind.columns) & set(wanted.columns):
        has = "classes" if isinstance(kind, Classes) else ", ".join(kind.columns)
        raise ValueError(
            f"{where}: label {own!r} must have numbers ({', '.join(wanted.columns)}) and has {has}; "
            "name another by --label"
        )
    nothing = missing(target[:, 0], len(target))
    columns = [target[:, kind.columns.index(each)] if each in kind.columns else nothing for each in wanted.columns]
    counts = [int((~column.isnan()).sum()) for column in columns]
    rows = [MatchedClass(each, each, n) for each, n in zip(wanted.columns, counts, strict=True) if n]
    found = torch.stack(columns, dim=1)
    lost = int(found.isnan().all(1).sum())
    return found, MatchedLabel(name, own, tuple(rows), wanted.columns, classes=False, missing=lost)


def _is_known(target: Tensor) -> bool:
    """Tells whether any face has a label."""
    return bool((~target.isnan() if target.is_floating_point() else target >= 0).any())


def _no_target(wanted: Label, faces: int) -> Tensor:
    """Makes the targets of a label that no face has."""
    if isinstance(wanted, Classes):
        return torch.full((faces,), -1)
    return torch.full((faces, len(wanted.columns)), float("nan"))


def _refuse_unknown_classes(split: Split, matched: Mapping[str, MatchedLabel], renamed: Renamed, where: str) -> None:
    """Refuses faces of a class that is neither the model's nor renamed, and a map of what there is not."""
    kinds = [split.labels[label.own] for label in matched.values()]
    there = list(dict.fromkeys(name for kind in kinds if isinstance(kind, Classes) for name in kind.names))
    for old in renamed:
        if old not in there:
            raise ValueError(f"{where}: map (={old!r}) must name a class of the store; {nearest(old, there)}")
    for label in matched.values():
        if unknown := [row for row in label.rows if row.unknown and row.count]:
            listed = ", ".join(f"{row.store} ({row.count:,} faces)" for row in unknown)
            example = ",".join(f"{row.store}=" for row in unknown)
            raise ValueError(
                f"{where}: {label.own} has classes that the model does not know: {listed}; the model's are "
                f'{", ".join(label.wanted)}. Say which they are, or leave their faces out: --map "{example}"'
            )
