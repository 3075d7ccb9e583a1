"""``framelane tune``: about a minute of measuring on this machine, and what was best becomes its own settings.

Everything is measured through the real pipeline, :func:`framelane.run.process_video`: the attention processor for batch
sizes, threads and queues, a processor that touches nothing for decoders, encoders and presets. The profile's models are
opened once before the clock starts.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.bench.bare import decode_fps, upload_fps
from framelane.bench.choosing import (
    REPEATS,
    Choice,
    Speeds,
    batch_sizes,
    fastest,
    preset,
    rounds,
    thread_counts,
    winners,
)
from framelane.container import usable_cores
from framelane.errors import FramelaneError

if TYPE_CHECKING:
    from rich.table import Table

    from framelane.settings import Loaded

SECONDS = 60.0
_ROUNDS = 5  # at most; the time decides
_OVERTIME = 1.5  # a group that would take the whole beyond that many times the time is left out
# Shares of the time. A decoder or encoder is measured on a card only.
_SHARES = {
    "hardware.batch_size": 0.3, "hardware.threads": 0.2, "engine.queue_batches": 0.1, "hardware.decoder": 0.12,
    "hardware.encoder": 0.12, "preset": 0.12, "decode threads": 0.02, "copies": 0.02,
}  # fmt: skip
_QUEUES = (1, 2, 4)
_X264 = ("medium", "fast", "faster", "veryfast", "superfast")
_NVENC = ("p5", "p4", "p3", "p2", "p1")
_RUNGS = ("auto", "pyav", "nvcodec", "ffmpeg", "cpu")

Say = Callable[[str], None]


@dataclass
class Row:
    """A line of the table: a setting, what was measured, and what came of it."""

    name: str
    speeds: Sequence[Speeds]
    choice: Choice | None = None
    note: str = ""


@dataclass(frozen=True)
class Made:
    """One job's figures: frames per second of the whole, and the mean milliseconds a frame of each stage."""

    fps: float
    stage_ms: Mapping[str, float]
    frames: int = 0


@dataclass
class Tuner:
    """Measures, group by group.

    Attributes:
        folder: for the clip and the outputs.
        loaded: the settings without any tuning.
        seconds: to spend, after the models are open.
        card: whether models run on a GPU.
        say: takes lines for people.
        taken: what was found best so far, by dotted key; later measurements are taken with it.
    """

    folder: Path
    loaded: Loaded
    seconds: float
    card: bool
    say: Say
    taken: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    began: float = 0.0
    encoder: str = ""
    """What the last job encoded with, by its report."""
    usual: Made | None = None
    """The last attention job that was measured."""
    _jobs: int = 0
    _took: dict[str, float] = field(default_factory=dict)

    def run(self, length: Fraction) -> dict[str, Choice]:
        """All groups; returns the choices by dotted key.

        Args:
            length: of the clip, in seconds.
        """
        self.prepare(length)
        self.say("Opening the models.")
        first = self.job("attention", {})
        self.began = time.monotonic()
        self.say(f"Measuring for about {self.seconds:.0f} s.")
        hardware = self.loaded.settings.hardware
        cores = usable_cores()
        choices = {
            "hardware.batch_size": self.group("hardware.batch_size", batch_sizes(hardware.batch_size, first.frames)),
            "hardware.threads": self.group("hardware.threads", thread_counts(hardware.threads, cores)),
            "engine.queue_batches": self.group("engine.queue_batches", _QUEUES),
        }
        for key in ("hardware.decoder", "hardware.encoder"):
            if self.card:
                choices[key] = self.group(key, _RUNGS, "bench_copy")
        choices.update(self.presets(self.usual or first))
        self.decode_threads(cores)
        if self.card:
            self.copies()
        return choices

    def prepare(self, length: Fraction) -> None:
        """Make the clip: 1080 lines where there is a card, else 360."""
        from framelane.bench.clips import make_clip

        make_clip(self.clip, (1920, 1080) if self.card else (640, 360), length)

    @property
    def clip(self) -> Path:
        """What is measured with."""
        return self.folder / "tune.mp4"

    def group(self, key: str, values: Sequence[Any], processor: str = "attention") -> Choice:
        """Measure one setting and take its fastest value."""
        measured = self.measure(key, values, processor)
        default = _value(self.loaded, key)
        choice = fastest(measured, default)
        if choice.changed:
            self.taken[key] = choice.value
        self.rows.append(Row(key, measured, choice))
        return choice

    def presets(self, made: Made) -> dict[str, Choice]:
        """The encoder's presets, on the card where its encoder answers, else of x264."""
        needed = 1000 / max(made.stage_ms.get("decode", 0.0), made.stage_ms.get("process", 0.0), 0.001)
        on_card = self.card and self.encodes_on_card()
        key, values = ("output.nvenc_preset", _NVENC) if on_card else ("output.preset", _X264)
        measured = self.measure(key, values, "bench_copy", "preset")
        choice = preset(measured, _value(self.loaded, key), needed)
        self.rows.append(Row(key, measured, choice))
        return {key: choice}

    def encodes_on_card(self) -> bool:
        """Whether the encoder that is in use is the card's, by the report of the last job."""
        return "nvenc" in self.encoder

    def measure(self, key: str, values: Sequence[Any], processor: str, share: str = "") -> list[Speeds]:
        """Interleaved repeats of every value until the group's share of the time is spent; twice each at least.

        A group that there is no time for on a slow machine is left out, but for the first.
        """
        begun = time.monotonic()
        planned = REPEATS * len(values) * self._took.get(processor, 0.0)
        if self.rows and begun - self.began + planned > _OVERTIME * self.seconds:
            self.say(f"  {key}: left out, for it would take {planned:.0f} s more; --seconds gives more time.")
            return [Speeds(value) for value in values]
        ends = begun + self.seconds * _SHARES[share or key]
        found: dict[Any, list[float]] = {value: [] for value in values}
        refused: dict[Any, str] = {}
        for index, order in enumerate(rounds(list(found), _ROUNDS)):
            if index >= REPEATS and time.monotonic() > ends:
                break
            for value in order:
                if value in refused:
                    continue
                try:
                    made = self.job(processor, {**self.taken, key: value})
                except FramelaneError as error:
                    refused[value] = str(error)
                    continue
                found[value].append(made.fps)
                if processor == "attention":
                    self.usual = made
        self.say(f"  {key}: " + ", ".join(str(Speeds(value, tuple(fps))) for value, fps in found.items()))
        return [Speeds(value, tuple(fps), refused.get(value, "")) for value, fps in found.items()]

    def job(self, processor: str, overrides: Mapping[str, Any]) -> Made:
        """One job through the real pipeline, timed from its start to its last segment."""
        from framelane.run import process_video

        self._jobs += 1
        started = time.perf_counter()
        events: list[tuple[float, Any]] = []
        given = {"gif.enabled": False, "engine.min_free_mb": 0, **overrides}
        output = self.folder / f"{self._jobs}.mp4"
        result = process_video(
            self.clip, processor, output=output, profile=self.loaded.settings.profile, overrides=given,
            progress=lambda event: events.append((time.perf_counter(), event)),
        )  # fmt: skip
        output.unlink(missing_ok=True)
        self.encoder = str(result.report["encoder"])
        begun = next(at for at, event in events if event["event"] == "start")
        ended = max(at for at, event in events if event["event"] == "segment")
        frames = int(result.report["frames"])
        self._took[processor] = time.perf_counter() - started
        return Made(frames / (ended - begun), result.report["stage_ms"], frames)

    def decode_threads(self, cores: int) -> None:
        """How fast the CPU decodes with several threads: for information, a job's decoder follows hardware.threads."""
        found: dict[int, list[float]] = {count: [] for count in sorted({1, cores, 2 * cores})}
        ends = time.monotonic() + self.seconds * _SHARES["decode threads"]
        for index, order in enumerate(rounds(list(found), _ROUNDS)):
            if index >= REPEATS and time.monotonic() > ends:
                break
            for count in order:
                found[count].append(decode_fps(self.clip, count))
        speeds = [Speeds(count, tuple(fps)) for count, fps in found.items()]
        self.rows.append(Row("decode threads", speeds, None, "for information; the decoder follows hardware.threads"))

    def copies(self) -> None:
        """Frames a second to the card from pageable and from pinned memory: for information, uploads are pinned."""
        found: dict[str, list[float]] = {"pageable": [], "pinned": []}
        for order in rounds(list(found), _ROUNDS):
            for kind in order:
                found[kind].append(upload_fps(kind == "pinned", "cuda"))
        speeds = [Speeds(kind, tuple(fps)) for kind, fps in found.items()]
        self.rows.append(
            Row("copies to the card", speeds, None, "for information; frames are uploaded from pinned memory")
        )


