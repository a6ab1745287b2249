"""Reads numbers of the device after work that was launched behind them, so that training never waits for a log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Later(Generic[T]):
    """Copies tensors to the host beside the device's work, and makes something of them when it is read."""

    def __init__(self, tensors: Sequence[Tensor], make: Callable[..., T]) -> None:
        self._copies = [_on_host(tensor) for tensor in tensors]
        self._make = make
        self._event = None
        if any(tensor.device.type == "cuda" for tensor in tensors):
            self._event = torch.cuda.Event()
            self._event.record()

    def ready(self) -> bool:
        """Says whether the copies are there, so that `read` does not wait."""
        return self._event is None or bool(self._event.query())

    def read(self) -> T:
        """Waits for the copies, not for what was launched since, and gives what `make` makes of them."""
        if self._event is not None:
            self._event.synchronize()
        return self._make(*self._copies)


def _on_host(tensor: Tensor) -> Tensor:
    """A copy; of a CUDA tensor in pinned memory, which alone the device writes without being waited for."""
    if tensor.device.type != "cuda":
        return tensor.to("cpu", copy=True)
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
