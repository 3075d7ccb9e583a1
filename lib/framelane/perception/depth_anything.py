"""Depth Anything V2 (Yang et al. 2024, arXiv 2406.09414) through ``transformers``: relative, and metric in- and outdoors.

Weights are a folder with ``config.json`` and ``model.safetensors``, as model hubs hold them. Nothing is unpickled, no
code of the folder runs, and nothing is looked up on the network.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.errors import FramelaneError, chain
from framelane.models.torch_compat import ensure_torchvision
from framelane.perception.depths import IMAGENET, DepthEstimator, DepthMaps, DepthOptions, input_size, sane

if TYPE_CHECKING:
    import torch


class DepthAnything(DepthEstimator):
    """Depth Anything V2. ``config.json`` says whether it is metric (``depth_estimation_type``).

    Frames are resized as the model's own image processor does (``preprocessor_config.json``: 518, aspect kept, sides in
    multiples of 14, bicubic, ImageNet's mean), on the device where they lie.
    """

    name = "depth_anything"

    def __init__(self, path: Path, options: DepthOptions) -> None:
        """Open a folder (see :func:`~framelane.perception.depths.load_estimator`)."""
        super().__init__(path, options)
        ensure_torchvision()
        import torch

        if options.device == "cpu":
            torch.set_num_threads(options.threads or os.cpu_count() or 1)
        self.model: Any = _opened(path)
        self.model.eval().requires_grad_(False).to(options.device)
        self.kind = "metric" if self.model.config.depth_estimation_type == "metric" else "relative"
        self.provider = f"torch {self.model.device}"

    def estimate(self, rgb: torch.Tensor) -> DepthMaps:
        """See :meth:`DepthEstimator.estimate`."""
        import torch

        maps = []
        with torch.inference_mode():
            for frame in rgb:
                with self._precision():
                    found = self.model(pixel_values=self.prepare(frame)).predicted_depth
                maps.append(sane(found[0].float().cpu().numpy(), self.kind))
        return np.stack(maps)

    def prepare(self, frame: torch.Tensor) -> torch.Tensor:
        """One frame ``(3, H, W)`` as the network wants it, ``(1, 3, h, w)`` on its device."""
        import torch

        device = self.model.device
        size = input_size((frame.shape[1], frame.shape[2]), self.options.size, self.model.config.patch_size)
        pixels = frame[None].to(device).float() / 255
        pixels = torch.nn.functional.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=True)
        mean, deviation = (torch.from_numpy(part).to(device)[:, None, None] for part in IMAGENET)
        return (pixels.clamp(0, 1) - mean) / deviation

    def _precision(self) -> Any:
        import torch

        half = self.options.half and self.model.device.type == "cuda"
        return torch.autocast("cuda", dtype=torch.float16) if half else nullcontext()


def _opened(folder: Path) -> Any:
    import torch
    from transformers import DepthAnythingForDepthEstimation
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model, about = DepthAnythingForDepthEstimation.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # told below, by name
            output_loading_info=True,
        )
    except Exception as error:
        raise FramelaneError(f"The model in {folder} cannot be opened as Depth Anything ({chain(error)}).") from error
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
    unfilled = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in about[kind])
    if unfilled:
        raise FramelaneError(
            f"The weights in {folder} do not fit Depth Anything: {len(unfilled)} of its tensors are missing or have "
            f"another shape, the first is {unfilled[0]}."
        )
    return model
