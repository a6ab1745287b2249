"""Chooses the number format of a run, by device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from engine.recipe.definition import Precision

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve(precision: Precision, device: torch.device) -> torch.dtype:
    """Resolves a precision to its dtype; "auto" is bf16 on a CUDA device that has it, else fp32.

    Raises:
        ValueError: fp16 on a CPU, whose gradients would be lost without a scaler that only CUDA has.
    """
    if precision == "auto":
        return (
            torch.bfloat16
            if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    if precision == "fp16" and device.type != "cuda":
        raise ValueError(f"Recipe: precision (='fp16') needs a CUDA device, this is {device}; use 'fp32' or 'bf16'")
    return _DTYPES[precision]


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Enters mixed precision in `dtype`; nothing for fp32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
