"""One run of one job: check, open, process, seal. :func:`framelane.run.process_video` is its door."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from framelane import fallback, report
from framelane.affinity import on_cores
from framelane.checks import check_disk, check_output, choose_device
from framelane.engine.checkpoint import Segment, WorkFolder
from framelane.engine.control import Control
from framelane.engine.events import Event, Listener
from framelane.engine.first_pass import first_pass
from framelane.engine.guard import Guard, Held, thresholds
from framelane.engine.pipeline import Pipeline, Plan
from framelane.engine.preview import Preview
from framelane.engine.sensors import open_sources
from framelane.errors import FramelaneError, OutOfMemory
from framelane.identity import asked_for, encoded_with, frames_settings, go_on_as_begun
from framelane.machine import usable_cores
from framelane.memory import free_memory, keep_memory_flat
from framelane.processors.base import Context, Processor, create
from framelane.processors.scaled import Scaled
from framelane.provenance import Provenance, Unlabelled, report_of
from framelane.provenance.visible import COARSEST
from framelane.schema import Settings
from framelane.sealing import Made, Sealing
from framelane.settings import Loaded
from framelane.video.clip import Clip, fingerprint, probe, require_file
from framelane.video.decoders import DecoderChoice, choose_decoder
from framelane.video.encoders import choose_encoder, spec_of
from framelane.video.reader import Reader, open_reader
from framelane.video.scale import twin, working_size
from framelane.video.writer import EncodeSpec, SegmentWriter, open_writer


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
class Notes:
    """Warnings and degradations: said once each, as events and in the report, and kept over a resume."""

    emit: Callable[[Event], None]
    saved: dict[str, Any] = field(default_factory=lambda: {"warnings": [], "degradations": []})

    def warn(self, message: str) -> None:
        """Something the user should know of the clip or the settings."""
        self._add("warnings", "warning", message)

    def degrade(self, message: str) -> None:
        """Something that works less well than asked for, and why."""
        self._add("degradations", "degraded", message)

    def recall(self, earlier: dict[str, Any]) -> None:
        """Take over what an interrupted run had noted."""
        for kind, messages in earlier.items():
            self.saved[kind] = list(dict.fromkeys([*messages, *self.saved.get(kind, [])]))

    def _add(self, kind: str, event: str, message: str) -> None:
        if message not in self.saved[kind]:
            self.saved[kind].append(message)
            self.emit(Event(event=event, message=message))


def watch(guard: Guard, settings: Settings, disk: Path, device: str) -> Control:
    """The guard with this machine's sensors, read once a second."""
    return Control(guard, open_sources(settings, disk, device))


