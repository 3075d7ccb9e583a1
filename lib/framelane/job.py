"""One run of one job: check, attempt, seal. :func:`framelane.run.process_video` is its door."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framelane import fallback, report
from framelane.affinity import on_cores
from framelane.attempt import Attempt, Watch
from framelane.checks import check_disk, check_output, choose_device
from framelane.engine.checkpoint import Segment, WorkFolder
from framelane.engine.control import Control
from framelane.engine.events import Event
from framelane.engine.guard import Guard
from framelane.engine.notes import Notes
from framelane.engine.rungs import Held
from framelane.engine.sensors import open_sources
from framelane.errors import OutOfMemory
from framelane.identity import clip_and_processor, frames_depend_on, go_on_as_begun
from framelane.memory import free_memory, keep_memory_flat
from framelane.processors.base import Processor, create
from framelane.provenance import Unlabelled, report_of
from framelane.schema import Settings
from framelane.sealing import Made, Sealing
from framelane.settings import Loaded
from framelane.standing import made_of, require_ours
from framelane.video.clip import Clip, probe, require_file
from framelane.video.encoders import choose_encoder


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
        restart: a finished result of another clip or processor may be replaced.
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
        watch: Watch = watch,
        pause: threading.Event | None = None,
        restart: bool = False,
    ) -> None:
        self.restart = restart
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
        if not self.restart and not wanted.output.overwrite:
            require_ours(self.output, self.clip, self.processor)
        check_disk(self.output, self.source, wanted.engine.min_free_mb)
        for sentence in self.loaded.limited:
            self.notes.degrade(sentence)
        with on_cores(wanted.hardware.cpu_affinity):
            folder = WorkFolder(self.output).path
            if not fallback.recall(folder, self._frames_depend_on()).changed:
                self.asked = self._as_begun()
            self.forced = fallback.begin(folder, self._frames_depend_on(), self.held, self.settings, self.clip)
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
        same = {key: begun.get(key) == value for key, value in clip_and_processor(self.clip, self.processor).items()}
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

    def _frames_depend_on(self) -> dict[str, Any]:
        return frames_depend_on(self.clip, self.processor, self.asked)

    def _use(self, loaded: Loaded) -> None:
        self.loaded, self.settings = loaded, loaded.settings

    def _attempt(self) -> Result:
        self.attempt = Attempt(
            self.clip, self.processor, self.output, self.asked, self.loaded, self.notes,
            self.listener, self.cancel, self.held, self.pause, self.watch,
        )  # fmt: skip
        try:
            segments = self.attempt.process()
            try:
                return self._seal(self.attempt, segments)
            except Unlabelled:
                self.attempt.work.clear()
                raise
        finally:
            self.attempt.close()

    def _fall_back(self, error: OutOfMemory) -> None:
        """Get ready to do the clip anew with the error's next step; kept on disk, so that a killed job goes on with it."""
        why = f"Memory ran out with {fallback.lines(self.settings, self.clip)} lines on {self.attempt.context.device}."
        self.forced = self.forced.plus(error.next_step, fallback.sentence(error.next_step, why))
        fallback.save(self.attempt.work.path, self._frames_depend_on(), self.forced)
        # Tracebacks hold frames, and with them the memory that is wanted back.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        del self.attempt
        self.processor = create(self.processor.name)
        free_memory()

    def _seal(self, attempt: Attempt, segments: list[Segment]) -> Result:
        """Join, say what it is, verify, describe, and only then give the names."""
        says = attempt.provenance
        sealing = Sealing(
            attempt.processor, self.clip, attempt.twin, self.output, self.settings, attempt.work, says,
            self.notes.warn, self.notes.degrade, self.listener,
        )  # fmt: skip
        made = sealing.make(segments)
        metrics = attempt.processor.report(attempt.work.rows())
        sealing.beside(made, metrics)
        data = self._describe(attempt, made, metrics)
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

    def _describe(self, attempt: Attempt, made: Made, metrics: dict[str, Any]) -> dict[str, Any]:
        seconds = time.monotonic() - self.started - attempt.control.user_paused_s
        meter = attempt.pipeline.meter
        return {
            **attempt.made_with(),
            "made_of": made_of(self.clip, self.processor, self.asked),
            "frames": made.frames,
            "resumed_at_frame": meter.first,
            "seconds": round(seconds, 2),
            "avg_fps": round(meter.written / seconds, 2),
            "stage_ms": meter.stage_ms(),
            "eta_error": attempt.pipeline.forecast.errors(),
            "settings": self.settings.model_dump(),
            "degradations": self.notes.saved["degradations"],
            "warnings": self.notes.saved["warnings"],
            "metrics": metrics,
            "gif": made.gif,
            "sheet": made.sheet,
            "exports": made.exports,
            **attempt.control.report(),
        }
