"""Video transformers that channel A looks into: windows of frames in, attention of every layer and an action out.

Attention is read while the model itself runs, so its logits are its own to the last bit.
``create_feature_extractor`` must not be used for that: it rebuilds MViT's graph without the in-place additions of the
shortcut, and its logits are wrong without a word.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from framelane.errors import FramelaneError, UsageError
from framelane.processors.attention.backbone import Capture, keeping, normalised, precision, refuse_layer
from framelane.processors.attention.pooling import Grid, Pools

if TYPE_CHECKING:
    from torch import Tensor

MEAN_OF_CLASSES = "mean"
TOP = "top-1"


@dataclass(frozen=True)
class VideoCapture(Capture):
    """A capture of windows, with what the model took them for.

    Attributes:
        logits: (N, classes).
        action: the most likely class of each window.
        probability: of that class, 0 to 1, by the softmax of the logits.
    """

    logits: Tensor | None = None
    action: list[str] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)


@dataclass
class Seen:
    """What layers leave behind while they run, in the order in which they run.

    Attributes:
        attentions: after the softmax, (N, heads, Tq, Tk).
        pools: how each layer pooled, where the model pools.
    """

    attentions: list[Tensor] = field(default_factory=list)
    pools: list[Pools] = field(default_factory=list)


class VideoBackbone(ABC):
    """A frozen video transformer, in evaluation mode.

    Attributes:
        usual_start: the first layer that counts where ``attention.start_layer`` says nothing.
        mean, std: of R, G, B in 0 to 1, as the model was trained.
        prefix, readout: as of :class:`Capture`.
        device: where it runs, as torch names it.
        frames: frames in one window.
        resolution: side in pixels of the square that frames are resized to.
        classes: names of the classes, in the order of the logits.
        checkpointing: run every layer twice instead of keeping what it needs for gradients.
    """

    usual_start: ClassVar[int] = 0
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    prefix: ClassVar[int] = 1
    readout: ClassVar[str] = "cls"

    def __init__(
        self,
        model: Any,
        device: str,
        classes: list[str],
        *,
        frames: int,
        resolution: int,
        mixed_precision: bool = False,
        checkpointing: bool = False,
    ) -> None:
        """Take a model; its parameters are frozen.

        Args:
            model: a torch module.
            device: ``"cpu"`` or ``"cuda"``.
            classes: names of its classes.
            frames: frames in one window.
            resolution: side of the square in pixels.
            mixed_precision: FP16 under autocast; only on a GPU.
            checkpointing: run every layer twice, so that only one layer's activations are in memory when gradients are
                computed (Chen et al. 2016, arXiv 1604.06174). What comes out is the same.
        """
        self.device, self.classes, self.frames, self.resolution = device, classes, frames, resolution
        self._model = model.eval().requires_grad_(False).to(device)
        self._half = mixed_precision and device.startswith("cuda")
        self.checkpointing = checkpointing

    @property
    @abstractmethod
    def grid(self) -> Grid:
        """(t, h, w) of the tokens that enter the first layer."""

    def prepare(self, rgb: Tensor) -> Tensor:
        """A window of frames as the model takes it.

        Args:
            rgb: uint8 (T, 3, H, W), T = :attr:`frames`.

        Returns:
            float32 (1, 3, T, S, S), or (1, T, 3, S, S) of VideoMAE, on the model's device. The whole frame is squeezed
            into the square, nothing is cropped: attention is wanted everywhere.
        """
        return self._arranged(normalised(self.shrink(rgb).to(self.device), self.mean, self.std))

    def shrink(self, rgb: Tensor) -> Tensor:
        """Frames at the model's size, which :meth:`prepare` takes as well: (T, 3, S, S), uint8 from a CPU, else float."""
        from torch.nn import functional

        if rgb.shape[-2:] == (self.resolution, self.resolution):
            return rgb
        source = rgb if rgb.device.type == "cpu" else rgb.float()
        return functional.interpolate(source, size=(self.resolution,) * 2, mode="bilinear", antialias=True)

    def check_layer(self, start_layer: int) -> None:
        """Refuse a first layer that the model does not have.

        Raises:
            UsageError: it has no such layer.
        """
        refuse_layer(start_layer, len(self._layers))

    def check_target(self, target: str) -> None:
        """Refuse a target that :meth:`capture` does not know.

        Raises:
            UsageError: there is no such class.
        """
        if target not in (TOP, MEAN_OF_CLASSES, *self.classes):
            import difflib

            near = difflib.get_close_matches(target, self.classes, n=3)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise UsageError(f"attention.target: {target!r} is no class of this model.{hint}")

    def capture(self, pixels: Tensor, gradients: bool, start_layer: int = 0, target: str = TOP) -> VideoCapture:
        """One pass through the model, and back again if gradients are wanted. Nothing of the graph is kept.

        Args:
            pixels: float (N, ...), as :meth:`prepare` gives them.
            gradients: also compute dy/dA for every attention map, with y summed over the windows.
            start_layer: the first layer kept, from 0; maps are then on the grid of the tokens that enter it.
            target: whose logit y is: ``"top-1"``, the name of a class, or ``"mean"`` of all.

        Raises:
            UsageError: there is no such class or layer.
            FramelaneError: the model computed its attention where it cannot be seen.
        """
        self.check_layer(start_layer)
        self.check_target(target)
        if gradients and self.checkpointing:
            from framelane.processors.attention.recompute import recomputed

            return recomputed(self, pixels, start_layer, target)
        import torch

        seen = Seen()
        with (
            torch.set_grad_enabled(gradients),
            precision(self._half),
            self._begun_at(start_layer if gradients else None),
            self._noting(seen),
            keeping(self._last_norm) as activations,
        ):
            logits = self._logits(pixels).float()
            self._check_seen(seen, len(self._layers))
            wanted = [*seen.attentions[start_layer:], *activations]
            *found, slope = torch.autograd.grad(self._y(logits, target), wanted) if gradients else (None,)
        return self._captured(
            Seen(seen.attentions[start_layer:], seen.pools[start_layer:]),
            [layer for layer in found if layer is not None],
            (activations[0], slope),
            logits,
            target,
        )

    # -- what a model is -----------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def _layers(self) -> Sequence[Any]:
        """The modules whose attention counts, first to last."""

    @property
    def _last_norm(self) -> Any:
        """The module that normalises what enters the last layer."""
        return self._layers[-1].norm1

    @abstractmethod
    def _arranged(self, frames: Tensor) -> Tensor:
        """(T, 3, S, S) to a batch of one window."""

    @abstractmethod
    def _stem(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """What enters the first layer: tokens (N, prefix + t h w, channels), and what else a layer takes and gives."""

    @abstractmethod
    def _head(self, tokens: Tensor) -> Tensor:
        """Logits (N, classes) from what leaves the last layer."""

    def _through(self, index: int, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """One layer."""
        result = self._layers[index](*state)
        return result if isinstance(result, tuple) else (result,)

    def _logits(self, pixels: Tensor) -> Tensor:
        """The model's own forward."""
        logits: Tensor = self._model(pixels)
        return logits

    def _shift(self, start_layer: int) -> tuple[float, ...]:
        """How far the tokens that enter a layer lie beside even tiles, see :class:`Capture`; empty where they are tiles."""
        return ()

    @contextmanager
    def _noting_pools(self, seen: Seen) -> Iterator[None]:
        """Note how layers pool while they run; nothing where the model does not."""
        yield

    # -- watching it ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _noting(self, seen: Seen) -> Iterator[None]:
        """Note attention and pooling of the layers that run while the block lasts."""
        with self._noting_pools(seen), _softmaxes()(seen):
            yield

    @contextmanager
    def _begun_at(self, start_layer: int | None) -> Iterator[None]:
        """Begin the graph at a layer: the parameters are frozen, and no gradient of pixels is wanted."""

        def begin(_module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (inputs[0].detach().requires_grad_(), *inputs[1:])

        with ExitStack() as stack:
            if start_layer is not None:
                stack.enter_context(self._layers[start_layer].register_forward_pre_hook(begin))
            yield

    def _check_seen(self, seen: Seen, layers: int) -> None:
        if len(seen.attentions) != layers:
            raise FramelaneError(
                f"{type(self._model).__name__} showed the attention of {len(seen.attentions)} layers instead of {layers}; "
                "it must compute it explicitly (eager attention)."
            )

    def _y(self, logits: Tensor, target: str) -> Tensor:
        """What is differentiated, a scalar."""
        if target == MEAN_OF_CLASSES:
            return logits.sum()  # divided by the number of classes in FP32: in FP16 such small slopes would be lost
        if target == TOP:
            return logits.amax(dim=1).sum()
        return logits[:, self.classes.index(target)].sum()

    def _captured(
        self,
        seen: Seen,
        gradients: list[Tensor],
        activation: tuple[Tensor, Tensor | None],
        logits: Tensor,
        target: str,
    ) -> VideoCapture:
        called = {MEAN_OF_CLASSES: "all classes, averaged", TOP: "the most likely class"}.get(target, target)
        share = len(self.classes) if target == MEAN_OF_CLASSES else 1
        value, slope = activation
        scores = logits.detach()
        probability, index = scores.softmax(dim=1).max(dim=1)
        return VideoCapture(
            attentions=[layer.detach().float() for layer in seen.attentions],
            gradients=[layer.float() / share for layer in gradients],
            grid=seen.pools[0].queries.source if seen.pools else self.grid,
            prefix=self.prefix,
            target=f"logit of {called}" if gradients else "",
            pools=seen.pools,
            activation=None if slope is None else value.detach().float(),
            activation_gradient=None if slope is None else slope.float() / share,
            readout=self.readout,
            shift=self._shift(len(self._layers) - len(seen.attentions)),
            logits=scores,
            action=[self.classes[i] for i in index.tolist()],
            probability=probability.tolist(),
        )


@cache
def _softmaxes() -> Any:
    """The class that sees softmaxes; made once, for a class made anew each time is a cycle that keeps tensors alive."""
    from torch.overrides import TorchFunctionMode

    class Softmaxes(TorchFunctionMode):
        """Sees each result of ``softmax``: a layer calls it once, on its attention."""

        def __init__(self, seen: Seen) -> None:
            super().__init__()
            self.seen = seen

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if getattr(func, "__name__", "") == "softmax":
                self.seen.attentions.append(result)
            return result

    return Softmaxes
