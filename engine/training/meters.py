"""Sums up the losses of the running epoch on the device, and reads them only when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor


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
        self.names = ("loss", *(f"{task}/loss" for task in tasks))
        self._sums = torch.zeros(len(self.names), dtype=torch.float64, device=device)
        self._bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._count = 0
        self._read = [0.0] * len(self.names)
        self._read_count = 0

    def add(self, losses: Float32[Tensor, " tasks+1"], step: int) -> None:
        """Adds the total and the losses of one step, without waiting for the device."""
        self._sums += losses.double()
        self._bad.masked_fill_((self._bad < 0) & ~torch.isfinite(losses[0]), step)
        self._count += 1

    def check(self) -> None:
        """Reads the device.

        Raises:
            NonFiniteLossError: The total was not finite at some step since the start.
        """
        bad = int(self._bad)
        if bad >= 0:
            raise NonFiniteLossError(bad)

    def recent(self) -> dict[str, float]:
        """Gives the mean losses since the last call; reads the device."""
        sums = self._sums.tolist()
        count = max(self._count - self._read_count, 1)
        means = {name: (now - was) / count for name, now, was in zip(self.names, sums, self._read, strict=True)}
        self._read, self._read_count = sums, self._count
        return means

    def epoch(self) -> dict[str, float]:
        """Gives the mean losses of the epoch so far; reads the device."""
        return {name: value / max(self._count, 1) for name, value in zip(self.names, self._sums.tolist(), strict=True)}

    def reset(self) -> None:
        """Begins an epoch."""
        self._sums.zero_()
        self._count, self._read_count = 0, 0
        self._read = [0.0] * len(self.names)

    def state_dict(self) -> dict[str, Any]:
        return {
            "sums": self._sums.cpu(),
            "count": self._count,
            "read": list(self._read),
            "read_count": self._read_count,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums.copy_(state["sums"])
        self._count, self._read_count = state["count"], state["read_count"]
        self._read = list(state["read"])
