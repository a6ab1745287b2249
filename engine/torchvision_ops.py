"""Lets torchvision's CUDA wheel be imported beside a CPU-only torch.

timm imports torchvision, whose wheel registers kernels for `torchvision::nms` when it is imported.
Beside a torch without CUDA its compiled library does not load, the operator is unknown, and the import fails. Declaring
the two schemas is enough: nothing is faked, calling the real `nms` still raises. Import this module before timm.
Tried with torchvision 0.26 to 0.29, the bounds in pyproject.toml.
"""

from __future__ import annotations

import torch

_library: torch.library.Library | None = None  # kept alive: the schemas go with it

if torch.version.cuda is None and not hasattr(torch.ops.torchvision, "nms"):
    _library = torch.library.Library("torchvision", "DEF")
    for _op in ("nms", "qnms"):
        _library.define(f"{_op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
