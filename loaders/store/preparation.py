"""Says what was done to pictures to make faces of them, as a store states it and what is trained on it passes it on."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from loaders.base import Preparation
from loaders.decoding.crops import Square
from loaders.decoding.pictures import Box, Form
from loaders.decoding.records import Importer
from loaders.store.opening import PLAIN_FOLDER, SOURCE, prepared_as


def crop_of(box: Box | Square | None) -> str:
    """Names the crop that a record asks for."""
    if box is None:
        return "none"
    return "align" if isinstance(box, Square) and box.turn else "box"


def preparation(importer: Importer, form: Form, crops: Collection[str]) -> Preparation:
    """Says what becomes of the pictures of a data set, and became of them before if `prepare` wrote them.

    Args:
        importer: The data set.
        form: What faces look like.
        crops: Those of its records, as `crop_of` names them.
    """
    crop = next((kind for kind in ("align", "box") if kind in crops), "none")
    margin = 0.0 if crop == "none" else getattr(importer, "margin", 0.0)
    made = Preparation(form.size, form.fit, form.colour, crop, margin)
    folder = importer.source if importer.source.is_dir() else importer.source.parent
    if prepared_as(folder) != PLAIN_FOLDER:
        return made
    before = stated(json.loads((folder / SOURCE).read_text(encoding="utf-8"))) or Preparation()
    made = replace(
        made,
        size=made.size or before.size,
        fit=made.fit if before.size is None else before.fit,  # afterwards all are square
        colour=before.colour if made.colour == "auto" else made.colour,
    )
    return made if before.crop == "none" else replace(made, crop=before.crop, margin=before.margin)


def stated(source: Mapping[str, Any]) -> Preparation | None:
    """Reads what the source.json of a store says; of an older one, what its origin says, if anything."""
    origin = source.get("origin", {})
    if source.get("prepared") or "pictures" not in origin:
        return read_preparation(source["prepared"]) if source.get("prepared") else None
    options = origin.get("options", {})
    crop = options.get("crop") or "none"
    margin = 0.0 if crop == "none" else options.get("margin", 0.0)
    return read_preparation(origin["pictures"] | {"crop": crop, "margin": margin})


def restated(source: Mapping[str, Any]) -> dict[str, Any]:
    """Copies what a store says into the source.json of one that is made of it."""
    said = stated(source)
    return {} if said is None else {"prepared": asdict(said)}


def read_preparation(said: Mapping[str, Any]) -> Preparation:
    """Reads what was written of a preparation, passing over what is not known of it."""
    known = {field.name: said[field.name] for field in fields(Preparation) if field.name in said}
    return Preparation(**known)
