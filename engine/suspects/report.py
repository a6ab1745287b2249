"""Prints suspect labels and near-duplicates, writes them as csv and as sheets of faces, and says which to drop."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from engine.figures import Figure
from engine.reports.table import Table
from engine.suspects.answers import Answers
from engine.suspects.finding import Suspects, accuracies
from loaders.base import Classes
from loaders.files import write_text
from loaders.store.contact_sheet import draw_captioned
from loaders.store.manifest import Manifest, in_usual_order
from loaders.store.near_duplicates import NearDuplicates
from loaders.store.opening import Store
from loaders.terminal import Terminal

SUSPECTS, TWINS = "suspects", "near_duplicates"
"""Names of the csv file and of the sheet of each."""
_ON_SHEET = 48
_SHARE = Figure("share", unit="%")


def print_suspects(answers: Answers, suspects: Suspects, store: Store, console: Terminal) -> None:
    """Prints of how many faces the labels were looked at, and class by class how many of them are suspect."""
    runs = len(answers.held) or 1
    console.print(
        f"{answers.label}: {len(answers.sample):,} of {answers.faces:,} faces were answered by "
        f"{'a run' if runs == 1 else f'one of {runs} runs'} that had not been trained on them",
        soft_wrap=False,
    )
    if left := Counter(_splits(store.manifest)) - Counter(_splits(store.manifest, answers.sample)):
        counts = ", ".join(f"{count:,} of {split}" for split, count in left.items())
        folds = "Folds hold each face out once: data=Folds(Packed(...), k=5, fold=0)"
        console.print(f"not looked at: {counts}. {folds}", soft_wrap=False)
    for run in answers.started:
        console.print(
            f"warning: {run} started from other weights; if these were trained on its test faces, it knows them",
            soft_wrap=False,
        )
    for note in suspects.notes:
        console.print(note, soft_wrap=False)
    rows = []
    given = answers.given[suspects.place]
    for number, name in enumerate(answers.names):
        count, found = int((answers.given == number).sum()), given == number
        said = Counter(suspects.said[found].tolist()).most_common(1)
        rows.append(
            (
                name,
                f"{count:,}",
                f"{int(found.sum()):,}",
                _SHARE.write(found.sum() / count if count else None, decimals=1),
                f"{answers.names[said[0][0]]} ({said[0][1]:,})" if said else "–",
            )
        )
    all_ = len(answers.given)
    rows.append(("all", f"{all_:,}", f"{len(given):,}", _SHARE.write(len(given) / all_, decimals=1), ""))
    Table(("label", "faces", "suspect", "share", "most often said"), rows, title="suspect labels").print(console)


def print_twins(twins: NearDuplicates, store: Store, label: str | None, most: int, console: Terminal) -> None:
    """Prints how many faces of each split have an equal or nearly equal one within it and in the others."""
    manifest = store.manifest
    split = manifest.split.numpy()
    conflicts = _conflicts(twins, manifest, label)
    both = np.concatenate([twins.pairs, twins.pairs[:, ::-1]])
    equal, other = np.tile(twins.equal, 2), np.tile(conflicts, 2)
    rows = []
    ordered = sorted(range(len(manifest.splits)), key=lambda number: in_usual_order(manifest.splits[number]))
    for own, their in itertools.product(ordered, ordered):
        here = (split[both[:, 0]] == own) & (split[both[:, 1]] == their)
        if here.any():
            kinds = (here & equal, here & ~equal, here & other)
            counts = [f"{len(np.unique(both[kind, 0])):,}" for kind in kinds]
            rows.append((manifest.splits[own], manifest.splits[their], *counts))
    if not rows:
        console.print(f"no two faces are equal, or nearly so (perceptual hashes that differ in at most {most} bits)")
        return
    heads = ("faces of", "have one in", "equal", "nearly equal", f"of another\n{label or 'label'}")
    caption = f"nearly equal: perceptual hashes differ in at most {most} of 256 bits"
    Table(heads, rows, left=2, keys=2, title="faces that are there twice", caption=caption).print(console)


def print_accuracies(answers: Answers, twins: NearDuplicates, console: Terminal) -> None:
    """Prints the accuracy of each run on test, with and without faces that it was nearly trained on."""
    rows = list(accuracies(answers, twins))
    if rows:
        heads = ("run", "test\nfaces", "accuracy,\n95 % interval", "without\ntwins", "accuracy,\n95 % interval")
        caption = "twins: test faces that equal, or nearly equal, one that the run was trained on"
        Table(heads, rows, title=f"accuracy of {answers.task}", caption=caption).print(console)


def write_suspects(answers: Answers, suspects: Suspects, store: Store, folder: Path) -> None:
    """Writes `suspects.csv`, a row a suspect, the most doubtful first, and a sheet of the first of them."""
    manifest, rows, cells = store.manifest, [], []
    for place, said in zip(suspects.place.tolist(), suspects.said.tolist(), strict=True):
        sample, given, probability = answers.sample[place], answers.given[place], answers.probability[place]
        rows.append(
            (
                str(sample),
                manifest.split_of(sample),
                manifest.path[sample],
                answers.names[given],
                answers.names[said],
                f"{probability[given]:.6g}",
                f"{probability[said]:.6g}",
            )
        )
        text = f"is {answers.names[given]}\nsaid {answers.names[said]} {probability[said]:.0%}"
        cells.append(([int(sample)], text))
    heads = ("sample", "split", "path", answers.label, "said", f"probability_of_{answers.label}", "probability_of_said")
    write_text(folder / f"{SUSPECTS}.csv", Table(heads, rows).csv())
    draw_captioned(store, cells[:_ON_SHEET], columns=8).save(folder / f"{SUSPECTS}.png")


def write_twins(twins: NearDuplicates, store: Store, label: str | None, folder: Path) -> None:
    """Writes `near_duplicates.csv`, a row a pair, and a sheet of the nearly equal pairs that differ the most."""
    manifest = store.manifest
    rows = []
    for (one, other), distance, equal in zip(twins.pairs.tolist(), twins.distance, twins.equal, strict=True):
        sides = [
            cell
            for sample in (one, other)
            for cell in (str(sample), manifest.split_of(sample), manifest.path[sample], _value(manifest, label, sample))
        ]
        rows.append((*sides, str(distance), "equal" if equal else "near"))
    names = ("sample", "split", "path", label or "label")
    heads = (*names, *(f"other_{name}" for name in names), "bits", "kind")
    write_text(folder / f"{TWINS}.csv", Table(heads, rows).csv())
    near = np.flatnonzero(~twins.equal)
    cells = []
    for place in near[np.argsort(-twins.distance[near], kind="stable")][:_ON_SHEET]:
        pair = twins.pairs[place].tolist()
        told = "\n".join(f"{manifest.split_of(sample)} {_value(manifest, label, sample)}" for sample in pair)
        cells.append((pair, told))
    draw_captioned(store, cells, columns=6).save(folder / f"{TWINS}.png")


def dropped(
    store: Store, answers: Answers | None, suspects: Suspects | None, twins: NearDuplicates | None, label: str | None
) -> dict[int, tuple[str, str]]:
    """Lists the faces to drop: those with a suspect label, and those equal or near to one with another label.

    Args:
        twins: Faces that are there twice; None drops none for a conflict.

    Returns:
        Sample id to a reason and what there is to say of it.
    """
    manifest = store.manifest
    found: dict[int, tuple[str, str]] = {}
    if twins is not None:
        for one, other in twins.pairs[_conflicts(twins, manifest, label)].tolist():
            for sample, twin in ((one, other), (other, one)):
                told = f"{manifest.path[twin]} in {manifest.split_of(twin)} is {_value(manifest, label, twin)}"
                found[sample] = (f"conflict of {label} in {manifest.split_of(sample)}", told)
    if answers is not None and suspects is not None:
        for place, said in zip(suspects.place.tolist(), suspects.said.tolist(), strict=True):
            sample = int(answers.sample[place])
            told = f"is {answers.names[answers.given[place]]}, runs say {answers.names[said]}"
            found[sample] = (f"suspect {answers.label} in {manifest.split_of(sample)}", told)
    return found


def counted(reasons: Mapping[int, tuple[str, str]]) -> str:
    """Counts dropped faces by their reasons, in words."""
    counts = Counter(reason for reason, _ in reasons.values())
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))


def usual_label(manifest: Manifest) -> str | None:
    """Finds the first label with classes that is not that of groups; None where there is none."""
    names = (name for name, kind in manifest.labels.items() if isinstance(kind, Classes) and name != manifest.group)
    return next(names, None)


def _conflicts(twins: NearDuplicates, manifest: Manifest, label: str | None) -> np.ndarray:
    """Tells of which pairs both faces have a class, and not the same."""
    if label is None:
        return np.zeros(len(twins.pairs), bool)
    one, other = manifest.target[label].numpy()[twins.pairs].T
    return np.asarray((one >= 0) & (other >= 0) & (one != other))


def _value(manifest: Manifest, label: str | None, sample: int) -> str:
    value = None if label is None else manifest.value(label, sample)
    return value if isinstance(value, str) else ""


def _splits(manifest: Manifest, samples: np.ndarray | None = None) -> Iterator[str]:
    numbers = manifest.split.numpy() if samples is None else manifest.split.numpy()[samples]
    return (manifest.splits[number] for number in numbers.tolist())
