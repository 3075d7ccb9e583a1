"""A start button that presses itself after some seconds, unless somebody touches anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ipywidgets as w  # type: ignore[import-untyped]

from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.notebook.controls import button, html
from framelane.notebook.markup import Html, box, join, line, notice, text

COUNTDOWN_S = 20.0


class Countdown:
    """The button, another one that stops the counting, and what is going on in words.

    Args:
        start: what the button says.
        about: what it does, where the pointer rests on it.
        seconds: from the first tick to the start; 0 or less never starts by itself.

    Attributes:
        widget: what to show.
        counting: whether it will start by itself.
    """

    def __init__(self, start: str, *, about: str = "", seconds: float = COUNTDOWN_S) -> None:
        self._seconds, self._until = seconds, 0.0
        self._begun = self._pressed = False
        self.counting = seconds > 0
        self._start = button(start, self.press, about=about, style="primary", icon="play")
        self._wait = button(_("Wait"), self.stop, about=_("Do not start by itself"), icon="pause")
        self._said = html()
        self._row = w.HBox([self._start, self._wait])
        self.widget = w.VBox([self._row, self._said])

    def add(self, *buttons: Any) -> None:
        """Put more buttons beside."""
        self._row.children = (*self._row.children, *buttons)

    def press(self) -> None:
        """Start, as the button does."""
        self._pressed = True
        self.stop()

    def stop(self) -> None:
        """Do not start by itself any more: somebody is there."""
        self.counting = False

    def tick(self, now: float, blocked: Sequence[str] = ()) -> bool:
        """Go on.

        Args:
            now: seconds of any clock that only goes forward.
            blocked: sentences that say why it cannot start; it does not count while there are any.

        Returns:
            Whether to start now.
        """
        if blocked or not self._begun:
            self._until, self._begun = now + self._seconds, True
        if blocked:
            self._pressed = False
        left = self._until - now
        over = not blocked and (self._pressed or (self.counting and left <= 0))
        self._paint(math.ceil(max(0.0, left)), blocked)
        return over

    def _paint(self, left: int, blocked: Sequence[str]) -> None:
        said = self._words(left, blocked)
        if self._said.value != said:
            self._said.value = said
        self._start.disabled = bool(blocked)
        self._wait.layout.display = "" if self.counting and not blocked else "none"

    def _words(self, left: int, blocked: Sequence[str]) -> str:
        if blocked:
            told = [notice(sentence(problem), "error") for problem in blocked]
            return box(join([line(_("Before it can start:")), *told]))
        if self.counting:
            said = text(_("It starts in {seconds} s with what it shows. Touch any control, and it waits."))
            # Not read out every second.
            return box(Html(f'<p role="timer" aria-live="off">{said.format(seconds=left)}</p>'))
        if self._pressed:
            return box(line(_("It starts.")))
        return box(line(_("It waits for you: press {start}.").format(start=self._start.description)))
