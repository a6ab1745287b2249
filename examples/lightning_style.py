"""A Lightning-style module on a packed store: `loaders` feeds it, `kernels` makes both views of a face in one launch.

Written against the shape of `LightningModule` (training_step, configure_optimizers), so that it runs without Lightning.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels import Key, draw, draw_permutation, identity_cells, render_views, weak
from loaders import Batch


class Hybrid(nn.Module):
    """Expression on the plain view, 2 x 2 puzzling on the puzzled one."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.expression, self.tiles = encoder, nn.Linear(width, classes), nn.Linear(width, 16)
        self.current_epoch = 0

    def training_step(self, batch: Batch, index: int) -> Tensor:
        key = Key(seed=0, epoch=self.current_epoch, sample=batch.sample, occurrence=batch.occurrence)
        tables = draw(weak(), key, mean=batch.mean, store=tuple(batch.store.shape[1:3]), size=48)
        puzzle = draw_permutation(2, key.stream("puzzle"))
        shows = torch.stack([identity_cells(2, len(puzzle), puzzle.device), puzzle])
        where, colour = tables.where.expand(2, -1, -1, -1), tables.colour.expand(2, -1, -1, -1)
        half = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "dtype": torch.float32}
        views = render_views(batch.store, batch.row, where, colour, shows, size=48, **half)
        plain, puzzled = self.encoder(views.flatten(0, 1)).chunk(2)
        tile_loss = F.cross_entropy(self.tiles(puzzled).view(-1, 4), puzzle.flatten().long())
        return F.cross_entropy(self.expression(plain), batch.target["expression"]) + 0.3 * tile_loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-3)
