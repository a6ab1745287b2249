"""Counts what the training of a recipe costs, from the recipe alone: neither its data nor a run of it is touched.

One batch of each stretch of the run in which the same is computed goes forward and backward on torch's meta device,
which knows shapes and computes nothing. Its FLOPs are those that torch's `FlopCounterMode` counts: of convolutions and
matrix products, 2 for a multiplication with its addition. Other operations are not counted, and so neither are the
optimiser, moving averages and the renderer, nor is evaluation, nor `gradient_cosine_every`, which are no training.
Views of several sizes cost the mean over them, which are drawn equally often.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from engine.cost import Cost
from engine.recipe import Recipe
from engine.recipe.smoke import made_up
from engine.tasks.perceptual import Teacher
from engine.training.model import Encoder
from engine.training.objective import Objective, teach
from engine.training.parts import build_model, renderer
from loaders.base import Batch, Split
from loaders.feed.composed import Composed

META = torch.device("meta")
"""Knows shapes and computes nothing."""
_Stretch = tuple[tuple[str, ...], Composed | None, int, int]
"""Tasks, composition, the epoch it begins in, steps."""


def cost_of(recipe: Recipe, steps: int) -> Cost:
    """Counts what training costs, of so many optimiser steps an epoch, without what it starts from (`init`).

    Raises:
        ValueError: A loss cannot be computed without values, on shapes alone.
    """
    return _cost_of(recipe, _stretches(recipe, steps))


def cost_of_step(recipe: Recipe) -> Cost:
    """Counts what the first optimiser step costs.

    Raises:
        ValueError: As `cost_of`.
    """
    names, composed, epoch, _ = next(_stretches(recipe, 1))
    return _cost_of(recipe, [(names, composed, epoch, 1)])


def _cost_of(recipe: Recipe, stretches: Iterable[_Stretch]) -> Cost:
    split = made_up_split(recipe)
    criteria = {task.name: task.criterion(split).to(META) for task in recipe.tasks}
    with META:
        model = build_model(recipe)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # not counted, and half of the time that counting takes
            layer.forward = partial(_unnormalised, layer)  # type: ignore[method-assign]
    for criterion in criteria.values():
        criterion.attach(model.encoder.network, recipe.mean, recipe.std)
    total, counted = Cost(0, 0, 0), dict[object, Cost]()
    for names, composed, epoch, count in stretches:
        tasks = tuple(task for task in recipe.tasks if task.name in names)
        same = names, composed, tuple(epoch >= start for task in tasks for start in task.stages)
        if same not in counted:
            for criterion in criteria.values():
                criterion.begin(epoch)
            counted[same] = _cost_of_batch(
                recipe, Objective(model, tasks, criteria), batch_of_shapes(recipe, split, composed)
            )
        total += counted[same].times(count * recipe.accumulate)
    return total


def _unnormalised(layer: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """Passes pictures through a normalisation layer as they are; a gradient reaches what it would reach."""
    return x if layer.weight is None else x + layer.weight.sum()


def _stretches(recipe: Recipe, steps: int) -> Iterator[_Stretch]:
    """Gives the stretches of a run in which the same is computed."""
    marks = {epoch * steps for task in recipe.tasks for epoch in task.stages}
    for phase in recipe.phases(recipe.epochs * steps):
        starts = sorted({phase.start, *(mark for mark in marks if phase.start < mark < phase.stop)})
        for start, stop in zip(starts, [*starts[1:], phase.stop], strict=True):
            yield phase.tasks, phase.composed, start // steps, stop - start


def _cost_of_batch(recipe: Recipe, objective: Objective, batch: Batch) -> Cost:
    """Counts one batch, as a mean over the sizes of views; a criterion is as its epoch has it."""
    objective.train()
    choices = math.lcm(*(1 if view.size is None else len(view.size) for view in recipe.views.values()))
    total = Cost(0, 0, 0)
    for choice in range(choices):
        shown = {
            name: view if view.size is None else replace(view, size=(view.size[choice % len(view.size)],))
            for name, view in recipe.views.items()
        }
        render = renderer(replace(recipe, views=shown), torch.float32, objective.tasks)
        pictures = _Pictures(objective)
        counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _two_gradients})
        try:
            rendered = render.training(batch, epoch=0, step=0)
            with counter:
                taught = teach(objective.tasks, objective.model, objective.model, rendered)  # an average costs as much
                torch.stack(list(objective(rendered, taught).values())).sum().backward()
        except RuntimeError as error:
            raise ValueError(
                f"cost: the losses of {', '.join(objective.names)} cannot be counted on shapes alone ({error}); write "
                "them without .item(), `if tensor` and masks as indices, which also keep a GPU waiting"
            ) from error
        finally:
            pictures.close()
        found = Cost(pictures.trained + pictures.forward_only, pictures.forward_only, counter.get_total_flops())
        total += found.times(1 / choices)
    return total


class _Pictures:
    """Counts the pictures that pass through an encoder or a teacher, until it is closed."""

    def __init__(self, objective: nn.Module) -> None:
        self.trained = self.forward_only = 0
        networks = [module for module in objective.modules() if isinstance(module, Encoder | Teacher)]
        self.hooks = [network.register_forward_pre_hook(self._count) for network in networks]

    def _count(self, network: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled() and not isinstance(network, Teacher):
            self.trained += len(arguments[0])
        else:
            self.forward_only += len(arguments[0])

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


def _two_gradients(
    grad_shape: list[int],
    x_shape: list[int],
    w_shape: list[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: list[bool],
    **_: Any,
) -> int:
    """Counts each of a convolution's two gradients as much as the convolution itself.

    The formula that torch has leaves the groups out of the gradient of the weights: that of a depth-wise convolution,
    of which EfficientNets are made, it takes for as many times too dear as there are channels.
    """
    return conv_flop_count(x_shape, w_shape, grad_shape, transposed=transposed) * sum(output_mask[:2])


def made_up_split(recipe: Recipe) -> Split:
    """Makes up a training split with the labels that the tasks ask for: losses weigh classes by their counts."""
    labels = {name: label for task in recipe.supervised for name, label in task.wants().items()}
    sample = torch.arange(max(recipe.batch_size, 1000))
    target = {name: made_up(label, sample) for name, label in labels.items()}
    return Split("train", sample, (recipe.image_size, recipe.image_size, 3), labels, target)


def batch_of_shapes(recipe: Recipe, split: Split, composed: Composed | None) -> Batch:
    """Makes up a batch of a composition, of shapes alone."""
    faces = recipe.batch_size
    return Batch(
        store=torch.empty(1, *split.shape, dtype=torch.uint8, device=META),
        row=torch.empty(faces, dtype=torch.int64, device=META),
        sample=torch.empty(faces, dtype=torch.int64, device=META),
        occurrence=torch.empty(faces, dtype=torch.int32, device=META),
        mean=torch.empty(faces, 3, device=META),
        target={name: values[:faces].to(META) for name, values in split.target.items()},
        labelled=None if composed is None else composed.labelled,
    )