def _value(loaded: Loaded, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(loaded.settings, section), name)


def tune(
    seconds: float = SECONDS, dry_run: bool = False, say: Say = print, length: Fraction | None = None
) -> tuple[list[Row], Path | None]:
    """Measure, and write what was best as this machine's own settings.

    Args:
        seconds: to spend on measuring, about, after the models are open.
        dry_run: write nothing.
        say: takes lines for people.
        length: seconds of the clip that is measured with; None is 5 with a card and 0.8 without.

    Returns:
        The table's rows, and the file that was written; None where there was none.

    Raises:
        FramelaneError: a job does not work here, or the file cannot be written.
    """
    import framelane.bench.processors  # noqa: F401  registers them
    from framelane import tuned
    from framelane.models import kept
    from framelane.run import load_settings

    before = tuned.read().values.get("profile")
    with _untuned(), kept.keeping(), tempfile.TemporaryDirectory(prefix="framelane-tune-") as folder:
        loaded = load_settings(None, str(before) if before else None, None, {})
        card = loaded.settings.hardware.device == "cuda"
        tuner = Tuner(Path(folder), loaded, seconds, card, say)
        choices = tuner.run(length or Fraction(*((5, 1) if card else (4, 5))))
    if dry_run:
        return tuner.rows, None
    notes = {key: choice.why for key, choice in choices.items() if choice.changed}
    values = {**dict.fromkeys(tuned.TUNABLE - {"profile"}), **winners(choices)}
    return tuner.rows, tuned.write(values, notes, profile=loaded.settings.profile)


@contextlib.contextmanager
def _untuned() -> Iterator[None]:
    """Jobs that do not know of an older tuning."""
    from framelane.tuned import VARIABLE

    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ""
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def table(rows: Sequence[Row]) -> Table:
    """What was measured, as one table."""
    from rich.markup import escape
    from rich.table import Table

    made = Table("setting", "measured (frames/s, median of the repeats)", "taken", "why")
    for row in rows:
        figures = [*map(str, row.speeds)]
        taken = "" if row.choice is None else f"{row.choice.value}{'' if row.choice.changed else ' (as it was)'}"
        why = row.choice.why if row.choice else row.note
        made.add_row(*map(escape, (row.name, "; ".join(figures), taken, why)))
        for each in row.speeds:
            if each.refused:
                made.add_row("", "", "", escape(f"{each.value} does not work here: {each.refused}"))
    return made
