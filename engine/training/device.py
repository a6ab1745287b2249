"""Which device a command runs on."""

from __future__ import annotations

import torch


def choose_device(name: str | None) -> torch.device:
    """The device that is asked for, else the GPU if there is one.

    Raises:
        ValueError: There is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device: {name} is no device; use cpu, cuda or cuda:1") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device: {name} is not supported; use cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device: {name} is not there, torch sees {torch.cuda.device_count()} GPUs; use cpu")
    return device
