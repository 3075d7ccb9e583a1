"""The frames of a clip with one set of settings: open, decode, process, encode, to the last segment.

A job is one attempt as a rule. Where memory runs out it is followed by another one, with less.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from framelane import fallback
from framelane.checks import choose_device
from framelane.container import usable_cores
from framelane.engine.checkpoint import Segment, WorkFolder
from framelane.engine.control import Control
from framelane.engine.events import Event, Listener
from framelane.engine.first_pass import first_pass
from framelane.engine.guard import Guard
from framelane.engine.notes import Notes
from framelane.engine.pipeline import Pipeline
from framelane.engine.plan import Plan
from framelane.engine.preview import Preview
from framelane.engine.rungs import Held, thresholds
from framelane.errors import FramelaneError
from framelane.identity import asked_for, encoded_with, frames_depend_on
from framelane.processors.base import Context, Processor
from framelane.processors.scaled import Scaled
from framelane.provenance import Provenance
from framelane.provenance.visible import COARSEST
from framelane.schema import Settings
from framelane.settings import Loaded
from framelane.video.clip import Clip
from framelane.video.decoders import DecoderChoice, choose_decoder
from framelane.video.disk import writing
from framelane.video.encoders import choose_encoder, spec_of
from framelane.video.reader import Reader, open_reader
from framelane.video.scale import twin, working_size
from framelane.video.writer import EncodeSpec, SegmentWriter, open_writer

Watch = Callable[[Guard, Settings, Path, str], Control]
"""Makes the guard's control of ``(guard, settings, a folder on the output's disk, device)``."""


@dataclass
class Attempt:
    """One attempt at a clip.

    Attributes:
        clip: the input.
        processor: not opened yet; one around it where frames are worked on at a smaller size.
        output: the file that is to come of it.
        asked: the settings of the job.
        loaded: what of them this attempt keeps; memory may force less.
        notes: warnings and degradations of the job.
        listener: takes events, in the thread that calls :meth:`process`.
        cancel: set by anyone to stop.
        held: what the guard had set at the end of the clip before.
        pause: set while the work is to wait.
        watch: makes the guard's control.
    """

    clip: Clip
    processor: Processor
    output: Path
    asked: Loaded
    loaded: Loaded
    notes: Notes
    listener: Listener
    cancel: threading.Event
    held: Held
    pause: threading.Event
    watch: Watch

    def __post_init__(self) -> None:
        self.settings = self.loaded.settings
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

    def process(self) -> list[Segment]:
        """Make the segments that are not finished yet.

        Returns:
            All segments of the clip, in order.

        Raises:
            UsageError: settings do not fit the clip.
            OutOfMemory: memory ran out; the error says what may be tried next.
            FramelaneError: a stage failed.
            Cancelled: it was cancelled.
        """
        with writing(self.work.path), fallback.out_of_memory(self.settings, self.clip, self.context.device):
            return self._process()

    def close(self) -> None:
        """Release models, memory and the work folder."""
        self.processor.close()
        self.work.release()

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
            **encoded_with(encoder, frames_depend_on(self.clip, self.processor, self.loaded)),
        }

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
        self.listener(Event(event="start", **self.made_with(), **frames, guard=limits))

    def made_with(self) -> dict[str, Any]:
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
