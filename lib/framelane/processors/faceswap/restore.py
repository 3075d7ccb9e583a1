"""GFPGAN on swapped faces: detail that 128 pixels do not hold, added to patches before they are pasted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from framelane.errors import FramelaneError, chain
from framelane.models import catalog, store
from framelane.models.kept import kept
from framelane.perception.faces import crops
from framelane.processors.faceswap import align
from framelane.processors.faceswap.swapper import Patch, Refused, Wish

if TYPE_CHECKING:
    import torch
    from torch import nn

    from framelane.processors.base import Context

MODELS = {"1.3": "gfpgan_v13", "1.4": "gfpgan_v14"}
SIDE = 512
CHUNKS = {"cpu": 1, "cuda": 4}
"""Faces at once; fixed, so that a face comes out the same whatever else is in its frame batch."""


@dataclass(frozen=True)
class Network:
    """An opened GFPGAN.

    Attributes:
        run: (n, 3, 512, 512) from -1 to 1 to the same.
        package: what it was opened with: ``"spandrel"`` or ``"gfpgan"``.
        device: where it runs.
    """

    run: Callable[[torch.Tensor], torch.Tensor]
    package: str
    device: str


class Restorer:
    """Restores the faces of patches.

    Args:
        network: see :func:`load`.
        strength: share of the restored face in the result, 0 to 1.
        min_px: faces smaller than this are left as they are: there is nothing to see of more detail.
        chunk: faces at once; by default what suits the device.

    Attributes:
        models: what is in use, as ``Context.models`` lists it.
    """

    def __init__(self, network: Network, *, strength: float = 0.8, min_px: int = 96, chunk: int | None = None) -> None:
        self.network, self.strength, self.min_px = network, strength, min_px
        self.chunk = chunk or CHUNKS.get(network.device, 1)
        self.models: list[dict[str, Any]] = []

    @classmethod
    def open(cls, context: Context) -> Self:
        """The restorer of a job, for ``faceswap.restore=gfpgan``.

        Raises:
            FramelaneError: the weights are missing or damaged, or no package can open them.
        """
        options = context.settings.faceswap
        name = MODELS[options.restore_version]
        path = store.resolve(name, notify=context.warn)
        key = (context.device, store.digest(name))
        network = kept("restorer", key, lambda: load(path, context.device))
        restorer = cls(network, strength=options.restore_strength, min_px=options.restore_min_px)
        entry = {"name": name, "sha256": key[1], "licence": catalog.get(name).licence, "package": network.package}
        restorer.models.append(entry)
        if context.device == "cpu":
            context.warn("gfpgan takes seconds a face on a CPU; --set faceswap.restore=none is much faster.")
        return restorer

    def restore(
        self, frames: torch.Tensor, wishes: list[Wish], answers: list[Patch | Refused]
    ) -> list[Patch | Refused]:
        """Patches with restored faces; all faces of a frame batch at once.

        Args:
            frames: (N, 3, H, W) uint8, as they were swapped.
            wishes: as they were swapped.
            answers: of the swapper, one for each wish.

        Returns:
            The same with new pixels; places, sizes and masks stay. A patch does not depend on the others.
        """
        import torch

        out = list(answers)
        chosen = [(i, wishes[i], a) for i, a in enumerate(answers) if isinstance(a, Patch) and self.wants(wishes[i], a)]
        for start in range(0, len(chosen), self.chunk):
            now = chosen[start : start + self.chunk]
            matrices = [crops.similarity(wish.face.points, crops.FFHQ) for _, wish, _ in now]
            before = torch.cat(
                [_crop(frames[w.frame], patch, matrix) for (_, w, patch), matrix in zip(now, matrices, strict=True)]
            )
            restored = self.faces(before)
            for (index, _, patch), matrix, face, was in zip(now, matrices, restored, before, strict=True):
                out[index] = self._blended(patch, matrix, same_colour(face, was))
        return out

    def wants(self, wish: Wish, patch: Patch) -> bool:
        """Whether a face is large enough, and anything of it would be seen."""
        return self.strength > 0 and wish.face.size >= self.min_px and patch.rgb.numel() > 0

    def faces(self, before: torch.Tensor) -> torch.Tensor:
        """Restored faces of at most :attr:`chunk` crops: (n, 3, 512, 512) float32, 0 to 255, to the same."""
        import torch

        short = self.chunk - len(before)
        full = torch.cat([before, before[-1:].expand(short, -1, -1, -1)]) if short else before
        with torch.inference_mode():
            # Normalised and clamped as gfpgan 1.3.8, utils.py:107-115.
            found = self.network.run(full.to(self.network.device) / 127.5 - 1)[: len(before)]
            return ((found.clamp(-1, 1) + 1) * 127.5).to(before.device)

    def _blended(self, patch: Patch, matrix: NDArray[np.float64], face: torch.Tensor) -> Patch:
        height, width = patch.rgb.shape[-2:]
        region = crops.Region(patch.left, patch.top, patch.left + width, patch.top + height)
        positions = crops.positions_in(matrix, region, crops.Region(0, 0, SIDE, SIDE), face)
        share = self.strength * align.soft_square(positions, matrix, SIDE)
        return replace(patch, rgb=patch.rgb + share * (align.back(face, positions, matrix) - patch.rgb))

    def close(self) -> None:
        """Release the model."""


def _crop(frame: torch.Tensor, patch: Patch, matrix: NDArray[np.float64]) -> torch.Tensor:
    """The face as it will be seen: the frame's pixels around it with the patch on them, (1, 3, 512, 512)."""
    height, width = (int(side) for side in frame.shape[-2:])
    region = crops.region_of(matrix, SIDE, width, height)
    right, bottom = patch.left + patch.rgb.shape[-1], patch.top + patch.rgb.shape[-2]
    region = crops.Region(
        min(region.left, patch.left), min(region.top, patch.top), max(region.right, right), max(region.bottom, bottom)
    )
    around = region.of(frame).float()
    place = crops.Region(patch.left - region.left, patch.top - region.top, right - region.left, bottom - region.top).of(
        around
    )
    place.copy_(align.over(place, patch))
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ np.array([region.left, region.top], np.float64)
    return crops.cut(around[None], [0], [shifted], SIDE)


