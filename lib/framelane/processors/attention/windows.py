"""Sliding windows of sampled frames through a video transformer; the maps of overlapping windows blended in time.

Samples are counted within a shot, so that no window reaches over a cut. Windows begin at every ``hop``-th sample. The
last window of a shot ends at its last sample; a shot that is shorter than a window repeats its last sample.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from framelane.memory import free_memory, is_out_of_memory
from framelane.perception.lanes import Seen
from framelane.processors.attention.maps import Maps

if TYPE_CHECKING:
    from torch import Tensor

    from framelane.processors.attention.methods import Method
    from framelane.processors.attention.video import VideoCapture


class WindowModel(Protocol):
    """What :class:`WindowMaps` needs of a video transformer; see ``VideoBackbone``."""

    frames: int
    classes: list[str]
    checkpointing: bool

    def shrink(self, rgb: Tensor) -> Tensor:
        """Frames at the model's size."""

    def prepare(self, rgb: Tensor) -> Tensor:
        """A window of frames as the model takes it."""

    def capture(self, pixels: Tensor, gradients: bool, start_layer: int = 0, target: str = "top-1") -> VideoCapture:
        """One pass through the model."""


@dataclass
class _Blend:
    """Weighted sums over the windows that cover a sample."""

    grid: np.ndarray
    probabilities: np.ndarray
    weight: float


