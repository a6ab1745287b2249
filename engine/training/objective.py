"""Computes what is minimised, the losses of all tasks on all views: the part of a step that is compiled."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from engine.tasks.base import Criterion, Look, Supervised, Task
from engine.training.evaluate import look
from engine.training.model import Model, evaluating
from engine.training.render import Rendered
from engine.views import View


class Objective(nn.Module):
    """Computes the losses of a batch, by task; the heads of tasks that it is not given are not run."""

    def __init__(self, model: Model, tasks: Sequence[Task], criteria: Mapping[str, Criterion]) -> None:
        super().__init__()
        self.model = model
        self.tasks = tuple(tasks)
        self.names = tuple(task.name for task in tasks)
        self.criteria = nn.ModuleDict(criteria)

    def forward(self, rendered: Rendered, taught: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Gives task name to its loss, joined over the views it looks at, in fp32; `taught` is of `teach`."""
        outputs = self.model(rendered.pictures, self.names, rendered.cells)
        criteria: Mapping[str, Criterion] = cast(Mapping[str, Criterion], self.criteria)
        return {
            task.name: criteria[task.name].over_views(
                [outputs[task.name][view] for view in task.on],
                [_seen(task, rendered, view, taught or {}) for view in task.on],
                task.join,
            )
            for task in self.tasks
        }


def teach(tasks: Sequence[Task], model: Model, average: Model | None, rendered: Rendered) -> dict[str, Tensor]:
    """Gives what the teachers of tasks say, by task; each network passes a view once, without gradient."""
    answers: dict[TaughtBy, Tensor] = {}
    for asked in dict.fromkeys(task.taught_by for task in tasks if task.taught_by is not None):
        network = average if asked.average else model
        assert network is not None
        with evaluating(network):
            features = network.encode({asked.view: rendered.pictures[asked.view]}, rendered.cells)[asked.view]
            answers[asked] = network.heads[asked.task](features)
    return {task.name: answers[task.taught_by] for task in tasks if task.taught_by is not None}


def _seen(task: Task, rendered: Rendered, view: str, taught: Mapping[str, Tensor]) -> Look:
    """Gives what a task sees of a view: where it learns of whole samples alone, the others have no target."""
    seen = look(rendered, view)
    if task.name in taught:
        seen = replace(seen, taught=taught[task.name])
    return seen.of_whole() if isinstance(task, Supervised) and task.whole_only else seen


def compile_objective(
    objective: Objective,
    views: Mapping[str, View],
    image_size: int,
    *,
    compositions: int = 1,
    mode: str | None = None,
    backend: str | Callable[..., Any] = "inductor",
) -> nn.Module:
    """Compiles the work of an objective, of which a run has one for each set of tasks that it trains together.

    Where all sizes are fixed that is one graph of everything. Where views are shown at sizes drawn each step it is one
    graph of the encoder a size: whole objectives would need one a *combination* of sizes, and beyond a limit of graphs
    torch.compile goes on uncompiled without a word. Heads and losses, which are small, then stay as they are. Either is
    compiled anew, for fixed numbers of faces, for each of the `compositions` of the batches that it is trained on.
    `mode` and `backend` are those of torch.compile.
    """
    if all(view.size is None or len(view.size) == 1 for view in views.values()):
        _make_room(compositions)
        compiled: nn.Module = torch.compile(objective, dynamic=False, mode=mode, backend=backend)  # type: ignore[assignment]
        return compiled
    seen = {view for task in objective.tasks for view in task.on}
    graphs = encoder_graphs({name: view for name, view in views.items() if name in seen}, image_size)
    _make_room(compositions * graphs)
    objective.model.encoder.compile(dynamic=False, mode=mode, backend=backend)
    return objective


def encoder_graphs(views: Mapping[str, View], image_size: int) -> int:
    """Counts the different batches that pass through the encoder: by their size, and by the views that share it.

    Views that leave out as many cells as each other share a batch of their own.
    """
    alike: dict[int | None, list[tuple[int, ...]]] = {}
    for view in views.values():
        alike.setdefault(view.visible, []).append(view.size or (image_size,))
    found = 0
    for sizes in alike.values():
        for size in {size for choice in sizes for size in choice}:
            always = any(choice == (size,) for choice in sizes)
            sometimes = sum(len(set(choice)) > 1 and size in choice for choice in sizes)
            found += 2**sometimes - (not always)
    return found


def _make_room(graphs: int) -> None:
    """Lets torch.compile keep this many graphs more; those of other models in this process count with them."""
    config: Any = importlib.import_module("torch._dynamo.config")
    config.recompile_limit += graphs
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 4 * config.recompile_limit)