def same_colour(face: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A restored face with the mean colour of what it was restored from: GFPGAN shifts it a little, and each frame anew.

    Args:
        face: (3, s, s), 0 to 255.
        like: of the same shape.
    """
    edge = face.shape[-1] // 4  # the middle: skin, and none of the background
    middle = (slice(None), slice(edge, -edge), slice(edge, -edge))
    return face + (like[middle].mean((1, 2)) - face[middle].mean((1, 2)))[:, None, None]


def load(path: Path, device: str, package: str | None = None) -> Network:
    """GFPGAN from a file of its published weights, in FP32.

    Its noise is the one that lies in the weights instead of a fresh one for each call, so that a resumed job equals an
    uninterrupted one. FP16 is not offered: it gives a solid colour (GFPGAN issue 483).

    Args:
        path: the ``.pth`` file, checked.
        device: ``"cpu"`` or ``"cuda"``.
        package: ``"spandrel"`` or ``"gfpgan"``; by default the first one that works.

    Raises:
        FramelaneError: the file is no GFPGAN, or neither package can be imported.
    """
    import torch

    try:
        weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        weights = weights.get("params_ema", weights.get("params", weights))
    except Exception as error:  # a pickle with code in it, a broken file
        raise FramelaneError(f"The weights at {path} cannot be opened ({chain(error)}).") from error
    reasons = []
    for name, build in _BUILDERS.items():
        if package not in (None, name):
            continue
        try:
            model = build(weights)
        except ImportError as error:
            reasons.append(f"{name}: {chain(error)}")
            continue
        except Exception as error:  # a network of another architecture, or nothing of the kind
            raise FramelaneError(f"The weights at {path} are no GFPGAN v1.3 or v1.4 ({chain(error)}).") from error
        return Network(_runner(model.eval().requires_grad_(False).to(device)), name, device)
    raise FramelaneError(
        f"gfpgan needs the package spandrel or gfpgan ({'; '.join(reasons)}); run: pip install spandrel."
    )


def _runner(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    def run(faces: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model(faces, return_rgb=False, randomize_noise=False)[0]
        return found

    return run


def _with_spandrel(weights: dict[str, Any]) -> nn.Module:
    from framelane.models.torch_compat import ensure_torchvision

    ensure_torchvision()
    from spandrel.architectures.GFPGAN import GFPGANArch

    model: nn.Module = GFPGANArch().load(weights).model
    return model


def _with_gfpgan(weights: dict[str, Any]) -> nn.Module:
    """The reference package. basicsr, which it needs, imports a module that torchvision dropped in 0.17: an alias helps."""
    import sys

    from framelane.models.torch_compat import ensure_torchvision

    ensure_torchvision()
    with suppress(ImportError):
        from torchvision.transforms import functional

        sys.modules.setdefault("torchvision.transforms.functional_tensor", functional)
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    # As gfpgan 1.3.8, utils.py:37-48.
    model: nn.Module = GFPGANv1Clean(
        out_size=512, num_style_feat=512, channel_multiplier=2, decoder_load_path=None, fix_decoder=False, num_mlp=8,
        input_is_latent=True, different_w=True, narrow=1, sft_half=True,
    )  # fmt: skip
    model.load_state_dict(weights, strict=True)
    return model


_BUILDERS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {"spandrel": _with_spandrel, "gfpgan": _with_gfpgan}