class WindowMaps(Maps):
    """A video backbone, window by window; a sample is known once no window to come can change it.

    The windows run while frames are committed, not in the engine's pure ``infer``, which sees one frame batch only.

    Args:
        name: of the backbone.
        model: the video transformer.
        method: makes maps of what it captured.
        rate: frames to be sampled per second.
        overlap: share of a window that the next one covers again, 0 to below 1.
        start_layer: the first layer that counts.
        target: whose attention; see ``VideoBackbone.capture``.
        degrade: takes a sentence where memory forces a slower way.
    """

    def __init__(
        self,
        name: str,
        model: WindowModel,
        method: Method,
        *,
        rate: float,
        overlap: float,
        start_layer: int,
        target: str,
        degrade: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name, self.degrade = name, degrade
        self.model, self.method, self.rate = model, method, rate
        self.start_layer, self.target = start_layer, target
        self.length = model.frames
        self.hop = max(1, round(self.length * (1 - overlap)))
        self._done: dict[int, Seen] = {}
        self._begin(0)

    def _begin(self, ordinal: int) -> None:
        """A shot begins, or is gone on with at one of its samples."""
        self._pixels: deque[Tensor] = deque()
        self._first = self._count = self._settled = ordinal  # ordinals: of the oldest pixels, the next sample, ...
        self._after: int | None = None  # the sample after the last window that was run
        self._blends: dict[int, _Blend] = {}
        self._index: dict[int, int] = {}  # ordinal to index of the frame in the clip

    def look(self, rgb: Tensor) -> Tensor:
        """The frame at the model's size, (1, 3, S, S): small enough to be kept until its windows are full."""
        return self.model.shrink(rgb)

    def add(self, index: int, looked: Tensor, *, cut: bool) -> None:
        """Take the next sample; run the window that it fills."""
        if cut:
            self.finish()
            self._begin(0)
        self._index[self._count] = index
        self._pixels.append(looked)
        self._count += 1
        start = self._count - self.length
        if start >= self._first and start % self.hop == 0:
            self._run(start)
            self._settle(start + self.hop)
        self._drop()

    def finish(self) -> None:
        """The shot has ended: run its last window, and settle all that is left."""
        if self._settled == self._count:
            return
        if self._after != self._count:
            self._run(max(self._first, self._count - self.length))
        self._settle(self._count)

    def _run(self, start: int) -> None:
        """Run the window that begins at a sample, and add what it says to every sample in it."""
        import torch

        window = list(self._pixels)[start - self._first :][: self.length]
        count = len(window)
        window += window[-1:] * (self.length - count)
        pixels = self.model.prepare(torch.cat(window))
        try:
            capture = self._capture(pixels)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            capture = self._frugally(pixels)
        volume = self.method.maps(capture)[0].cpu().numpy()
        assert capture.logits is not None
        probabilities = capture.logits[0].softmax(dim=0).cpu().numpy()
        for place, grid in enumerate(in_time(volume, self.length)[:count]):
            weight = float(min(place + 1, self.length - place))  # a window knows least of what is at its ends
            self._blend(start + place, weight, grid, probabilities)
        self._after = start + count

    def _capture(self, pixels: Tensor) -> VideoCapture:
        return self.model.capture(pixels, self.method.needs_gradients, self.start_layer, self.target)

    def _frugally(self, pixels: Tensor) -> VideoCapture:
        """Once more, with gradient checkpointing from here on: a window cannot be halved as a frame batch can."""
        free_memory()
        if self.method.needs_gradients and not self.model.checkpointing:
            self.model.checkpointing = True
            self.degrade(
                "Memory ran out in a window of the video transformer; gradient checkpointing is on from here on, which "
                "gives the same maps and takes longer."
            )
        return self._capture(pixels)

    def _blend(self, ordinal: int, weight: float, grid: np.ndarray, probabilities: np.ndarray) -> None:
        if ordinal < self._settled:
            return  # only for a last window that begins earlier than the one before it would have
        here = self._blends.get(ordinal)
        if here is None:
            self._blends[ordinal] = _Blend(weight * grid, weight * probabilities, weight)
            return
        here.grid += weight * grid
        here.probabilities += weight * probabilities
        here.weight += weight

    def _settle(self, until: int) -> None:
        """No window to come covers the samples before ``until``."""
        for ordinal in range(self._settled, until):
            self._done[self._index[ordinal]] = self._seen(self._blends.pop(ordinal, None))
        self._settled = until

    def _seen(self, blend: _Blend | None) -> Seen:
        if blend is None:  # replayed after a resume, before the first whole window: no frame still needs its map
            return Seen(np.ones((1, 1), np.float32))
        likely = blend.probabilities / blend.weight
        best = int(likely.argmax())
        # Rounded: some of CUDA's gradients differ in their last bits from run to run, and a resume must not show it.
        grid = (blend.grid / blend.weight).astype(np.float16).astype(np.float32)
        return Seen(grid, (self.model.classes[best], float(likely[best])))

    def _drop(self) -> None:
        """Let go of pixels that no window to come can need, and of numbers that no resume can."""
        while self._first < self._count - self.length:
            self._pixels.popleft()
            self._first += 1
        oldest = self._count - 3 * self.length
        self._index = {ordinal: index for ordinal, index in self._index.items() if ordinal >= oldest}

    def take(self) -> dict[int, Seen]:
        """What has become known since the last call."""
        done, self._done = self._done, {}
        return done

    def replay(self, index: int) -> tuple[int, dict[str, Any]]:
        """The first sample of all windows that say something of this one or of any after it."""
        wanted = {frame: ordinal for ordinal, frame in self._index.items()}[index]
        earliest = max(0, wanted - self.length + 1)  # the first sample that may share a window with it
        start = -(-earliest // self.hop) * self.hop
        # A shot that ends now has a last window that begins a window's length before its end.
        ordinal = max(0, min(start, wanted, self._count - self.length))
        return self._index[ordinal], {"ordinal": ordinal, "checkpointing": self.model.checkpointing}

    def restore(self, state: dict[str, Any]) -> None:
        """Begin again, with the number within its shot of the next sample."""
        self._begin(state.get("ordinal", 0))
        self.model.checkpointing |= state.get("checkpointing", False)

    def describe(self, clip_rate: float) -> dict[str, Any]:
        """What the windows are, and whose attention was shown."""
        return {
            "start_layer": self.start_layer,
            "target": self.target,
            "window": self.length,
            "hop": self.hop,
            "window_fps": round(min(self.rate, clip_rate), 3),
        }


def in_time(volume: np.ndarray, frames: int) -> np.ndarray:
    """A map of slots as a map of frames, linear between the slots' middles.

    Args:
        volume: float32 ``(gt, gh, gw)``, summing to 1: slot i stands for frames ``i * frames / gt`` and on.
        frames: in the window.

    Returns:
        float32 ``(frames, gh, gw)``, of which each sums to 1 on average.
    """
    slots = len(volume)
    at = np.clip((np.arange(frames) + 0.5) * slots / frames - 0.5, 0, slots - 1)
    low = np.minimum(at.astype(int), max(0, slots - 2))
    near = (at - low).astype(np.float32)[:, None, None]
    high = np.minimum(low + 1, slots - 1)
    return np.asarray(slots * ((1 - near) * volume[low] + near * volume[high]))
