"""From a batch of stored faces to the pictures of all views: tables drawn, one launch per size and grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float32
from torch import Tensor

import kernels
from engine.views import EVALUATION, Cells, Frame, Plain, View, cell_stream, size_at, table_stream
from kernels import Augment, Key, Tables
from loaders.base import Batch


@dataclass(frozen=True, slots=True)
class Rendered:
    """The pictures of one batch, by view."""

    pictures: Mapping[str, Tensor]
    """View to its pictures, float "b 3 size size", normalised, channels-last."""
    cells: Mapping[str, Cells]
    """View to what its cells show."""
    where: Mapping[str, Float32[Tensor, "b 2 3"]]
    """View to its geometry, from pixels of the view to pixels of the stored face."""
    whole: Mapping[str, Tensor]
    """View with hidden cells to the same pictures before anything was hidden."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One draw of geometry, colour, blur and noise at one size: what a source that augments is given."""

    augment: Augment
    stream: str
    size: int

    @property
    def blurs(self) -> bool:
        return self.augment.blurs

    def __call__(self, key: Key, mean: Float32[Tensor, "b 3"], store: tuple[int, int]) -> Tables:
        """Draws the tables of each sample; see `loaders.base.Draw`."""
        return kernels.draw(self.augment, key.stream(self.stream), mean=mean, store=store, size=self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renderer:
    """Draws and renders a recipe's views; a pure function of (seed, epoch, sample, occurrence)."""

    views: Mapping[str, View]
    augment: Augment
    image_size: int
    evaluation_crop: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seed: int
    dtype: torch.dtype = torch.float32
    hiding: frozenset[str] = field(default_factory=frozenset)
    """Views whose whole twin is wanted as a target."""

    def training(self, batch: Batch, *, epoch: int, step: int) -> Rendered:
        """The augmented views of a training batch; `step` within the epoch only picks the size of multi-size views."""
        sizes = {
            name: size_at(view, self.image_size, name=name, seed=self.seed, epoch=epoch, step=step)
            for name, view in self.views.items()
        }
        drawings = {name: self._drawing(table_stream(name, view), sizes[name]) for name, view in self.views.items()}
        key = Key(self.seed, epoch, batch.sample, batch.occurrence)
        if batch.augmented is None:
            drawn = {each: each(key, batch.mean, stored(batch)) for each in dict.fromkeys(drawings.values())}
        else:
            drawn = {self.shared(): batch.augmented.tables}
        tables = {name: drawn[drawing] for name, drawing in drawings.items()}
        return self._render(batch, key, self.views, tables, sizes, self.augment)

    def shared(self) -> Drawing:
        """The one draw that all views share, for a source that augments by itself: it gives one face a sample.

        Raises:
            ValueError: The views ask for several draws.
        """
        asked = {
            self._drawing(table_stream(name, view), size): name
            for name, view in self.views.items()
            for size in view.size or (self.image_size,)
        }
        if len(asked) > 1:
            draws = ", ".join(f"{name!r} at {drawing.size} px" for drawing, name in asked.items())
            raise ValueError(
                f"Recipe: data.augment (='loader') gives one augmented face a sample, and the views ask for {draws}; "
                "set data.augment='kernel', or let all views have one size and none be fresh"
            )
        return next(iter(asked))

    def _drawing(self, stream: str, size: int) -> Drawing:
        return Drawing(self.augment, stream, size)

    def evaluation(self, batch: Batch, names: tuple[str, ...] = ()) -> Rendered:
        """The centre crop under the name `EVALUATION`, and beside it the named views made from that same crop.

        Nothing is augmented; the cells of the named views are those of epoch 0, so every evaluation asks the same.
        """
        views: dict[str, View] = {EVALUATION: Plain()} | {name: self.views[name] for name in names}
        sizes = {name: max(view.size or (self.image_size,)) for name, view in views.items()}
        tables = {name: self._centre(batch, sizes[name]) for name in views}
        return self._render(batch, Key(self.seed, 0, batch.sample), views, tables, sizes, Augment())

    def _centre(self, batch: Batch, size: int) -> Tables:
        return kernels.centre(
            self.evaluation_crop,
            store=(batch.store.shape[1], batch.store.shape[2]),
            size=size,
            batch=len(batch.row),
            device=batch.row.device,
        )

    def _cells(
        self,
        batch: Batch,
        key: Key,
        views: Mapping[str, View],
        tables: Mapping[str, Tables],
        sizes: Mapping[str, int],
    ) -> dict[str, Cells]:
        return {
            name: view.cells(key.stream(cell_stream(name, view)), Frame(tables[name].where, sizes[name], stored(batch)))
            for name, view in views.items()
        }

    def _render(
        self,
        batch: Batch,
        key: Key,
        views: Mapping[str, View],
        tables: dict[str, Tables],
        sizes: dict[str, int],
        augment: Augment,
    ) -> Rendered:
        cells = self._cells(batch, key, views, tables, sizes)
        # A hole's twin is the plain view where the recipe has it; else it is rendered beside it, and not encoded.
        plain = {
            (table_stream(name, view), sizes[name]): name
            for name, view in views.items()
            if isinstance(view, Plain) and not augment.cuts
        }
        twins: dict[str, str] = {}
        for name in views.keys() & self.hiding:
            twins[name] = plain.get((table_stream(name, views[name]), sizes[name]), f"{name} whole")
            if twins[name] not in views:
                tables[twins[name]] = replace(tables[name], cut=torch.zeros_like(tables[name].cut))
                sizes[twins[name]] = sizes[name]
        pictures: dict[str, Tensor] = {}
        grids = {name: view.grid for name, view in views.items()}
        turned = frozenset(name for name, shown in cells.items() if shown.turn is not None)
        for group in _groups(list(tables), sizes, grids, turned):
            pictures |= self._launch(batch, group, tables, sizes[group[0]], cells, augment)
        whole = {name: pictures[twin] for name, twin in twins.items()}
        where = {name: tables[name].where for name in views}
        return Rendered({name: pictures[name] for name in views}, cells, where, whole)

    def _launch(
        self,
        batch: Batch,
        names: list[str],
        tables: Mapping[str, Tables],
        size: int,
        cells: Mapping[str, Cells],
        augment: Augment,
    ) -> dict[str, Tensor]:
        grid = max(round(cells[name].shows.shape[1] ** 0.5) if name in cells else 1 for name in names)
        identity = kernels.identity_cells(grid, len(batch.row), batch.row.device)
        shows = [
            cells[name].shows if name in cells and cells[name].shows.shape[1] == grid * grid else identity
            for name in names
        ]
        turns = [cells[name].turn if name in cells else None for name in names]
        still = torch.zeros_like(identity, dtype=torch.uint8)
        chosen = [_left_to_do(batch, tables[name], size) for name in names]
        out = kernels.render_views(
            batch.store,
            batch.row,
            torch.stack([t.where for t in chosen]),
            torch.stack([t.colour for t in chosen]),
            torch.stack(shows),
            size=size,
            mean=self.mean,
            std=self.std,
            dtype=self.dtype,
            blur=torch.stack([t.blur for t in chosen]) if augment.blurs and batch.augmented is None else None,
            noise=torch.stack([t.noise for t in chosen]) if augment.adds_noise else None,
            key=torch.stack([t.key for t in chosen]) if augment.adds_noise else None,
            turn=torch.stack([still if t is None else t for t in turns]) if any(t is not None for t in turns) else None,
            cut=torch.stack([t.cut for t in chosen]) if augment.cuts else None,
        )
        return dict(zip(names, out, strict=True))


def stored(batch: Batch) -> tuple[int, int]:
    """(height, width) of the faces that `where` leads to."""
    return (batch.store.shape[1], batch.store.shape[2]) if batch.augmented is None else batch.augmented.store


def _left_to_do(batch: Batch, tables: Tables, size: int) -> Tables:
    """What a view's tables still ask for: all of them, or noise and cut-out alone where the source has augmented."""
    if batch.augmented is None:
        return tables
    assert batch.store.shape[1:3] == (size, size)
    same = kernels.centre(1.0, store=(size, size), size=size, batch=len(batch.row), device=batch.row.device)
    return replace(tables, where=same.where, colour=same.colour, blur=same.blur)


def _groups(
    names: list[str], sizes: Mapping[str, int], grids: Mapping[str, int], turned: frozenset[str] = frozenset()
) -> list[list[str]]:
    """Views that share a launch: one size and one grid; un-cut views, which fit any grid, join the first of their size.

    An un-cut view that is turned as a whole does not: on a finer grid each cell would be turned by itself.

    Order within a group is the order of the recipe, so that the encoder's batch does not depend on the grouping.
    """
    first: dict[int, int] = {}
    for name in names:
        if grids.get(name, 1) > 1:
            first.setdefault(sizes[name], grids[name])
    groups: dict[tuple[int, int], list[str]] = {}
    for name in names:
        grid = grids.get(name, 1)
        shared = grid if grid > 1 or name in turned else first.get(sizes[name], 1)
        groups.setdefault((sizes[name], shared), []).append(name)
    return list(groups.values())