class Job:
    """One clip, one processor, one set of settings, one output.

    Args:
        source: the input video.
        processor: its name.
        output: the file to make.
        loaded: merged settings, and where they come from.
        listener: takes events, in the thread that calls :meth:`run`.
        cancel: set by anyone to stop.
        held: what the guard had set at the end of the clip before (``report["guard"]["held"]``).
        watch: makes the guard's control; tests give other sensors.
        pause: set while the work is to wait.
    """

    def __init__(
        self,
        source: Path,
        processor: str,
        output: Path,
        loaded: Loaded,
        listener: Callable[[Event], None],
        cancel: threading.Event,
        held: Held | None = None,
        watch: Callable[[Guard, Settings, Path, str], Control] = watch,
        pause: threading.Event | None = None,
    ) -> None:
        self.source, self.output, self.asked = source, output, loaded
        self.listener, self.cancel = listener, cancel
        self.held, self.pause, self.watch = held or {}, pause or threading.Event(), watch
        self.processor: Processor = create(processor)
        self._use(loaded)
        self.notes = Notes(listener)
        self.started = time.monotonic()

    def run(self) -> Result:
        """Run to the sealed output.

        Raises:
            UsageError: something given is wrong; nothing was started.
            FramelaneError: the job failed; its text says why.
            Cancelled: it was cancelled; a new job on the same output goes on.
        """
        keep_memory_flat()
        require_file(self.source)
        wanted = self.settings
        self.processor.require(wanted, self.output)
        sheet = self.processor.makes_sheet
        check_output(
            self.output, self.source, gif=wanted.gif.enabled, overwrite=wanted.output.overwrite, sheet=sheet,
            exports=self.processor.exports,
        )  # fmt: skip
        self.clip: Clip = probe(self.source)
        check_disk(self.output, self.source, wanted.engine.min_free_mb)
        for sentence in self.loaded.limited:
            self.notes.degrade(sentence)
        with on_cores(wanted.hardware.cpu_affinity):
            folder = WorkFolder(self.output).path
            if not fallback.recall(folder, self._wanted(self.asked)).changed:
                self.asked = self._as_begun()
            asked = self._wanted(self.asked)
            self.forced = fallback.begin(folder, asked, self.held, self.settings, self.clip)
            while True:
                self._use(fallback.applied(self.asked, self.forced.changed))
                for sentence in self.forced.said:
                    self.notes.degrade(sentence)
                try:
                    return self._attempt()
                except OutOfMemory as error:
                    if not error.next_step:
                        raise
                    self._fall_back(error)

    def _as_begun(self) -> Loaded:
        """The settings that unfinished work was begun with on another machine, where only the profiles differ."""
        begun = WorkFolder(self.output).begun()
        same = {key: begun.get(key) == value for key, value in self._clip_and_processor().items()}
        if not all(same.values()):
            return self.asked
        taken, differences = go_on_as_begun(begun, self.processor.name, self.asked)
        wanted = taken.settings
        device, encoder = choose_device(wanted, lambda _: None), str(begun.get("encoder"))
        if choose_encoder(self.clip, wanted, device, True, encoder).name != encoder:
            return self.asked  # it starts anew, and then with what fits this machine
        if differences:
            self.notes.warn(f"The clip was begun under another profile and goes on as it was begun: {differences}.")
        return taken

    def _use(self, loaded: Loaded) -> None:
        self.loaded, self.settings = loaded, loaded.settings

    def _attempt(self) -> Result:
        size = working_size(self.clip, self.settings.hardware.working_height)
        if size and self.processor.scalable:
            self.processor = Scaled(self.processor, size)
        device = choose_device(self.settings, self.notes.degrade)
        threads = self.settings.hardware.threads or usable_cores()
        own = frozenset(key for key in self.loaded.origin if self.loaded.is_own(key))
        self.context = Context(
            self.settings, device, threads, self.notes.warn, self.notes.degrade, own,
            tell=lambda said: self.notes.emit(Event(said)),
        )  # fmt: skip
        self.work = WorkFolder(self.output)
        try:
            with fallback.out_of_memory(self.settings, self.clip, device):
                segments = self._process()
            try:
                return self._seal(segments)
            except Unlabelled:
                self.work.clear()
                raise
        finally:
            self.processor.close()
            self.work.release()

    def _fall_back(self, error: OutOfMemory) -> None:
        """Get ready to do the clip anew with the error's next step; kept on disk, so that a killed job goes on with it."""
        why = f"Memory ran out with {fallback.lines(self.settings, self.clip)} lines on {self.context.device}."
        self.forced = self.forced.plus(error.next_step, fallback.sentence(error.next_step, why))
        fallback.save(self.work.path, self._wanted(self.asked), self.forced)
        # Tracebacks hold frames, and with them the memory that is wanted back.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        for holder in ("pipeline", "control", "reader"):
            self.__dict__.pop(holder, None)
        self.processor = create(self.processor.name)
        free_memory()

    # -- process -----------------------------------------------------------------------------------------------------

    def _process(self) -> list[Segment]:
        self.decoding = self._choose_decoder()
        out = self.processor.open(self.clip, self.context)  # first: settings that do not fit leave no folder behind
        self.provenance = self._provenance()
        begun = str(self.work.begun().get("encoder", ""))
        self.twin = twin(self.clip, out.size)
        self.encoder = choose_encoder(self.twin, self.settings, self.context.device, out.touches, begun)
        if self.encoder.reason:
            self.notes.degrade(self.encoder.reason)
        by = self.loaded.origin["hardware.working_height"]
        if isinstance(self.processor, Scaled) and by.startswith("profile"):
            self.notes.degrade(self.processor.sentence(self.clip, by))
        done = self._finished_segments(self.encoder.name)
        self.spec: EncodeSpec
        self.spec, lost = spec_of(
            self.twin, self.settings, self.encoder,
            threads=self.context.threads, touches=out.touches, device=self.context.device,
        )  # fmt: skip
        if self.provenance and not self.spec.bitrate and self.spec.quality > COARSEST:
            lost.append(f"The label could not be read at output.quality {self.spec.quality}; {COARSEST} is used.")
            self.spec = replace(self.spec, quality=COARSEST)
        for sentence in lost:
            self.notes.degrade(sentence)
        if self.clip.left_out:
            self.notes.warn(f"Not carried over: {', '.join(self.clip.left_out)}.")
        self.reader: Reader = self._open_reader()
        self._announce(done)
        if (looking := self.processor.first_pass()) is not None:
            self.processor.learn(self._look(looking))
            self.reader = self._open_reader()  # what it warns of is said once
        self.pipeline = self._pipeline(self.processor, self.work, done, self.listener)
        segments = self._run(self.pipeline)
        for sentence in self.reader.warnings:
            self.notes.warn(sentence)
        return segments

    def _run(self, pipeline: Pipeline) -> list[Segment]:
        self.notes.emit = pipeline.emit  # its threads note things, too, and events belong to the caller's thread
        try:
            return pipeline.run()
        finally:
            self.notes.emit = self.listener

    def _look(self, looking: Processor) -> Iterator[dict[str, Any]]:
        """The rows of the first pass over the clip."""

        def make(work: WorkFolder, done: list[Segment], listener: Listener, writer: Any) -> Pipeline:
            return self._pipeline(looking, work, done, listener, writer)

        try:
            return first_pass(self.work.path, self._identity(self.spec.encoder), self.listener, make)
        finally:
            looking.close()

    def _open_reader(self) -> Reader:
        return open_reader(
            self.clip,
            self.context.threads,
            rung=self.decoding.rung,
            device=self.context.device,
            degrade=self.notes.degrade,
        )

    def _choose_decoder(self) -> DecoderChoice:
        """The rung that proved itself on the clip's frames; a GPU that cannot decode them is said aloud."""
        hardware = self.settings.hardware
        choice = choose_decoder(
            self.clip,
            forced=hardware.decoder,
            prefer_gpu=hardware.prefer_gpu,
            require_gpu=self.settings.output.require_gpu,
            device=self.context.device,
        )
        if choice.fell_back and choice.reason:
            self.notes.degrade(choice.reason)
        return choice

    def _provenance(self) -> Provenance | None:
        """What must be written into the output; asked for before the work, so that none is done in vain."""
        found = self.processor.provenance()
        if found is None and self.processor.says_what_it_is:
            raise FramelaneError(
                f"{self.processor.name} does not say what its output is; nothing is made without that."
            )
        return found

    def _finished_segments(self, encoder: str) -> list[Segment]:
        done = self.work.open(self._identity(encoder), asked_for(self.processor.name, self.asked))
        if self.work.changed:
            self.notes.warn(
                f"Unfinished work on {self.output.name} was made with another {', '.join(self.work.changed)}; "
                "it is started anew."
            )
        if done:
            self.notes.recall(done[-1].record.notes)
        return done

    def _identity(self, encoder: str) -> dict[str, Any]:
        return {
            "encoder": encoder,
            "models": [[model["name"], model["sha256"]] for model in self.context.models],
            **encoded_with(encoder, self._wanted(self.loaded)),
        }

    def _wanted(self, loaded: Loaded) -> dict[str, Any]:
        """What the frames depend on, as far as it is known before anything is opened."""
        return {**self._clip_and_processor(), **frames_settings(self.processor.name, loaded)}

    def _clip_and_processor(self) -> dict[str, Any]:
        version = f"{self.processor.name} {self.processor.version}"
        return {"clip": fingerprint(self.clip.path), "processor version": version}

    def _pipeline(
        self,
        processor: Processor,
        work: WorkFolder,
        done: list[Segment],
        listener: Listener,
        make_writer: Callable[[Path, EncodeSpec], SegmentWriter] = open_writer,
    ) -> Pipeline:
        engine = self.settings.engine
        plan = Plan(
            batch_size=self.settings.hardware.batch_size,
            queue_batches=engine.queue_batches,
            segment_seconds=engine.segment_seconds,
            min_free=engine.min_free_mb * 1_000_000,
            done=done,
            frames=self.clip.expected_frames,
            empty_cache_every=self.settings.hardware.empty_cache_every,
            held=self.held,
            device=self.context.device,
        )
        hardware, asked = self.settings.hardware, fallback.lines(self.asked.settings, self.clip)
        guard = Guard(self.settings.guard, hardware.batch_size, asked, self.asked.settings.hardware.stride)
        self.control = self.watch(guard, self.settings, self.work.path, self.context.device)
        self.control.user_pause = self.pause
        return Pipeline(
            self.reader,
            processor,
            self.spec,
            work,
            plan,
            make_writer=make_writer,
            listener=listener,
            notes=self.notes.saved,
            cancel=self.cancel,
            control=self.control,
            preview=self._preview(),
        )

    def _preview(self) -> Preview:
        aspect = float(self.clip.sample_aspect or 1) ** (-1 if self.clip.orientation.swaps_sides else 1)
        says = self.provenance.mark.text if self.provenance else ""
        return Preview(self.settings.engine.preview_s, aspect, says)

    def _announce(self, done: list[Segment]) -> None:
        frames = {"frames": self.clip.expected_frames, "resumed_at_frame": sum(s.record.info.frames for s in done)}
        limits = thresholds(self.settings.guard)
        self.listener(Event(event="start", **self._made_with(), **frames, guard=limits))

    def _made_with(self) -> dict[str, Any]:
        """What events and report say of the job (promise 4: what is actually used)."""
        spec = self.spec
        return {
            "clip": str(self.clip.path),
            "output": str(self.output),
            "processor": self.processor.name,
            "device": self.context.device,
            "decoder": self.reader.decoder,
            "rungs_refused": [
                {"stage": stage, "rung": probe.name, "reason": probe.reason}
                for stage, refused in (("decode", self.decoding.refused), ("encode", self.encoder.refused))
                for probe in refused
            ],
            "encoder": spec.described,
            "profile": self.settings.profile,
            "mode": self.settings.mode,
            "working_size": list(self.processor.shown) if isinstance(self.processor, Scaled) else None,
            "upscaler": self.processor.upscales_with if isinstance(self.processor, Scaled) else None,
            "precision": "FP16 mixed" if self._half() else "FP32",
            "models": self.context.models,
        }

    def _half(self) -> bool:
        return self.settings.hardware.mixed_precision and self.context.device == "cuda"

    # -- seal --------------------------------------------------------------------------------------------------------

    def _seal(self, segments: list[Segment]) -> Result:
        """Join, say what it is, verify, describe, and only then give the names."""
        says = self.provenance
        sealing = Sealing(
            self.processor, self.clip, self.twin, self.output, self.settings, self.work, says,
            self.notes.warn, self.notes.degrade, self.listener,
        )  # fmt: skip
        made = sealing.make(segments)
        metrics = self.processor.report(self.work.rows())
        sealing.beside(made, metrics)
        data = self._describe(made, metrics)
        if says and made.stated:
            data["provenance"] = {**made.stated, **report_of(says)}
        sealing.name(data, made)
        self.listener(Event(event="done", **{k: data[k] for k in ("output", "frames", "seconds", "avg_fps")}))
        return Result(
            output_path=self.output,
            gif_path=report.gif_path(self.output) if made.gif else None,
            processing_time=data["seconds"],
            avg_fps=data["avg_fps"],
            report=data,
            report_path=report.report_path(self.output),
        )

    def _describe(self, made: Made, metrics: dict[str, Any]) -> dict[str, Any]:
        seconds = time.monotonic() - self.started - self.control.user_paused_s
        meter = self.pipeline.meter
        return {
            **self._made_with(),
            "frames": made.frames,
            "resumed_at_frame": meter.first,
            "seconds": round(seconds, 2),
            "avg_fps": round(meter.written / seconds, 2),
            "stage_ms": meter.stage_ms(),
            "eta_error": self.pipeline.forecast.errors(),
            "settings": self.settings.model_dump(),
            "degradations": self.notes.saved["degradations"],
            "warnings": self.notes.saved["warnings"],
            "metrics": metrics,
            "gif": made.gif,
            "sheet": made.sheet,
            "exports": made.exports,
            **self.control.report(),
        }
