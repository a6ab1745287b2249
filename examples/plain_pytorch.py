"""Puzzling as a pretext task in a plain PyTorch loop over torchvision's ImageFolder: 14 lines, `kernels` alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torchvision.datasets import ImageFolder
from torchvision.transforms import PILToTensor

from kernels import Key, draw, draw_permutation, render_views, weak


def train(folder: str, encoder: torch.nn.Module, tiles: torch.nn.Module, lr: float, epochs: int = 1) -> list[float]:
    """`encoder` gives features of pictures, `tiles` 9 x 9 logits of features; faces of 96 px in class folders."""
    faces, losses = ImageFolder(folder, PILToTensor()), []
    optimiser = torch.optim.AdamW([*encoder.parameters(), *tiles.parameters()], lr)
    for epoch in range(epochs):
        for sample in torch.randperm(len(faces)).split(32):
            store = torch.stack([faces[i][0] for i in sample.tolist()]).permute(0, 2, 3, 1).contiguous()
            mean, key = store.float().mean(dim=(1, 2)), Key(seed=0, epoch=epoch, sample=sample)
            tables = draw(weak(), key, mean=mean, store=(96, 96), size=64)
            shows = draw_permutation(3, key.stream("puzzle"))
            rows, where, colour = torch.arange(len(sample)), tables.where[None], tables.colour[None]
            half = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "dtype": torch.float32}
            pictures = render_views(store, rows, where, colour, shows[None], size=64, **half)[0]
            loss = F.cross_entropy(tiles(encoder(pictures)).view(-1, 9), shows.flatten().long())
            optimiser.zero_grad(), loss.backward(), optimiser.step()
            losses.append(loss.item())
    return losses
