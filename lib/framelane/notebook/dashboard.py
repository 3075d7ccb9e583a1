"""The dashboard: a thin view of :class:`framelane.notebook.model.Model`, and the buttons of a running batch.

Live content is the value of plain ``HTML`` widgets, assigned in the foreground about once a second and only where it has
changed: the one way to repaint that works in every front end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from framelane.i18n import gettext as _
from framelane.notebook import markup, painting
from framelane.notebook.model import Model

REPAINT_S = 1.0
"""Seconds between two repaints."""


class Asked(Protocol):
    """What a dashboard asks for: a :class:`framelane.notebook.session.Session`."""

    def pause(self) -> bool:
        """Wait from the next frames on."""

    def resume(self) -> bool:
        """Go on."""

    def stop_after_clip(self) -> bool:
        """Begin no other clip."""

    def cancel(self) -> bool:
        """End soon."""

    def kill(self) -> None:
        """End at once."""


class Dashboard:
    """What is seen of a running batch.

    Args:
        session: what the buttons speak to.
        title: the heading.
        model: the state to show; None begins with an empty one.
        deaf: nobody would hear the buttons; it says how to end all the same.

    Attributes:
        model: the state.
        widget: to be displayed.
        cancelled: how often it was asked to end; the second time it ends at once.
    """

    def __init__(self, session: Asked, title: str = "", model: Model | None = None, *, deaf: bool = False) -> None:
        import ipywidgets  # type: ignore[import-untyped]

        self.session, self.title, self.model = session, title, model or Model()
        self.cancelled = 0
        self._painted = -REPAINT_S
        self._said = -1
        wide = ipywidgets.Layout(width="100%", margin="0")
        self._parts = {key: ipywidgets.HTML(layout=wide) for key in ("head", "all", "rows", "frames", "charts", "log")}
        self._pause, self._stop, self._cancel = self._buttons(ipywidgets)
        buttons = ipywidgets.HBox(
            [self._pause, self._stop, self._cancel], layout=ipywidgets.Layout(flex_flow="row wrap")
        )
        parts = self._parts
        self.widget = ipywidgets.VBox(
            [parts["head"], parts["all"], buttons, parts["rows"], parts["frames"], parts["charts"], parts["log"]],
            layout=ipywidgets.Layout(width="100%"),
        )
        heading = markup.heading(title or _("Progress"))
        if deaf:
            for button in (self._pause, self._stop, self._cancel):
                button.disabled = True
            self.model.say(_("To cancel, interrupt the kernel. Finished clips and segments stay."))
        parts["head"].value = f"{painting.style()}{markup.box(heading)}"

    def _buttons(self, ipywidgets: Any) -> tuple[Any, Any, Any]:
        wide = ipywidgets.Layout(width="auto", min_width="11em")
        pause = ipywidgets.Button(
            description=_("Pause"),
            icon="pause",
            layout=wide,
            tooltip=_("Wait at the next frame; the models stay loaded."),
        )
        stop = ipywidgets.Button(
            description=_("Stop after this clip"), icon="step-forward", layout=wide,
            tooltip=_("Finish the clip that is worked on, and begin no other."),
        )  # fmt: skip
        cancel = ipywidgets.Button(
            description=_("Cancel"), icon="stop", layout=wide,
            tooltip=_("End now. Finished clips and segments stay; running the cell again goes on from there."),
        )  # fmt: skip
        pause.on_click(lambda _button: self.pause_or_resume())
        stop.on_click(lambda _button: self.stop_after_clip())
        cancel.on_click(lambda _button: self.cancel())
        return pause, stop, cancel

    # -- what is asked for -------------------------------------------------------------------------------------------

    def pause_or_resume(self) -> None:
        """The first button: what it says is what it does."""
        if self.model.paused:
            if self.session.resume():
                self.model.say(_("It goes on."))
        elif self.session.pause():
            self.model.say(_("It will pause at the next frame."))
        self.paint_soon()

    def stop_after_clip(self) -> None:
        """Finish what is begun."""
        if self.session.stop_after_clip():
            self._stop.disabled = True
            self.model.say(_("The clip that is worked on will be finished, and no other begun."))
        self.paint_soon()

    def cancel(self) -> None:
        """End it: the first time in order, the second time at once."""
        if self.model.ended is not None:
            return
        self.cancelled += 1
        if self.cancelled > 1:
            self.session.kill()
            self.model.say(_("It is ended at once."), "warning")
        elif self.session.cancel():
            self._cancel.description = _("End at once")
            self._cancel.tooltip = _("Do not wait for it to end in order. Finished segments stay all the same.")
            self.model.say(_("It ends. Finished clips and segments stay; running the cell again goes on from there."))
        self.paint_soon()

    # -- what is shown -----------------------------------------------------------------------------------------------

    def paint_soon(self) -> None:
        """Repaint at the next chance: somebody waits for an answer."""
        self._painted = -REPAINT_S

    def take(self, events: Iterable[Mapping[str, Any]], now: float) -> None:
        """Take events; nothing is painted."""
        self.model.take_all(events, now)

    def tick(self, now: float) -> bool:
        """Repaint where it is time. Returns whether it was.

        Args:
            now: seconds that never go back.
        """
        if now - self._painted < REPAINT_S and self.model.ended is None:
            return False
        self.paint(now)
        return True

    def paint(self, now: float) -> None:
        """Repaint what has changed."""
        model, self._painted = self.model, now
        self._set("all", painting.overall(model))
        self._set("rows", painting.rows(model))
        self._set("frames", painting.frames(model))
        self._set("charts", painting.charts(model, now))
        if model.said != self._said:
            self._said = model.said
            self._set("log", painting.log(model.log))
        self._pause.description = _("Go on") if model.paused else _("Pause")
        self._pause.icon = "play" if model.paused else "pause"
        if model.ended is not None:
            for button in (self._pause, self._stop, self._cancel):
                button.disabled = True

    def _set(self, part: str, value: str) -> None:
        if self._parts[part].value != value:
            self._parts[part].value = value
