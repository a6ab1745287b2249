"""`--smoke`: any recipe in seconds, on drawn faces, through its own views, tasks, losses, checkpoint and report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.recipe.definition import Recipe
from engine.tasks.base import Supervised
from engine.weights import names_a_file
from loaders import Shuffled, Synthetic
from loaders.base import Batch, Classes, Label, Loader, Source, Split


@dataclass(frozen=True, slots=True)
class Relabelled:
    """A source with other labels, so that a recipe for other data can run on it.

    Labels that the source has as they are wanted stay. The others are made up from the sample's id: the figures mean
    nothing, every path is walked.
    """

    source: Source
    labels: Mapping[str, Label]
    """The labels it must have, by name."""

    def open(self, split: str, **options: Any) -> Loader:
        """Opens the source; see `loaders.Source.open`."""
        return _RelabelledLoader(self.source.open(split, **options), self.labels)


class _RelabelledLoader:
    def __init__(self, loader: Loader, labels: Mapping[str, Label]) -> None:
        split = loader.split
        self._loader = loader
        self._made = {name: label for name, label in labels.items() if split.labels.get(name) != label}
        self.note = loader.note
        self.split: Split = replace(
            split, labels={**split.labels, **labels}, target=self._relabel(split.sample, split.target)
        )

    def _relabel(self, sample: Tensor, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**target, **{name: _made_up(label, sample) for name, label in self._made.items()}}

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        for batch in self._loader.epoch(epoch, start=start):
            yield replace(batch, target=self._relabel(batch.sample, batch.target))

    def close(self) -> None:
        self._loader.close()


def _made_up(label: Label, sample: Tensor) -> Tensor:
    """Classes in turn, or numbers from -30 to 30; missing in padding."""
    if isinstance(label, Classes):
        return torch.where(sample < 0, -1, sample % len(label.names))
    step = torch.arange(1, 1 + len(label.columns), device=sample.device)
    numbers = (sample[:, None] * 7 * step % 61 - 30).float()
    return torch.where(sample[:, None] < 0, torch.nan, numbers)


def smoke(recipe: Recipe) -> Recipe:
    """The recipe made small: 2 epochs of 3 steps on 48 drawn faces, evaluated on 16.

    It starts from a file of weights where the recipe does; not from another run, which need not be there to try this.
    """
    batch = min(recipe.batch_size, 16)
    drawn = Synthetic(train=3 * batch, val=16, test=16, size=48)
    wanted = {
        name: label for task in recipe.tasks if isinstance(task, Supervised) for name, label in task.wants().items()
    }
    return replace(
        recipe,
        views={name: replace(view, size=_small(view.size)) for name, view in recipe.views.items()},
        data=Relabelled(drawn, wanted),
        init=recipe.init if recipe.init is not None and names_a_file(recipe.init) else None,
        sampler=Shuffled(),
        epochs=2,
        batch_size=batch,
        accumulate=min(recipe.accumulate, 2),
        image_size=min(recipe.image_size, 64),
        optim=replace(recipe.optim, warmup_epochs=min(recipe.optim.warmup_epochs, 1)),
        compile=False,
        train="train",
        select="val",
        test="test",
        evaluate_every=1,
        checkpoint_every=2,
        log_every=1,
    )


def _small(size: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Sides of multi-size views, 64 px at most."""
    return None if size is None else tuple(sorted({min(side, 64) for side in size}))
