"""The advanced settings as a form, generated from the settings models: nothing about a single setting stands here.

A control is made when it is first shown: a hundred of them at once would keep a browser busy for seconds. What the reader
has not changed follows mode and profile; only what was changed, and differs, becomes an override.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ipywidgets as w  # type: ignore[import-untyped]

from framelane.errors import UsageError
from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.notebook.choice import setting_problems
from framelane.notebook.controls import Fold, button, html, named
from framelane.notebook.fields import settings
from framelane.notebook.markup import box, heading, line
from framelane.notebook.setting_row import Row
from framelane.schema import Settings
from framelane.settings import flatten, load

APART = ("mode", "profile")
"""Settings that have controls of their own."""
_MOST_FOUND = 12


class Form:
    """The settings of every section, folded, with a search.

    Args:
        changed: is called after every change of a value.
        touched: is called when somebody does anything at all.
        alone: whether it asks the loader itself; else somebody else does, and says what came of it (:meth:`say`).

    Attributes:
        widget: what to show.
        problems: the loader's sentences, by the key of the setting they are about.
        base: the values of mode and profile, by dotted key.
    """

    def __init__(
        self,
        changed: Callable[[], None] = lambda: None,
        touched: Callable[[], None] = lambda: None,
        *,
        alone: bool = True,
    ) -> None:
        self._tell, self._touched, self._alone = changed, touched, alone
        self.settings = {setting.key: setting for setting in settings() if setting.key not in APART}
        self._own: dict[str, Any] = {}
        self._rows: dict[str, Row] = {}
        self._hidden: frozenset[str] = frozenset()
        self.problems: dict[str, str] = {}
        self._asked = ("balanced", "auto", "cpu")
        self._load()
        self._search = named(w.Text, _("Search the settings"), placeholder=_("a word of its name or of what it does"))
        self._search.observe(lambda _change: self._find(), names="value")
        self._hits = w.VBox(layout=w.Layout(padding="0 0 0 12px"))
        self._said = html()
        self.folds = {name: Fold("", lambda name=name: self._fill(name), touched) for name in self.sections()}  # type: ignore[misc]
        self._reset = button(
            _("Reset all settings"), self.reset_all, about=_("Go back to what mode and profile say"), icon="undo"
        )
        self.widget = w.VBox(
            [self._search, self._said, self._hits, *(fold.widget for fold in self.folds.values()), self._reset]
        )
        self._paint()

    # -- values ------------------------------------------------------------------------------------------------------

    def sections(self) -> list[str]:
        """The names of the sections, in their order."""
        return list(dict.fromkeys(setting.section for setting in self.settings.values()))

    def overrides(self) -> dict[str, Any]:
        """What was changed and differs from mode and profile, without hidden sections."""
        return {
            key: value
            for key, value in self._own.items()
            if self.settings[key].section not in self._hidden and self.changed(key)
        }

    def changed(self, key: str) -> bool:
        """Whether a setting is another than mode and profile say."""
        return key in self._own and not _same(self._own[key], self.base[key])

    def value(self, key: str) -> Any:
        """What a setting is now."""
        return self._own.get(key, self.base[key])

    def origin(self, key: str) -> str:
        """Where a value that nobody changed comes from: ``default``, ``mode fast``, …"""
        return self._origin.get(key, "default")

    def set(self, key: str, value: Any) -> None:
        """Change a setting, as its control would."""
        self._own[key] = value
        if _same(value, self.base[key]):
            self._own.pop(key)
        self.check()
        self._tell()

    def reset(self, key: str) -> None:
        """Go back to what mode and profile say."""
        self._own.pop(key, None)
        self.check()
        self._tell()

    def reset_all(self) -> None:
        """The same for all settings."""
        self._own.clear()
        self.check()
        self._touched()
        self._tell()

    def rebase(self, mode: str, profile: str, detected: str = "cpu") -> None:
        """Take over another mode or profile: what nobody changed follows.

        Args:
            mode: as the settings know it.
            profile: the same; ``auto`` takes ``detected``.
            detected: the profile that fits this machine.
        """
        self._asked = mode, profile, detected
        self._load()
        self.check()

    def hide(self, sections: Iterable[str]) -> None:
        """Leave sections out: those of other processors."""
        self._hidden = frozenset(sections)
        self.check()

    def check(self) -> None:
        """Ask the loader about all values, and show what it says."""
        if not self._alone:
            return
        mode, profile, detected = self._asked
        self.say(setting_problems(mode, profile, self.overrides(), detected))

    def say(self, problems: Mapping[str, str]) -> None:
        """Show what is wrong beside the settings that it is about; what is about something else is said elsewhere."""
        self.problems = {key: problem for key, problem in problems.items() if key in self.settings}
        self._paint()

    def _load(self) -> None:
        mode, profile, detected = self._asked
        try:
            found = load(mode=mode, profile=None if profile == "auto" else profile, detected_profile=detected)
        except UsageError:  # the picker says so; the form keeps what it had
            return
        self.base, self._origin = flatten(found.settings.model_dump()), found.origin
        self.limited = found.limited

    # -- what is shown -----------------------------------------------------------------------------------------------

    def row(self, key: str) -> Row:
        """The control of a setting, with what belongs to it; always the same one."""
        if key not in self._rows:
            self._rows[key] = Row(self.settings[key], self)
        return self._rows[key]

    def find(self, words: str) -> list[str]:
        """The settings whose name or description has all of the words, in either language."""
        wanted = words.casefold().split()
        return [
            key
            for key, setting in self.settings.items()
            if setting.section not in self._hidden
            and all(word in f"{key} {setting.about} {sentence(setting.about)}".casefold() for word in wanted)
        ]

    def _find(self) -> None:
        self._touched()
        searched = bool(self._search.value.strip())
        found = self.find(self._search.value) if searched else []
        self._hits.children = tuple(self.row(key).widget for key in found[:_MOST_FOUND])
        for fold in self.folds.values():
            fold.widget.layout.display = "none" if searched else ""
        more = _("{shown} of {all} settings are shown; another word finds fewer.")
        said = more if len(found) > _MOST_FOUND else _("Settings found: {all}.")
        self._said.value = box(line(said.format(shown=_MOST_FOUND, all=len(found)))) if searched else ""
        self._paint()

    def _fill(self, section: str) -> list[Any]:
        """The rows of a section, with a heading for each group inside it."""
        made, group = [], ""
        for key in (key for key, setting in self.settings.items() if setting.section == section):
            inner = self.settings[key].name.rpartition(".")[0]
            if inner != group:
                group = inner
                made.append(html(box(heading(inner, 4))))
            made.append(self.row(key).widget)
        return made

    def _paint(self) -> None:
        own = self.overrides()
        for name, fold in self.folds.items():
            keys = [key for key, setting in self.settings.items() if setting.section == name]
            parts = [section_title(name), _("{count} settings").format(count=len(keys))]
            if changed := sum(key in own for key in keys):
                parts.append(_("{count} changed").format(count=changed))
            if wrong := sum(key in self.problems for key in keys):
                parts.append(_("{count} not allowed").format(count=wrong))
            title = " · ".join(parts)
            if fold.title != title:
                fold.title = title
            shown = "none" if name in self._hidden or self._search.value.strip() else ""
            if fold.widget.layout.display != shown:
                fold.widget.layout.display = shown
        self._reset.disabled = not own
        for row in self._rows.values():
            row.paint()

    def take(self, key: str, value: Any) -> None:
        """A control was changed by somebody."""
        self._touched()
        self.set(key, value)

    def give_back(self, key: str) -> None:
        """A reset button was pressed by somebody."""
        self._touched()
        self.reset(key)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def section_title(name: str) -> str:
    """What a section is about; for one that has no title here, what its model says of itself."""
    known = {
        "attention": _("Attention: what is computed and drawn"),
        "faceswap": _("Face swap: whose face goes where, and how"),
        "engine": _("Engine: how a clip is worked through"),
        "output": _("Output: the video that comes out"),
        "gif": _("GIF: the looping preview beside it"),
        "hardware": _("Hardware: what the machine is asked to carry"),
        "guard": _("Guard: what slows work down before the machine breaks"),
    }
    if name in known:
        return known[name]
    model = Settings.model_fields[name].annotation
    about = (getattr(model, "__doc__", "") or "").strip().split("\n")[0].rstrip(".")
    return f"{name}: {sentence(about)}" if about else name
