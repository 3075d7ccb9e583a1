"""Watching a batch to its end in the foreground of a cell: with a dashboard, or as lines where nobody could see one."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from framelane.errors import UsageError
from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.notebook import painting
from framelane.notebook.controls import present
from framelane.notebook.dashboard import Dashboard
from framelane.notebook.entries import Row
from framelane.notebook.model import Model
from framelane.notebook.poll import ui_events
from framelane.notebook.session import Session

_TICK_S = 0.1
_LINE_S = 15.0  # between two lines about the same clip
_SILENT_S = 3.0  # after its end, until its last event counts as lost
_PAGE = "index.html"


class View(Protocol):
    """What shows a model: a dashboard, or lines."""

    model: Model

    def take(self, events: Iterable[Mapping[str, Any]], now: float) -> None:
        """Take events."""

    def tick(self, now: float) -> bool:
        """Show what is new, where it is time."""

    def cancel(self) -> None:
        """End the batch."""


@dataclass(frozen=True)
class Outcome:
    """What became of a batch, as the value of a cell.

    Attributes:
        output: the folder of the results.
        counts: how many jobs are in each state.
        exit_code: of the command; None where it could not be started.
        message: its last sentence, in the library's English.
        failed: the first jobs that failed, and why.
    """

    output: Path
    counts: Mapping[str, int]
    exit_code: int | None
    message: str
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def page(self) -> Path | None:
        """``index.html`` of the results; None where there is none."""
        page = self.output / _PAGE
        with contextlib.suppress(OSError):
            return page if page.is_file() else None
        return None

    def __repr__(self) -> str:
        said = painting.counted(self.counts) or sentence(self.message)
        lines = [_("{counts}. The results are in {folder}.").format(counts=said, folder=self.output)]
        if self.page:
            lines.append(_("The page of all results is {page}.").format(page=self.page))
        if self.exit_code not in (0, 3):
            lines.append(sentence(self.message))
        if self.counts.get("waiting") or self.exit_code not in (0, 3):
            lines.append(_("Run the cell again to go on where it stopped."))
        return "\n".join(lines)


class Lines:
    """A batch as printed lines.

    Args:
        session: what an interrupt cancels.
        say: takes a line.
    """

    def __init__(self, session: Session, say: Callable[[str], object] = print) -> None:
        self.session, self.say, self.model = session, say, Model()
        self._told = 0
        self._progress = -_LINE_S
        self._asked = False

    def take(self, events: Iterable[Mapping[str, Any]], now: float) -> None:
        """Take events; the sentences among them are printed as they come."""
        for event in events:
            self.model.take(event, now)
            self._tell()

    def tick(self, now: float) -> bool:
        """Print how far the clips are, now and then."""
        self._tell()
        if now - self._progress < _LINE_S:
            return False
        rows = [row for row in self.model.running.values() if row.frames and row.eta_s is not None]
        if rows and self.model.ended is None:
            self._progress = now
            for row in rows:
                self.say(self._line(row))
        return bool(rows)

    def cancel(self) -> None:
        """End it in order; asked again, at once."""
        if self._asked:
            self.session.kill()
        else:
            self._asked = self.session.cancel()
            self.model.say(_("It ends. Finished clips and segments stay; running the cell again goes on from there."))

    def _tell(self) -> None:
        new = min(self.model.said - self._told, len(self.model.log))
        for line in list(self.model.log)[len(self.model.log) - new :]:
            self.say(f"{line.clock}  {line.text}")
        self._told = self.model.said

    @staticmethod
    def _line(row: Row) -> str:
        words = {"job": row.job, "frame": row.frame, "frames": row.frames, "fps": f"{row.fps:.1f}"}
        said = _("{job}: frame {frame} of {frames} at {fps} frames/s, about {time} left")
        return said.format(**words, time=painting.duration(row.eta_s))


def front_end() -> bool:
    """Whether somebody can see widgets and click on them.

    A kernel whose cell was sent by a program (nbclient, papermill, a scheduled run) cannot be asked for input either; every
    front end for people can.
    """
    try:
        import ipywidgets  # type: ignore[import-untyped]  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    kernel = getattr(get_ipython(), "kernel", None)  # type: ignore[no-untyped-call]
    return bool(getattr(kernel, "_allow_stdin", False))


def follow(
    arguments: Sequence[str],
    output: Path,
    title: str = "",
    *,
    widgets: bool | None = None,
    put: Callable[[Any], None] | None = None,
) -> Outcome:
    """Do a batch, and show it until it ends.

    Args:
        arguments: of ``framelane``, as :meth:`framelane.notebook.choice.Choice.command` gives them.
        output: the folder of the results.
        title: of the dashboard.
        widgets: whether widgets are shown; None asks :func:`front_end`.
        put: takes the dashboard's widget, while a click is answered: then no other click is heard until the end. None
            puts it into the output of the cell that runs.

    Raises:
        UsageError: the command was refused before anything began; the text says why.
    """
    shown = front_end() if widgets is None else widgets
    with Session(arguments, preview_s=1.0 if shown else 0.0) as session:
        view: View = Lines(session)
        if shown:
            view = dashboard = Dashboard(session, title, deaf=put is not None)
            dashboard.paint(time.monotonic())
            if put is None:
                present(dashboard.widget, title or _("Progress"))
            else:
                put(dashboard.widget)
        watch(session, view, hears=put is None)
    return outcome(view.model, output)


def outcome(model: Model, output: Path) -> Outcome:
    """The end of a model as a value.

    Raises:
        UsageError: the command was refused.
    """
    ended = model.ended or {}
    code = ended.get("exit_code")
    if code == UsageError.exit_code:
        raise UsageError(sentence(str(ended["message"])))
    failed = tuple((row.job, row.reason) for row in model.failed.values())
    return Outcome(output, dict(model.counts), code, str(ended.get("message", "")), failed)


def watch(session: Session, view: View, clock: Callable[[], float] = time.monotonic, *, hears: bool = True) -> None:
    """Until the batch has ended: about ten times a second buttons are heard and events taken.

    An interrupt of the cell cancels, and a second one ends it at once.

    Args:
        session: the batch.
        view: what shows it.
        clock: seconds that never go back.
        hears: whether buttons are heard; in the answer to a click they cannot be.
    """
    silent_since: float | None = None
    events_of = ui_events if hears else _unheard
    with events_of() as poll, _interrupts(view.cancel) as hear:
        while True:
            with hear():
                poll(10)
                events = session.poll(_TICK_S)
                now = clock()
                view.take(events, now)
                view.tick(now)
                if view.model.ended is not None:
                    return
                over = not session.alive and not events
                silent_since = (silent_since or now) if over else None
                if silent_since is not None and now - silent_since > _SILENT_S:
                    view.take([_lost(session)], now)
                if over:
                    time.sleep(_TICK_S)  # an ended session does not wait


@contextlib.contextmanager
def _unheard() -> Iterator[Callable[[int], object]]:
    yield lambda _count: None


def _lost(session: Session) -> dict[str, Any]:
    message = "The batch has ended; its last words were lost."
    return {"event": "ended", "exit_code": session.exit_code, "message": message}


@contextlib.contextmanager
def _interrupts(cancel: Callable[[], None]) -> Iterator[Callable[[], contextlib.AbstractContextManager[None]]]:
    """Interrupts call ``cancel`` between two steps, so that none falls into the middle of a step and loses an event.

    Where a signal cannot be caught so (another thread, a kernel that has put its own handler back), the exception is.
    """
    asked: list[int] = []

    @contextlib.contextmanager
    def hear() -> Iterator[None]:
        with contextlib.suppress(KeyboardInterrupt):
            try:
                yield
            except KeyboardInterrupt:
                asked.append(1)
                raise
        while asked:
            asked.pop()
            cancel()

    if threading.current_thread() is not threading.main_thread():
        yield hear
        return
    before = signal.signal(signal.SIGINT, lambda *_: asked.append(1))
    try:
        yield hear
    finally:
        signal.signal(signal.SIGINT, before)
