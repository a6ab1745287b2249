"""Measures whether a pretext task pulls the shared encoder where the supervised task does: their gradient cosine.

1 says that a step for one is a step for the other, 0 that they have nothing to do with each other, below 0 that they
work against each other (the quantity of Du et al., "Adapting auxiliary losses using gradient similarity", 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float32, Float64
from torch import Tensor, nn

from engine.losses import TaskWeights
from engine.training.later import Later
from engine.training.objective import Objective
from engine.training.render import Rendered

GRADIENT_COSINE = "gradient_cosine"
"""The name it is logged by, as `<task>/gradient_cosine`."""


class Alignment:
    """Averages the gradient cosine of each pretext task, on the device until it is asked for."""

    def __init__(self, supervised: frozenset[str], pretext: Sequence[str], every: int, device: torch.device) -> None:
        self.supervised, self.pretext, self.every = supervised, tuple(pretext), every
        self._sums = torch.zeros(2, len(self.pretext), dtype=torch.float64, device=device)  # of cosines; how many
        self._read = self._sums.to("cpu", copy=True)

    def due(self, step: int) -> bool:
        """Says whether a step, counted from 0, is one to measure at."""
        return step % self.every == 0

    def measure(
        self,
        objective: Objective,
        weights: TaskWeights,
        rendered: Rendered,
        scale: Callable[[Tensor], Tensor] = lambda loss: loss,
        taught: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Adds one batch: a forward pass of its own and a backward pass a task, without waiting for the device.

        Nothing is measured where the objective holds no supervised task, or no pretext task.

        Training does not notice: no gradient is kept, and buffers and random numbers are put back. Nothing is compiled
        here, since several backward passes go through one graph.

        Args:
            objective: Computes the losses of the tasks that are trained at this step.
            weights: Task name to its weight at this step.
            rendered: The batch, in the views that these tasks look at.
            scale: What multiplies a loss, so that gradients in fp16 do not vanish; one factor for all.
            taught: What the teachers of tasks say of the batch.
        """
        live = {task.name for task in objective.tasks}
        if not (live & self.supervised and live - self.supervised):
            return
        with _untouched(objective):
            losses = {name: scale(loss) for name, loss in objective(rendered, taught).items()}
            parameters = [p for p in objective.model.encoder.parameters() if p.requires_grad]
            cosines = gradient_cosines(losses, weights, self.supervised, parameters)
        off = self._sums.new_full((), torch.nan)
        found = torch.stack([cosines.get(name, off) for name in self.pretext])
        known = torch.isfinite(found)
        self._sums += torch.stack([torch.where(known, found, 0.0), known.double()])

    def recent(self) -> Later[dict[str, float]]:
        """Asks for the means since the last call, of the tasks that were measured; to be read in this order."""

        def read(now: Tensor) -> dict[str, float]:
            since, self._read = now - self._read, now
            return self._means(since)

        return Later([self._sums], read)

    def epoch(self) -> dict[str, float]:
        """Gives the means of the epoch so far; reads the device."""
        return self._means(self._sums.to("cpu", copy=True))

    def reset(self) -> None:
        """Begins an epoch."""
        self._sums.zero_()
        self._read = self._sums.to("cpu", copy=True)

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self._sums.to("cpu", copy=True), "read": self._read.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums.copy_(state["sums"])
        self._read = state["read"].clone()

    def _means(self, sums: Float64[Tensor, "2 tasks"]) -> dict[str, float]:
        pairs = zip(self.pretext, *sums.tolist(), strict=True)
        return {f"{name}/{GRADIENT_COSINE}": total / count for name, total, count in pairs if count}


def gradient_cosines(
    losses: Mapping[str, Float32[Tensor, ""]],
    weights: TaskWeights,
    supervised: frozenset[str],
    parameters: Sequence[nn.Parameter],
) -> dict[str, Float64[Tensor, ""]]:
    """Computes for each pretext task the cosine of its gradient with that of the weighted sum of supervised losses.

    All parameters count as one long vector. It is no number where a gradient is 0 or not finite.

    Args:
        losses: Task name to its loss, with a graph that this consumes.
        weights: Task name to its weight; those of pretext tasks do not matter.
        supervised: Names of the supervised tasks.
        parameters: What the gradients are taken by.
    """
    pretext = [name for name in losses if name not in supervised]
    together = torch.stack([weights[name] * losses[name] for name in losses if name in supervised]).sum()
    reference = torch.autograd.grad(together, parameters, retain_graph=True, materialize_grads=True)
    found = {}
    for name in pretext:
        keep = name != pretext[-1]
        gradient = torch.autograd.grad(losses[name], parameters, retain_graph=keep, materialize_grads=True)
        norms = _dot(reference, reference).sqrt() * _dot(gradient, gradient).sqrt()
        found[name] = _dot(reference, gradient) / norms
    return found


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Float64[Tensor, ""]:
    """Computes the scalar product of two lists of tensors as one long vector."""
    return torch.stack([(x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)]).sum()


@contextmanager
def _untouched(objective: Objective) -> Iterator[None]:
    """Puts buffers (running statistics, a loss's state) and torch's generators back; the encoder runs eagerly."""
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    devices = {p.device for p in objective.parameters() if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=list(devices)), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
