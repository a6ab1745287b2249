"""Chooses where a packed split is kept while it is read, from the memory that is free."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from loaders.sources import memory
from loaders.sources.memory import gigabytes

Tier = Literal["auto", "resident", "pinned", "mapped"]
"""How faces reach the device: `resident` keeps the whole split there; `pinned` keeps it in page-locked memory of the
host, which a GPU copies from by itself; `mapped` reads each batch from the file through the page cache; `auto` takes
the first of these that fits."""

SHARE = (
    0.5  # of the free memory that a split may take where the tier is chosen: the rest is for the model and for others
)


def check_tier(tier: str, device: torch.device) -> None:
    """Refuses a tier that does not exist, or not on this device.

    Raises:
        ValueError: It is none, or pinned memory is asked for where no GPU copies from it.
    """
    if tier not in get_args(Tier):
        raise ValueError(f"Packed: tier (={tier!r}) must be one of {', '.join(get_args(Tier))}; 'auto' chooses")
    if tier == "pinned" and device.type != "cuda":
        raise ValueError(
            f"Packed: tier (='pinned') needs a GPU to copy to, and the device is {device}; use 'mapped', or 'resident' "
            "to hold the split in memory"
        )


def choose_tier(tier: Tier, device: torch.device, needed: int) -> tuple[Tier, str]:
    """Chooses the tier to use, and for `auto` says why, in one line.

    Args:
        tier: What was asked for; it is kept if it is not `auto`.
        device: Where faces go.
        needed: Bytes of the split; each rank on this host takes so much.

    Raises:
        ValueError: What was asked for does not fit.
    """
    if device.type != "cuda":
        return ("mapped", "mapped: on a CPU the file's pages are memory already") if tier == "auto" else (tier, "")
    on_gpu, on_host = memory.free_on_gpu(device), memory.free_on_host() // memory.ranks_on_host()
    split, gpu, host = gigabytes(needed), gigabytes(on_gpu), gigabytes(on_host)
    if tier == "auto":
        if needed <= SHARE * on_gpu:
            return "resident", f"resident: its {split} fit in half of the {gpu} free on {device}"
        no = f"its {split} are more than half of the {gpu} free on {device}"
        if needed <= SHARE * on_host:
            return "pinned", f"pinned: {no}, and fit in half of the host's {host}"
        return "mapped", f"mapped: {no}, and than half of the host's {host}"
    if tier == "resident" and needed > on_gpu:
        raise ValueError(
            f"Packed: tier (='resident') needs {split} on {device}, where {gpu} are free; use 'auto', or 'pinned'"
        )
    if tier == "pinned" and needed > on_host:
        raise ValueError(
            f"Packed: tier (='pinned') needs {split} of the host, where {host} are free for each rank; use 'auto', or "
            "'mapped'"
        )
    return tier, ""
