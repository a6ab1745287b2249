"""Describes the data and the machine of a run in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.reports import markdown
from engine.reports.table import Table
from engine.runs.result import Run, as_mapping, as_number

DRAWN = "> **Drawn faces.** {what} Its figures show that the code runs from end to end; of real faces they say nothing."
_OTHER_LABELS = ("HideLabels", "WrongLabels")
"""The kinds of source that show the faces of another with other labels."""


def is_smoke(run: Run) -> bool:
    """Tells whether `--smoke` made a run: then the faces are drawn, and the labels of other data are made up."""
    return _kind(_shown_through(run.recipe.get("data"))) == "Relabelled"


def drawn_note(run: Run) -> str:
    """Writes what must stand above the figures of a run on drawn faces; empty for other runs."""
    if is_smoke(run):
        return DRAWN.format(what="`--smoke` puts faces drawn by `Synthetic` in the place of the recipe's data.")
    if _kind(_shown_through(run.recipe.get("data"))) == "Synthetic":
        return DRAWN.format(what="The faces of this run are drawn by `Synthetic`.")
    return ""


def describe_data(run: Run) -> str:
    """Writes a paragraph on the data: source, place, faces in each split and in training, classes of each task."""
    data = run.recipe.get("data")
    if not isinstance(data, Mapping):
        return ""
    splits = ", ".join(f"{split} {count:,}" for split, count in as_mapping(run.result.get("counts")).items())
    classes = [
        f"{markdown.plain(task)} has {len(names)} classes ({markdown.plain(', '.join(names))})"
        for task, names in run.classes.items()
    ]
    faces = [f"faces: {splits}"] if splits else []
    return "; ".join([_source(data), *faces, *_note(run, data), *_part(run), *_shown(run), *classes]) + "."


def describe_stores(run: Run) -> str:
    """Lists what the prepared stores of a run say of themselves, and which faces lack a label; empty without either."""
    lines = []
    for store in run.result.get("stores") or ():
        said = as_mapping(store)
        parts = [markdown.plain(str(note)) for note in said.get("notes") or ()]
        if skipped := as_mapping(said.get("skipped")):
            parts.append("skipped: " + ", ".join(f"{count:,} {markdown.plain(why)}" for why, count in skipped.items()))
        shared = said.get("in_two_splits")
        if shared is None:
            parts.append("not looked through for pictures that are in two splits (`hmtl prepare --check`)")
        elif shared:
            parts += [f"{count:,} different pictures are in both {markdown.plain(of)}" for of, count in shared.items()]
        else:
            parts.append("no picture is in two splits")
        lines.append(f"`{said.get('path')}`: {'; '.join(parts)}")
    for split, lacking in as_mapping(run.result.get("without_label")).items():
        lines += [f"{split}: {count:,} faces have no {markdown.plain(of)}" for of, count in as_mapping(lacking).items()]
    return markdown.bullets(f"{line}." for line in lines)


def _note(run: Run, data: Mapping[str, Any]) -> list[str]:
    """Repeats what a source says of the training split, but for that of a store, which is about memory."""
    train = str(run.recipe.get("train", "train"))
    note = as_mapping(run.result.get("notes")).get(train)
    return [f"{train}: {markdown.plain(note)}"] if note and _kind(data) != "Packed" else []


def _part(run: Run) -> list[str]:
    """Says what of the training split was used, where the sampler is a `Fraction`; of nested ones each share."""
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


def _shown(run: Run) -> list[str]:
    """Says of composed batches how many faces there are with and without a label, and how often some was shown."""
    parts = []
    for name, found in as_mapping(run.result.get("shown")).items():
        faces, shown = (as_number(as_mapping(found).get(key)) for key in ("faces", "shown"))
        if faces is not None and shown is not None:
            parts.append(f"{faces:,.0f} {name} faces, shown {shown:,.0f} times in all")
    return [markdown.plain(f"batches of two parts: {', and '.join(parts)}")] if parts else []


def _source(data: Mapping[str, Any]) -> str:
    """Names the source, such as `Packed` of `data/fer2013`, what it joins, or the importer it reads by."""
    data = _shown_through(data, "Relabelled", *_OTHER_LABELS)
    words = f"`{_kind(data) or 'a source without a name'}`"
    if _kind(data) == "Union":
        parts = {name: _sources(data.get(name)) for name in ("labelled", "unlabelled")}
        return f"{words} of {'; '.join(f'{name} {named}' for name, named in parts.items() if named)}"
    if _kind(data) == "WithTest":
        return f"{_source(as_mapping(data.get('source')))}, test of {_source(as_mapping(data.get('test')))}"
    place = data.get("path", data.get("source"))
    if isinstance(place, Mapping):  # an importer
        words, place = f"{words}, read by `{_kind(place)}`", place.get("source")
    return f"{words} of `{place}`" if isinstance(place, str) else words


def _sources(data: object) -> str:
    return " and ".join(_source(as_mapping(part)) for part in (data if isinstance(data, list) else [data]))


def _shown_through(data: object, *kinds: str) -> Mapping[str, Any]:
    """Finds the source whose faces a wrapper shows: by default whose labels are hidden or made wrong."""
    found = as_mapping(data)
    while _kind(found) in (kinds or _OTHER_LABELS):
        found = as_mapping(found.get("source"))
    return found


def _kind(data: object) -> str:
    return str(as_mapping(data).get("kind") or "")


_ENCODED = "encoded_per_second"
_SPEED: Mapping[str, tuple[str, str]] = {
    "images_per_second": ("faces per second, overall", "{:,.1f}"),
    "compute_images_per_second": ("faces per second, compute only", "{:,.1f}"),
    _ENCODED: ("pictures through the encoder per second, overall", "{:,.1f}"),
    "wait_share": ("share of time waiting for data", "{:.2%}"),
    "step_p50_ms": ("step, median", "{:,.2f} ms"),
    "step_p99_ms": ("step, 99th percentile", "{:,.2f} ms"),
    "compile_seconds": ("compiling, not in the above", "{:,.1f} s"),
    "peak_memory_mib": ("peak memory", "{:,.0f} MiB"),
}


def describe_speed(run: Run) -> str:
    """Makes the table of a run's speed; empty where nothing was measured."""
    speed = dict(as_mapping(run.result.get("speed")))
    if not speed:
        return ""
    wait = speed.pop("wait_label", None)
    overall, a_face = as_number(speed.get("images_per_second")), as_number(run.result.get("pictures_a_face"))
    if overall is not None and a_face is not None:
        speed[_ENCODED] = overall * a_face
    rows = []
    for key, (label, form) in _SPEED.items():
        if key == _ENCODED and key not in speed:
            continue
        number = as_number(speed.pop(key, None))
        if key == "wait_share" and wait:
            label = f"{label} ({wait})"
        rows.append((label, "–" if number is None else form.format(number).replace("%", " %")))
    rows += [(key.replace("_", " "), str(value)) for key, value in speed.items()]
    return Table(("", "value"), rows).markdown()


