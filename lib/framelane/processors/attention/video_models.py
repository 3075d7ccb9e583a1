"""The video backbones by name, with their weights."""

from __future__ import annotations

from typing import Any

from framelane.errors import UsageError
from framelane.models import store
from framelane.models.files import Notify
from framelane.models.torch_compat import ensure_torchvision
from framelane.processors.attention.mvit import MvitBackbone
from framelane.processors.attention.video import VideoBackbone
from framelane.processors.attention.videomae import VideoMaeBackbone

NAMES = ("mvit_v2_s", "mvit_v2_b", "videomae")
"""The video backbones that :func:`load_video_backbone` knows."""


def load_video_backbone(
    name: str,
    device: str = "cpu",
    *,
    resolution: int | None = None,
    window: int | None = None,
    mixed_precision: bool = False,
    pooling: str = "uniform",
    checkpointing: bool = False,
    notify: Notify | None = None,
) -> VideoBackbone:
    """The video backbone of that name, its weights fetched where needed.

    Args:
        name: one of :data:`NAMES`.
        device: ``"cpu"`` or ``"cuda"``.
        resolution: side in pixels of the square that frames are resized to; None is the model's own, 224. VideoMAE takes
            no other.
        window: frames in one window; None is the number that the model was trained with (16, or 32 of ``mvit_v2_b``).
        mixed_precision: FP16 under autocast; only on a GPU.
        pooling: ``"uniform"`` or ``"learned"``, of MViT; VideoMAE does not pool.
        checkpointing: less memory for twice the time forward, see :class:`VideoBackbone`.
        notify: called with a sentence before a download, and with the model's notice if it has one.

    Raises:
        UsageError: there is no such backbone, or it does not take these sizes.
        FramelaneError: the weights cannot be fetched or read, or torchvision does not fit torch.
    """
    if name not in NAMES:
        raise UsageError(f"attention.backbone: {name!r} is unknown; video backbones are {', '.join(NAMES)}.")
    ensure_torchvision()
    path = store.resolve(name, notify=notify)
    options: dict[str, Any] = {"mixed_precision": mixed_precision, "checkpointing": checkpointing}
    if name == "videomae":
        return VideoMaeBackbone.from_folder(path, device, resolution=resolution, window=window, **options)
    return MvitBackbone.from_file(
        name, path, device, resolution=resolution or 224, window=window, pooling=pooling, **options
    )
