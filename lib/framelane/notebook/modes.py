"""The three modes as cards: what each gives, from its own file, and what it costs here, as far as that is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import ipywidgets as w  # type: ignore[import-untyped]

from framelane.errors import UsageError
from framelane.i18n import current, sentence
from framelane.i18n import gettext as _
from framelane.jobs.session import spoken
from framelane.notebook.choice import Choice
from framelane.notebook.controls import button, html
from framelane.notebook.markup import Html, card, facts, join, line
from framelane.resources import config_names, data_path
from framelane.settings import flatten, mode_values

MODES = ("fast", "balanced", "quality")
Cost = Mapping[str, Any]


@cache
def about(kind: str, name: str) -> str:
    """What a mode (``modes``) or a profile (``profiles``) says of itself: the comment at the head of its file."""
    lines = []
    for text in data_path("configs", kind, f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if not text.startswith("#"):
            break
        lines.append(text.lstrip("# "))
    return " ".join(lines)


def messages() -> Iterator[tuple[str, str]]:
    """Those texts with their files, for translators."""
    for kind in ("modes", "profiles"):
        for name in config_names(kind):
            yield f"configs/{kind}/{name}.yaml", about(kind, name)


def mode_name(mode: str) -> str:
    """A mode as it is shown."""
    return {"fast": _("Fast"), "balanced": _("Balanced"), "quality": _("Quality")}.get(mode, mode)


class ModeCards:
    """Three cards beside each other, each with the button that takes it.

    Args:
        picked: is given the mode that somebody takes.

    Attributes:
        widget: what to show.
        costs: the newest answer for each mode, as :mod:`framelane.notebook.estimate` gives it; a mode that is missing is
            being looked up.
    """

    def __init__(self, picked: Callable[[str], None]) -> None:
        self.costs: dict[str, Cost] = {}
        self._given: dict[str, tuple[str, Html]] = {}
        self._cards = {mode: html() for mode in MODES}
        for shown in self._cards.values():  # as high as the highest
            shown.layout.flex = "1 1 auto"
            shown.add_class("fl-fill")
        self._takes = {mode: button("", lambda mode=mode: picked(mode)) for mode in MODES}  # type: ignore[misc]
        column = w.Layout(width="32%", min_width="220px", margin="0 1% 0.6em 0", justify_content="space-between")
        for take in self._takes.values():
            take.layout.align_self = "stretch"
        self.widget = w.HBox(
            [w.VBox([self._cards[mode], self._takes[mode]], layout=column) for mode in MODES],
            layout=w.Layout(flex_flow="wrap", width="100%", max_width="960px", align_items="stretch"),
        )

    def paint(self, choice: Choice, detected: str, *, measuring: bool) -> None:
        """Show what the modes are for a choice.

        Args:
            choice: its mode is the one that is marked; the rest of it says what the modes would do.
            detected: the profile that fits this machine.
            measuring: whether costs are being measured.
        """
        for mode in MODES:
            chosen = choice.mode == mode
            content = join([line(sentence(about("modes", mode))), self._gives(choice, mode, detected)])
            shown = card(mode_name(mode), content, chosen=chosen, foot=cost(self.costs.get(mode), measuring=measuring))
            if self._cards[mode].value != shown:
                self._cards[mode].value = shown
            take = self._takes[mode]
            text = _("✓ {mode} is chosen") if chosen else _("Take {mode}")
            take.description = take.tooltip = text.format(mode=mode_name(mode))
            take.button_style = "primary" if chosen else ""

    def _gives(self, choice: Choice, mode: str, detected: str) -> Html:
        """:func:`gives`, made again where it may have become another: settings are not merged at every letter typed."""
        about_it = repr((choice.processor, choice.profile, choice.settings, detected, current()))
        if self._given.get(mode, ("",))[0] != about_it:
            self._given[mode] = about_it, gives(choice, mode, detected)
        return self._given[mode][1]


def gives(choice: Choice, mode: str, detected: str) -> Html:
    """The settings that a mode is about, as they would be, and where the profile holds them back."""
    try:
        loaded = replace(choice, mode=mode).loaded(detected)
    except UsageError:  # said beside the setting that is wrong
        return Html("")
    values = flatten(loaded.settings.model_dump())
    shown = {key: values[key] for key in mode_values(mode) if key.split(".")[0] == choice.processor}
    pairs = facts((key.partition(".")[2], f"{v:g}" if isinstance(v, float) else v) for key, v in shown.items())
    held = [line(sentence(text), dim=True) for text in loaded.limited]
    return join([pairs, *held])


def cost(said: Cost | None, *, measuring: bool = False) -> Html:
    """What a mode costs, in a sentence or two.

    Args:
        said: the newest answer; None where there is none yet.
        measuring: whether it is being measured.
    """
    if said is None:
        return line(_("It is being measured…") if measuring else _("What it costs here is being looked up…"), dim=True)
    if "plan" in said:
        return _planned(said["plan"])
    if "problem" in said:
        return join([line(_("What it costs cannot be said.")), line(sentence(said["problem"]), dim=True)])
    return line(_("What it costs here is not measured yet."))


def _planned(plan: Mapping[str, Any]) -> Html:
    clips, fit, figures = plan["clips"], plan["fit"], plan["figures"]
    takes = _("About {time} for one clip.") if clips == 1 else _("About {time} for {clips} clips.")
    said = [line(Html(f"<b>{takes.format(time=spoken(plan['total_s']), clips=clips)}</b>"))]
    if fit < clips:
        rest = _("{fit} of them fit into this session; the next one goes on.")
        said.append(line(rest.format(fit=fit) if clips > 1 else _("It does not fit into this session as a whole.")))
    source = sentence(figures["source"])
    if figures["spread"]:
        source = _("{source}; give or take {percent} %").format(source=source, percent=f"{100 * figures['spread']:.0f}")
    return join([*said, line(source, dim=True)])
