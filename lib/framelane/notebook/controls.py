"""Widgets as all parts of the notebook make them, in what ipywidgets 7.7 and 8 have in common.

Every control has a name that is read out, and every one works with the keyboard alone. That is why there is no
``Accordion``: its headings cannot be reached by Tab. A :class:`Fold` is a button with what it shows below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as w  # type: ignore[import-untyped]

from framelane.i18n import gettext as _
from framelane.notebook.markup import Html

LABEL = "170px"
"""The room for a control's name, beside it."""
WIDE = "640px"


def hint(widget: Any, text: str) -> Any:
    """Say what a control is for where a pointer rests on it. Returns the control."""
    # ipywidgets 7 has no tooltip on anything but buttons; 8 has it on all, and warns of the older name.
    if widget.has_trait("tooltip"):
        widget.tooltip = text
    elif widget.has_trait("description_tooltip"):
        widget.description_tooltip = text
    return widget


def named(kind: Callable[..., Any], name: str, *, label: str = LABEL, width: str = "100%", **more: Any) -> Any:
    """A control with its name beside it.

    Args:
        kind: the widget's class.
        name: short; where it is too long for its room it is cut, so the room is as wide as our longest.
        label: width of the name's room.
        width: of the whole.
        **more: of the widget itself.
    """
    layout = w.Layout(width=width, max_width=WIDE)
    return kind(description=name, style={"description_width": label}, layout=layout, **more)


def html(value: str = "") -> Any:
    """A piece of HTML; never the result of anything that was not escaped."""
    return w.HTML(value=Html(value), layout=w.Layout(margin="0"))


def button(text: str, pressed: Callable[[], None], *, about: str = "", style: str = "", icon: str = "") -> Any:
    """A button.

    Args:
        text: on it.
        pressed: is called.
        about: what it does, where the pointer rests on it.
        style: ``primary``, ``danger`` or nothing.
        icon: of Font Awesome 4, as in ``"play"``; the text says the same.
    """
    made = w.Button(description=text, tooltip=about or text, button_style=style, icon=icon)
    made.layout = w.Layout(width="auto", align_self="flex-start")
    made.on_click(lambda _button: pressed())
    return made


class Fold:
    """Something that is shown when its button is pressed, and made when it is first shown.

    Args:
        title: on the button.
        fill: makes what is inside.
        touched: is called when somebody presses the button.

    Attributes:
        widget: what to show.
    """

    def __init__(self, title: str, fill: Callable[[], Sequence[Any]], touched: Callable[[], None] = lambda: None):
        self._title, self._fill, self._touched = title, fill, touched
        self._made = False
        self.opened = False
        self._button = button("", self._press)
        self._button.layout = w.Layout(width="100%", max_width=WIDE)
        self._button.add_class("fl-fold")
        self._body = w.VBox(layout=w.Layout(display="none", padding="0 0 0 12px"))
        self.widget = w.VBox([self._button, self._body])
        self._paint()

    @property
    def title(self) -> str:
        """On the button."""
        return self._title

    @title.setter
    def title(self, text: str) -> None:
        self._title = text
        self._paint()

    def open(self) -> None:
        """Show what is inside."""
        if not self._made:
            self._body.children, self._made = tuple(self._fill()), True
        self.opened = True
        self._paint()

    def close(self) -> None:
        """Hide it again."""
        self.opened = False
        self._paint()

    def _press(self) -> None:
        self.close() if self.opened else self.open()
        self._touched()

    def _paint(self) -> None:
        self._button.description = f"{'▾' if self.opened else '▸'} {self._title}"
        self._button.tooltip = _("Hide") if self.opened else _("Show")
        self._body.layout.display = "" if self.opened else "none"


def present(widget: Any, instead: str) -> None:
    """Put a widget into the cell's output.

    Args:
        widget: the outermost.
        instead: what is shown where there is no front end; a widget's own text would be pages long.
    """
    from IPython.display import display

    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display(  # type: ignore[no-untyped-call]
        {"application/vnd.jupyter.widget-view+json": view, "text/plain": instead}, raw=True
    )
