"""One clip, one processor, one set of settings, one output: :func:`process_video`."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framelane import hardware, report
from framelane import settings as settings_module
from framelane.engine.checkpoint import Segment, WorkFolder, sync_folder
from framelane.engine.events import Event
from framelane.engine.pipeline import Pipeline, Plan
from framelane.errors import Cancelled, FramelaneError, UsageError
from framelane.machine import usable_cores
from framelane.processors.base import Context, Processor, create
from framelane.settings import Loaded, Settings
from framelane.video.clip import Clip, fingerprint, probe, require_file
from framelane.video.codecs import choose_encoder
from framelane.video.gif import GifResult, make_gif
from framelane.video.join import join, verify
from framelane.video.reader import Reader, open_reader
from framelane.video.writer import EXTENSIONS, EncodeSpec, encode_spec, write_error

# What the frames do not depend on: changing it does not throw finished segments away.
_NOT_IN_IDENTITY = {
    "mode", "profile", "engine.queue_batches", "engine.min_free_mb", "output.require_gpu", "output.overwrite",
    "hardware.batch_size", "hardware.gpu_memory_limit", "hardware.threads",
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a job made.

    Attributes:
        output_path: the video.
        gif_path: the looping preview, or None where it was not asked for.
        processing_time: seconds of this run, resumed parts not counted.
        avg_fps: frames of this run per second of this run.
        report: what stands in the report beside the output.
        report_path: where that is.
    """

    output_path: Path
    gif_path: Path | None
    processing_time: float
    avg_fps: float
    report: dict[str, Any]
    report_path: Path


@dataclass
class _Notes:
    """Warnings and degradations, said once each, as events and in the report."""

    emit: Callable[[Event], None]
    saved: dict[str, Any] = field(default_factory=lambda: {"warnings": [], "degradations": []})

    def warn(self, message: str) -> None:
        self._add("warnings", "warning", message)

    def degrade(self, message: str) -> None:
        self._add("degradations", "degraded", message)

    def _add(self, kind: str, event: str, message: str) -> None:
        if message not in self.saved[kind]:
            self.saved[kind].append(message)
            self.emit(Event(event=event, message=message))


def process_video(
    clip: str | Path,
    processor: str,
    *,
    output: str | Path,
    mode: str | None = None,
    profile: str | None = None,
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Callable[[Event], None] | None = None,
    cancel: threading.Event | None = None,
    **settings: Any,
) -> Result:
    """Process one clip. A job that was interrupted goes on where its last finished segment ended.

    Args:
        clip: the input video.
        processor: for example ``"attention"``.
        output: the file to make: ``.mp4``, ``.mov`` or ``.mkv``.
        mode: ``"fast"``, ``"balanced"`` or ``"quality"``.
        profile: what the hardware allows; None or ``"auto"`` looks at the machine.
        config: a YAML file of settings.
        overrides: dotted keys, as in ``{"attention.method": "rollout"}``.
        progress: called with every event, in this thread; ``print`` shows sentences.
        cancel: set it to stop; finished segments are kept.
        **settings: sections as dicts, as in ``attention={"method": "rollout"}``.

    Returns:
        Where the results lie, and the report.

    Raises:
        UsageError: something given is wrong; nothing was started.
        FramelaneError: the job failed; its text says why.
        Cancelled: it was cancelled; calling again goes on.
    """
    loaded = load_settings(mode, profile, config, {**settings_module.flatten(settings), **(overrides or {})})
    job = Job(Path(clip), processor, Path(output), loaded, progress or (lambda _: None), cancel or threading.Event())
    try:
        return job.run()
    except KeyboardInterrupt as interrupt:
        error = Cancelled("Cancelled; finished segments are kept, and the same command goes on from there.")
        job.listener(Event(event="cancelled", message=str(error)))
        raise error from interrupt
    except FramelaneError as error:
        if not isinstance(error, UsageError):
            kind = "cancelled" if isinstance(error, Cancelled) else "failed"
            job.listener(Event(event=kind, message=str(error)))
        raise


def load_settings(
    mode: str | None, profile: str | None, config: str | Path | None, overrides: Mapping[str, Any]
) -> Loaded:
    """Merged settings for this machine; the profile is detected where it is not named."""
    detected, _ = hardware.detected_profile()
    return settings_module.load(
        mode=mode,
        profile=profile,
        config=Path(config) if config else None,
        overrides=overrides,
        detected_profile=detected,
    )


