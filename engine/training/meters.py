"""Sums up the losses of the running epoch on the device, and reads them only when they are asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from engine.training.later import Later


class NonFiniteLossError(RuntimeError):
    """Says at which step the loss became infinite or no number."""

    def __init__(self, step: int) -> None:
        super().__init__(
            f"the loss was not finite at step {step}; the last good checkpoint is kept. "
            "Start a new run with a lower optim.lr, with optim.clip, or with precision fp32 or bf16"
        )
        self.step = step


class Watch:
    """Sums up the total and each task's loss, and remembers the first step at which the total was not finite."""

    def __init__(self, tasks: Sequence[str], device: torch.device) -> None:
        self.tasks = tuple(tasks)
        self.names = ("loss", *(f"{task}/loss" for task in tasks))
        self._sums = torch.zeros(len(self.names), dtype=torch.float64, device=device)
        self._bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._counts = [0] * len(self.names)
        self._read = [0.0] * len(self.names)
        self._read_counts = [0] * len(self.names)

    def add(self, losses: Float32[Tensor, " tasks+1"], step: int, live: Collection[str]) -> None:
        """Adds the total and the losses of one step, 0 of tasks not in `live`, without waiting for the device."""
        self._sums += losses.double()
        self._bad.masked_fill_((self._bad < 0) & ~torch.isfinite(losses[0]), step)
        trained = (True, *(task in live for task in self.tasks))
        self._counts = [count + more for count, more in zip(self._counts, trained, strict=True)]

    def check(self) -> None:
        """Reads the device.

        Raises:
            NonFiniteLossError: The total was not finite at some step since the start.
        """
        _refuse(self._bad)

    def recent(self) -> Later[dict[str, float]]:
        """Asks for the mean losses since the last call, of the tasks that were trained; to be read in this order.

        Reading raises as `check` does.
        """
        counts = [now - was for now, was in zip(self._counts, self._read_counts, strict=True)]
        self._read_counts = self._counts

        def read(sums: Tensor, bad: Tensor) -> dict[str, float]:
            _refuse(bad)
            now = sums.tolist()
            added = [after - before for after, before in zip(now, self._read, strict=True)]
            self._read = now
            return self._means(added, counts)

        return Later([self._sums, self._bad], read)

    def epoch(self) -> dict[str, float]:
        """Gives the mean losses of the epoch so far, of the tasks that were trained; reads the device."""
        return self._means(self._sums.tolist(), self._counts)

    def _means(self, sums: Sequence[float], counts: Sequence[int]) -> dict[str, float]:
        return {name: sum_ / count for name, sum_, count in zip(self.names, sums, counts, strict=True) if count}

    def reset(self) -> None:
        """Begins an epoch."""
        self._sums.zero_()
        self._counts = [0] * len(self.names)
        self._read, self._read_counts = [0.0] * len(self.names), self._counts

    def state_dict(self) -> dict[str, Any]:
        return {
            "sums": self._sums.cpu(),
            "counts": list(self._counts),
            "read": list(self._read),
            "read_counts": list(self._read_counts),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums.copy_(state["sums"])
        self._counts, self._read_counts = list(state["counts"]), list(state["read_counts"])
        self._read = list(state["read"])


def _refuse(bad: Tensor) -> None:
    """Raises where a step was noted."""
    if int(bad) >= 0:
        raise NonFiniteLossError(int(bad))
