"""The cells that do the work and look at it: :func:`run` and :func:`results`."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import UsageError
from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.jobs.ledger import STATE
from framelane.notebook import host as hosts
from framelane.notebook import markup
from framelane.notebook.asking import asked, cell, displayed, kept, place_of
from framelane.notebook.picked import remember, remembered
from framelane.notebook.poll import Poll, ui_events
from framelane.notebook.watching import Outcome, follow, front_end
from framelane.resources import data_path

if TYPE_CHECKING:
    from framelane.notebook.choice import Choice

COUNTDOWN_S = 20.0
_DEMO, _LEFT_OPEN = ("", "demo"), (None, "", "automatic")
_MISSING = ("faceswap.source", "faceswap.consent", "faceswap.reference")
_TICK_S = 0.1

# -- run -----------------------------------------------------------------------------------------------------------------


@cell
def run(
    processor: str | None = None,
    *,
    input: str | os.PathLike[str] | None = "demo",
    output: str | os.PathLike[str] | None = "",
    mode: str | None = None,
    profile: str | None = None,
    budget: str | None = None,
    consent: str | None = None,
    settings: Mapping[str, Any] | None = None,
    widgets: bool = True,
    countdown: float = COUNTDOWN_S,
) -> Outcome | None:
    """Pick, do and look at a folder of clips. Run again, it goes on where it was.

    Args:
        processor: what happens to the clips; None leaves that to the picker.
        input: a folder of clips, or one clip; ``"demo"`` is what comes with framelane.
        output: the folder for results; empty is one of this session.
        mode: ``fast``, ``balanced`` or ``quality``.
        profile: None or ``auto`` takes what fits this machine.
        budget: how long the session may take, as in ``80m``.
        consent: for ``faceswap``: who agreed, and on what ground.
        settings: by dotted key; what is empty or ``automatic`` is left to the mode.
        widgets: False starts at once and prints lines, which is also what happens where nobody could click.
        countdown: seconds after which the picker starts by itself.

    Returns:
        What became of it; None where nothing was started.

    Raises:
        UsageError: what was asked for is not possible; the text says why.
    """
    given = _given(input, output, mode, profile, budget, consent, settings)
    shown = widgets and front_end()
    choice = _settled(processor, given, countdown) if shown else _of_form(processor, given)
    if choice is None:
        return None
    return _do(choice.command(), choice.output, f"{choice.processor}: {choice.source.name}", shown)


def _do(command: Sequence[str], output: Path, title: str, shown: bool) -> Outcome:
    """A batch from its first event to its results."""
    outcome = follow(command, output, title, widgets=shown)
    kept["last"] = (list(command), output, title)
    if outcome.counts.get("done") or outcome.counts.get("skipped") or outcome.failed:
        _show_results(output, shown)
    return outcome


def _given(
    source: Any, output: Any, mode: Any, profile: Any, budget: Any, consent: Any, settings: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A form's values as the picker takes them; what was left open is left away."""
    found: dict[str, Any] = {"mode": mode, "profile": profile, "budget": budget, "consent": consent}
    found["overrides"] = {key: value for key, value in (settings or {}).items() if value not in _LEFT_OPEN}
    if output not in _LEFT_OPEN:
        found["output"] = place_of(output)
    if source is not None and str(source) not in _DEMO:
        place = place_of(source)
        if place.is_file():
            place, found["include"] = place.parent, (f"/{glob.escape(place.name)}",)  # none of that name below
        found["source"] = place
    return {key: value for key, value in found.items() if value not in (None, "", "auto")}


def _of_form(processor: str | None, given: Mapping[str, Any]) -> Choice | None:
    """What the form says; None where a face or a consent is yet to come, which is then said.

    Raises:
        UsageError: a value is wrong.
    """
    from framelane.notebook.picker import Picker

    choice = _at_once(Picker(processor, given, countdown_s=0).choice())
    for key, problem in choice.problems().items():
        if key not in _MISSING:
            raise UsageError(problem)
        print(_("Nothing was started. {why}").format(why=sentence(problem)))
        return None
    print(_("The same in a terminal:"), choice.as_text())
    return choice


def _settled(processor: str | None, given: Mapping[str, Any], countdown: float) -> Choice | None:
    """What the reader picks and accepts the plan of, or what is shown when nobody does anything; None is nothing.

    An interrupt of the cell, too, is nothing. Where the form says what it said the last time, it begins with what was
    picked then: the batch goes on, with the settings that it has.
    """
    form = {"processor": processor, **given}
    try:
        processor, given = _as_before(form)
        with ui_events() as poll:
            while True:
                choice = _picked(processor, given, countdown, poll)
                answer = "accept" if _is_demo(choice) else _planned(choice, countdown, poll)
                if answer == "accept":
                    remember(form, {"processor": choice.processor, **_as_given(choice)})
                    return _at_once(choice)
                if answer == "cancel":
                    break
                processor, given, countdown = choice.processor, _as_given(choice), 0.0  # somebody is there
    except KeyboardInterrupt:
        pass
    print(_("Nothing was started. Run the cell again to pick."))
    return None


