"""Any processor, at a smaller working size: frames are made smaller before it, and what it drew is scaled up after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framelane.perception.upscale import Upscaler, load_upscaler
from framelane.processors.base import Context, Moment, OutputSpec, Processor, Snapshot
from framelane.provenance import Provenance
from framelane.schema import Settings
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch, Layout
from framelane.video.scale import shrunk, shrunk_clip
from framelane.video.tones import Tone


@dataclass(frozen=True)
class _Inferred:
    batch: FrameBatch
    found: Any


class Scaled(Processor):
    """A processor around another one, which sees a smaller clip and smaller frames and knows nothing of it.

    The output has the clip's own size. A processor that touches nothing has its frames passed on as decoded; where it
    draws, all of its frames are scaled up, so that the picture does not change between sharp and soft. RGB of the
    clip's own size is made for finished frames only. Rows (boxes, tracks) are in pixels of the working size.

    Args:
        inner: the processor, not opened yet.
        size: working size, coded (width, height).
    """

    def __init__(self, inner: Processor, size: tuple[int, int]) -> None:
        self.inner, self.size = inner, size
        self.name, self.version = inner.name, inner.version
        self.says_what_it_is, self.makes_sheet = inner.says_what_it_is, inner.makes_sheet
        self.exports, self.history = inner.exports, inner.history
        self.upscaler: Upscaler | None = None
        self.layout: Layout | None = None
        self.released = -1
        self._small: dict[int, Any] = {}  # the frames before a batch were made smaller with the batch before it
        self._kept: dict[int, Any] = {}  # frames as decoded that may yet pass untouched

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Open the inner processor on the smaller clip, and load what scales up.

        Raises:
            ValueError: its frames have a size of their own, so it cannot be ``scalable``.
        """
        small = shrunk_clip(clip, self.size)
        self._shown = small.display_size
        spec = self.inner.open(small, context)
        if spec.size is not None:
            raise ValueError(f"{self.name} makes frames of a size of its own, so it must say scalable = False")
        self.history = self.inner.history
        if spec.touches:
            wanted = context.settings.output
            self.upscaler = load_upscaler(wanted.upscale, clip.display_size, context, tile=wanted.upscale_tile)
        return spec

    def first_pass(self) -> Processor | None:
        """What the inner processor has look at the clip, on frames as small as its own."""
        looking = self.inner.first_pass()
        return None if looking is None else Scaled(looking, self.size)

    def learn(self, rows: Iterable[dict[str, Any]]) -> None:
        """Give the inner processor what its first pass found."""
        self.inner.learn(rows)

    @property
    def shown(self) -> tuple[int, int]:
        """The working size as displayed, (width, height); known once opened."""
        return self._shown

    @property
    def upscales_with(self) -> str | None:
        """What scales up, by name; None where frames pass as decoded."""
        return self.upscaler.name if self.upscaler else None

    def sentence(self, clip: Clip, by: str) -> str:
        """What is done to the clip, for a report that must say it.

        Args:
            clip: the input.
            by: who chose it, as in ``"profile memory_saver"``.
        """
        whole, small = (f"{width}x{height}" for width, height in (clip.display_size, self.shown))
        then = f", and scaled back up with {self.upscales_with}" if self.upscaler else "; the output is not scaled"
        return (
            f"Frames of {whole} are worked on at {small} ({by}){then}. --set hardware.working_height=0 keeps {whole}."
        )

    def infer(self, batch: FrameBatch) -> _Inferred:
        """The smaller batch, and what the inner processor finds in it."""
        small = shrunk(batch, self.size, self._small)
        return _Inferred(small, self.inner.infer(small))

    def commit(self, batch: FrameBatch, inferred: _Inferred) -> list[FrameBatch]:
        """What the inner processor has finished, at the clip's own size."""
        self.layout = batch.layout
        if self.upscaler is None:
            self._kept.update({batch.first_index + index: plane for index, plane in enumerate(batch.planes)})
        return self._full(self.inner.commit(inferred.batch, inferred.found))

    def flush(self) -> list[FrameBatch]:
        """What the inner processor still held back, at the clip's own size."""
        return self._full(self.inner.flush())

    def _full(self, finished: list[FrameBatch]) -> list[FrameBatch]:
        full = []
        for batch in finished:
            fresh = sum(batch.first_index + index > self.released for index in range(len(batch)))
            if not fresh:  # made again after a resume: the frames that follow must not see it
                continue
            new = batch.slice(len(batch) - fresh, len(batch))
            self.released = new.first_index + len(new) - 1
            full.append(self._enlarged(new) if self.upscaler else self._as_decoded(new))
        return full

    def _as_decoded(self, batch: FrameBatch) -> FrameBatch:
        if batch.touched:
            raise ValueError(f"{self.name} draws, though its OutputSpec says that it does not")
        indices = range(batch.first_index, batch.first_index + len(batch))
        planes = tuple(self._kept[index] for index in indices)
        self._kept = {index: plane for index, plane in self._kept.items() if index > indices[-1]}
        return self._at_full_size(batch, planes)

    def _enlarged(self, batch: FrameBatch) -> FrameBatch:
        import torch

        assert self.upscaler is not None
        pixels = torch.stack([self.upscaler.next(frame) for frame in batch.rgb])
        return self._at_full_size(batch, batch.planes).replace(rgb=pixels)

    def _at_full_size(self, batch: FrameBatch, planes: tuple[Any, ...]) -> FrameBatch:
        assert self.layout is not None
        return FrameBatch(planes, batch.pts, batch.durations, batch.first_index, self.layout, rows=batch.rows)

    def snapshot(self) -> Snapshot:
        """The inner processor's state; the upscaler begins anew after it, in this run as in a resumed one."""
        if self.upscaler:
            self.upscaler.forget()
        inner = self.inner.snapshot()
        return Snapshot({"inner": inner.state, "released": self.released}, inner.replay_from)

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.released = state["released"]
        self.inner.restore(state["inner"])

    def report(self, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """The inner processor's metrics."""
        return self.inner.report(rows)

    def export(self, suffix: str, rows: Iterable[dict[str, Any]], path: Path) -> None:
        """Have the inner processor write; its tables are in pixels of the working size, as the rows are."""
        self.inner.export(suffix, rows, path)

    def tones(self, rows: Iterable[dict[str, Any]]) -> list[Tone]:
        """The inner processor's."""
        return self.inner.tones(rows)

    def require(self, settings: Settings, output: Path) -> None:
        """What the inner processor requires."""
        self.inner.require(settings, output)

    def provenance(self) -> Provenance | None:
        """What the inner processor says; its label is checked at the size to which it was scaled."""
        return self.inner.provenance()

    def moments(self, metrics: Mapping[str, Any]) -> list[Moment]:
        """The inner processor's."""
        return self.inner.moments(metrics)

    def close(self) -> None:
        """Release the inner processor and the upscaler."""
        self.inner.close()
        self.upscaler = None
        self._kept = {}