@dataclass
class Job:
    """One run of one job; see :func:`process_video`."""

    source: Path
    processor_name: str
    output: Path
    loaded: Loaded
    listener: Callable[[Event], None]
    cancel: threading.Event

    @property
    def settings(self) -> Settings:
        """The merged settings."""
        return self.loaded.settings

    def run(self) -> Result:
        """Run the job to its sealed output."""
        started = time.monotonic()
        processor = create(self.processor_name)
        require_file(self.source)
        check_output(self.output, self.source, overwrite=self.settings.output.overwrite)
        clip = probe(self.source)
        self._check_disk()
        notes = _Notes(self.listener)
        device = choose_device(self.settings, notes.degrade)
        context = Context(self.settings, device, self._threads(), notes.warn, notes.degrade)
        work = WorkFolder(self.output)
        try:
            return self._run(processor, clip, context, work, notes, started)
        finally:
            processor.close()
            work.release()

    def _run(
        self, processor: Processor, clip: Clip, context: Context, work: WorkFolder, notes: _Notes, started: float
    ) -> Result:
        chosen = choose_encoder(self.settings.output.codec, context.device == "cuda", self.settings.output.require_gpu)
        if chosen.reason:
            notes.degrade(chosen.reason)
        done = work.open(self._identity(clip, processor, chosen.name, context.device))
        if work.changed:
            notes.warn(
                f"Unfinished work on {self.output.name} was made with another {', '.join(work.changed)}; "
                "it is started anew."
            )
        for kind, messages in (done[-1].record.notes if done else {}).items():
            notes.saved[kind] = list(dict.fromkeys([*messages, *notes.saved.get(kind, [])]))
        out = processor.open(clip, context)
        spec, lost = encode_spec(
            clip,
            encoder=chosen.name,
            quality=self.settings.output.quality,
            preset=self.settings.output.preset,
            threads=context.threads,
            touches=out.touches,
        )
        for sentence in lost:
            notes.degrade(sentence)
        if clip.left_out:
            notes.warn(f"Not carried over: {', '.join(clip.left_out)}.")
        reader = open_reader(clip, context.threads)
        self._announce(clip, context, reader, spec, done)
        pipeline = self._pipeline(reader, processor, spec, work, done, notes)
        segments = pipeline.run()
        for sentence in reader.warnings:
            notes.warn(sentence)
        return self._seal(clip, context, processor, work, segments, pipeline, spec, notes, started)

    def _pipeline(
        self,
        reader: Reader,
        processor: Processor,
        spec: EncodeSpec,
        work: WorkFolder,
        done: list[Segment],
        notes: _Notes,
    ) -> Pipeline:
        engine = self.settings.engine
        plan = Plan(
            batch_size=self.settings.hardware.batch_size,
            queue_batches=engine.queue_batches,
            segment_seconds=engine.segment_seconds,
            min_free=engine.min_free_mb * 1_000_000,
            done=done,
            frames=reader.clip.expected_frames,
        )
        return Pipeline(
            reader, processor, spec, work, plan, listener=self.listener, notes=notes.saved, cancel=self.cancel
        )

    def _threads(self) -> int:
        return self.settings.hardware.threads or usable_cores()

    def _check_disk(self) -> None:
        needed = self.settings.engine.min_free_mb * 1_000_000 + self.source.stat().st_size
        free = shutil.disk_usage(self.output.parent).free
        if free < needed:
            raise FramelaneError(
                f"Only {free / 1e6:.0f} MB are free in {self.output.parent}; this job wants at least "
                f"{needed / 1e6:.0f} MB (the clip's size plus engine.min_free_mb). Free some space, or choose another "
                "output folder."
            )

    def _identity(self, clip: Clip, processor: Processor, encoder: str, device: str) -> dict[str, Any]:
        flat = settings_module.flatten(self.settings.model_dump())
        wanted = {k: v for k, v in flat.items() if k not in _NOT_IN_IDENTITY and not k.startswith("gif.")}
        sections = {"engine", "output", "hardware", processor.name}
        return {
            "clip": fingerprint(clip.path),
            "processor version": f"{processor.name} {processor.version}",
            "encoder": encoder,
            "device": device,
            **{k: v for k, v in wanted.items() if k.split(".")[0] in sections},
        }

    def _announce(self, clip: Clip, context: Context, reader: Reader, spec: EncodeSpec, done: list[Segment]) -> None:
        self.listener(
            Event(
                event="start",
                clip=str(clip.path),
                output=str(self.output),
                processor=self.processor_name,
                frames=clip.expected_frames,
                resumed_at_frame=sum(s.record.info.frames for s in done),
                device=context.device,
                decoder=reader.decoder,
                encoder=encoder_name(spec),
                mode=self.settings.mode,
                profile=self.settings.profile,
                models=context.models,
            )
        )

    def _seal(
        self,
        clip: Clip,
        context: Context,
        processor: Processor,
        work: WorkFolder,
        segments: list[Segment],
        pipeline: Pipeline,
        spec: EncodeSpec,
        notes: _Notes,
        started: float,
    ) -> Result:
        """Join, verify, describe, and only then give the names."""
        sealed = work.path / f"sealed{self.output.suffix.lower()}"
        infos = [(segment.video, segment.record.info) for segment in segments]
        joined = join(infos, clip, sealed)
        for sentence in joined.notes:
            notes.degrade(sentence)
        frames = sum(info.frames for _, info in infos)
        verify(sealed, clip, frames, infos[0][1].first_pts or 0, infos[-1][1].last_pts or 0)
        gif, gif_report = self._gif(sealed, work, notes)
        seconds = time.monotonic() - started
        processed = pipeline.meter.written
        data = {
            "clip": str(clip.path),
            "output": str(self.output),
            "processor": self.processor_name,
            "frames": frames,
            "resumed_at_frame": pipeline.meter.first,
            "seconds": round(seconds, 2),
            "avg_fps": round(processed / seconds, 2),
            "stage_ms": pipeline.meter.stage_ms(),
            "device": context.device,
            "decoder": pipeline.reader.decoder,
            "encoder": encoder_name(spec),
            "profile": self.settings.profile,
            "mode": self.settings.mode,
            "settings": self.settings.model_dump(),
            "models": context.models,
            "degradations": notes.saved["degradations"],
            "warnings": notes.saved["warnings"],
            "metrics": processor.report(work.rows()),
            "gif": gif_report,
        }
        self._give_names(sealed, gif, data, work)
        self.listener(Event(event="done", **{k: data[k] for k in ("output", "frames", "seconds", "avg_fps")}))
        return Result(
            output_path=self.output,
            gif_path=report.gif_path(self.output) if gif else None,
            processing_time=seconds,
            avg_fps=processed / seconds,
            report=data,
            report_path=report.report_path(self.output),
        )

    def _gif(self, sealed: Path, work: WorkFolder, notes: _Notes) -> tuple[Path | None, dict[str, Any] | None]:
        wanted = self.settings.gif
        if not wanted.enabled:
            return None, None
        made: GifResult = make_gif(
            sealed,
            work.path / "sealed.gif",
            max_bytes=int(wanted.max_mb * 1_000_000),
            seconds=wanted.seconds,
            start=wanted.start,
            width=wanted.width,
            fps=wanted.fps,
        )
        for sentence in made.notes:
            notes.warn(sentence)
        return made.path, {
            "bytes": made.bytes,
            "width": made.width,
            "height": made.height,
            "fps": made.fps,
            "colours": made.colours,
            "seconds": made.seconds,
            "tries": made.tries,
        }

    def _give_names(self, sealed: Path, gif: Path | None, data: dict[str, Any], work: WorkFolder) -> None:
        try:
            described = work.path / "sealed.report.json"
            report.write_report(described, data)
            with sealed.open("rb") as file:
                _sync(file)
            if gif:
                gif.replace(report.gif_path(self.output))
            described.replace(report.report_path(self.output))
            sealed.replace(self.output)
            sync_folder(self.output.parent)
        except OSError as error:
            raise write_error(self.output, error) from error
        work.remove()


