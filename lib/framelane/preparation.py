"""Preparing a clip for a small machine: H.264, 8 bits, no more lines than wanted, in one file or in pieces.

Decoding, checkpoints, joining and sealing are those of a job, so an interrupted preparation goes on, and every frame keeps
its timestamp.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from framelane import report
from framelane.checks import check_disk, check_output
from framelane.container import usable_cores
from framelane.engine.checkpoint import Segment, WorkFolder, sync_folder
from framelane.engine.events import Event
from framelane.engine.notes import Notes
from framelane.engine.pipeline import Pipeline
from framelane.engine.plan import Plan
from framelane.errors import Cancelled, FramelaneError, UsageError
from framelane.memory import keep_memory_flat
from framelane.processors.base import Context, OutputSpec, Processor
from framelane.sections.output import OutputSettings
from framelane.video.aria import Converted, as_clip, is_recording
from framelane.video.clip import Clip, fingerprint, probe, require_file
from framelane.video.colour import resized
from framelane.video.encoders import cpu_encoder
from framelane.video.frames import FrameBatch
from framelane.video.join import join
from framelane.video.reader import Reader, open_reader
from framelane.video.scale import shrunk_clip, working_size
from framelane.video.verification import verify
from framelane.video.writer import EXTENSIONS, EncodeSpec, encode_spec, write_error

_PRESETS = get_args(OutputSettings.model_fields["preset"].annotation)
_CHECKPOINT_S, _BATCH, _QUEUE = 10.0, 4, 2
_LATE_S = 60  # a clock that begins later is no delay of the picture, but a piece of a longer recording


@dataclass(frozen=True)
class PrepareOptions:
    """How a clip is prepared.

    Attributes:
        height: lines at most (the shorter side, as in 720p); a clip that has fewer is not enlarged. 0 keeps its size.
        quality: CRF, 0 to 51; lower is better and larger.
        preset: x264's preset; slower is smaller.
        keyframe_seconds: seconds between two key frames at most: a reader that seeks decodes no more than that.
        piece_seconds: length of the pieces; None makes one file.
        overwrite: replace existing files that framelane did not make.
        min_free_mb: free disk space in MB that must remain.
    """

    height: int = 720
    quality: int = 20
    preset: str = "fast"
    keyframe_seconds: float = 2.0
    piece_seconds: float | None = None
    overwrite: bool = False
    min_free_mb: int = 256

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError: a value out of range.
        """
        for name, low, high in (("height", 0, 4320), ("quality", 0, 51), ("keyframe_seconds", 0.1, 60)):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} is {getattr(self, name)}; allowed is {low} to {high}.")
        if self.preset not in _PRESETS:
            raise UsageError(f"preset is {self.preset!r}; allowed are {', '.join(_PRESETS)}.")
        if self.piece_seconds is not None and not 0.1 <= self.piece_seconds <= 86400:
            raise UsageError(f"The length of a piece is {self.piece_seconds} s; allowed is 0.1 to 86400.")


@dataclass(frozen=True)
class Prepared:
    """What :func:`prepare` made.

    Attributes:
        paths: the file, or the pieces in order.
        report: what stands in the report.
        report_path: where that is.
    """

    paths: tuple[Path, ...]
    report: dict[str, Any]
    report_path: Path


def prepare(
    clip: str | Path,
    output: str | Path,
    *,
    options: PrepareOptions | None = None,
    progress: Callable[[Event], None] | None = None,
    cancel: threading.Event | None = None,
) -> Prepared:
    """Make a clip that a small machine decodes easily. The same call again goes on where an interrupted one stopped.

    Args:
        clip: the input video, or a Project Aria recording (``.vrs``, with the package projectaria-tools).
        output: the file to make (``.mp4``, ``.mov``, ``.mkv``). With pieces: a folder, in which they are named after the
            clip (``CLIP-000.mp4``), or a file name that numbers are put into (``NAME.mp4`` makes ``NAME-000.mp4``).
        options: see :class:`PrepareOptions`.
        progress: called with every event, in this thread.
        cancel: set it to stop; what is finished is kept.

    Raises:
        UsageError: something given is wrong; nothing was started.
        FramelaneError: it failed; the text says why.
        Cancelled: it was cancelled, or Ctrl-C came; calling again goes on.
    """
    wanted, listener = options or PrepareOptions(), progress or (lambda _: None)
    try:
        work = _Preparation(Path(clip), Path(output), wanted, listener, cancel or threading.Event())
        with as_clip(work.given, work.output, work.check, work.cancel) as made:
            return work.run(made)
    except KeyboardInterrupt as interrupt:
        error = Cancelled("Cancelled; what is finished is kept, and the same command goes on from there.")
        listener(Event(event="cancelled", message=str(error)))
        raise error from interrupt
    except FramelaneError as error:
        listener(Event(event="cancelled" if isinstance(error, Cancelled) else "failed", message=str(error)))
        raise


