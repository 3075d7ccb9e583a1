"""A CUDA stream for each stage, and the waiting of one for the other; on a CPU nothing at all.

The host never waits here. A batch carries an event from the stage that made it, and the next stage's stream waits for
that event on the card; see :meth:`framelane.video.frames.FrameBatch.leave` and ``arrive``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from framelane.video.frames import FrameBatch

Stage = Literal["decode", "process", "encode"]


class Streams:
    """The streams of one job's stages.

    torch's streams do not wait for the default stream by themselves, on which models were loaded and warmed up. So each
    begins behind what was queued there when its stage starts, and the default stream goes on behind it when it ends.

    Args:
        device: ``"cpu"`` or ``"cuda"``: where the job works.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._streams: dict[Stage, Any] = {}
        if self.on_card:
            self._streams = {stage: _made(device) for stage in ("decode", "process", "encode")}

    @property
    def on_card(self) -> bool:
        """Whether there are streams."""
        return self.device.startswith("cuda")

    @contextmanager
    def of(self, stage: Stage) -> Iterator[None]:
        """Queue what the calling thread does on the stage's stream."""
        stream = self._streams.get(stage)
        if stream is None:
            yield
            return
        import torch

        default = torch.cuda.default_stream(stream.device)
        stream.wait_stream(default)
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            default.wait_stream(stream)

    def leave(self, batch: FrameBatch) -> FrameBatch:
        """The batch for the next stage, ready once everything queued so far on this stage's stream is done."""
        return batch.leave(self.device)


def _made(device: str) -> Any:
    import torch

    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
