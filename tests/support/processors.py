"""Small real processors for the engine's tests; importing this module registers them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from framelane.processors.base import OutputSpec, Processor, Snapshot


class Copy(Processor):
    """Touches nothing: frames reach the encoder as decoded."""

    name = "copy"

    def open(self, clip, context):
        return OutputSpec(touches=False)

    def infer(self, batch):
        return None

    def commit(self, batch, inferred):
        return [batch]


class Repaint(Copy):
    """Gives every frame's own RGB back: all pixels go to RGB and back."""

    name = "repaint"

    def open(self, clip, context):
        return OutputSpec(touches=True)

    def commit(self, batch, inferred):
        return [batch.replace(rgb=batch.rgb)]


class Averager(Processor):
    """Has state and looks ahead: each output is drawn with the running sum of brightness and the frame 5 later.

    The running sum lives in the snapshot, the frames held back are replayed, so a wrong snapshot, a wrong
    ``replay_from`` or a wrong frame after seeking changes pixels.
    """

    name = "averager"
    ahead = 5
    delay_s = 0.0

    def open(self, clip, context):
        import torch  # noqa: F401  here, so that no test of what happens after the start meets a second of imports

        self.total, self.last, self.held = 0, -1, []
        return OutputSpec(touches=True)

    def infer(self, batch):
        time.sleep(self.delay_s * len(batch))
        return [int(frame.numpy().sum(dtype="int64")) for frame in batch.rgb]

    def commit(self, batch, inferred):
        for index, value in enumerate(inferred):
            self.held.append((batch.slice(index, index + 1), value))
        return self._release(self.ahead)

    def flush(self):
        return self._release(0)

    def _release(self, wait) -> list[Any]:
        done = []
        while len(self.held) > wait:
            frame, value = self.held.pop(0)
            if frame.first_index <= self.last:
                continue
            ahead = self.held[wait - 1][1] if wait else 0
            self.total = (self.total + value) % 1_000_003
            self.last = frame.first_index
            rgb = frame.rgb.clone()
            rgb[:, 0, :40, :40] = self.total % 256
            rgb[:, 1, :40, 40:80] = ahead % 256
            done.append(frame.replace(rgb=rgb, rows=[{"frame": frame.first_index, "total": self.total}]))
        return done

    def snapshot(self):
        return Snapshot({"total": self.total, "last": self.last}, self.held[0][0].first_index if self.held else None)

    def restore(self, state):
        self.total, self.last = state["total"], state["last"]

    def report(self, rows):
        rows = list(rows)
        return {"frames": [row["frame"] for row in rows], "total": rows[-1]["total"]}


class SlowAverager(Averager):
    """The same, slow enough to be killed at any moment."""

    name = "slow_averager"
    delay_s = 0.01


class SlowestAverager(Averager):
    """The same, ten frames a second: slow enough to be stopped in the middle by a message."""

    name = "slowest_averager"
    delay_s = 0.1


class Deadly(Averager):
    """Kills its own process at frame 16: of clips named ``always…`` each time, of those named ``once…`` the first time."""

    name = "deadly"

    def open(self, clip, context):
        self.path = clip.path
        return super().open(clip, context)

    def infer(self, batch):
        if batch.first_index + len(batch) > 16:
            time.sleep(0.5)  # what is finished so far reaches the disk
            mark = Path(f"{self.path}.died")
            if self.path.name.startswith("always"):
                ctypes.string_at(0)  # reads address 0, as a broken native library would
            if self.path.name.startswith("once") and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().infer(batch)


class SlowCopy(Copy):
    """Touches nothing, twenty frames a second: slow enough to be asked something in the middle, and light."""

    name = "slow_copy"

    def infer(self, batch):
        time.sleep(0.05 * len(batch))


class Chatty(Copy):
    """Writes to standard output and reads standard input, as libraries do that think they are alone."""

    name = "chatty"

    def open(self, clip, context):
        print("chatty: opened", flush=True)
        os.write(1, b'{"outcome": "chatty"}\nhalf a line')
        assert sys.stdin.read() == "", "the protocol's input is not for libraries"
        assert os.read(0, 10) == b""
        return super().open(clip, context)


class Greedy(Copy):
    """Says that memory ran out whatever is tried."""

    name = "greedy"

    def infer(self, batch):
        raise MemoryError
