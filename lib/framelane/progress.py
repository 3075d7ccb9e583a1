"""How a terminal shows a job: a bar where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

from framelane.engine.events import Event, describe

_PLAIN_EVERY_S = 5.0


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
        print(whose + describe(event), file=stream, flush=True)

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
        console.print(describe(event), markup=False, highlight=False)
        progress.update(
            task, description=f"{event['processor']} on {event['device']}", completed=event["resumed_at_frame"]
        )
    elif kind in ("warning", "degraded", "recovered", "paused", "resumed", "died"):
        console.print(f"! {event['message']}", markup=False, highlight=False)
    elif kind == "batch":
        if event.get("state") != "running" and event.get("message"):
            console.print(event["message"], markup=False, highlight=False)
    elif kind in ("sealing", "measuring", "converting"):
        progress.update(task, description=event["message"])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
