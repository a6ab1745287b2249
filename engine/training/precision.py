"""Chooses the number format of a run, by device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from engine.recipe.definition import Precision

DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve(precision: Precision, device: torch.device) -> Precision:
    """Resolves "auto": bf16 on a CUDA device or a CPU that computes in it, else fp32; gives the others as they are.

    Raises:
        ValueError: fp16 on a CPU, whose gradients would be lost without a scaler that only CUDA has.
    """
    if precision == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if precision == "fp16" and device.type != "cuda":
        raise ValueError(f"Recipe: precision (='fp16') needs a CUDA device, this is {device}; use 'fp32' or 'bf16'")
    return precision


def has_bf16(device: torch.device) -> bool:
    """Tells whether a device multiplies bf16 numbers itself; where it does not, torch emulates it, slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def emulated(precision: Precision, device: torch.device) -> str | None:
    """Warns of a resolved precision that a device emulates; None where it computes in it."""
    if precision != "bf16" or has_bf16(device):
        return None
    return (
        f"warning: precision (='bf16'), which this {device.type.upper()} emulates, is many times slower here than fp32"
    )


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Enters mixed precision in a resolved precision; nothing for fp32."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, DTYPES[precision])
