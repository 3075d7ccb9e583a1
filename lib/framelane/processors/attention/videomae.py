"""VideoMAE of transformers: no pooling, no CLS token; the answer is read from the mean of all tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError, UsageError, chain
from framelane.models.torch_compat import ensure_torchvision
from framelane.processors.attention.backbone import MEAN, STD
from framelane.processors.attention.loading import quiet_transformers, refuse_misfit
from framelane.processors.attention.pooling import Grid
from framelane.processors.attention.video import VideoBackbone

if TYPE_CHECKING:
    from torch import Tensor


class VideoMaeBackbone(VideoBackbone):
    """A frozen VideoMAE (Tong et al. 2022, arXiv 2203.12602) with a classifier, in evaluation mode.

    Tokens are tubelets of 2 frames x 16 x 16 pixels; every layer attends from all of them to all of them.
    """

    mean, std = MEAN, STD
    prefix, readout = 0, "mean"

    def __init__(self, model: Any, device: str, **options: Any) -> None:
        """Take a ``transformers.VideoMAEForVideoClassification`` with eager attention; its parameters are frozen.

        Args:
            model: with mean pooling; its positions are fixed, so it takes windows of its own size only.
            device: ``"cpu"`` or ``"cuda"``.
            **options: of :class:`VideoBackbone`: ``mixed_precision``, ``checkpointing``.

        Raises:
            FramelaneError: the model reads something else than the mean of all tokens.
        """
        config = model.config
        if not config.use_mean_pooling:
            raise FramelaneError(
                "This VideoMAE does not read the mean of all tokens (use_mean_pooling); it is not supported."
            )
        classes = [str(config.id2label[index]) for index in range(config.num_labels)]
        super().__init__(
            model, device, classes, frames=int(config.num_frames), resolution=int(config.image_size), **options
        )

    @classmethod
    def from_folder(
        cls, folder: Path, device: str, *, resolution: int | None = None, window: int | None = None, **options: Any
    ) -> VideoMaeBackbone:
        """Build the model from a checked folder: ``config.json``, ``model.safetensors``, ``preprocessor_config.json``.

        Args:
            folder: the files.
            device: ``"cpu"`` or ``"cuda"``.
            resolution: what is wanted; None is the model's own.
            window: frames that are wanted; None is the model's own number.
            **options: of the constructor.

        Raises:
            UsageError: a size that the model does not take.
            FramelaneError: a file cannot be read, or a parameter is missing in it, left over, or of another shape.
        """
        backbone = cls(_read(folder), device, **options)
        backbone.mean, backbone.std = _statistics(folder)
        for key, wanted, own in (
            ("spatial_resolution", resolution, backbone.resolution),
            ("window", window, backbone.frames),
        ):
            if wanted not in (None, own):
                raise UsageError(
                    f"attention.{key}: VideoMAE has fixed positions and takes {backbone.frames} frames of "
                    f"{backbone.resolution} pixels only, not {wanted}."
                )
        return backbone

    @property
    def grid(self) -> Grid:
        """(t, h, w) of the tokens."""
        config = self._model.config
        side = self.resolution // int(config.patch_size)
        return (self.frames // int(config.tubelet_size), side, side)

    @property
    def _layers(self) -> Sequence[Any]:
        layers: Sequence[Any] = self._model.videomae.encoder.layer
        return layers

    @property
    def _last_norm(self) -> Any:
        return self._layers[-1].layernorm_before

    def _arranged(self, frames: Tensor) -> Tensor:
        return frames[None]

    def _stem(self, pixels: Tensor) -> tuple[Any, ...]:
        return (self._model.videomae.embeddings(pixels, None),)

    def _head(self, tokens: Tensor) -> Tensor:
        # transformers/models/videomae/modeling_videomae.py, VideoMAEForVideoClassification.forward.
        logits: Tensor = self._model.classifier(self._model.fc_norm(tokens.mean(1)))
        return logits

    def _logits(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self._model(pixels).logits
        return logits


def _statistics(folder: Path) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of R, G, B that the model was trained with; ImageNet's where the folder does not say."""
    path = folder / "preprocessor_config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        (r, g, b), (u, v, w) = found.get("image_mean", MEAN), found.get("image_std", STD)
        return (float(r), float(g), float(b)), (float(u), float(v), float(w))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FramelaneError(f"{path} does not say how frames are normalised ({chain(error)}).") from error


def _read(folder: Path) -> Any:
    """The model with exactly the parameters of the folder."""
    ensure_torchvision()
    from transformers import VideoMAEForVideoClassification

    try:
        with quiet_transformers():
            model, found = VideoMAEForVideoClassification.from_pretrained(
                folder,
                attn_implementation="eager",
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:
        raise FramelaneError(f"The files in {folder} cannot be read as VideoMAE ({chain(error)}).") from error
    refuse_misfit(found, folder, "VideoMAE")
    return model
