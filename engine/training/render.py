"""Plans which pictures of a batch are rendered together, and renders them: a step draws tables and launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Float32, Int16, Shaped
from torch import Tensor

import kernels
from engine.mixing import Mix, Mixed
from engine.views import (
    EVALUATION,
    Cells,
    CutView,
    Frame,
    Plain,
    View,
    draw_cells,
    identity_cells,
    once,
    size_at,
    table_stream,
)
from kernels import Augment, Key, Tables
from loaders.base import Batch, Part

_centre, _zeros = once(kernels.centre), once(torch.zeros)
_TWIN = Plain()


@dataclass(frozen=True, slots=True)
class Rendered:
    """Holds the pictures of one batch, by view: of a view that is of a part of the batch those of b samples alone."""

    pictures: Mapping[str, Tensor]
    """View to its pictures, float "b 3 size size", normalised, channels-last."""
    cells: Mapping[str, Cells]
    """View to what its cells show."""
    where: Mapping[str, Float32[Tensor, "b 2 3"]]
    """View to its geometry, from pixels of the view to pixels of the stored face."""
    whole: Mapping[str, Tensor]
    """View with hidden cells to the same pictures before anything was hidden."""
    target: Mapping[str, Mapping[str, Tensor]]
    """View to the targets of its samples, by label."""
    mixed: Mapping[str, Mixed] = field(default_factory=dict)
    """View whose pictures are mixed to what they were mixed of."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Draws geometry, colour, blur and noise at one size: what a source that augments is given."""

    augment: Augment
    stream: str
    size: int

    @property
    def blurs(self) -> bool:
        return self.augment.blurs

    def __call__(self, key: Key, mean: Float32[Tensor, "b 3"], store: tuple[int, int]) -> Tables:
        """Draws the tables of each sample; see `loaders.base.Draw`."""
        return kernels.draw(self.augment, key.stream(self.stream), mean=mean, store=store, size=self.size)


@dataclass(frozen=True, slots=True)
class Centre:
    """Shows the central square in its own colours, where nothing is drawn."""

    crop: float
    size: int

    @property
    def augment(self) -> Augment:
        return Augment()

    def __call__(self, key: Key, mean: Float32[Tensor, "b 3"], store: tuple[int, int]) -> Tables:
        """Gives the tables of each sample, all alike."""
        return _centre(self.crop, store=store, size=self.size, batch=len(key.sample), device=key.sample.device)


Drawn = tuple[Drawing | Centre, Part]
"""What gives the tables of a picture, and of which samples."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Names pictures that one call of `render_views` renders, in the order of the recipe."""

    pictures: tuple[str, ...]
    size: int
    """Side of each picture in pixels."""
    grid: int
    """Cells on a side that all of them are shown on."""
    of: Part = "all"
    """The samples that are shown."""
    options: tuple[str, ...] = ()
    """Tables that `render_views` is given beside `where`, `colour` and the cells."""


@dataclass(frozen=True, slots=True)
class RenderPlan:
    """Says what is drawn and rendered for one choice of sizes."""

    views: Mapping[str, View]
    draws: Mapping[str, Drawn]
    """Picture to what gives its tables; pictures with an equal one share them."""
    twins: Mapping[str, str]
    """View to the picture that shows what it hides: the plain view where that does, else one that is no view."""
    launches: tuple[Launch, ...]


def plan_views(
    views: Mapping[str, View],
    tables: Mapping[str, Drawing | Centre],
    *,
    hiding: frozenset[str] = frozenset(),
    ahead: bool = False,
) -> RenderPlan:
    """Plans the pictures of a batch.

    Args:
        views: By name, in the order of the recipe.
        tables: View to what gives its tables.
        hiding: Views whose whole twin is wanted as a target.
        ahead: Whether the source has applied geometry, colour and blur.
    """
    draws: dict[str, Drawn] = {name: (tables[name], view.of) for name, view in views.items()}
    plain = {
        draws[name]: name for name, view in views.items() if isinstance(view, Plain) and not tables[name].augment.cuts
    }
    twins = {
        name: plain.get(draws[name]) or plain.get((tables[name], "all"), f"{name} whole")
        for name in views
        if name in hiding
    }
    own = {twin: name for name, twin in twins.items() if twin not in views}
    pictures = {**views, **{twin: Plain(of=views[name].of) for twin, name in own.items()}}
    draws |= {twin: draws[name] for twin, name in own.items()}
    return RenderPlan(views, draws, twins, launches(pictures, draws, ahead=ahead))