class _Resize(Processor):
    """Frames made smaller, planes to planes; without a size they pass as they are."""

    def __init__(self, size: tuple[int, int] | None) -> None:
        self.size = size

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        return OutputSpec(touches=True)

    def infer(self, batch: FrameBatch) -> list[Any]:
        if self.size is None:
            return list(batch.planes)
        return [resized(plane, self.size, batch.layout.colour) for plane in batch.planes]

    def commit(self, batch: FrameBatch, inferred: list[Any]) -> list[FrameBatch]:
        return [batch.replace(planes=inferred)]


class _Preparation:
    def __init__(
        self,
        source: Path,
        output: Path,
        options: PrepareOptions,
        listener: Callable[[Event], None],
        cancel: threading.Event,
    ) -> None:
        self.given = self.source = source
        self.options, self.listener, self.cancel = options, listener, cancel
        self.output = _base(source, output, options.piece_seconds is not None)
        self.notes = Notes(listener)
        self.started = time.monotonic()

    def check(self) -> None:
        """Refuse what cannot be made; nothing is started."""
        keep_memory_flat()
        require_file(self.given)
        check_output(self.output, self.given, gif=False, overwrite=self.options.overwrite)
        self._check_pieces()
        if is_recording(self.given):
            check_disk(self.output, self.given, self.options.min_free_mb)
            self.listener(Event(event="converting", message=f"making a clip of the recording {self.given.name}"))

    def run(self, made: Converted) -> Prepared:
        """Prepare what was given, or the clip that was made of it."""
        self.source, self.left_out = made.path, made.left_out
        self.clip = probe(self.source)
        check_disk(self.output, self.source, self.options.min_free_mb)
        self.size = working_size(self.clip, self.options.height)
        self.small = shrunk_clip(self.clip, self.size) if self.size else self.clip
        self.spec = self._spec()
        self.work = WorkFolder(self.output)
        try:
            return self._seal(self._encode(self.work.open(self._identity())))
        finally:
            self.work.release()

    def _spec(self) -> EncodeSpec:
        encoder = cpu_encoder("h264")
        wanted = self.options
        spec, lost = encode_spec(
            self.small, encoder=encoder.encoder, quality=wanted.quality, preset=wanted.preset,
            threads=usable_cores(), touches=True,
        )  # fmt: skip
        for sentence in lost:
            self.notes.degrade(sentence)
        if self.clip.left_out:
            self.notes.warn(f"Not carried over: {', '.join(self.clip.left_out)}.")
        if self.left_out:
            self.notes.warn(
                f"{self.left_out} of the recording's pictures are left out: they cannot be decoded, or are not later than "
                "the one before."
            )
        return replace(spec, keyframes=max(1, round(wanted.keyframe_seconds * float(self.clip.rate))))

    def _identity(self) -> dict[str, Any]:
        kept = {k: v for k, v in asdict(self.options).items() if k not in ("overwrite", "min_free_mb")}
        return {"clip": fingerprint(self.source), "prepare": 1, "encoder": self.spec.encoder, **kept}

    def _encode(self, done: list[Segment]) -> list[Segment]:
        if done:
            self.notes.recall(done[-1].record.notes)
        reader: Reader = open_reader(self.clip, usable_cores())
        resumed = sum(segment.record.info.frames for segment in done)
        self._made_with = {
            "clip": str(self.given), "output": str(self.output), "processor": "prepare", "device": "cpu",
            "decoder": reader.decoder, "encoder": f"{self.spec.encoder} {self.spec.preset} crf {self.spec.quality}",
            "size": list(self.small.display_size),
        }  # fmt: skip
        frames = self.clip.expected_frames
        self.listener(Event(event="start", **self._made_with, frames=frames, resumed_at_frame=resumed))
        plan = Plan(
            batch_size=_BATCH, queue_batches=_QUEUE, segment_seconds=self.options.piece_seconds or _CHECKPOINT_S,
            min_free=self.options.min_free_mb * 1_000_000, done=done, frames=frames,
        )  # fmt: skip
        pipeline = Pipeline(
            reader, _Resize(self.size), self.spec, self.work, plan,
            listener=self.listener, notes=self.notes.saved, cancel=self.cancel,
        )  # fmt: skip
        segments = pipeline.run()
        for sentence in reader.warnings:
            self.notes.warn(sentence)
        return segments

    def _seal(self, segments: list[Segment]) -> Prepared:
        self.listener(Event(event="sealing", message="joining video and audio"))
        groups = [[segment] for segment in segments] if self.options.piece_seconds else [segments]
        sealed = [self._join(index, group) for index, group in enumerate(groups)]
        frames = sum(segment.record.info.frames for segment in segments)
        paths = tuple(_piece(self.output, index) for index in range(len(groups)))
        if not self.options.piece_seconds:
            paths = (self.output,)
        data = self._describe(frames, paths)
        self._give_names(sealed, paths, data)
        self.listener(Event(event="done", **{k: data[k] for k in ("output", "frames", "seconds")}))
        return Prepared(paths, data, report.report_path(self.output))

    def _join(self, index: int, group: list[Segment]) -> Path:
        """One file; a piece begins at 0 and has the audio of its own time."""
        path = self.work.path / f"sealed-{index:03d}{self.output.suffix.lower()}"
        infos = [(segment.video, segment.record.info) for segment in group]
        span = None
        if self.options.piece_seconds:
            (video, info), base = infos[0], self.clip.time_base
            first, last = info.first_pts or 0, info.last_pts or 0
            begin = first * base
            if index == 0 and 0 <= begin < _LATE_S:  # audio may begin before the first frame
                begin = 0 * base
            end = None if group[0].record.last else (last + info.last_duration) * base
            span = (begin, end)
            start = round(begin / base)
            infos = [(video, replace(info, first_pts=first - start, last_pts=last - start))]
        for sentence in join(infos, self.small, path, span=span).notes:
            self.notes.degrade(sentence)
        verify(path, self.small, infos[0][1], infos[-1][1], sum(info.frames for _, info in infos))
        return path

    def _describe(self, frames: int, paths: tuple[Path, ...]) -> dict[str, Any]:
        return {
            **self._made_with,
            "pieces": [path.name for path in paths] if self.options.piece_seconds else [],
            "frames": frames,
            "seconds": round(time.monotonic() - self.started, 2),
            "options": asdict(self.options),
            **{key: self.notes.saved[key] for key in ("degradations", "warnings")},
        }

    def _give_names(self, sealed: list[Path], paths: tuple[Path, ...], data: dict[str, Any]) -> None:
        self._check_pieces()
        stale = set(_earlier_pieces(self.output)) - set(paths)
        try:
            described = self.work.path / "sealed.report.json"
            report.write_report(described, data)
            described.replace(report.report_path(self.output))  # first: it says that the others are ours
            for path in stale:
                path.unlink(missing_ok=True)
            for file, path in zip(sealed, paths, strict=True):
                file.replace(path)
            sync_folder(self.output.parent)
        except OSError as error:
            raise write_error(self.output, error) from error
        self.work.remove()

    def _check_pieces(self) -> None:
        """Refuse to replace pieces that an earlier preparation did not make."""
        if self.options.piece_seconds is None or self.options.overwrite:
            return
        ours = set(_earlier_pieces(self.output))
        pattern = f"{_escaped(self.output.stem)}-[0-9][0-9][0-9]*{self.output.suffix}"
        for path in sorted(self.output.parent.glob(pattern)):
            if path not in ours:
                raise UsageError(
                    f"{path} exists and was not made by framelane; choose another name, or add --overwrite."
                )


def _base(source: Path, output: Path, pieces: bool) -> Path:
    """The file that is made, or that numbers are put into."""
    if not pieces or (output.suffix.lower() in EXTENSIONS and not output.is_dir()):
        return output
    return output / f"{source.stem}.mp4"


def _piece(base: Path, index: int) -> Path:
    return base.with_name(f"{base.stem}-{index:03d}{base.suffix}")


def _escaped(stem: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in stem)


def _earlier_pieces(base: Path) -> list[Path]:
    """The pieces of which the report beside ``base`` says that framelane made them."""
    path = report.report_path(base)
    if path not in report.made_by_us(base):
        return []
    names = json.loads(path.read_text(encoding="utf-8")).get("pieces", [])
    return [base.parent / Path(str(name)).name for name in names]
