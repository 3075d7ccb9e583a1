"""Small detectors of the DETR family with random weights: the real classes of ``transformers``, for plumbing only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from framelane.models.torch_compat import ensure_torchvision
from framelane.perception.detectors import COCO_NAMES

NAMES = ("rfdetr", "rtdetr", "deformable_detr")
QUERIES = 12
# COCO's own numbers of its 80 classes: 1 to 90, and these are not there.
_GAPS = {0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_91 = dict(enumerate("N/A" if index in _GAPS else "" for index in range(91)))
for _index, _name in zip([index for index, name in COCO_91.items() if not name], COCO_NAMES, strict=True):
    COCO_91[_index] = _name
# As the config of RT-DETR spells them.
_SPELT = {
    "motorcycle": "motorbike",
    "airplane": "aeroplane",
    "couch": "sofa",
    "potted plant": "pottedplant",
    "dining table": "diningtable",
    "tv": "tvmonitor",
}
COCO_80 = {index: _SPELT.get(name, name) for index, name in enumerate(COCO_NAMES)}


def build(name: str, **changes: Any) -> tuple[Any, Any]:
    """A model in evaluation mode, with scores around a half and boxes of all sizes, and its image processor."""
    ensure_torchvision()
    torch.manual_seed(3)
    model, processor = {"rfdetr": _rfdetr, "rtdetr": _rtdetr, "deformable_detr": _deformable}[name](**changes)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if any(part in key for part in ("class_embed", "bbox_embed", "sampling_offsets", "attention_weights")):
                parameter.add_(torch.randn(parameter.shape) * (0.1 if "bbox_embed" in key else 0.5))
            if "class_embed" in key and key.endswith("bias"):
                parameter.fill_(-1.0)
            if key.endswith("reference_point_embed.weight"):
                parameter.copy_(torch.rand(parameter.shape) * 0.3 + 0.2)
    return model.eval(), processor


def save(name: str, folder: Path, **changes: Any) -> Path:
    """The folder, with a model in it as a hub would hold it."""
    model, processor = build(name, **changes)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def decoder_layer(model: Any) -> Any:
    """The cross-attention of the last decoder layer: the module with the layers ``sampling_offsets`` and others."""
    layer = model.model.decoder.layers[-1]
    return layer.cross_attn if hasattr(layer, "cross_attn") else layer.encoder_attn


def _rfdetr(**changes: Any) -> tuple[Any, Any]:
    from transformers import RfDetrConfig, RfDetrForObjectDetection, RfDetrImageProcessor

    backbone = {"model_type": "rf_detr_dinov2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    backbone |= {"image_size": 64, "patch_size": 16, "num_windows": 2, "out_features": ["stage1", "stage2"]}
    options = {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2, "group_detr": 1}
    options |= {"backbone_config": backbone, "id2label": COCO_91, "num_queries": QUERIES, "decoder_n_points": 2}
    options |= {"d_model": 32, "decoder_layers": 2, "decoder_ffn_dim": 32, **changes}
    processor = RfDetrImageProcessor(size={"height": 64, "width": 64})
    return RfDetrForObjectDetection(RfDetrConfig(**options)), processor


def _rtdetr(**changes: Any) -> tuple[Any, Any]:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrImageProcessor, RTDetrResNetConfig

    options = {"encoder_hidden_dim": 32, "encoder_in_channels": [8, 16, 16], "encoder_layers": 1}
    options |= {"encoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_in_channels": [32, 32, 32]}
    options |= {"backbone_config": RTDetrResNetConfig(**_resnet()), "id2label": COCO_80, "num_queries": QUERIES}
    options |= {"d_model": 32, "decoder_layers": 2, "decoder_ffn_dim": 32, "decoder_attention_heads": 2}
    options |= {"decoder_n_points": 2, **changes}
    processor = RTDetrImageProcessor(size={"height": 64, "width": 64})
    return RTDetrForObjectDetection(RTDetrConfig(**options)), processor


def _deformable(**changes: Any) -> tuple[Any, Any]:
    """The published model has a backbone of timm; ``changes`` may bring ``two_stage``."""
    from transformers import (
        DeformableDetrConfig,
        DeformableDetrForObjectDetection,
        DeformableDetrImageProcessor,
        ResNetConfig,
    )

    options = {"encoder_layers": 1, "encoder_ffn_dim": 32, "encoder_attention_heads": 2, "encoder_n_points": 2}
    options |= {"backbone_config": ResNetConfig(**_resnet()), "id2label": COCO_91, "num_queries": QUERIES}
    options |= {"d_model": 32, "decoder_layers": 2, "decoder_ffn_dim": 32, "decoder_attention_heads": 2}
    options |= {"decoder_n_points": 2, "disable_custom_kernels": True, **changes}
    processor = DeformableDetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    return DeformableDetrForObjectDetection(DeformableDetrConfig(**options)), processor


def _resnet() -> dict[str, Any]:
    depth = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    return {**depth, "out_features": ["stage2", "stage3", "stage4"]}
