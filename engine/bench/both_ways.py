"""Makes cases of sources that augment by themselves, once their views agree with those of the kernel."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from engine.bench.agreement import Difference
from engine.bench.cases import NAMES, Case, Data, chosen, of_source
from engine.bench.feeds import OfSource
from engine.recipe import Recipe
from engine.training.parts import renderer
from engine.training.render import Renderer
from engine.training.train import open_split
from engine.views import Plain, View
from loaders import DALI, FFCV, Source
from loaders.base import Batch, By

AHEAD = " augment=loader"
"""Ends the name of a source that augments ahead of the step."""
STEP_NAMES = tuple(
    way
    for name in NAMES
    if name != "torchvision"  # it has no labels, without which no recipe trains
    for way in ((name, name + AHEAD) if name in ("dali", "ffcv", "ffcv-jpeg") else (name,))
)
BOUND, BOUND_ON_GPU = 0.51, 0.6
"""Gray levels by which views may differ: half of one, since a source rounds its faces, and what fp32 leaves; on a GPU
also what two backends leave, where the source augments on the CPU."""


def of_recipe(recipe: Recipe, scratch: Path, *, faces: int, names: Collection[str] = ()) -> Data:
    """Makes the cases of a recipe's data, and once more those of sources that can augment by themselves.

    Args:
        recipe: What is trained.
        scratch: An empty folder.
        faces: How many faces of its training split, spread evenly; 0 takes all.
        names: Of `STEP_NAMES`; empty takes all.

    Raises:
        ValueError: As `cases.of_source`; or the recipe's views need more than one draw, which only the kernel can give.
    """
    for name in names:
        if name not in STEP_NAMES:
            raise ValueError(
                f"bench: source (={name!r}) must be one of {', '.join(STEP_NAMES)}; others carry no labels"
            )
    plain = tuple(dict.fromkeys(name.removesuffix(AHEAD) for name in names))
    found = of_source(recipe.data, scratch, split=recipe.train, faces=faces, names=plain)
    several = _why_not(recipe)
    cases: list[Case] = []
    for case in found.cases:
        if not isinstance(case.feed, OfSource):
            continue
        cases.append(case)
        if case.name + AHEAD not in STEP_NAMES:
            continue
        if several is None:
            cases.append(
                replace(case, name=case.name + AHEAD, feed=replace(case.feed, source=_by(case.feed.source, "loader")))
            )
        else:
            found.left_out[case.name + AHEAD] = several
    found.cases = cases
    return chosen(found, names)


def compare(case: Case, recipe: Recipe, split: str, device: torch.device) -> Difference:
    """Measures how far the views that a source augments are from those of the kernel, of the same faces.

    Views are those of the recipe; one whose cells fit its side in no whole number of pixels is compared un-cut, since
    its tiles stand between the pixels of a finished face and are interpolated once more.

    Args:
        case: A source that augments by itself.
        recipe: Its views, augmentation, order and batch size.
        split: The split it is trained on.
        device: Where it trains.

    Raises:
        ValueError: Other samples, or views further apart than the bound.
    """
    assert isinstance(case.feed, OfSource)
    stored, ahead = (
        _first_batch(replace(recipe, data=_by(case.feed.source, way)), split, device) for way in ("kernel", "loader")
    )
    other = case.name.removesuffix(AHEAD)
    if not torch.equal(stored.sample, ahead.sample):
        raise ValueError(
            f"bench: {case.name} must give the samples of {other}; it gives {ahead.sample[:4].tolist()}... where "
            f"{stored.sample[:4].tolist()}... come first"
        )
    render = in_gray_levels(recipe)
    one, two = (render.training(batch, epoch=0, step=0).pictures for batch in (stored, ahead))
    off = torch.stack([(one[name] - two[name]).abs() for name in one])
    found = Difference(float(off.mean()), float(off.max()))
    bound = BOUND if device.type == "cpu" else BOUND_ON_GPU
    if not found.most <= bound:
        raise ValueError(
            f"bench: {case.name} must give the views of {other} within {bound} gray levels; "
            f"it is {found.most:.2f} off ({found.mean:.2f} on average)"
        )
    return found


def in_gray_levels(recipe: Recipe) -> Renderer:
    """Renders the recipe's views on 0..255; un-cut where cells are no whole number of pixels wide."""
    render = renderer(recipe, torch.float32)
    side = render.shared().size
    views: dict[str, View] = {
        name: view if side % view.grid == 0 else Plain(fresh=view.fresh, size=view.size)
        for name, view in recipe.views.items()
    }
    return replace(render, views=views, hiding=frozenset(), mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))


def _first_batch(recipe: Recipe, split: str, device: torch.device) -> Batch:
    with closing(open_split(recipe, split, device)) as loader:
        return next(loader.epoch(0))


def _by(source: Source, way: By) -> Source:
    assert isinstance(source, DALI | FFCV)
    return replace(source, augment=way)


def _why_not(recipe: Recipe) -> str | None:
    """Says why no source can augment for the recipe, None where one can."""
    try:
        renderer(recipe, torch.float32).shared()
    except ValueError as error:
        return str(error)
    return None
