"""Joins sources into one: those whose labels are learned, and those whose training faces serve without any."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Int64
from torch import Tensor

from loaders.base import Classes, Faces, Label, Source, Split, augments, missing
from loaders.class_map import ClassMap, Renamed, class_map
from loaders.feed.joined import join_pixels
from loaders.sources.hide_labels import HideLabels
from loaders.sources.pixel_hashes import pixel_hashes
from loaders.sources.wrong_labels import WrongLabels

APART = 1 << 24
"""How far the sample ids of two sources lie apart: of an id, 32 bits key the random numbers."""
SOURCES = 128  # at most, in each part


@dataclass(frozen=True, slots=True)
class Union:
    """Joins the splits of labelled sources, and adds the training faces of others as faces without labels.

    All faces are of one size and colour. Splits but that of training are those of the labelled sources alone, each of
    which must have them. An unlabelled face is left out that equals, pixel by pixel, one of a held-out split, a
    labelled one of training, or an unlabelled one before it; the note says how many were. The hashes of the pixels of
    prepared stores are kept (`loaders.sources.kept`).

    Sample ids are those of the first labelled source, and those of each other source plus a constant of its place: they
    depend neither on the size of another source nor on what is left out.

    Attributes:
        labelled: A source, or several. Where one lacks a label that another has, its faces do.
        unlabelled: A source, or several; their labels are dropped.
        classes: Label to new names of classes of the labelled sources, such as {"expression": {"anger": "Angry"}}; a
            face whose class becomes None lacks the label. Other classes keep their names. The classes come in the
            order in which the sources have them.
        train: Name of the training split, of all sources.
        held_out: Splits of the labelled sources in which no unlabelled face may be.

    Raises:
        ValueError: There is no labelled source, there are too many, or one augments by itself.
    """

    labelled: Source | tuple[Source, ...]
    unlabelled: Source | tuple[Source, ...] = ()
    classes: Mapping[str, Renamed] = field(default_factory=dict)
    train: str = "train"
    held_out: tuple[str, ...] = ("val", "test")

    def __post_init__(self) -> None:
        labelled, unlabelled = _several(self.labelled), _several(self.unlabelled)
        for name, sources, least in (("labelled", labelled, 1), ("unlabelled", unlabelled, 0)):
            if not least <= len(sources) <= SOURCES:
                raise ValueError(f"Union: {name} (={sources!r}) must be {least} to {SOURCES} sources; name as many")
        for source in (*labelled, *unlabelled):
            if augments(source):
                raise ValueError(
                    f"Union: {_name(source)} must leave augmentation to the kernel, as all sources do here; "
                    "set its augment='kernel'"
                )

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens one split; see `loaders.base.Source.open`.

        Raises:
            ValueError: As of the sources; their faces differ in size or colour, their labels in classes that `classes`
                does not join, or it names what there is not.
        """
        device = torch.device(device)
        parts = [_open(source, split, device, place) for place, source in enumerate(_several(self.labelled))]
        labels, targets, class_maps = _join_labels(parts, self.classes)
        note = ""
        if split == self.train:
            others = [
                _open(source, split, device, SOURCES + place) for place, source in enumerate(_several(self.unlabelled))
            ]
            _refuse_different([*parts, *others])
            if others:
                others, note = self._without_copies(parts, others, device)
                parts += others
                nothing = sum(len(part.position) for part in others)
                targets = {name: torch.cat([t, missing(t, nothing)]) for name, t in targets.items()}
        else:
            _refuse_different(parts)
        prepared = tuple(dict.fromkeys(each for part in parts for each in part.faces.split.prepared))
        sample = torch.cat([part.faces.split.sample[part.position] + part.place * APART for part in parts])
        groups = {part.faces.split.group for part in parts} - {None}
        joined = replace(
            parts[0].faces.split,
            name=split,
            sample=sample,
            labels=labels,
            target=targets,
            prepared=prepared,
            group=groups.pop() if len(groups) == 1 else None,
        )
        return Faces(
            joined,
            torch.cat([part.faces.mean[part.position] for part in parts]),
            join_pixels([(part.faces.pixels, part.position) for part in parts]),
            device,
            note="; ".join(dict.fromkeys(filter(None, (*(part.faces.note for part in parts), note)))),
            class_maps=class_maps,
        )

    def _without_copies(
        self, labelled: Sequence[_Part], unlabelled: Sequence[_Part], device: torch.device
    ) -> tuple[list[_Part], str]:
        """Leaves out of the unlabelled faces those that are elsewhere, and says how many."""
        elsewhere: dict[bytes, str] = {}
        for part in labelled:
            elsewhere |= dict.fromkeys(part.hashes(), "labelled too")
        for split in self.held_out:
            for source in _several(self.labelled):
                elsewhere |= dict.fromkeys(self._held(source, split, device), f"in {split}")
        out: Counter[str] = Counter()
        left = []
        for part in unlabelled:
            kept = []
            for position, hashed in enumerate(part.hashes()):
                if hashed in elsewhere:
                    out[elsewhere[hashed]] += 1
                else:
                    kept.append(position)
                    elsewhere[hashed] = "twice"
            left.append(_Part(part.source, part.faces, part.place, torch.tensor(kept, dtype=torch.int64)))
        of, new = (sum(len(part.position) for part in parts) for parts in (labelled, left))
        copies = ", ".join(f"{count:,} {where}" for where, count in out.items())
        return left, (
            f"{of:,} faces of {_names(labelled)}, and {new:,} without labels of {_names(left)}"
            + (f", of which {out.total():,} were left out as copies ({copies})" if out else ", none of which is a copy")
        )

    def _held(self, source: Source, split: str, device: torch.device) -> list[bytes]:
        """Hashes a held-out split of a labelled source."""
        try:
            return pixel_hashes(_stored(source), split, lambda: source.open(split, device))
        except ValueError as error:
            raise ValueError(
                f"Union: held_out (={split!r}) must be a split of {_name(source)}, so that no unlabelled face is in "
                f"it; it cannot be opened ({error}), name those there are in held_out"
            ) from error


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Holds the opened split of one source."""

    source: Source
    faces: Faces
    place: int
    """Of the source among all; its sample ids are moved by it."""
    position: Int64[Tensor, " n"]
    """Positions in the split of the faces that are joined, ascending."""

    def hashes(self) -> list[bytes]:
        """Hashes each face of the split."""
        return pixel_hashes(_stored(self.source), self.faces.split.name, lambda: self.faces)


def _open(source: Source, split: str, device: torch.device, place: int) -> _Part:
    faces = source.open(split, device)
    sample = faces.split.sample
    if len(sample) and int(sample.max()) >= APART:
        raise ValueError(
            f"Union: {_name(source)} must have sample ids below {APART}, and has {int(sample.max())}; if it is a Union "
            "too, name its sources in one"
        )
    return _Part(source, faces, place, torch.arange(len(sample)))


def _several(sources: Source | tuple[Source, ...]) -> tuple[Source, ...]:
    return sources if isinstance(sources, tuple) else (sources,)


def _stored(source: Source) -> Source:
    """Finds the source of the same pixels whose labels are as stored: their hashes may be kept."""
    return _stored(source.source) if isinstance(source, HideLabels | WrongLabels) else source


def _name(source: Source) -> str:
    """Names a source for people: by its class, and by its folder where it has one."""
    if isinstance(source, HideLabels | WrongLabels):
        return f"{type(source).__name__}({_name(source.source)})"
    path = getattr(source, "path", None)
    return type(source).__name__ if path is None else f"{type(source).__name__}({str(path)!r})"


def _names(parts: Sequence[_Part]) -> str:
    return " and ".join(_name(part.source) for part in parts)


def _refuse_different(parts: Sequence[_Part]) -> None:
    first = parts[0]
    for other in parts[1:]:
        one, two = first.faces.split.shape, other.faces.split.shape
        if one != two:
            raise ValueError(
                f"Union: faces must be of one size and colour; those of {_name(first.source)} are {_looks(one)} and "
                f"those of {_name(other.source)} {_looks(two)}, prepare both with the same --size and --colour"
            )


def _looks(shape: tuple[int, int, int]) -> str:
    height, width, channels = shape
    return f"{width} x {height} {'gray' if channels == 1 else 'RGB'}"


# --- labels --------------------------------------------------------------------------------------------------------


def _join_labels(
    parts: Sequence[_Part], classes: Mapping[str, Renamed]
) -> tuple[dict[str, Label], dict[str, Tensor], tuple[ClassMap, ...]]:
    """Joins the labels of all parts and their targets, and says which class became which."""
    names = dict.fromkeys(name for part in parts for name in part.faces.split.labels)
    labels, targets, class_maps = {}, {}, []
    for name in names:
        having = [part for part in parts if name in part.faces.split.labels]
        labels[name] = _one_label(name, having, classes.get(name))
        renamed = classes.get(name, {})
        like = having[0].faces.split.target[name]
        targets[name] = torch.cat(
            [
                _renumbered(part.faces.split, name, labels[name], renamed)
                if part in having
                else missing(like, len(part.position))
                for part in parts
            ]
        )
        if renamed and isinstance(labels[name], Classes):
            class_maps.append(class_map(name, _faces_of_classes(name, having), renamed))
    for name in classes:
        if not isinstance(labels.get(name), Classes):
            usable = [label for label, kind in labels.items() if isinstance(kind, Classes)]
            raise ValueError(
                f"Union: classes (={name!r}) must name a label with classes; those are {', '.join(usable) or 'none'}"
            )
    return labels, targets, tuple(class_maps)


def _faces_of_classes(name: str, parts: Sequence[_Part]) -> Counter[str]:
    """Counts the labelled faces of each class, by its name in the sources."""
    counts: Counter[str] = Counter()
    for part in parts:
        kind, target = part.faces.split.labels[name], part.faces.split.target[name]
        assert isinstance(kind, Classes)
        found = torch.bincount(target + 1, minlength=len(kind.names) + 1)[1:].tolist()
        counts.update(dict(zip(kind.names, found, strict=True)))
    return counts


def _one_label(name: str, parts: Sequence[_Part], renamed: Renamed | None) -> Label:
    """Joins a label that all `parts` have, each with classes or each with the same numbers."""
    first, kinds = parts[0], [part.faces.split.labels[name] for part in parts]
    lists = [kind.names for kind in kinds if isinstance(kind, Classes)]
    joinable = len(lists) == len(parts)
    for part, kind in zip(parts, kinds, strict=True):
        same = set(kind.names) == set(lists[0]) if joinable and isinstance(kind, Classes) else kind == kinds[0]
        if not same and not (joinable and renamed is not None):
            raise ValueError(
                f"Union: {name} must be alike in all labelled sources; it is {_values(kinds[0])} in "
                f"{_name(first.source)} and {_values(kind)} in {_name(part.source)}"
                + (f", say which is which: classes={{{name!r}: {{'old': 'new', ...}}}}" if joinable else "")
            )
    if not joinable:
        return kinds[0]
    known = list(dict.fromkeys(old for names in lists for old in names))
    for old in renamed or {}:
        if old not in known:
            near = difflib.get_close_matches(old, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(known)}"
            raise ValueError(f"Union: classes[{name!r}] (={old!r}) must be a class of a labelled source; {hint}")
    return Classes(tuple(dict.fromkeys(new for new in _new_names(known, renamed or {}) if new is not None)))


def _values(label: Label) -> str:
    return ", ".join(label.names if isinstance(label, Classes) else label.columns)


def _new_names(names: Sequence[str], renamed: Renamed) -> Iterator[str | None]:
    return (renamed.get(old, old) for old in names)


def _renumbered(split: Split, name: str, joined: Label, renamed: Renamed) -> Tensor:
    """Gives the targets of a part by the joined classes."""
    own, target = split.labels[name], split.target[name]
    if not (isinstance(own, Classes) and isinstance(joined, Classes)):
        return target
    places = [-1 if new is None else joined.names.index(new) for new in _new_names(own.names, renamed)]
    return torch.tensor([*places, -1])[target]  # a missing label, -1, finds the last
