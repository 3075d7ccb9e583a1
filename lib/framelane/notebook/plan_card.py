"""What fits into the time that is left, before it begins: accept it, change the choice, or leave it.

Built from what ``framelane plan --json`` prints, or the ``plan`` event carries. Like the picker it starts by itself where
nobody touches anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import ipywidgets as w  # type: ignore[import-untyped]

from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.jobs.session import spoken
from framelane.notebook.controls import button, html, present
from framelane.notebook.countdown import COUNTDOWN_S, Countdown
from framelane.notebook.markup import Html, badge, bar, box, facts, heading, join, line, name, notice, style, table

Answer = Literal["accept", "change", "cancel"]
MOST_ROWS = 30
_ORDER = ("fits", "fits in part", "next time", "done already")


class PlanCard:
    """The card.

    Args:
        plan: as :func:`framelane.jobs.plan_view.plan_data` makes it.
        countdown_s: seconds until it is accepted by itself; 0 or less never is.

    Attributes:
        widget: what to show.
    """

    def __init__(self, plan: Mapping[str, Any], *, countdown_s: float = COUNTDOWN_S) -> None:
        self.plan = plan
        self._answer: Answer | None = None
        self.countdown = Countdown(_("Accept"), about=_("Begin with this plan"), seconds=countdown_s)
        self._change = button(_("Change"), lambda: self._say("change"), about=_("Back to the choice"), icon="pencil")
        self._cancel = button(_("Cancel"), lambda: self._say("cancel"), about=_("Begin nothing"), icon="times")
        self.countdown.add(self._change, self._cancel)
        self.widget = w.VBox(
            [html(join([style(), plan_html(plan)])), self.countdown.widget], layout=w.Layout(width="100%")
        )

    def show(self) -> None:
        """Put it into the cell's output."""
        present(self.widget, plan_words(self.plan))

    def tick(self, now: float) -> Answer | None:
        """Go on; some ten times a second.

        Args:
            now: seconds of any clock that only goes forward.

        Returns:
            ``accept``, ``change`` or ``cancel``, once that is known; None until then.
        """
        if self._answer is None and self.countdown.tick(now):
            self._answer = "accept"
        return self._answer

    def close(self) -> None:
        """Leave the plan, without its buttons."""
        self.widget.children = self.widget.children[:1]

    def _say(self, answer: Answer) -> None:
        self.countdown.stop()
        self._answer = answer


def counts(plan: Mapping[str, Any]) -> dict[str, int]:
    """How many clips are in each state, those that there are."""
    states = [str(job["state"]) for job in plan["jobs"]]
    return {state: states.count(state) for state in _ORDER if state in states}


def plan_words(plan: Mapping[str, Any]) -> str:
    """The plan in a sentence or two, for where only text is shown."""
    found = counts(plan)
    total, fits = len(plan["jobs"]), found.get("fits", 0) + found.get("done already", 0)
    if plan["budget_s"] is None:
        return _("All {clips} clips take about {time}.").format(clips=total, time=spoken(plan["total_s"]))
    left = max(0.0, plan["budget_s"] - plan["elapsed_s"])
    said = _("Of {clips} clips {fit} fit into the {left} that are left; all of them take about {time}.")
    return said.format(clips=total, fit=fits, left=spoken(left), time=spoken(plan["total_s"]))


def plan_html(plan: Mapping[str, Any]) -> Html:
    """The plan as HTML: what fits, how long it takes, and a row a clip; what does not fit in the list is counted."""
    found = counts(plan)
    badges = [join([badge(state), f" {number}"]) for state, number in found.items()]
    skipped = plan["skipped"]
    parts = [heading(_("The plan")), line(plan_words(plan)), line(join(badges, " · ")), _room(plan), _facts(plan)]
    jobs = sorted(plan["jobs"], key=lambda job: _ORDER.index(job["state"]) if job["state"] in _ORDER else len(_ORDER))
    parts.append(_jobs(jobs))
    if skipped:
        rows = [(name(item["clip"]), sentence(item["reason"])) for item in skipped[:MOST_ROWS]]
        said = _("Left out: {count}").format(count=len(skipped))
        parts.append(table((_("File"), _("Why")), rows, caption=said))
    return box(join(parts))


def _room(plan: Mapping[str, Any]) -> Html:
    """How full the time is that is left."""
    if plan["budget_s"] is None:
        return Html("")
    left = plan["budget_s"] - plan["elapsed_s"]
    if left <= 0:
        return notice(
            _(
                "The time of this session is over. Give it more, or none as its limit, or come back with a fresh session."
            ),
            "warning",
        )
    said = _("{used} of the {left} that are left").format(used=spoken(plan["admitted_s"]), left=spoken(left))
    return bar(plan["admitted_s"] / left, said)


def _facts(plan: Mapping[str, Any]) -> Html:
    figures = plan["figures"]
    source = sentence(figures["source"])
    if figures["spread"]:
        source = _("{source}; give or take {percent} %").format(source=source, percent=f"{100 * figures['spread']:.0f}")
    pairs = [(_("Times are"), source)]
    if plan["budget_s"] is not None and plan["counted_from"]:
        pairs.insert(0, (_("Counted from"), sentence(plan["counted_from"])))
    if plan["left_over_s"] >= 0.5:
        pairs.append((_("Left for the next time"), spoken(plan["left_over_s"])))
    return facts(pairs)


def _jobs(jobs: Sequence[Mapping[str, Any]]) -> Html:
    header = (_("Clip"), _("Length"), _("Size"), _("Takes"), _("This session"))
    rows = [_row(job) for job in jobs[:MOST_ROWS]]
    more = _("The first {shown} of {count} clips.").format(shown=MOST_ROWS, count=len(jobs))
    return table(header, rows, caption=more if len(jobs) > MOST_ROWS else "", right=" rrr ")


def _row(job: Mapping[str, Any]) -> tuple[object, ...]:
    width, height = job["resolution"]
    state = str(job["state"])
    takes = _("unknown") if job["seconds"] is None else spoken(job["seconds"])
    said: Html = badge(state)
    if state == "fits in part" and job["segments_now"]:
        now = _("{done} of {all} segments, {time}")
        left = (job["segments"] or 0) - job["segments_done"]
        said = join([said, now.format(done=job["segments_now"], all=left, time=spoken(job["seconds_now"]))], " ")
    elif job["segments_done"] and state != "done already":
        said = join([said, _("{done} segments are done").format(done=job["segments_done"])], " ")
    length = _("unknown") if job["duration_s"] is None else _clock(job["duration_s"])
    return (name(job["clip"]), length, f"{width}×{height}", "" if state == "done already" else takes, said)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
