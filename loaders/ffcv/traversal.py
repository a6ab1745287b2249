"""Our samplers for FFCV's own `Loader`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from loaders.feed.order import Order
from loaders.ffcv.package import ffcv

if TYPE_CHECKING:
    from loaders.ffcv.operations import Drawn

_BASE = ffcv("ffcv.traversal_order.base", "loaders.ffcv.traversal").TraversalOrder


class InOrder(_BASE):  # type: ignore[misc, valid-type]
    """The order of our loaders, for `ffcv.Loader(..., order=InOrder(...))`; the file is that of the order's split.

    FFCV counts epochs from 0 and begins each at its first batch; set `first` to go on after a break. A last evaluation
    batch is padded with the file's first sample.

    Args:
        order: What `FFCV.order` gives, with the loader's batch size.
        operations: Are told each epoch as it begins.
        first: The epoch that FFCV's epoch 0 is.

    Raises:
        ValueError: The loader has another batch size, or its file another number of samples than the split.
    """

    def __init__(self, order: Order, operations: Sequence[Drawn] = (), *, first: int = 0) -> None:
        # FFCV makes its own orders from their class and ours from an object, which it calls with the loader.
        self._order = order
        self._operations = tuple(operations)
        self._first = first

    def __call__(self, loader: Any) -> InOrder:
        super().__init__(loader)
        if loader.batch_size != self._order.batch_size:
            raise ValueError(
                f"InOrder: batch_size (={loader.batch_size}) must be that of the order "
                f"({self._order.batch_size}); give both the same"
            )
        samples = int(loader.reader.num_samples)
        if samples != len(self._order.split.sample):
            raise ValueError(
                f"InOrder: file (={loader.fname}) must be that of split {self._order.split.name!r}, of "
                f"{len(self._order.split.sample)} samples; it has {samples}"
            )
        return self

    def sample_order(self, epoch: int) -> NDArray[np.int64]:
        """FFCV's hook: places in the file, batch after batch."""
        for operation in self._operations:
            operation.epoch = self._first + epoch
        return self._order.positions(self._first + epoch).clamp(min=0).flatten().numpy()
