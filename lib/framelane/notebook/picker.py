"""What is to be done, picked: processor, mode, profile, clips, results, and every setting; or nothing, and it starts.

The picker is a state machine that the cell's loop drives: :meth:`Picker.show`, then :meth:`Picker.tick` some ten times a
second until it gives a :class:`Choice`, then :meth:`Picker.close`. Without a front end nobody touches anything, so the
countdown runs down and what is shown is given.

It stops counting at the first touch of any control, for good: a value that changes, a button, a folder that is opened.
That somebody only moves the focus into a control the kernel never hears of: ipywidgets does not say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as w  # type: ignore[import-untyped]

from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.jobs.session import DEFAULT_BUDGET
from framelane.notebook import host as host_module
from framelane.notebook.choice import CONSENT, Choice
from framelane.notebook.controls import Fold, button, html, named, present
from framelane.notebook.countdown import COUNTDOWN_S, Countdown
from framelane.notebook.estimate import Estimates
from framelane.notebook.faces import Faces
from framelane.notebook.forms import Form
from framelane.notebook.inputs import Inputs
from framelane.notebook.markup import box, copyable, heading, join, keys, line, style
from framelane.notebook.modes import MODES, ModeCards, about
from framelane.processors.base import create
from framelane.processors.base import names as processor_names
from framelane.settings import load, names

_BUDGETS = {"local": "none"}  # a kernel of one's own may have run for days
_SETTLES_S = 1.0  # without a change, before costs are asked for again
_GIVEN = {"source", "output", "mode", "profile", "overrides", "consent", "budget", "include"}


class Picker:
    """The picker.

    Args:
        processor: that is picked at first; None takes the first there is.
        given: what else is picked at first, by the names of :class:`Choice`: ``source``, ``output``, ``mode``,
            ``profile``, ``overrides``, ``consent``, ``budget``, ``include``. What is None is left to the picker.
        host: where the notebook runs; None looks.
        countdown_s: seconds until it starts by itself; 0 or less never does.
        estimates: what is asked for costs and the profile; None makes one.

    Attributes:
        widget: what to show.
        detected: the profile that fits this machine; None until it is known.

    Raises:
        UsageError: something given is not known.
    """

    def __init__(
        self,
        processor: str | None = None,
        given: Mapping[str, Any] | None = None,
        *,
        host: host_module.Host | None = None,
        countdown_s: float = COUNTDOWN_S,
        estimates: Estimates | None = None,
    ) -> None:
        given = {key: value for key, value in (given or {}).items() if value is not None}
        if unknown := set(given) - _GIVEN:
            raise TypeError(f"the picker does not know {', '.join(sorted(unknown))}")
        self.host = host or host_module.detect()
        self.detected: str | None = None
        self._why = ""
        self._estimates = estimates or Estimates()
        self._problems: dict[str, str] = {}
        self._asked_about: Choice | None = None
        self._changed_at: float | None = None
        self._measuring = self._quiet = self._closed = False
        self._choice: Choice | None = None
        processor = processor or processor_names()[0]
        create(processor)
        load(mode=given.get("mode"), profile=given.get("profile"), overrides=given.get("overrides"))
        self._mode: str = given.get("mode", "balanced")
        self._make(processor, countdown_s)
        self._begin_with(given)
        self._follow()

    # -- the cell's loop ---------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Put it into the cell's output, and begin to look at the machine."""
        self._estimates.ask("profile")
        present(self.widget, self.choice().as_text())

    def tick(self, now: float) -> Choice | None:
        """Go on; some ten times a second.

        Args:
            now: seconds of any clock that only goes forward.

        Returns:
            What was picked, once it starts, and then always the same; None until then.
        """
        if self._choice is None and not self._closed:
            for said in self._estimates.poll():
                self._hear(said)
            self._ask_costs(now)
            if self.countdown.tick(now, list(self._problems.values())):
                self._choice = self.choice()
        return self._choice

    def close(self) -> None:
        """End what runs in the background, and leave one line of it: the command that was picked."""
        if self._closed:
            return
        self._closed = True
        self._estimates.close()
        command = copyable((self._choice or self.choice()).as_text(), _("The same in a terminal"))
        self.widget.children = (html(join([style(), box(command)])),)

    # -- what it says ------------------------------------------------------------------------------------------------

    def choice(self) -> Choice:
        """What is picked now."""
        settings = self.form.overrides()
        consent = settings.pop(CONSENT, None)
        source, include = self.inputs.source()
        return Choice(
            self._processor.value, source, self.inputs.output(), self._mode, self._profile.value, settings, consent,
            self._budget.value.strip() or "none", include,
        )  # fmt: skip

    @property
    def problems(self) -> dict[str, str]:
        """What keeps it from starting, in sentences, by what it is about; empty where nothing does."""
        return dict(self._problems)

    # -- its controls ------------------------------------------------------------------------------------------------

    def _make(self, processor: str, countdown_s: float) -> None:
        touched = self._touched
        self.countdown = Countdown(_("Start"), about=_("Begin with what is shown"), seconds=countdown_s)
        options = [(processor_title(name), name) for name in processor_names()]
        self._processor = named(w.Dropdown, _("What to do"), options=options, value=processor)
        self.cards = ModeCards(self._take_mode)
        self._measure = button(
            _("Measure the three modes"), self.measure, icon="clock-o",
            about=_("Works through the first seconds of a clip in each mode; that takes a minute or more."),
        )  # fmt: skip
        self._profile = named(w.Dropdown, _("Profile"), options=[(name, name) for name in ("auto", *names("profiles"))])
        self._profile_why, self._command = html(), html()
        self._budget = named(w.Text, _("Time there is"), placeholder=_("none"), width="26em")
        self._budget_about = html(
            box(line(_("How long this session lasts, as in 80m or 1h30m, from its start; none is no limit."), dim=True))
        )
        self.inputs = Inputs(self.host, self._refresh, touched)
        self.form = Form(self._refresh, touched, alone=False)
        for control in (self._processor, self._profile, self._budget):
            control.observe(self._heard, names="value")
        self.faces = Faces(self.form, self.host, touched)
        self._advanced = Fold(_("All settings"), lambda: [self.form.widget], touched)
        self._line = Fold(_("The same in a terminal"), lambda: [self._command], touched)
        self.widget = w.VBox(
            [html(join([style(), keys()])), html(box(heading(_("What is to be done"))))], layout=w.Layout(width="100%")
        )
        self.widget.children += (
            self.countdown.widget, self._processor, self.cards.widget, self._measure, self._profile, self._profile_why,
            self.inputs.widget, self.inputs.results, self.faces.widget, self._budget, self._budget_about,
            self._advanced.widget, self._line.widget,
        )  # fmt: skip
        self._line.open()

    def _begin_with(self, given: Mapping[str, Any]) -> None:
        """What was given, into the controls."""
        self._quiet = True
        try:
            self._profile.value = given.get("profile", "auto")
            self._budget.value = str(given.get("budget", _BUDGETS.get(self.host.name, DEFAULT_BUDGET)))
            source, output = given.get("source"), given.get("output")
            self.inputs.take(
                None if source is None else Path(source), None if output is None else Path(output),
                tuple(given.get("include", ())),
            )  # fmt: skip
            for key, value in dict(given.get("overrides", {})).items():
                self.form.set(key, value)
            if "consent" in given:
                self.form.set(CONSENT, given["consent"])
        finally:
            self._quiet = False

    def _touched(self) -> None:
        if not self._quiet:
            self.countdown.stop()

    def _heard(self, _change: Any) -> None:
        if not self._quiet:
            self._touched()
            self._follow()

    def _take_mode(self, mode: str) -> None:
        self._touched()
        self._mode = mode
        self._follow()

    def measure(self) -> None:
        """Measure what the modes cost, in a child process."""
        self._touched()
        if not self._problems:
            self._measuring = True
            self._ask(self.choice())

    # -- after a change ----------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Everything that hangs on processor, mode and profile."""
        processor = self._processor.value
        known = set(processor_names())
        self.form.hide(name for name in self.form.sections() if name in known and name != processor)
        self.form.rebase(self._mode, self._profile.value, self.detected or "cpu")
        self.inputs.turn_to(processor)
        self.faces.show(processor == "faceswap")
        self._refresh()

    def _refresh(self) -> None:
        """Everything that is shown of the choice."""
        if self._quiet:
            return
        choice = self.choice()
        if self.inputs.chosen():
            self._problems = choice.problems(self.detected or "cpu")
        else:
            self._problems = {"source": _("No folder of clips is picked yet: pick one, or type it.")}
        self.form.say(self._problems)
        self._paint(choice)

    def _paint(self, choice: Choice) -> None:
        self.cards.paint(choice, self.detected or "cpu", measuring=self._measuring)
        self._measure.disabled = self._measuring or bool(self._problems)
        why = self._why_words()
        if self._profile_why.value != why:
            self._profile_why.value = why
        command = box(copyable(choice.as_text(), _("The same in a terminal")))
        if self._command.value != command:
            self._command.value = command

    def _why_words(self) -> str:
        picked = self._profile.value
        if picked != "auto":
            return box(line(sentence(about("profiles", picked)), dim=True))
        if self.detected is None:
            return box(line(sentence(self._why) if self._why else _("The machine is being looked at…"), dim=True))
        found = _("This machine gets the profile {profile}.").format(profile=self.detected)
        return box(join([line(found), line(sentence(self._why), dim=True)]))

    # -- what it costs -----------------------------------------------------------------------------------------------

    def _ask_costs(self, now: float) -> None:
        """Ask again, once nothing has changed for a moment; which mode is taken does not matter."""
        about_all = replace(self.choice(), mode=MODES[0])
        if self._problems or about_all == self._asked_about:
            self._changed_at = None
            return
        if self._changed_at is None:
            self._changed_at = now
        # At first nothing has to settle.
        if self._asked_about is None or now - self._changed_at >= _SETTLES_S:
            self._changed_at, self._measuring = None, False
            self._ask(self.choice())

    def _ask(self, choice: Choice) -> None:
        self._asked_about = replace(choice, mode=MODES[0])
        self.cards.costs = {}
        self._estimates.ask(
            "costs", processor=choice.processor, source=str(choice.source), output=str(choice.output),
            profile=choice.profile, overrides=choice.settings, budget=choice.budget, include=list(choice.include),
            modes=[choice.mode, *(mode for mode in MODES if mode != choice.mode)], measure=self._measuring,
            commands={mode: replace(choice, mode=mode).plan_command() for mode in MODES},
        )  # fmt: skip
        self._paint(choice)

    def _hear(self, said: Mapping[str, Any]) -> None:
        if said["ask"] == "profile":
            self._hear_profile(said)
            return
        if "mode" in said:
            self.cards.costs[said["mode"]] = said
        if "problem" in said or "died" in said or "end" in said:
            self._measuring = self._measuring and "end" not in said and "died" not in said
            lost = {"problem": said.get("problem") or _("The process that measures has ended before its time.")}
            for mode in MODES if "mode" not in said else ():
                self.cards.costs.setdefault(mode, lost)
        self._paint(self.choice())

    def _hear_profile(self, said: Mapping[str, Any]) -> None:
        if "profile" in said:
            self.detected, self._why = said["profile"], said["why"]
            self._follow()
        elif "problem" in said or "died" in said:
            self._why = said.get("problem") or _("The machine could not be looked at; the batch looks again itself.")
            self._paint(self.choice())


def processor_title(name: str) -> str:
    """What a processor does, in a few words; its name where nothing is known of it here."""
    known = {
        "attention": _("Attention: where a vision transformer looks"),
        "faceswap": _("Face swap: a face of somebody who agreed"),
        "pose": _("Pose: skeletons of every person"),
        "depth": _("Depth: how far away things are"),
        "follow": _("Follow: a virtual camera on a moving subject"),
    }
    return known.get(name, name)
