"""Frames that wait for later ones: with what comes after a frame, it can be smoothed without lag."""

from __future__ import annotations

from dataclasses import dataclass

from framelane.video.frames import FrameBatch


@dataclass
class Held:
    """A frame that is held back.

    Attributes:
        frame: a frame batch of one, see :meth:`~framelane.video.frames.FrameBatch.alone`.
    """

    frame: FrameBatch

    @property
    def index(self) -> int:
        """Index of the frame in the clip."""
        return self.frame.first_index

    @property
    def time(self) -> float:
        """Seconds from the clip's first frame."""
        return self.frame.times[0]


@dataclass
class Waiting(Held):
    """A frame that is held back for the rest of its scene.

    Attributes:
        scene: index in the clip of the frame at which its scene begins.
    """

    scene: int
