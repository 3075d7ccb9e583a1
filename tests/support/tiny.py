"""Tiny models of the real classes with random weights: for plumbing only, no map of theirs means anything."""

import torch

from framelane.models.torch_compat import ensure_torchvision
from framelane.processors.attention.mvit import MvitBackbone
from framelane.processors.attention.videomae import VideoMaeBackbone

ensure_torchvision()

CLASSES = ["left", "right", "up"]


def mvit_model(relative=True, more=0):
    """torchvision's MViT for 4 frames of 32 x 32: three layers and ``more``; queries are pooled in the second."""
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    def block(heads, channels, q, kv):
        return MSBlockConfig(heads, *channels, kernel_q=[3, 3, 3], kernel_kv=[3, 3, 3], stride_q=q, stride_kv=kv)

    torch.manual_seed(7)
    return MViT(
        spatial_size=(32, 32),
        temporal_size=4,
        block_setting=[
            block(1, (16, 16), [1, 1, 1], [1, 4, 4]),
            block(2, (16, 32), [1, 2, 2], [1, 2, 2]),
            *[block(2, (32, 32), [1, 1, 1], [1, 2, 2]) for _ in range(1 + more)],
        ],
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=relative,
        proj_after_attn=True,
        num_classes=len(CLASSES),
    )


def mvit(more=0, **options):
    """That model as a backbone."""
    return MvitBackbone(mvit_model(more=more), "cpu", CLASSES, **{"frames": 4, "resolution": 32, **options})


def videomae_model(layers=3, attention="eager", **config):
    """transformers' VideoMAE for 4 frames of 16 x 16: tokens on a grid of 2 x 2 x 2."""
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    settings = VideoMAEConfig(
        image_size=16, patch_size=8, num_frames=4, tubelet_size=2, hidden_size=16, num_hidden_layers=layers,
        num_attention_heads=2, intermediate_size=32, num_labels=len(CLASSES), id2label=dict(enumerate(CLASSES)),
        label2id={name: i for i, name in enumerate(CLASSES)}, attn_implementation=attention, **config,
    )  # fmt: skip
    torch.manual_seed(4)
    model = VideoMAEForVideoClassification(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            # Weights of about this size make attention uneven; with the usual small ones all methods look the same.
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return model


def videomae(layers=3, **options):
    """That model as a backbone."""
    return VideoMaeBackbone(videomae_model(layers), "cpu", **options)
