"""Where channel A's maps come from: one backbone, looking at single frames or at windows of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from framelane.perception.lanes import Seen

if TYPE_CHECKING:
    from torch import Tensor

    from framelane.processors.attention.backbone import Backbone
    from framelane.processors.attention.methods import Method


class Maps(ABC):
    """Takes sampled frames in order and gives back what the backbone sees in them.

    Attributes:
        name: of the backbone, as the legend and the report have it.
        rate: frames to be sampled per second.
    """

    name: str
    rate: float

    @abstractmethod
    def look(self, rgb: Tensor) -> Any:
        """What can be done with a frame alone; pure, so that the engine may repeat it.

        Args:
            rgb: uint8 ``(1, 3, H, W)``.
        """

    @abstractmethod
    def add(self, index: int, looked: Any, *, cut: bool) -> None:
        """Take the next sample.

        Args:
            index: of the frame in the clip.
            looked: what :meth:`look` gave.
            cut: a shot begins here.
        """

    @abstractmethod
    def take(self) -> dict[int, Seen]:
        """What has become known since the last call, by index of the frame in the clip."""

    def finish(self) -> None:
        """No more samples will come."""

    def replay(self, index: int) -> tuple[int, dict[str, Any]]:
        """Where to go on so that everything from a sample on comes out the same.

        Args:
            index: of the sampled frame from which on maps are still needed.

        Returns:
            Index of the frame to begin at, and plain data for :meth:`restore`.
        """
        return index, {}

    def restore(self, state: dict[str, Any]) -> None:
        """Forget everything; the next sample is the one that :meth:`replay` named."""

    @abstractmethod
    def describe(self, clip_rate: float) -> dict[str, Any]:
        """What the maps were made with, for the report.

        Args:
            clip_rate: frames per second of the clip: no more than these can be sampled.
        """


class FrameMaps(Maps):
    """An image backbone, one frame at a time."""

    def __init__(self, name: str, backbone: Backbone, method: Method, *, rate: float, start_layer: int) -> None:
        self.name = name
        self.backbone, self.method, self.rate, self.start_layer = backbone, method, rate, start_layer
        self._done: dict[int, Seen] = {}

    def look(self, rgb: Tensor) -> Seen:
        """The frame's map."""
        pixels = self.backbone.prepare(rgb)
        capture = self.backbone.capture(pixels, self.method.needs_gradients, self.start_layer)
        return Seen(self.method.maps(capture)[0].cpu().numpy())

    def add(self, index: int, looked: Seen, *, cut: bool) -> None:
        """Nothing is left to be done."""
        self._done[index] = looked

    def take(self) -> dict[int, Seen]:
        """The samples since the last call."""
        done, self._done = self._done, {}
        return done

    def describe(self, clip_rate: float) -> dict[str, Any]:
        """The start layer, and with gradients what was differentiated."""
        from framelane.processors.attention.backbone import TARGET

        return {"start_layer": self.start_layer, **({"target": TARGET} if self.method.needs_gradients else {})}
