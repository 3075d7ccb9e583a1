"""Results as they are looked at: an overview of the folder, and one result from near, before and after.

The overview is plain HTML: it stays in the saved notebook, needs no kernel, and its links lead to the files. One result at
a time is shown by widgets: a looping clip, a slider between before and after, charts and metrics. All of it together stays
below :data:`MOST_BYTES`, whatever the results are.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from framelane.errors import FramelaneError
from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.jobs.plan_view import shown
from framelane.notebook import markup, painting
from framelane.notebook.finished import Finished, Result, look
from framelane.notebook.markup import Html
from framelane.notebook.report_charts import report_charts
from framelane.notebook.shots import MOMENTS, shots_of

MOST_BYTES = 3_000_000
"""Of everything in the output of a cell."""
_OVERVIEW, _OVERVIEW_BYTES = 20, 900_000
_METRICS, _FAILED, _NOTES = 30, 20, 6

# Shortcuts of JupyterLab (Lumino) take no key away from it.
_SLIDER = (
    '<input type="range" min="0" max="100" value="50" data-lm-suppress-shortcuts="true" '
    "oninput=\"this.closest('.fl-both').style.setProperty('--fl-split',this.value+'%')\">"
)

_STYLE = """
.fl-found{display:grid;grid-template-columns:minmax(12em,22em) 1fr;gap:.8em 1.2em;align-items:start}
.fl-found img{max-width:100%;height:auto;border-radius:4px}
.fl-pair{position:relative;display:inline-block;max-width:640px;line-height:0}
.fl-pair img{display:block;max-width:100%;height:auto;border-radius:4px}
.fl-pair img+img{position:absolute;left:0;top:0;clip-path:inset(0 0 0 var(--fl-split,50%))}
.fl-pair i{position:absolute;top:0;bottom:0;left:var(--fl-split,50%);border-left:2px solid #fff;
box-shadow:0 0 0 1px #000}.fl-both label{display:flex;align-items:center;gap:.8em;max-width:640px;margin:.4em 0}
.fl-both input{flex:1;min-width:6em;accent-color:var(--fl-key)}.fl-loop{max-width:360px;width:100%;border-radius:4px}
.fl-chart-png{max-width:100%;height:auto;border-radius:4px}
"""


def style() -> Html:
    """All that the gallery needs, in one element."""
    return Html(f"{painting.style()}<style>{_STYLE}</style>")


# -- the overview --------------------------------------------------------------------------------------------------------


def overview(found: Finished) -> Html:
    """The folder: its newest results with their contact sheets, and what failed and why."""
    parts: list[object] = [markup.heading(_("Results in {folder}").format(folder=found.folder))]
    if not found.results:
        parts.append(markup.line(_("There is no finished clip here yet.")))
    used, drawn = 0, 0
    for result in found.results[:_OVERVIEW]:
        piece = _found(result)
        if used + len(piece) > _OVERVIEW_BYTES:
            break
        used, drawn = used + len(piece), drawn + 1
        parts.append(piece)
    if (more := len(found.results) + found.left_out - drawn) > 0:
        parts.append(markup.line(_("{more} more results are not drawn here; the page has them all.").format(more=more)))
    parts += [_failure(name, reason) for name, reason in found.failed[:_FAILED]]
    if (more := len(found.failed) - _FAILED) > 0:
        parts.append(
            markup.line(_("{more} more clips failed; the page of the results lists them all.").format(more=more))
        )
    if found.page:
        parts.append(markup.line(Html(f"{markup.text(_('The page of all results:'))} {link(found.page)}")))
    return Html(f"{style()}{markup.box(markup.join(parts))}")


def _found(result: Result) -> Html:
    sheet = str(result.card.get("sheet") or "")
    alt = markup.text(_("frames of {name}").format(name=result.name))
    picture = f'<img alt="{alt}" src="{markup.text(sheet)}">' if sheet.startswith("data:image/jpeg;base64,") else ""
    notes = [sentence(str(note)) for note in (result.card.get("notes") or [])[:_NOTES]]
    listed = f"<ul>{''.join(f'<li>{markup.text(note)}</li>' for note in notes)}</ul>" if notes else ""
    links = markup.join((link(path, name) for name, path in result.links().items()), " · ")
    head = f"{markup.badge('done')} <b>{markup.name(result.name)}</b>"
    return Html(
        f'<div class="fl-found"><div>{head}{markup.line(_figures(result.card), dim=True)}{markup.line(links)}{listed}</div>'
        f"<div>{picture}</div></div>"
    )


def _figures(card: Mapping[str, Any]) -> str:
    parts = []
    if frames := card.get("frames"):
        parts.append(_("{frames} frames").format(frames=frames))
    if seconds := card.get("seconds"):
        parts.append(_("made in {time}").format(time=painting.duration(float(seconds))))
    parts += [str(card[key]) for key in ("mode", "profile", "device") if card.get(key)]
    return " · ".join(parts)


def _failure(name: str, reason: str) -> Html:
    return Html(f"<div>{markup.badge('failed')} {markup.name(name)}: {markup.text(sentence(reason))}</div>")


def link(path: Path, words: str | None = None) -> Html:
    """A link to a file below the notebook's folder, which a local notebook server follows; else its path, to be copied."""
    said = markup.text(words) if words else markup.name(path)
    try:
        inside = Path(os.path.abspath(path)).relative_to(Path.cwd())
    except ValueError:
        place = markup.name(path)
        return Html(
            f'<code title="{markup.text(str(path))}">{place}</code>'
            if words is None
            else f"{said}: <code>{place}</code>"
        )
    href = "/".join(quote(os.fsencode(part), safe="") for part in inside.parts)
    return Html(f'<a href="./{href}" target="_blank" rel="noopener">{said}</a>')


# -- one result ----------------------------------------------------------------------------------------------------------


def details(result: Result) -> Html:
    """Charts and metrics of a result."""
    png, words = report_charts(result.card)
    charts = f'<img class="fl-chart-png" alt="{markup.text(words)}" src="{_uri("image/png", png)}">' if png else ""
    rows = list(metrics(result.report().get("metrics") or {}))[:_METRICS]
    table = markup.table((_("metric"), _("value")), rows, caption=_("Metrics")) if rows else ""
    return markup.box(markup.join((Html(charts), table)))


def metrics(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names and values, those of sections with a dotted name; lists are left out: they are what charts are for."""
    for key, value in found.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from metrics(value, f"{name}.")
        elif isinstance(value, bool) or value is None:
            yield name, {True: _("yes"), False: _("no"), None: "–"}[value]
        elif isinstance(value, int | float):
            yield name, f"{value:.4g}" if isinstance(value, float) else str(value)
        elif isinstance(value, str) and len(value) <= 80:
            yield name, value


def loop(folder: Path | None, name: str) -> Html:
    """The short clip that loops; empty where there is none. Its controls stop it."""
    data = _read(folder, "loop.mp4")
    if not data:
        return Html("")
    label = markup.text(_("some seconds of {name}, repeated").format(name=name))
    return markup.box(
        Html(
            f'<video class="fl-loop" autoplay loop muted playsinline controls aria-label="{label}" '
            f'src="{_uri("video/mp4", data)}"></video>'
        )
    )


def pair(folder: Path | None, moment: int, name: str) -> Html:
    """A moment before and after, one over the other, with a slider that says how much of each is seen.

    The slider is the browser's own: it moves without the kernel, in a saved notebook too, and has a name, which the handles
    of ipywidgets 8 do not have.
    """
    before, after = (_read(folder, f"{kind}_{moment}.jpg") for kind in ("before", "after"))
    if not after:
        return Html("")
    words = {"name": name, "moment": moment + 1}
    figures = [(_("{name}, moment {moment}, before"), before), (_("{name}, moment {moment}, after"), after)]
    images = "".join(
        f'<img alt="{markup.text(alt.format(**words))}" src="{_uri("image/jpeg", data)}">'
        for alt, data in figures
        if data
    )
    line = "<i></i>" if before else ""
    slider = f"<label>{markup.text(_('Before ← → after (%)'))} {_SLIDER}</label>" if before else ""
    return markup.box(Html(f'{slider}<div class="fl-pair">{images}{line}</div>'), "fl-both")


def _read(folder: Path | None, name: str) -> bytes:
    try:
        return (folder / name).read_bytes() if folder else b""
    except OSError:
        return b""


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


class Gallery:
    """The results of a folder as widgets.

    Args:
        found: the folder.
        retry: does the batch once more, where that is known how; what failed is tried again by it. It is given what puts
            a widget below the button.

    Attributes:
        widget: to be displayed.
    """

    def __init__(
        self,
        found: Finished,
        retry: Callable[[Callable[[Any], None]], object] | None = None,
    ) -> None:
        import ipywidgets  # type: ignore[import-untyped]

        self.found, self.retry = found, retry
        self._by_name = {result.name: result for result in found.results}
        self._folder: Path | None = None
        wide, long = ipywidgets.Layout(width="100%"), {"description_width": "initial"}
        options = [(shown(name), name) for name in self._by_name]
        line = ipywidgets.Layout(width="auto", max_width="640px")
        self.result = ipywidgets.Dropdown(options=options, description=_("Result"), style=long, layout=line)
        self.moment = ipywidgets.Dropdown(
            options=range(1, MOMENTS + 1), description=_("Moment"), style=long, layout=ipywidgets.Layout(width="12em")
        )
        self.again = ipywidgets.Button(
            description=_("Try the failed clips again"), icon="refresh", layout=ipywidgets.Layout(width="auto"),
            tooltip=_("Runs the same batch; what is done is left as it is."),
        )  # fmt: skip
        self._parts = {key: ipywidgets.HTML(layout=wide) for key in ("style", "loop", "pair", "details")}
        self.result.observe(lambda _change: self.show(), "value")
        self.moment.observe(lambda _change: self._show_pair(), "value")
        self.again.on_click(lambda _button: self._again())
        self.widget = ipywidgets.VBox(list(self._children()), layout=wide)
        self._parts["style"].value = markup.join((style(), markup.keys()))
        self.show()

    def _children(self) -> Iterable[Any]:
        yield self._parts["style"]
        if self._by_name:
            yield from (self.result, self._parts["loop"], self.moment, self._parts["pair"])
            yield self._parts["details"]
        if self.retry is not None and self.found.failed:
            yield self.again

    def show(self) -> None:
        """Show the result that is picked; its pictures are made by a process where there are none yet."""
        result = self._by_name.get(self.result.value)
        if result is None:
            return
        report = result.report()
        original = Path(str(report["clip"])) if report.get("clip") else None
        label = ((report.get("provenance") or {}).get("label") or {}).get("text", "")
        self._folder = shots_of(result.output, original, str(label))
        made = json.loads(_read(self._folder, "done.json") or b"{}")
        self._set("loop", loop(self._folder, result.name))
        self.moment.disabled = not made.get("after")
        self._show_pair()
        self._set("details", details(result))

    def _show_pair(self) -> None:
        self._set("pair", pair(self._folder, self.moment.value - 1, str(self.result.value)))

    def _set(self, part: str, value: str) -> None:
        if self._parts[part].value != value:
            self._parts[part].value = value

    def _again(self) -> None:
        if self.retry is None:
            return
        self.again.disabled = True
        try:
            self.retry(self._put)
            self.found = look(self.found.folder)
        except FramelaneError as error:
            self._put_html(markup.notice(sentence(str(error)), "error"))
        else:
            self._put_html(overview(self.found))
        self.again.disabled = not self.found.failed

    def _put(self, widget: Any) -> None:
        self.widget.children = (*self.widget.children, widget)

    def _put_html(self, piece: Html) -> None:
        import ipywidgets

        self._put(ipywidgets.HTML(piece, layout=ipywidgets.Layout(width="100%")))
