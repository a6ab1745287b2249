"""What is minimised: the forward pass of all views with the losses of all tasks, the part that is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from engine.evaluate import look
from engine.losses import join_views
from engine.model import Model
from engine.render import Rendered
from engine.tasks.base import Criterion, Task


class Objective(nn.Module):
    """The losses of a batch, by task."""

    def __init__(self, model: Model, tasks: Sequence[Task], criteria: Mapping[str, Criterion]) -> None:
        super().__init__()
        self.model = model
        self.tasks = tuple(tasks)
        self.criteria = nn.ModuleDict(criteria)

    def forward(self, rendered: Rendered, target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task name to its loss, joined over the views it looks at, in fp32."""
        outputs = self.model(rendered.pictures)
        criteria: Mapping[str, Criterion] = cast(Mapping[str, Criterion], self.criteria)
        return {
            task.name: join_views(
                [criteria[task.name].loss(outputs[task.name][view], look(rendered, view, target)) for view in task.on],
                task.join,
            )
            for task in self.tasks
        }
