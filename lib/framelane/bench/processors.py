"""The processors that the engine is measured with; importing this module registers them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from framelane.processors.base import Context, OutputSpec, Processor
from framelane.processors.faceswap.swapper import Swapper, Wish
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".npy", ".ppm"})


class Copy(Processor):
    """Touches nothing: frames reach the encoder as decoded."""

    name = "bench_copy"

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Nothing is drawn."""
        return OutputSpec(touches=False)

    def infer(self, batch: FrameBatch) -> None:
        """Nothing to find."""

    def commit(self, batch: FrameBatch, inferred: Any) -> list[FrameBatch]:
        """The batch as it came."""
        return [batch]


class Repaint(Copy):
    """Gives every frame's own RGB back: all pixels go to RGB and from there to the encoder."""

    name = "bench_repaint"

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Everything is drawn."""
        return OutputSpec(touches=True)

    def commit(self, batch: FrameBatch, inferred: Any) -> list[FrameBatch]:
        """The same pixels, as new ones."""
        return [batch.replace(rgb=batch.rgb)]


class Swap(Repaint):
    """Swaps faces whose places are known: what a face swap costs without finding faces."""

    name = "bench_swap"
    swapper: Swapper
    places: Callable[[int], list[Wish]]
    """The faces of a frame, by its index; ``Wish.frame`` is 0."""
    images = 0
    """The most files with pictures that lay in the job's folder."""
    folder: Path

    def infer(self, batch: FrameBatch) -> Any:
        """The swapped frames."""
        from framelane.processors.faceswap import align
        from framelane.processors.faceswap.swapper import Patch

        kind = type(self)
        wishes = [replace(wish, frame=i) for i in range(len(batch)) for wish in kind.places(batch.first_index + i)]
        answers = kind.swapper.swap(batch.rgb, wishes)
        done = [(wish.frame, patch) for wish, patch in zip(wishes, answers, strict=True) if isinstance(patch, Patch)]
        kind.images = max(kind.images, sum(path.suffix in PICTURES for path in kind.folder.rglob("*")))
        return align.paste(batch.rgb, [frame for frame, _ in done], [patch for _, patch in done])

    def commit(self, batch: FrameBatch, inferred: Any) -> list[FrameBatch]:
        """The swapped frames."""
        return [batch.replace(rgb=inferred)]


class Sleep(Copy):
    """Simulates work: sleeps for every frame."""

    name = "bench_sleep"
    seconds = 0.01

    def infer(self, batch: FrameBatch) -> None:
        """Take :attr:`seconds` a frame."""
        for _ in range(len(batch)):
            time.sleep(self.seconds)
