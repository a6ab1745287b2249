"""Makes any recipe run in seconds (`--smoke`): on drawn faces, through its own views, tasks, losses and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.recipe.definition import Recipe
from engine.weights import names_a_file
from loaders import Composed, Fraction, Phased, Sampler, Shuffled, Synthetic
from loaders.base import Classes, Faces, Label, Source, hidden
from loaders.feed.composed import composition


@dataclass(frozen=True, slots=True)
class Relabelled:
    """Gives a source other labels, so that a recipe for other data can run on it.

    Labels that the source has as they are wanted stay. The others are made up from the sample's id: the figures mean
    nothing, every path is walked.
    """

    source: Source
    labels: Mapping[str, Label]
    """The labels it must have, by name."""
    labelled: int | None = None
    """How many samples of `train` keep their labels, where not all."""

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens the source; see `loaders.Source.open`."""
        faces = self.source.open(split, device)
        own = faces.split
        made = {
            name: made_up(label, own.sample) for name, label in self.labels.items() if own.labels.get(name) != label
        }
        target = {**own.target, **made}
        if split == "train" and self.labelled is not None:
            bare = torch.arange(len(own.sample)) >= self.labelled
            target = {name: hidden(each, bare) for name, each in target.items()}
        relabelled = replace(own, labels={**own.labels, **self.labels}, target=target)
        return replace(faces, split=relabelled)


def made_up(label: Label, sample: Tensor) -> Tensor:
    """Makes up the targets of some samples: classes in turn, or numbers from -30 to 30."""
    if isinstance(label, Classes):
        return sample % len(label.names)
    return (sample[:, None] * 7 * torch.arange(1, 1 + len(label.columns)) % 61 - 30).float()


def smoke(recipe: Recipe) -> Recipe:
    """Makes a recipe small: 2 epochs of 3 steps on 48 drawn faces, evaluated on 16.

    Composed batches keep their proportions, as far as 16 faces can: some of the drawn faces lose their labels. It
    starts from a file of weights where the recipe does; not from another run, which need not be there to try this.
    """
    batch, steps = min(recipe.batch_size, 16), 3
    sampler = _small_sampler(recipe.sampler, batch)
    labelled, faces = _drawn(sampler, batch, steps)
    drawn = Synthetic(train=faces, val=16, test=16, size=48)
    wanted = {name: label for task in recipe.supervised for name, label in task.wants().items()}
    return replace(
        recipe,
        views={name: replace(view, size=_small(view.size)) for name, view in recipe.views.items()},
        data=Relabelled(drawn, wanted, labelled),
        init=recipe.init if recipe.init is not None and names_a_file(recipe.init) else None,
        sampler=sampler,
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


def _small_sampler(sampler: Sampler, batch: int) -> Sampler:
    """Composes smaller batches in the proportions of a sampler, in the same phases."""
    while isinstance(sampler, Fraction):
        sampler = sampler.of
    if isinstance(sampler, Phased):
        return Phased(tuple((start, _smaller(composed, batch)) for start, composed in sampler.phases))
    return _smaller(sampler, batch) if isinstance(sampler, Composed) else Shuffled()


def _smaller(composed: Composed, batch: int) -> Composed:
    """Composes smaller batches in the same proportion; a part that is there stays there."""
    labelled = round(batch * composed.labelled / (composed.labelled + composed.unlabelled))
    labelled = min(max(labelled, min(composed.labelled, 1)), batch - min(composed.unlabelled, 1))
    return replace(composed, labelled=labelled, unlabelled=batch - labelled, label=None)


def _drawn(sampler: Sampler, batch: int, steps: int) -> tuple[int | None, int]:
    """Says how many faces of an epoch of so many batches are labelled, if not all, and how many there are."""
    last = composition(sampler, 1.0)
    if last is None:
        return None, steps * batch
    largest = [composed for _, composed in sampler.phases] if isinstance(sampler, Phased) else [last]
    parts = {
        part: steps * (getattr(last, part) if part == last.epoch else max(getattr(each, part) for each in largest))
        for part in ("labelled", "unlabelled")
    }
    return parts["labelled"], sum(parts.values())


def _small(size: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Limits the sides of multi-size views to 64 px."""
    return None if size is None else tuple(sorted({min(side, 64) for side in size}))
