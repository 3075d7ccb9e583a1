"""MViT of torchvision: pooled attention, as the model itself computes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import UsageError
from framelane.processors.attention.backbone import precision
from framelane.processors.attention.mvit_models import kinetics_classes, load_mvit
from framelane.processors.attention.pooling import Grid, Pooling, Pools
from framelane.processors.attention.video import Seen, VideoBackbone

if TYPE_CHECKING:
    from torch import Tensor

MEAN = (0.45, 0.45, 0.45)
"""Mean of R, G, B in 0 to 1, as torchvision's Kinetics weights were trained."""
STD = (0.225, 0.225, 0.225)
POOLINGS = ("uniform", "learned")


class MvitBackbone(VideoBackbone):
    """A frozen MViT, in evaluation mode."""

    mean, std = MEAN, STD

    def __init__(
        self,
        model: Any,
        device: str,
        classes: list[str],
        *,
        frames: int = 16,
        resolution: int = 224,
        pooling: str = "uniform",
        **options: Any,
    ) -> None:
        """Take a ``torchvision.models.video.MViT``; its parameters are frozen.

        Args:
            model: with relative positions (MViTv2), whose tables are interpolated for other sizes than its own, or of
                exactly the size given.
            device: ``"cpu"`` or ``"cuda"``.
            classes: names of its classes.
            frames: frames in one window.
            resolution: side of the square in pixels.
            pooling: ``"uniform"``: a pooled cell stands evenly for its own block of cells; ``"learned"``: as the
                magnitudes of the pooling convolution's weights say (an ablation).
            **options: of :class:`VideoBackbone`: ``mixed_precision``, ``checkpointing``.

        Raises:
            UsageError: an unknown pooling, or a size that the model cannot take.
        """
        if pooling not in POOLINGS:
            raise UsageError(f"attention.pooling: {pooling!r} is unknown; allowed are {', '.join(POOLINGS)}.")
        super().__init__(model, device, classes, frames=frames, resolution=resolution, **options)
        self._learned = pooling == "learned"
        self._fit()

    @classmethod
    def from_file(
        cls, name: str, path: Path, device: str, *, window: int | None = None, **options: Any
    ) -> MvitBackbone:
        """Build a model of the catalogue from its checked file.

        Args:
            name: ``"mvit_v2_s"`` or ``"mvit_v2_b"``.
            path: its weights.
            device: ``"cpu"`` or ``"cuda"``.
            window: frames in one window; None is its own number.
            **options: of the constructor.

        Raises:
            UsageError: a size that the model cannot take.
            FramelaneError: the file cannot be read or does not fit the model.
        """
        model, frames = load_mvit(name, path)
        return cls(model, device, kinetics_classes(), frames=window or frames, **options)

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

    @property
    def _layers(self) -> Sequence[Any]:
        layers: Sequence[Any] = self._model.blocks
        return layers

    def _arranged(self, frames: Tensor) -> Tensor:
        return frames.transpose(0, 1)[None]

    def _stem(self, pixels: Tensor) -> tuple[Any, ...]:
        # torchvision/models/video/mvit.py, MViT.forward, up to its blocks.
        tokens = self._model.conv_proj(pixels).flatten(2).transpose(1, 2)
        return self._model.pos_encoding(tokens), self.grid

    def _head(self, tokens: Tensor) -> Tensor:
        # torchvision/models/video/mvit.py, MViT.forward, after its blocks.
        logits: Tensor = self._model.head(self._model.norm(tokens)[:, 0])
        return logits

    def probabilities(self, pixels: Tensor) -> Tensor:
        """What it believes: float (N, 3, T, S, S) to float32 (N, classes) that sum to 1, without gradients."""
        import torch

        with torch.no_grad(), precision(self._half):
            shares: Tensor = self._logits(pixels).float().softmax(dim=1)
        return shares

    def stages(self) -> list[list[Any]]:
        """All modules with weights, from the output to the input: head, norm and last layer first, the patches last."""
        blocks, model = list(self._model.blocks), self._model
        first = [model.head, model.norm, blocks[-1]]
        return [first, *([block] for block in blocks[-2::-1]), [model.pos_encoding, model.conv_proj]]

    @contextmanager
    def _noting_pools(self, seen: Seen) -> Iterator[None]:
        def note(module: Any, inputs: tuple[Any, ...], _output: Any) -> None:
            seen.pools.append(self._pools(module, inputs[1]))

        with ExitStack() as stack:
            for block in self._model.blocks:
                stack.enter_context(block.attn.register_forward_hook(note))
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
