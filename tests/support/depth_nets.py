"""Depth Anything in its real class, tiny, with random weights: for plumbing only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from framelane.models.torch_compat import ensure_torchvision


def small_depth_anything(folder: Path, kind: str = "metric", **changes: Any) -> Path:
    """A folder with it, as a model hub holds it.

    Args:
        folder: to write.
        kind: ``"metric"`` or ``"relative"``.
        **changes: of its configuration.
    """
    ensure_torchvision()
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.manual_seed(0)
    backbone = Dinov2Config(
        image_size=70, patch_size=14, hidden_size=24, num_hidden_layers=4, num_attention_heads=2,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=24, neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8,
        head_hidden_size=4, depth_estimation_type=kind, max_depth=20, **changes,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith(("neck", "head")) and weight.ndim > 1:  # as they come, they say the same everywhere
                weight.normal_(0, 0.3)
    model.save_pretrained(folder)
    return folder
