"""The data of a run in words: where its faces come from, how many there are, and which classes they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.reports import markdown
from engine.runs.result import Run, as_mapping, as_number

DRAWN = "> **Drawn faces.** {what} Its figures show that the code runs from end to end; of real faces they say nothing."


def is_smoke(run: Run) -> bool:
    """Whether `--smoke` made it: then the faces are drawn, and the labels of other data are made up."""
    return _kind(run.recipe.get("data")) == "Relabelled"


def drawn_note(run: Run) -> str:
    """What must stand above the figures of a run on drawn faces; empty for other runs."""
    if is_smoke(run):
        return DRAWN.format(what="`--smoke` puts faces drawn by `Synthetic` in the place of the recipe's data.")
    if _kind(run.recipe.get("data")) == "Synthetic":
        return DRAWN.format(what="The faces of this run are drawn by `Synthetic`.")
    return ""


def describe_data(run: Run) -> str:
    """One paragraph: source and where it is, faces in each split and in training, classes of each task."""
    data = run.recipe.get("data")
    if not isinstance(data, Mapping):
        return ""
    splits = ", ".join(f"{split} {count:,}" for split, count in as_mapping(run.result.get("counts")).items())
    classes = [
        f"{markdown.plain(task)} has {len(names)} classes ({markdown.plain(', '.join(names))})"
        for task, names in run.classes.items()
    ]
    faces = [f"faces: {splits}"] if splits else []
    return "; ".join([_source(data), *faces, *_part(run), *classes]) + "."


def _part(run: Run) -> list[str]:
    """What of the training split was used, where the sampler is a `Fraction`; the shares of nested ones one by one."""
    train, sampler = str(run.recipe.get("train", "train")), as_mapping(run.recipe.get("sampler"))
    shares = []
    while _kind(sampler) == "Fraction":
        seed = run.recipe.get("seed") if sampler.get("seed") is None else sampler["seed"]
        label = f" in the proportions of {sampler['label']}" if sampler.get("label") else ""
        shares.append(f"a share of {sampler.get('share')}{label}, chosen by seed {seed}")
        sampler = as_mapping(sampler.get("of"))
    if not shares:
        return []
    used, there = as_number(run.result.get("trained_on")), as_number(as_mapping(run.result.get("counts")).get(train))
    count = "" if used is None or there is None else f"{used:,.0f} of the {there:,.0f} faces of "
    return [markdown.plain(f"trained on {count}{train}: {', and of these '.join(shares)}")]


def _source(data: Mapping[str, Any]) -> str:
    """`Packed` of `data/fer2013`; the importer where a source reads files by one."""
    while _kind(data) == "Relabelled":
        data = as_mapping(data.get("source"))
    words = f"`{_kind(data) or 'a source without a name'}`"
    place = data.get("path", data.get("source"))
    if isinstance(place, Mapping):  # an importer
        words, place = f"{words}, read by `{_kind(place)}`", place.get("source")
    return f"{words} of `{place}`" if isinstance(place, str) else words


def _kind(data: object) -> str:
    return str(as_mapping(data).get("kind") or "")
