"""From finished segments to files with names: joined, labelled, verified, described, and only then named."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framelane import report
from framelane.engine.checkpoint import Segment, WorkFolder, sync_folder
from framelane.engine.events import Event
from framelane.processors.base import Processor
from framelane.provenance import Provenance, legible, metadata
from framelane.provenance.seal import ROOM, seal
from framelane.schema import Settings
from framelane.sheet import make_sheet
from framelane.video.clip import Clip
from framelane.video.disk import writing
from framelane.video.gif import make_gif
from framelane.video.join import Segments, from_zero, join
from framelane.video.verification import verify
from framelane.video.writer import write_error


@dataclass
class Made:
    """What stands in the work folder, ready to be named; each as the report describes it, or None where it is not there."""

    frames: int
    stated: dict[str, Any] | None
    gif: dict[str, Any] | None
    sheet: dict[str, Any] | None = None
    exports: dict[str, Any] | None = None


@dataclass
class Sealing:
    """The last part of a job.

    Attributes:
        processor: as it ended.
        clip: the input; its audio, display matrix and metadata go into the output.
        twin: the clip as the output is to be; the same but for a processor that makes frames of another size.
        output: the file to make.
        settings: of the job.
        work: the job's work folder.
        provenance: what the output must say of itself; None where it need not.
        warn: takes a sentence for the report and the events.
        degrade: the same, for what works less well than asked for.
        tell: takes events.
    """

    processor: Processor
    clip: Clip
    twin: Clip
    output: Path
    settings: Settings
    work: WorkFolder
    provenance: Provenance | None
    warn: Callable[[str], None]
    degrade: Callable[[str], None]
    tell: Callable[[Event], None]

    @property
    def sealed(self) -> Path:
        """The joined video, as long as it has no name."""
        return self.work.path / f"sealed{self.output.suffix.lower()}"

    def make(self, segments: list[Segment]) -> Made:
        """Join, say what it is, verify, and make the preview.

        Raises:
            FramelaneError: something does not match, or the disk is full.
        """
        with writing(self.work.path):
            return self._make(segments)

    def _make(self, segments: list[Segment]) -> Made:
        self.tell(Event(event="sealing", message="joining segments and audio"))
        sealed, says = self.sealed, self.provenance
        infos: Segments = [(segment.video, segment.record.info) for segment in segments]
        tags = metadata.tags(says, sealed.suffix, self.clip.metadata) if says else None
        tones = self.processor.tones(self.work.rows())
        infos, span, moved = from_zero(infos, self.twin)
        notes = join(infos, self.twin, sealed, span, tags, tones).notes
        for sentence in [moved, *notes] if moved else notes:
            self.degrade(sentence)
        frames = sum(info.frames for _, info in infos)
        stated = self._say(sealed, says, self.output.name) if says else None
        verify(sealed, self.twin, infos[0][1], infos[-1][1], frames)
        return Made(frames, stated, self._gif())

    def beside(self, made: Made, metrics: dict[str, Any]) -> None:
        """Make what stands beside the video and is made of rows and metrics: the contact sheet, and the exports.

        Raises:
            FramelaneError: the disk is full.
        """
        with writing(self.work.path):
            made.sheet = self._sheet(metrics)
            made.exports = self._exports()

    def _say(self, path: Path, says: Provenance, title: str) -> dict[str, Any]:
        message = f"writing into {path.suffix[1:].upper()} what it is, and checking it"
        self.tell(Event(event="sealing", message=message))
        try:
            return seal(path, says, title)
        except BaseException:
            path.unlink(missing_ok=True)  # not even hidden in the work folder
            raise

    def _gif(self) -> dict[str, Any] | None:
        wanted, says = self.settings.gif, self.provenance
        if not wanted.enabled:
            return None
        self.tell(Event(event="sealing", message="making the GIF"))
        made = make_gif(
            self.sealed,
            self.work.path / "sealed.gif",
            max_bytes=int(wanted.max_mb * 1_000_000) - (ROOM if says else 0),
            seconds=wanted.seconds,
            start=wanted.start,
            width=wanted.width,
            fps=wanted.fps,
        )
        for sentence in made.notes:
            self.warn(sentence)
        if says and not legible(says.mark, made.height, self.twin.display_size[1]):
            self.warn(
                f"There is no GIF: at {made.width}x{made.height} its label would not be legible. Raise gif.max_mb or "
                "gif.width."
            )
            made.path.unlink()
            return None
        kept = ("bytes", "width", "height", "fps", "colours", "seconds", "tries")
        described = {key: getattr(made, key) for key in kept}
        if says:
            stated = self._say(made.path, says, report.gif_path(self.output).name)
            described |= {"bytes": made.path.stat().st_size, "provenance": stated}
        return described

    def _sheet(self, metrics: dict[str, Any]) -> dict[str, Any] | None:
        """The contact sheet of what somebody should look at; says what it is, like everything else that is made."""
        moments, says = self.processor.moments(metrics), self.provenance
        if not moments:
            return None
        path = self.work.path / "sealed.worst.jpg"
        make_sheet(self.sealed, moments, path, says)
        stated = self._say(path, says, report.sheet_path(self.output).name) if says else None
        return {"frames": len(moments), "bytes": path.stat().st_size, **({"provenance": stated} if stated else {})}

    def _exports(self) -> dict[str, Any] | None:
        """The tables that the processor writes of its rows, by suffix."""
        if not self.processor.exports:
            return None
        described = {}
        for suffix in self.processor.exports:
            path = self.work.path / f"sealed{suffix}"
            self.processor.export(suffix, self.work.rows(), path)
            described[suffix] = {"file": report.export_path(self.output, suffix).name, "bytes": path.stat().st_size}
        return described

    def name(self, data: dict[str, Any], made: Made) -> None:
        """Give everything its name; the report first, for it says that the others are ours.

        Raises:
            FramelaneError: the disk is full or not writable.
        """
        try:
            described = self.work.path / "sealed.report.json"
            report.write_report(described, data)
            with self.sealed.open("rb") as file:
                os.fsync(file.fileno())
            ours = report.made_by_us(self.output)
            described.replace(report.report_path(self.output))
            for there, source, path in (
                (made.gif, "sealed.gif", report.gif_path(self.output)),
                (made.sheet, "sealed.worst.jpg", report.sheet_path(self.output)),
                *(
                    (
                        made.exports and suffix in made.exports,
                        f"sealed{suffix}",
                        report.export_path(self.output, suffix),
                    )
                    for suffix in report.EXPORTS
                ),
            ):
                if there:
                    (self.work.path / source).replace(path)
                elif path in ours:  # our own file of what is replaced
                    path.unlink(missing_ok=True)
            self.sealed.replace(self.output)
            sync_folder(self.output.parent)
        except OSError as error:
            raise write_error(self.output, error) from error
        self.work.remove()
