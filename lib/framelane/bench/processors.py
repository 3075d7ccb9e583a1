"""The processors that the engine is measured with; importing this module registers them."""

from __future__ import annotations

import time
from typing import Any

from framelane.processors.base import Context, OutputSpec, Processor
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch


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


class Sleep(Copy):
    """Simulates work: sleeps for every frame."""

    name = "bench_sleep"
    seconds = 0.01

    def infer(self, batch: FrameBatch) -> None:
        """Take :attr:`seconds` a frame."""
        for _ in range(len(batch)):
            time.sleep(self.seconds)