def launches(pictures: Mapping[str, View], draws: Mapping[str, Drawn], *, ahead: bool = False) -> tuple[Launch, ...]:
    """Groups pictures of one size and grid, of the same samples and tables; plain ones, which fit any grid, join the
    first that they can.

    The order within a group is that of the pictures, so that the encoder's batch does not depend on the grouping.
    """
    alike = {name: (draw.size, of, _options(draw.augment, ahead)) for name, (draw, of) in draws.items()}
    first: dict[tuple[int, Part, tuple[str, ...]], int] = {}
    for name, view in pictures.items():
        if view.grid > 1:
            first.setdefault(alike[name], view.grid)
    groups: dict[tuple[tuple[int, Part, tuple[str, ...]], int], list[str]] = {}
    for name, view in pictures.items():
        grid = first.get(alike[name], 1) if isinstance(view, Plain) else view.grid
        groups.setdefault((alike[name], grid), []).append(name)
    return tuple(Launch(tuple(names), size, grid, of, options) for ((size, of, options), grid), names in groups.items())


def _options(augment: Augment, ahead: bool) -> tuple[str, ...]:
    """Lists the tables beside `where`, `colour` and the cells that an augmentation asks for."""
    return (
        *(["blur"] if augment.blurs and not ahead else []),
        *(["noise", "key"] if augment.adds_noise else []),
        *(["cut"] if augment.cuts else []),
    )


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
    hiding: frozenset[str] = frozenset()
    """Views whose whole twin is wanted as a target."""
    augmented: frozenset[str] = frozenset()
    """Views that evaluation augments too."""
    mix: Mix | None = None
    mixed: frozenset[str] = frozenset()
    """Views whose pictures are mixed in training."""
    _plans: dict[tuple[object, ...], RenderPlan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def training(self, batch: Batch, *, epoch: int, step: int) -> Rendered:
        """Renders the augmented views of a training batch; `step` only picks the size of views of several sizes."""
        sizes = tuple(
            size_at(view, self.image_size, name=name, seed=self.seed, epoch=epoch, step=step)
            for name, view in self.views.items()
        )
        ahead = batch.augmented is not None
        if (sizes, ahead) not in self._plans:
            draws = {name: self._drawing(name, size) for name, size in zip(self.views, sizes, strict=True)}
            self._plans[sizes, ahead] = plan_views(self.views, draws, hiding=self.hiding, ahead=ahead)

        def key(part: Batch) -> Key:
            return Key(self.seed, epoch, part.sample, part.occurrence)

        rendered = self._render(self._plans[sizes, ahead], batch, key)
        return rendered if self.mix is None else self._mix(self.mix, rendered, batch, key)

    def _mix(self, mix: Mix, rendered: Rendered, batch: Batch, key: Callable[[Batch], Key]) -> Rendered:
        """Mixes the pictures of some views, those with a label and those without among themselves."""
        pictures, mixed = dict(rendered.pictures), dict[str, Mixed]()
        for name in self.views:
            if name in self.mixed:
                view = self.views[name]
                stream = key(batch.part(view.of)).stream(f"mix of {table_stream(name, view)}")
                composed = view.of == "all" and batch.labelled is not None
                parts = (batch.places("labelled"), batch.places("unlabelled")) if composed else (slice(None),)
                pictures[name], mixed[name] = mix(stream, pictures[name], parts)
        return replace(rendered, pictures=pictures, mixed=mixed)

    def evaluation(self, batch: Batch, names: tuple[str, ...] = ()) -> Rendered:
        """Renders the centre crop under the name `EVALUATION`, and the named views made from that same crop.

        Nothing is augmented but the views of `augmented`, and all samples are cut; what is drawn is that of epoch 0, so
        every evaluation asks the same.
        """
        if names not in self._plans:
            views = {EVALUATION: Plain(), **{name: _of_all_samples(self.views[name]) for name in names}}
            sizes = {name: max(view.size or (self.image_size,)) for name, view in views.items()}
            draws = {
                name: self._drawing(name, size) if name in self.augmented else Centre(self.evaluation_crop, size)
                for name, size in sizes.items()
            }
            self._plans[names] = plan_views(views, draws, hiding=self.hiding)
        return self._render(self._plans[names], batch, lambda part: Key(self.seed, 0, part.sample))

    def shared(self) -> Drawing:
        """Gives the one draw that all views share, for a source that augments by itself: it gives one face a sample.

        Raises:
            ValueError: The views ask for several draws.
        """
        asked = {
            self._drawing(name, size): name
            for name, view in self.views.items()
            for size in view.size or (self.image_size,)
        }
        if len(asked) > 1:
            draws = ", ".join(f"{name!r} at {drawing.size} px" for drawing, name in asked.items())
            raise ValueError(
                f"Recipe: data.augment (='loader') gives one augmented face a sample, and the views ask for {draws}; "
                "set data.augment='kernel', or let all views have one size and one augment, and none be fresh"
            )
        return next(iter(asked))

    def _drawing(self, name: str, size: int) -> Drawing:
        view = self.views[name]
        return Drawing(self.augment if view.augment is None else view.augment, table_stream(name, view), size)

    def show(
        self,
        batch: Batch,
        where: Float32[Tensor, "v b 2 3"],
        colour: Float32[Tensor, "v b 3 4"],
        shows: Int16[Tensor, "v b n"],
        *,
        size: int,
        **options: Any,
    ) -> Float[Tensor, "v b 3 size size"]:
        """Shows a batch through tables, normalised as the recipe says; see `kernels.render_views`."""
        return kernels.render_views(
            batch.store,
            batch.row,
            where,
            colour,
            shows,
            size=size,
            mean=self.mean,
            std=self.std,
            dtype=self.dtype,
            **options,
        )

    def _render(self, plan: RenderPlan, batch: Batch, key: Callable[[Batch], Key]) -> Rendered:
        views, draws, store = plan.views, plan.draws, stored(batch)
        parts = {of: batch.part(of) for _, of in draws.values()}
        keys = {of: key(part) for of, part in parts.items()}
        drawn, left = _tables(plan, parts, keys)
        where = {name: drawn[draws[name]].where for name in views}
        cells = {
            name: draw_cells(name, view, keys[view.of], Frame(where[name], draws[name][0].size, store))
            for name, view in views.items()
        }
        pictures: dict[str, Tensor] = {}
        for launch in plan.launches:
            shown = self._launch(launch, plan, parts[launch.of], left, cells)
            pictures.update(zip(launch.pictures, shown, strict=True))
        whole = {
            name: pictures[twin] if draws[twin] == draws[name] else pictures[twin][batch.places(views[name].of)]
            for name, twin in plan.twins.items()
        }
        target = {name: parts[view.of].target for name, view in views.items()}
        return Rendered({name: pictures[name] for name in views}, cells, where, whole, target)

    def _launch(
        self,
        launch: Launch,
        plan: RenderPlan,
        batch: Batch,
        left: Mapping[Drawn, Tables],
        cells: Mapping[str, Cells],
    ) -> Float[Tensor, "v b 3 size size"]:
        faces, device = len(batch.row), batch.row.device
        still = Cells(identity_cells(launch.grid, faces, device))
        tables = [left[plan.draws[name]] for name in launch.pictures]
        shown = [still if isinstance(plan.views.get(name, _TWIN), Plain) else cells[name] for name in launch.pictures]
        options = {option: [getattr(each, option) for each in tables] for option in launch.options}
        if plan.twins and "cut" in options:  # a twin that is no view shows what its view hides, cut-out and all
            no_cut = _zeros(faces, 4, dtype=torch.int16, device=device)
            options["cut"] = [
                cut if name in plan.views else no_cut for name, cut in zip(launch.pictures, options["cut"], strict=True)
            ]
        if any(own.turn is not None for own in shown):
            no_turn = _zeros(faces, launch.grid**2, dtype=torch.uint8, device=device)
            options["turn"] = [no_turn if own.turn is None else own.turn for own in shown]
        return self.show(
            batch,
            _together([each.where for each in tables]),
            _together([each.colour for each in tables]),
            _together([own.shows for own in shown]),
            size=launch.size,
            **{option: _together(each) for option, each in options.items()},
        )


def stored(batch: Batch) -> tuple[int, int]:
    """Gives (height, width) of the faces that `where` leads to."""
    return (batch.store.shape[1], batch.store.shape[2]) if batch.augmented is None else batch.augmented.store


def _of_all_samples(view: View) -> View:
    """Cuts all samples, where a view cuts a share of them."""
    return replace(view, samples=1.0) if isinstance(view, CutView) else view


def _tables(
    plan: RenderPlan, parts: Mapping[Part, Batch], keys: Mapping[Part, Key]
) -> tuple[dict[Drawn, Tables], dict[Drawn, Tables]]:
    """The tables that are in each picture, and those of them that are left to do where the source has augmented."""
    drawn, left = dict[Drawn, Tables](), dict[Drawn, Tables]()
    for draw, of in dict.fromkeys(plan.draws.values()):
        part, key = parts[of], keys[of]
        if part.augmented is None:
            drawn[draw, of] = left[draw, of] = draw(key, part.mean, stored(part))
        else:  # by the one draw there is; see `Renderer.shared`
            side = (draw.size, draw.size)
            assert tuple(part.store.shape[1:3]) == side
            done, same = part.augmented.tables, Centre(1.0, draw.size)(key, part.mean, side)
            drawn[draw, of], left[draw, of] = done, replace(done, where=same.where, colour=same.colour)
    return drawn, left


def _together(tables: Sequence[Shaped[Tensor, "b ..."]]) -> Shaped[Tensor, "v b ..."]:
    """One table for all views of a launch; one that all of them share is not copied."""
    first = tables[0]
    if all(table is first for table in tables):
        return first.expand(len(tables), *first.shape)
    return torch.stack(list(tables))
