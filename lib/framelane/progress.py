"""How a terminal shows a job: a bar where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from framelane import report
from framelane.engine.events import Event, describe
from framelane.i18n import asked_for

if TYPE_CHECKING:
    from framelane.job import Result

_PLAIN_EVERY_S = 5.0
_SMALL = 100_000  # bytes below which a file's size is said in kB


@contextlib.contextmanager
def open_view(stream: IO[str]) -> Iterator[Callable[[Event], None]]:
    """A listener that shows events on ``stream``.

    Args:
        stream: a terminal gets a live bar; anything else a line every few seconds.
    """
    if stream.isatty():
        with _bar(stream) as view:
            yield view
    else:
        yield _plain(stream)


def _plain(stream: IO[str]) -> Callable[[Event], None]:
    shown = [time.monotonic()]

    def view(event: Event) -> None:
        kind = event["event"]
        if kind in ("failed", "cancelled", "sealing", "plan", "preview"):
            return  # said once, by whoever reports the error
        if kind == "progress":
            if time.monotonic() - shown[0] < _PLAIN_EVERY_S:
                return
            shown[0] = time.monotonic()
        whose = f"{event['job']}: " if "job" in event and kind in ("progress", "segment") else ""
        print(whose + asked_for(describe(event)), file=stream, flush=True)

    return view


@contextlib.contextmanager
def _bar(stream: IO[str]) -> Iterator[Callable[[Event], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(file=stream)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("opening", total=None, speed="")

        def view(event: Event) -> None:
            _show(progress, task, event, console)

        yield view


def _show(progress: Any, task: Any, event: Event, console: Any) -> None:
    kind = event["event"]
    if kind == "progress":
        times = " ".join(f"{stage} {ms:.0f}" for stage, ms in event["stage_ms"].items())
        eta = "" if event["eta_s"] is None else f"{_clock(event['eta_s'])} left · "
        speed = f"{event['fps']:.1f} fps · {eta}ms a frame: {times}"
        progress.update(task, completed=event["frame"], total=event["frames"] or None, speed=speed)
    elif kind == "start":
        console.print(asked_for(describe(event)), markup=False, highlight=False)
        progress.update(
            task, description=f"{event['processor']} on {event['device']}", completed=event["resumed_at_frame"]
        )
    elif kind in ("warning", "degraded", "recovered", "paused", "resumed", "died"):
        console.print(f"! {asked_for(event['message'])}", markup=False, highlight=False)
    elif kind == "batch":
        if event.get("state") != "running" and event.get("message"):
            console.print(asked_for(event["message"]), markup=False, highlight=False)
    elif kind in ("sealing", "measuring", "converting"):
        progress.update(task, description=asked_for(event["message"]))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def result_lines(result: Result) -> Iterator[str]:
    """What a finished job made, a line for each file, and how long it took."""
    made, output = result.report, result.output_path
    files = [("Video", output, "")]
    if result.gif_path:
        files.append(("GIF", result.gif_path, _size(result.gif_path)))
    if made.get("sheet"):
        files.append(("Sheet", report.sheet_path(output), f"the {made['sheet']['frames']} worst frames"))
    for suffix in made.get("exports") or {}:
        path = report.export_path(output, suffix)
        files.append(("Table", path, _size(path)))
    files.append(("Report", result.report_path, ""))
    for label, path, more in files:
        yield f"{asked_for(label):<8}{path}{f' ({asked_for(more)})' if more else ''}"
    took = f"{result.processing_time:.1f} s for {made['frames'] - made['resumed_at_frame']} frames"
    yield f"{asked_for('Time'):<8}{asked_for(took)} ({result.avg_fps:.1f} fps)"


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= _SMALL else f"{size / 1e3:.1f} kB"
