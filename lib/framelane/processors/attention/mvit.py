"""Video transformers that channel A looks into: torchvision's MViT, windows of frames in, pooled attention out.

Attention is read while the model itself runs, so its logits are torchvision's own to the last bit.
``create_feature_extractor`` must not be used for that: it rebuilds the graph without the in-place additions of the
shortcut, and its logits are wrong without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from framelane.errors import UsageError
from framelane.models.torch_compat import ensure_torchvision
from framelane.processors.attention.backbone import Capture, keeping, normalised, precision
from framelane.processors.attention.pooling import Grid, Pooling, Pools

if TYPE_CHECKING:
    from torch import Tensor

MEAN = (0.45, 0.45, 0.45)
"""Mean of R, G, B in 0 to 1, as torchvision's Kinetics weights were trained."""
STD = (0.225, 0.225, 0.225)
POOLINGS = ("uniform", "learned")
MEAN_OF_CLASSES = "mean"


@dataclass
class _Pass:
    """What one pass through the model leaves behind, layer by layer."""

    attentions: list[Tensor] = field(default_factory=list)
    pools: list[Pools] = field(default_factory=list)


class VideoBackbone:
    """A frozen MViT, in evaluation mode.

    Attributes:
        usual_start: the first layer that counts where ``attention.start_layer`` says nothing.
        device: where it runs, as torch names it.
        frames: frames in one window.
        resolution: side in pixels of the square that frames are resized to.
        classes: names of the classes, in the order of the logits.
    """

    usual_start = 0

    def __init__(
        self,
        model: Any,
        device: str,
        classes: list[str],
        *,
        frames: int = 16,
        resolution: int = 224,
        mixed_precision: bool = False,
        pooling: str = "uniform",
    ) -> None:
        """Take a ``torchvision.models.video.MViT``; its parameters are frozen.

        Args:
            model: with relative positions (MViTv2), whose tables are interpolated for other sizes than its own, or of
                exactly the size given.
            device: ``"cpu"`` or ``"cuda"``.
            classes: names of its classes.
            frames: frames in one window.
            resolution: side of the square in pixels.
            mixed_precision: FP16 under autocast; only on a GPU.
            pooling: ``"uniform"``: a pooled cell stands evenly for its own block of cells; ``"learned"``: as the
                magnitudes of the pooling convolution's weights say (an ablation).

        Raises:
            UsageError: an unknown pooling, or a size that the model cannot take.
        """
        if pooling not in POOLINGS:
            raise UsageError(f"attention.pooling: {pooling!r} is unknown; allowed are {', '.join(POOLINGS)}.")
        self.device, self.classes, self.frames, self.resolution = device, classes, frames, resolution
        self._model = model.eval().requires_grad_(False).to(device)
        self._half = mixed_precision and device.startswith("cuda")
        self._learned = pooling == "learned"
        self._fit()

    @property
    def grid(self) -> Grid:
        """(t, h, w) of the tokens that enter the first layer."""
        encoding = self._model.pos_encoding
        return (int(encoding.temporal_size), *map(int, encoding.spatial_size))  # type: ignore[return-value]

    def _fit(self) -> None:
        encoding, strides = self._model.pos_encoding, self._model.conv_proj.stride
        coarsest = [
            strides[axis]
            * prod(block.attn.pool_q.pool.stride[axis] for block in self._model.blocks if block.attn.pool_q)
            for axis in (0, 1)
        ]
        if self.resolution % coarsest[1]:
            raise UsageError(
                f"attention.spatial_resolution: {self.resolution} is not a multiple of {coarsest[1]}, the coarsest grid "
                "of this model."
            )
        if self.frames % coarsest[0]:
            raise UsageError(f"attention.window: {self.frames} frames are not a multiple of {coarsest[0]}.")
        side = self.resolution // strides[1]
        wanted = (self.frames // strides[0], side, side)
        if wanted != self.grid:
            if encoding.spatial_pos is not None:
                raise UsageError(
                    f"attention.spatial_resolution: this model has fixed positions and takes {self.grid[0] * strides[0]} "
                    f"frames of {self.grid[1] * strides[1]} pixels only."
                )
            encoding.temporal_size, encoding.spatial_size = wanted[0], wanted[1:]

    def prepare(self, rgb: Tensor) -> Tensor:
        """A window of frames as the model takes it.

        Args:
            rgb: uint8 (T, 3, H, W), T = :attr:`frames`.

        Returns:
            float32 (1, 3, T, S, S) on the model's device. The whole frame is squeezed into the square, nothing is
            cropped: attention is wanted everywhere.
        """
        from torch.nn import functional

        source = rgb if rgb.device.type == "cpu" else rgb.float()
        small = functional.interpolate(source, size=(self.resolution,) * 2, mode="bilinear", antialias=True)
        return normalised(small.to(self.device), MEAN, STD).transpose(0, 1)[None]

    def capture(self, pixels: Tensor, gradients: bool, start_layer: int = 0, target: str = "top-1") -> VideoCapture:
        """One pass through the model, and back again if gradients are wanted. Nothing of the graph is kept.

        Args:
            pixels: float (N, 3, T, S, S), as :meth:`prepare` gives them.
            gradients: also compute dy/dA for every attention map, with y summed over the windows.
            start_layer: the first layer kept, from 0; maps are then on the grid of the tokens that enter it.
            target: whose logit y is: ``"top-1"``, the name of a class, or ``"mean"`` of all.

        Raises:
            UsageError: there is no such class.
        """
        import torch

        seen = _Pass()
        with (
            torch.set_grad_enabled(gradients),
            precision(self._half),
            self._watched(seen, start_layer if gradients else None),
            keeping(self._model.blocks[-1].norm1) as activations,
        ):
            logits = self._model(pixels).float()
            chosen, label = self._chosen(logits, target)
            wanted = [*seen.attentions[start_layer:], *activations]
            *found, slope = torch.autograd.grad(chosen, wanted) if gradients else (None,)
        scores = logits.detach()
        return VideoCapture(
            attentions=[layer.detach().float() for layer in seen.attentions[start_layer:]],
            gradients=[layer.float() for layer in found if layer is not None],
            grid=seen.pools[start_layer].queries.source,
            prefix=1,
            target=f"logit of {label}" if gradients else "",
            pools=seen.pools[start_layer:],
            activation=activations[0].detach().float() if gradients else None,
            activation_gradient=None if slope is None else slope.float(),
            shift=self._shift(start_layer),
            logits=scores,
            action=[self.classes[i] for i in scores.argmax(dim=1).tolist()],
        )

    def probabilities(self, pixels: Tensor) -> Tensor:
        """What it believes: float (N, 3, T, S, S) to float32 (N, classes) that sum to 1, without gradients."""
        import torch

        with torch.no_grad(), precision(self._half):
            shares: Tensor = self._model(pixels).float().softmax(dim=1)
        return shares

    def stages(self) -> list[list[Any]]:
        """All modules with weights, from the output to the input: head, norm and last layer first, the patches last."""
        blocks, model = list(self._model.blocks), self._model
        first = [model.head, model.norm, blocks[-1]]
        return [first, *([block] for block in blocks[-2::-1]), [model.pos_encoding, model.conv_proj]]

    def _chosen(self, logits: Tensor, target: str) -> tuple[Tensor, str]:
        """y, a scalar, and its name."""
        if target == MEAN_OF_CLASSES:
            return logits.mean(dim=1).sum(), "all classes, averaged"
        if target == "top-1":
            return logits.amax(dim=1).sum(), "the most likely class"
        if target not in self.classes:
            import difflib

            near = difflib.get_close_matches(target, self.classes, n=3)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise UsageError(f"attention.target: {target!r} is no class of this model.{hint}")
        return logits[:, self.classes.index(target)].sum(), target

    @contextmanager
    def _watched(self, seen: _Pass, start_layer: int | None) -> Iterator[None]:
        """Note every layer's attention and grids while the model runs; begin the graph at a layer."""
        from torch.overrides import TorchFunctionMode

        class Softmaxes(TorchFunctionMode):
            """Sees each result of ``softmax``: MultiscaleAttention calls it once, on its attention."""

            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                result = func(*args, **(kwargs or {}))
                if getattr(func, "__name__", "") == "softmax":
                    seen.attentions.append(result)
                return result

        def begin(_module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (inputs[0].detach().requires_grad_(), *inputs[1:])

        def note(module: Any, inputs: tuple[Any, ...], _output: Any) -> None:
            seen.pools.append(self._pools(module, inputs[1]))

        with ExitStack() as stack:
            blocks = self._model.blocks
            if start_layer is not None:
                stack.enter_context(blocks[start_layer].register_forward_pre_hook(begin))
            for block in blocks:
                stack.enter_context(block.attn.register_forward_hook(note))
            stack.enter_context(Softmaxes())
            yield

    def _shift(self, start_layer: int) -> tuple[float, ...]:
        """How far the tokens that enter a layer lie beside even tiles: overlapping kernels are centred on their first cell.

        A convolution of kernel k, stride s and padding p has the middle of its i-th output at s i - p + (k - 1) / 2.
        """
        pools = (block.attn.pool_q for block in self._model.blocks[:start_layer])
        convolutions = [self._model.conv_proj, *(pool.pool for pool in pools if pool is not None)]
        found = []
        for axis in range(3):
            size, middle = 1, 0.0  # of a token, and of the first one, in frames or pixels counted from 0
            for conv in convolutions:
                middle += size * ((conv.kernel_size[axis] - 1) / 2 - conv.padding[axis])
                size *= conv.stride[axis]
            found.append((middle + 0.5) / size - 0.5)
        return tuple(found)

    def _pools(self, attention: Any, source: Grid) -> Pools:
        return Pools(self._pooling(attention.pool_q, source), self._pooling(attention.pool_k, source))

    def _pooling(self, pool: Any, source: Grid) -> Pooling:
        source = (int(source[0]), int(source[1]), int(source[2]))
        if pool is None:
            return Pooling(source, source, (1, 1, 1))
        conv = pool.pool
        pooled = tuple(
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip(source, conv.padding, conv.kernel_size, conv.stride, strict=True)
        )
        stride = tuple(conv.stride)
        if not self._learned:
            return Pooling(source, pooled, stride)  # type: ignore[arg-type]
        kernel = conv.weight.detach().float().abs().mean(dim=(0, 1))
        return Pooling(source, pooled, stride, kernel, tuple(conv.padding))  # type: ignore[arg-type]


@dataclass(frozen=True)
class VideoCapture(Capture):
    """A capture of windows, with what the model took them for.

    Attributes:
        logits: (N, classes).
        action: the most likely class of each window.
    """

    logits: Tensor | None = None
    action: list[str] = field(default_factory=list)


def mvit_v2_s(weights: dict[str, Tensor] | None = None) -> Any:
    """MViTv2-S of torchvision (16 x 224 x 224, 400 classes); random weights where none are given."""
    ensure_torchvision()
    from torchvision.models.video import mvit_v2_s as build

    model = build(weights=None)
    if weights is not None:
        model.load_state_dict(weights)
    return model


def kinetics_classes() -> list[str]:
    """The 400 class names of Kinetics-400, in the order of torchvision's weights."""
    ensure_torchvision()
    from torchvision.models.video import MViT_V2_S_Weights

    return list(MViT_V2_S_Weights.KINETICS400_V1.meta["categories"])
