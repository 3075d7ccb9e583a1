"""The figures of ``framelane bench`` for a notebook: one chart, and what was found."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from statistics import median
from typing import Any

from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.notebook import markup
from framelane.notebook.markup import Html
from framelane.notebook.report_charts import bars_png


def speeds(figures: Mapping[str, Any]) -> dict[str, float]:
    """Frames a second of each transcode of ``bench engine``, by what made it; empty for another benchmark."""
    clip, compared = figures.get("clip"), figures.get("transcode")
    if not isinstance(clip, Mapping) or not isinstance(compared, Mapping):
        return {}
    names = {
        "copy": _("framelane, frames untouched"),
        "repaint": _("framelane, every frame repainted"),
        "ffmpeg": _("the ffmpeg command"),
        "pyav": _("a plain PyAV loop"),
        "cv2": _("an OpenCV loop"),
    }
    frames = float(clip["fps"]) * float(clip["seconds"])
    return {
        names.get(name, name): frames / median(runs) for name, runs in compared["seconds"].items() if median(runs) > 0
    }


def lines(figures: Mapping[str, Any]) -> list[str]:
    """What was found, a line each."""
    found = [_("{name}: {fps} frames/s").format(name=name, fps=f"{fps:.1f}") for name, fps in speeds(figures).items()]
    return [*found, *(sentence(str(text)) for text in figures.get("sentences", []))]


def bench_view(figures: Mapping[str, Any]) -> Html:
    """The chart, and the figures below it."""
    machine = figures["machine"]
    parts: list[object] = [
        markup.heading(_("Benchmark: {name}").format(name=figures["bench"])),
        markup.line(f"{machine['cpu']}, {machine['cores']} × CPU", dim=True),
    ]
    if found := speeds(figures):
        title = _("Frames a second; more is better")
        uri = f"data:image/png;base64,{base64.b64encode(bars_png(title, found)).decode()}"
        parts.append(Html(f'<img class="fl-chart-png" alt="{markup.text(title)}" src="{uri}">'))
        rows = [(name, f"{fps:.1f}") for name, fps in found.items()]
        parts.append(markup.table((_("what transcodes"), _("frames/s")), rows, right=" r"))
    else:
        parts.append(markup.facts(_flat(figures)))
    parts += [markup.notice(sentence(str(text))) for text in figures.get("sentences", [])]
    return Html(f"{markup.style()}{markup.box(markup.join(parts))}")


def _flat(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    from framelane.notebook.gallery import metrics

    left_out = ("bench", "date", "machine", "versions", "sentences")
    return list(metrics({key: value for key, value in figures.items() if key not in left_out}))[:40]