def describe_starts(run: Run) -> list[str]:
    """Says machine, versions and commands of each start of a run; empty where none is told."""
    if not run.starts:
        return []
    facts = {key: value for key, value in run.starts[-1].items() if key != "command"}
    parts = [Table(("", "value"), [(key, _fact(value)) for key, value in facts.items()], left=2).markdown()]
    if "from_step" in facts:
        parts.append("`from_step` is the optimiser step at which this start began: 0, or where a resume went on.")
    if len(run.starts) > 1:
        parts += [f"Of the last of {len(run.starts)} starts. What differs between them:", _differences(run.starts)]
    if commands := dict.fromkeys(str(start["command"]) for start in run.starts if start.get("command")):
        parts += ["Command:" if len(commands) == 1 else "Commands:", markdown.fence("\n".join(commands), "sh")]
    return parts


def _differences(starts: Sequence[Mapping[str, object]]) -> str:
    keys = dict.fromkeys(key for start in starts for key in start if key != "command")
    different = [key for key in keys if len({_fact(start.get(key)) for start in starts}) > 1]
    rows = [(str(i), *(_fact(start.get(key)) for key in different)) for i, start in enumerate(starts, 1)]
    return Table(("start", *different), rows, left=1 + len(different)).markdown()


def _fact(value: object) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
