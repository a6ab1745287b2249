"""Shows where a network looks when it names a class (Selvaraju et al., ICCV 2017, Grad-CAM, equations 1 and 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from engine.tasks.base import Features
from engine.training.model import InferenceModel, Model, as_map, evaluating

from timm.models.vision_transformer import VisionTransformer  # isort: skip - after the line that lets timm be imported


def grad_cam(
    model: Model | InferenceModel, pictures: Float[Tensor, "b 3 s s"], task: str, classes: Int64[Tensor, " b"]
) -> Float32[Tensor, "b s s"]:
    """Maps how much each place of a picture speaks for a class: 0..1, 1 at the place that does most.

    It is a map of the last feature map, enlarged: as coarse as that is. All 0 where no place speaks for the class. In a
    vision transformer it is of the patches as the last block is given them: behind it a class token reads no more.

    Args:
        pictures: As the network sees them, on its device.
        task: One with classes, whose head gives a score a class.
        classes: Of each picture, the class that is asked about.
    """
    network = model.encoder.network
    with evaluating(model):
        # Every encoder gives its feature map by itself: what hooks would catch elsewhere is here at hand, and the
        # backward pass ends at the map, through the head alone.
        patches = isinstance(network, VisionTransformer)
        if patches:
            embedded = network.norm_pre(network._pos_embed(network.patch_embed(pictures.float())))
            feature_map = network.blocks[:-1](embedded)
        else:
            feature_map = network.forward_features(pictures.float())
        with torch.enable_grad():
            feature_map = feature_map.detach().requires_grad_()
            last = network.norm(network.blocks[-1](feature_map)) if patches else feature_map
            pooled = network.forward_head(last, pre_logits=True)
            scores = model.heads[task](Features(feature_map, pooled)).gather(1, classes[:, None])
            (slope,) = torch.autograd.grad(scores.sum(), feature_map)
        feature_map, slope = (as_map(each.detach(), network, pictures) for each in (feature_map, slope))
        weight = slope.mean(dim=(2, 3), keepdim=True)
        heat = (weight * feature_map).sum(dim=1, keepdim=True).relu()
        heat = F.interpolate(heat, size=pictures.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(heat.dtype).tiny)