def _sync(file: Any) -> None:
    import os

    os.fsync(file.fileno())


def encoder_name(spec: EncodeSpec) -> str:
    """The encoder as named in events and reports: name, preset, quality, pixel format, threads."""
    return f"{spec.encoder} {spec.preset} crf {spec.quality} {spec.pixel_format} ({spec.threads} threads)"


def choose_device(settings: Settings, degrade: Callable[[str], None]) -> str:
    """``"cuda"`` or ``"cpu"``; falling back is said aloud, or is an error with ``output.require_gpu``.

    Raises:
        FramelaneError: a GPU is required and there is none that works.
    """
    wanted, required = settings.hardware.device, settings.output.require_gpu
    if wanted == "cpu" and not required:
        return "cpu"
    reason = hardware.cuda_problem()
    if reason is None:
        import torch

        torch.cuda.set_per_process_memory_fraction(settings.hardware.gpu_memory_limit)
        return "cuda"
    if required:
        raise FramelaneError(f"A GPU is required (--require-gpu), but none can be used: {reason}")
    if wanted == "cuda":
        degrade(f"Models run on the CPU instead of the GPU: {reason}")
    return "cpu"


def check_output(output: Path, clip: Path, *, overwrite: bool) -> None:
    """Refuse an output that cannot or must not be written.

    Raises:
        UsageError: an unknown container, a folder, the input itself, somebody else's file, or not writable.
    """
    if output.is_dir():
        raise UsageError(f"The output {output} is a folder; name a file in it, for example {output / 'out.mp4'}.")
    if output.suffix.lower() not in EXTENSIONS:
        raise UsageError(f"The output {output} must end in {', '.join(EXTENSIONS)}.")
    if output.exists() and output.samefile(clip):
        raise UsageError(f"The output {output} is the input itself; choose another name.")
    if output.exists() and not overwrite and not report.made_by_us(output):
        raise UsageError(
            f"{output} exists and was not made by framelane; choose another name, or add --set output.overwrite=true."
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise UsageError(f"The output folder {output.parent} is not writable ({error.strerror}).") from error


__all__ = ["Job", "Result", "process_video"]
