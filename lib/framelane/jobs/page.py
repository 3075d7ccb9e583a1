"""The page of a batch: ``index.html`` in the output folder, whole in itself, a row a job.

No script and nothing from elsewhere; a content security policy says so to the browser, should a name ever get past the
escaping.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from framelane.errors import FramelaneError
from framelane.jobs.charts import bars, lines
from framelane.jobs.ledger import Ledger
from framelane.jobs.parts import put
from framelane.jobs.state import DONE_BEFORE, STATES, JobState, counts
from framelane.jobs.storage import Files
from framelane.report import gif_path, report_path, sheet_path

NAME = "index.html"
_MARK = b'<meta name="generator" content="framelane">'

_STYLE = """
:root{color-scheme:light dark;--line:#8883;--dim:#8889}
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem}
h1{font-size:1.3rem;margin:0}p{margin:.3rem 0}.dim{opacity:.65}
table{border-collapse:collapse;width:100%;margin-top:1rem}
th{text-align:left;font-weight:600;opacity:.65}
th,td{border-bottom:1px solid var(--line);padding:.6rem .5rem;vertical-align:top}
td.name{overflow-wrap:anywhere;width:19rem}
img{display:block;border-radius:4px;max-width:100%;height:auto;margin-bottom:.6rem}
.state{display:inline-block;padding:.05rem .5rem;border-radius:1rem;color:#fff;background:#777}
.done{background:#1f8a5f}.failed{background:#c33}.running,.paused{background:#3b6ff5}.waiting{background:#b7791f}
figure{margin:0 0 .5rem;display:inline-block;vertical-align:top;margin-right:1rem}
figcaption{font-size:11px;opacity:.65;width:220px}
svg text{font:10px system-ui,sans-serif;fill:currentColor}svg{display:block}
.all{display:flex;height:12px;border-radius:6px;overflow:hidden;margin:.7rem 0;background:var(--line)}
ul{margin:.2rem 0;padding-left:1.1rem}
"""


def write_page(out: Path, processor: str, jobs: Sequence[JobState], files: Files) -> Path:
    """Write the page in one step.

    Args:
        out: the output folder.
        processor: what was done.
        jobs: of the batch.
        files: the storage of the output folder.

    Raises:
        FramelaneError: there is an ``index.html`` that is not ours.
        DriveGone: the storage does not answer.
        OSError: it is full or not writable.
    """
    path = out / NAME
    there = files.read(path)
    if there is not None and _MARK not in there[:2000]:
        raise FramelaneError(f"{path} is there and is not a page of framelane")
    # Names that are no UTF-8 arrive as lone surrogates.
    put(path, page(out, processor, jobs).encode("utf-8", errors="backslashreplace"), files)
    return path


def earlier(out: Path, ledger: Ledger, jobs: Iterable[JobState]) -> list[JobState]:
    """What earlier batches finished in the output folder and this one did not look at: other clips were asked for.

    Raises:
        DriveGone: the storage does not answer.
    """
    here = {job.name for job in jobs}
    return [
        JobState(record.output, Path(record.relative), out / record.output, "skipped", DONE_BEFORE, card=record.details)
        for record in ledger.records()
        if record.output not in here and ledger.finished(record.identity)
    ]


def page(out: Path, processor: str, jobs: Sequence[JobState]) -> str:
    """The page's text."""
    found = counts(jobs)
    said = ", ".join(f"{number} {state}" for state, number in found.items() if number) or "no jobs"
    share = "".join(
        f'<span class="{state}" style="flex:{found[state]}" title="{found[state]} {state}"></span>'
        for state in STATES
        if found[state]
    )
    rows = "".join(_row(job) for job in jobs)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{_MARK.decode()}'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        'style-src \'unsafe-inline\'"><meta name="viewport" content="width=device-width">'
        f"<title>framelane: {_text(out.absolute().name)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_text(processor)}: {_text(out.absolute().name)}</h1>"
        f'<p>{said} <span class="dim">· {when}</span></p><div class="all">{share}</div>'
        "<table><thead><tr><th>Job</th><th>Result</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>\n"
    )


def _row(job: JobState) -> str:
    card = job.card if job.finished else {}
    sheet = str(card.get("sheet") or "")
    picture = (
        f'<img alt="four frames of the result" src="{_text(sheet)}">' if sheet.startswith("data:image/jpeg;") else ""
    )
    reason = f"<p>{_text(job.reason)}</p>" if job.reason else ""
    notes = "".join(f"<li>{_text(str(note))}</li>" for note in card.get("notes") or [])
    return (
        f'<tr><td class="name"><span class="state {job.state}">{job.state}</span> {_links(job, card)}{reason}'
        f"{_times(job, card)}{f'<ul class=dim>{notes}</ul>' if notes else ''}</td><td>{picture}{_charts(card)}</td></tr>"
    )


def _links(job: JobState, card: Mapping[str, Any]) -> str:
    name = _text(job.name)
    if not job.finished:
        return f'{name}<p class="dim">from {_text(str(job.clip))}</p>'
    links = [f'<a href="{_href(report_path(Path(job.name)))}">report</a>']
    if card.get("gif"):
        links.append(f'<a href="{_href(gif_path(Path(job.name)))}">GIF</a>')
    if card.get("worst"):
        links.append(f'<a href="{_href(sheet_path(Path(job.name)))}">worst frames</a>')
    return f'<a href="{_href(Path(job.name))}">{name}</a><p class="dim">{" · ".join(links)}</p>'


def _times(job: JobState, card: Mapping[str, Any]) -> str:
    parts = []
    if card.get("frames"):
        parts.append(f"{card['frames']} frames")
    if seconds := job.seconds or card.get("seconds"):
        parts.append(f"{float(seconds):.1f} s")
    if planned := card.get("planned_s"):
        parts.append(f"planned {float(planned):.1f} s")
    if off := card.get("eta_error"):
        parts.append(f"told its end within {100 * float(off['worst']):.0f} %")
    if card.get("fps"):
        parts.append(f"{float(card['fps']):.1f} frames/s")
    parts += [str(card[key]) for key in ("device", "profile") if card.get(key)]
    return f'<p class="dim">{_text(" · ".join(parts))}</p>' if parts else ""


def _charts(card: Mapping[str, Any]) -> str:
    speeds = card.get("speeds") or []
    tracks = {track["name"]: track["share"] for track in card.get("tracks") or []}
    shares = {name: 100 * share for name, share in (card.get("shares") or {}).items()}
    stages = {name: ms for name, ms in (card.get("stage_ms") or {}).items() if ms}
    return "".join(
        (
            bars(shares, unit=" %", title="attention by class"),
            lines(tracks, unit="", title="share of the attention by object, over time"),
            lines({"speed": [(s, fps) for s, _, fps, _ in speeds]}, unit=" frames/s", title="speed over the job"),
            lines({"told": _told(speeds)}, unit=" s", title="time for the whole job, as told on the way"),
            bars(stages, unit=" ms", title="time a frame"),
        )
    )


def _told(speeds: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Elapsed plus estimated seconds: a flat line is a good estimate."""
    return [(seconds, seconds + eta) for seconds, frame, _, eta in speeds if frame and eta]


def _href(path: Path) -> str:
    """A relative address: every byte but the plainest is escaped, and a name with a colon is no scheme."""
    return "./" + "/".join(quote(os.fsencode(part), safe="") for part in PurePosixPath(path).parts)


def _text(text: str) -> str:
    return escape(text, quote=True)