def _as_before(form: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """A processor, and what the picker begins with."""
    from framelane.notebook.picker import Picker

    given = {key: value for key, value in form.items() if key != "processor"}
    picker = Picker(form["processor"], given, countdown_s=0)
    before = remembered(form, picker.choice().output)
    picker.close()
    if before is None:
        return form["processor"], given
    processor = before.pop("processor")
    with contextlib.suppress(UsageError, TypeError):  # an older version may have known other settings
        Picker(processor, before, countdown_s=0).close()
        return processor, before
    return form["processor"], given


def _picked(processor: str | None, given: Mapping[str, Any], countdown: float, poll: Poll) -> Choice:
    from framelane.notebook.picker import Picker

    picker = Picker(processor, given, countdown_s=countdown)
    picker.show()
    try:
        while (choice := picker.tick(time.monotonic())) is None:
            poll(10)
            time.sleep(_TICK_S)
        return choice
    finally:
        picker.close()


def _planned(choice: Choice, countdown: float, poll: Poll) -> str:
    """What is said to the plan: ``accept``, ``change`` or ``cancel``."""
    from framelane.notebook.plan_card import PlanCard

    def wait() -> None:
        poll(10)
        time.sleep(_TICK_S)

    told = asked(choice.plan_command(), _("Planning: the first time, this measures for some seconds …"), wait)
    card = PlanCard(json.loads(told), countdown_s=countdown)
    card.show()
    try:
        while (answer := card.tick(time.monotonic())) is None:
            wait()
        return answer
    finally:
        card.close()


def _at_once(choice: Choice) -> Choice:
    """The demo clip without a budget, which would have it measured first, for longer than it then takes."""
    return replace(choice, budget="none") if _is_demo(choice) else choice


def _is_demo(choice: Choice) -> bool:
    """The demo clip takes a minute on anything: it begins at once."""
    return choice.source == data_path("assets", "clips")


def _as_given(choice: Choice) -> dict[str, Any]:
    found = {key: value for key, value in vars(choice).items() if key != "processor" and value not in (None, (), {})}
    return {key: value for key, value in found.items() if key not in ("source", "include") or not _is_demo(choice)}


# -- results -------------------------------------------------------------------------------------------------------------


@cell
def results(folder: str | os.PathLike[str] | None = "", *, widgets: bool = True) -> None:
    """Look at results, of this session or an earlier one.

    Args:
        folder: the output folder; empty is that of the newest batch.
        widgets: False shows only what needs no kernel.

    Raises:
        UsageError: there is no such folder.
    """
    place = place_of(folder) if folder not in _LEFT_OPEN else _newest()
    if place is None:  # no error: it would end "Run all" where the cell above is still waiting for something
        said = _("There are no results in {folder} yet. Run the cell above, or name the folder of the results.")
        print(said.format(folder=hosts.detect().results))
        return
    _show_results(place, widgets and front_end())


def _newest() -> Path | None:
    """Where the newest batch of this kernel wrote; else the folder of this host that was written to last, if any."""
    if "last" in kept:
        return Path(kept["last"][1])
    base = hosts.detect().results
    try:
        found = [place.parent for depth in ("", "*/", "*/*/") for place in base.glob(f"{depth}{STATE}")]
        return max(found, key=lambda path: (path / STATE).stat().st_mtime)
    except (OSError, ValueError):
        return None


def _show_results(place: Path, shown: bool) -> None:
    from framelane.notebook.finished import look
    from framelane.notebook.gallery import Gallery, overview

    found = look(place)
    if not displayed(overview(found)):
        for result in found.results:
            print(f"{markup.state_word('done')}  {result.output}")
        for name, reason in found.failed:
            print(f"{markup.state_word('failed')}  {name}: {sentence(reason)}")
        if not found.results and not found.failed:
            print(_("There is no finished clip here yet."))
    if shown and (found.results or found.failed):
        from framelane.notebook.controls import present

        present(Gallery(found, _again(place)).widget, _("The results, one by one"))


def _again(place: Path) -> Callable[[Callable[[Any], None]], object] | None:
    """Does the newest batch once more, where it wrote to this folder."""
    last = kept.get("last")
    if not last or Path(last[1]) != place:
        return None
    command, output, title = last

    def again(put: Callable[[Any], None]) -> Outcome:
        return follow(command, output, title, widgets=True, put=put)

    return again
