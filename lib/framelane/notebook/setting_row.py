"""One setting as a row of the form: its control, its reset button, and below them what it does and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as w  # type: ignore[import-untyped]

from framelane.i18n import current, sentence
from framelane.i18n import gettext as _
from framelane.notebook.controls import WIDE, button, hint, html, named
from framelane.notebook.fields import Setting
from framelane.notebook.markup import box, join, line, notice

if TYPE_CHECKING:
    from framelane.notebook.forms import Form


class Row:
    """A setting's control, its reset button, and below them what it does, what is allowed, and what is wrong.

    Args:
        setting: the setting.
        form: that it belongs to.
    """

    def __init__(self, setting: Setting, form: Form) -> None:
        self.setting, self._form, self._quiet = setting, form, False
        self._painted: tuple[Any, ...] = ()
        self.control = hint(_control(setting, form.value(setting.key)), sentence(setting.about))
        self.control.observe(self._heard, names="value")
        self._reset = button(_("Reset"), self._go_back, about=_("Reset {setting}").format(setting=setting.key))
        self._help = html()
        self.widget = w.VBox(
            [w.HBox([self.control, self._reset], layout=w.Layout(max_width=WIDE)), self._help],
            layout=w.Layout(margin="0 0 0.5em 0"),
        )
        self.paint()

    def paint(self) -> None:
        """Show the value, where it is from, and what is wrong with it."""
        key, form = self.setting.key, self._form
        if self._value() != form.value(key):  # else what somebody types stays as it is typed
            self._quiet = True
            try:
                self.control.value = _shown(self.setting, form.value(key))
            finally:
                self._quiet = False
        changed = form.changed(key)
        about_it = (changed, form.base[key], form.origin(key), form.problems.get(key), current())
        if about_it == self._painted:  # all rows are asked at every touch of one
            return
        self._painted = about_it
        self._reset.disabled = not changed
        self._reset.layout.visibility = "visible" if changed else "hidden"
        self._help.value = self._words(changed)

    def _words(self, changed: bool) -> str:
        key = self.setting.key
        facts = [part for part in (sentence(self.setting.about), self.setting.allowed()) if part]
        if changed:
            plain = self.setting.text(self._form.base[key]) or _("empty")
            facts.append(
                _("without your change: {value} ({origin})").format(value=plain, origin=_origin(self._form.origin(key)))
            )
        else:
            facts.append(_origin(self._form.origin(key)))
        problem = self._form.problems.get(key)
        said = notice(sentence(problem), "error") if problem else ""
        return box(join([line(" · ".join(facts), dim=True), said]))

    def _value(self) -> Any:
        value = self.control.value
        return self.setting.value(value) if isinstance(value, str) else value

    def _heard(self, _change: Mapping[str, Any]) -> None:
        if not self._quiet:
            self._form.take(self.setting.key, self._value())

    def _go_back(self) -> None:
        self._form.give_back(self.setting.key)


def _control(setting: Setting, value: Any) -> Any:
    """The widget for a setting."""
    shown, width = _shown(setting, value), "26em"
    if setting.kind == "choice":
        return named(w.Dropdown, setting.name, options=list(setting.options), value=shown, width=width)
    if setting.kind == "switch":
        # Its name on its right is the part that can be clicked, and read.
        return w.Checkbox(value=shown, description=setting.name, indent=False, layout=w.Layout(width=width))
    if setting.kind == "colour":
        return named(w.ColorPicker, setting.name, value=shown, width=width)
    if setting.kind in ("whole", "number") and not setting.optional:
        whole = setting.kind == "whole"
        if setting.low is None or setting.high is None:
            return named(w.IntText if whole else w.FloatText, setting.name, value=shown, width=width)
        number = int if whole else float
        ends: dict[str, Any] = {"min": number(setting.low), "max": number(setting.high)}
        return named(w.BoundedIntText if whole else w.BoundedFloatText, setting.name, **ends, value=shown, width=width)
    empty = _("empty") if setting.optional else ""
    return named(w.Text, setting.name, value=shown, placeholder=empty, width=width if setting.letters[1] else "36em")


def _shown(setting: Setting, value: Any) -> Any:
    """A value as the setting's control holds it."""
    if setting.kind == "switch":
        return bool(value)
    if setting.kind in ("whole", "number") and not setting.optional:
        return value
    return setting.text(value)


def _origin(origin: str) -> str:
    """Where a value comes from, for the reader."""
    kind, _space, name = origin.partition(" ")
    known = {"mode": _("from the mode {name}"), "profile": _("from the profile {name}")}
    if origin.endswith("(limit)"):
        return _("held by the profile {name}").format(name=name.removesuffix(" (limit)"))
    return known[kind].format(name=name) if kind in known else _("the default")
