"""The published MViTs: MViTv2-S as torchvision has it, MViTv2-B built from torchvision's class with SlowFast's weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError
from framelane.models.torch_compat import ensure_torchvision
from framelane.processors.attention.loading import fill, read_torch

if TYPE_CHECKING:
    from torch import Tensor

FRAMES = {"mvit_v2_s": 16, "mvit_v2_b": 32}
"""Frames in the window that each model was trained with."""

# SlowFast's names (slowfast/models/attention.py and video_model_builder.py at 1aebd71, the commit that torchvision's MViT
# was ported from) on the left, torchvision's on the right. All tensors have the same layout: qkv stacks q, k, v and then
# the heads in both, and rel_pos_h, _w, _t have the same lengths. Only cls_token loses its two axes of length 1.
_RENAMED = (
    (r"^cls_token$", "pos_encoding.class_token"),
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^(blocks\.\d+\.attn)\.proj\.", r"\1.project.0."),
    (r"^(blocks\.\d+\.attn)\.pool_([qkv])\.", r"\1.pool_\2.pool."),
    (r"^(blocks\.\d+\.attn)\.norm_([qkv])\.", r"\1.pool_\2.norm_act.0."),
    (r"^(blocks\.\d+\.mlp)\.fc1\.", r"\1.0."),
    (r"^(blocks\.\d+\.mlp)\.fc2\.", r"\1.3."),
    # The projection of the shortcut where the width doubles; DIM_MUL_IN_ATT: that is in attention, not in the MLP.
    (r"^(blocks\.\d+)\.proj\.", r"\1.project."),
    (r"^head\.projection\.", "head.1."),
)


def mvit_v2_s() -> Any:
    """MViTv2-S of torchvision (16 x 224 x 224, 400 classes) with random weights; 34.5 M parameters."""
    ensure_torchvision()
    from torchvision.models.video import mvit_v2_s as build

    return build(weights=None)


def mvit_v2_b() -> Any:
    """MViTv2-B (32 x 224 x 224, 400 classes) with random weights; 51.2 M parameters.

    As in SlowFast's configs/Kinetics/MVITv2_B_32x3.yaml: 24 layers; width and heads double at layers 2, 5 and 21, where
    queries are pooled by 2 x 2; keys and values are pooled by 8 x 8, less what queries have been pooled by.
    """
    ensure_torchvision()
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    width, heads, stride_kv = 96, 1, 8
    blocks = []
    for index in range(24):
        doubles = index in (2, 5, 21)
        factor = 2 if doubles else 1
        heads, stride_kv = heads * factor, max(stride_kv // factor, 1)
        block = MSBlockConfig(
            num_heads=heads,
            input_channels=width,
            output_channels=width * factor,
            kernel_q=[3, 3, 3],
            kernel_kv=[3, 3, 3],
            stride_q=[1, factor, factor],
            stride_kv=[1, stride_kv, stride_kv],
        )
        blocks.append(block)
        width *= factor
    return MViT(
        spatial_size=(224, 224),
        temporal_size=FRAMES["mvit_v2_b"],
        block_setting=blocks,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        stochastic_depth_prob=0.3,
        num_classes=400,
    )


def from_slowfast(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of an MViTv2 under SlowFast's names, under torchvision's.

    Args:
        weights: the ``model_state`` of a SlowFast checkpoint.
    """
    renamed = {}
    for name, tensor in weights.items():
        new = name
        for pattern, replacement in _RENAMED:
            new = re.sub(pattern, replacement, new)
        renamed[new] = tensor.flatten() if name == "cls_token" else tensor
    return renamed


def load_mvit(name: str, path: Path) -> tuple[Any, int]:
    """A model of the catalogue with its weights, and the frames of its window.

    Args:
        name: ``"mvit_v2_s"`` or ``"mvit_v2_b"``.
        path: its checked file.

    Raises:
        FramelaneError: the file cannot be read or does not fit the model.
    """
    import torch

    weights, what, build = read_torch(path), "MViTv2-S", mvit_v2_s
    if name == "mvit_v2_b":
        what, build = "MViTv2-B", mvit_v2_b
        if not isinstance(weights.get("model_state"), dict):
            raise FramelaneError(f"The weights {path} do not fit {what}: SlowFast's model_state is missing in them.")
        weights = from_slowfast(weights["model_state"])
    with torch.device("meta"):
        model = build()
    fill(model, weights, path, what)
    return model, FRAMES[name]


def kinetics_classes() -> list[str]:
    """The 400 class names of Kinetics-400, in the order of torchvision's weights, which is SlowFast's: alphabetical."""
    ensure_torchvision()
    from torchvision.models.video import MViT_V2_S_Weights

    return list(MViT_V2_S_Weights.KINETICS400_V1.meta["categories"])
