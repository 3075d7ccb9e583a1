"""Live charts as inline SVG, drawn by hand: a line or three over the last minutes, the guard's thresholds, and its acts.

Curves differ by dash as well as by colour, thresholds are written on, and what the guard did is a sign with its sentence.
A chart costs some tenths of a millisecond and 2 to 4 kB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from framelane.i18n import gettext as _
from framelane.notebook.markup import Html, text

WIDTH, HEIGHT = 264, 92
_LEFT, _TOP, _BOTTOM = 2, 14, 12
_MOST_POINTS = 150
_DASHES = ("", "5 3", "1.5 2.5")
_GAP_S = 8.0

Points = Sequence[tuple[float, float]]
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        name: as its legend says.
        points: (seconds, value), in order.
    """

    name: str
    points: Points


@dataclass(frozen=True)
class Limit:
    """A threshold.

    Attributes:
        value: where it lies.
        text: what happens there.
    """

    value: float
    text: str


@dataclass(frozen=True)
class Sign:
    """Something that happened at a moment.

    Attributes:
        at: seconds.
        worse: drawn as a full triangle that points down, else as an open one that points up.
        text: what it was.
    """

    at: float
    worse: bool
    text: str


def chart(
    title: str,
    value: str,
    curves: Sequence[Curve],
    *,
    now: float,
    span: float,
    top: float = 100.0,
    limits: Iterable[Limit] = (),
    signs: Iterable[Sign] = (),
) -> Html:
    """A chart of the last ``span`` seconds; empty where no curve has a point.

    Args:
        title: what it shows.
        value: its newest value with its unit, beside the title and for screen readers.
        curves: at most three.
        now: seconds, at the right edge.
        span: seconds from the left edge to the right one.
        top: value at the upper edge; a curve that goes beyond raises it. The lower edge is 0.
        limits: thresholds, drawn where they fit below the upper edge.
        signs: moments.
    """
    drawn = [Curve(curve.name, _thinned([p for p in curve.points if p[0] >= now - span])) for curve in curves]
    drawn = [curve for curve in drawn if curve.points]
    if not drawn:
        return Html("")
    limits = list(limits)
    top = max(top, *(value for curve in drawn for _at, value in curve.points), 1e-9)
    across = (WIDTH - 2 * _LEFT) / span
    up = (HEIGHT - _TOP - _BOTTOM) / top

    def x(at: float) -> float:
        return WIDTH - _LEFT - (now - at) * across

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - value * up

    parts = [f'<line class="fl-axis" x1="0" x2="{WIDTH}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>']
    for limit in limits:
        if 0 <= limit.value <= top:
            parts.append(_limit(y(limit.value), limit.text))
    parts += [_curve(index, curve, x, y) for index, curve in enumerate(drawn[: len(_DASHES)])]
    parts += [_sign(x(sign.at), sign) for sign in signs if now - span <= sign.at <= now]
    parts.append(_times(span))
    said = f"{title}: {value}"
    return Html(
        f'<figure class="fl-chart"><figcaption><b>{text(title)}</b> <span class="fl-now">{text(value)}</span></figcaption>'
        f'<svg role="img" aria-label="{text(said)}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
        f"{''.join(parts)}</svg>{_legend(drawn)}</figure>"
    )


def _curve(index: int, curve: Curve, x: Scale, y: Scale) -> str:
    """A line, interrupted where nobody measured."""
    dash = f' stroke-dasharray="{_DASHES[index]}"' if _DASHES[index] else ""
    drawn = []
    for run in _runs(curve.points):
        path = " ".join(f"{x(at):.1f},{y(max(0.0, value)):.1f}" for at, value in run)
        if len(run) == 1:
            left, height = path.split(",")
            drawn.append(f'<circle class="fl-c{index}" cx="{left}" cy="{height}" r="1"/>')
        else:
            drawn.append(f'<polyline class="fl-c{index}" points="{path}"{dash}/>')
    return "".join(drawn)


def _runs(points: Points) -> list[list[tuple[float, float]]]:
    found: list[list[tuple[float, float]]] = []
    for point in points:
        if found and point[0] - found[-1][-1][0] <= _GAP_S:
            found[-1].append(point)
        else:
            found.append([point])
    return found


def _limit(height: float, words: str) -> str:
    below = height < _TOP + 9  # its words would stand on the title
    return (
        f'<line class="fl-limit" x1="0" x2="{WIDTH}" y1="{height:.1f}" y2="{height:.1f}"/>'
        f'<text class="fl-limit-word" x="{_LEFT}" y="{height + 9 if below else height - 2:.1f}">{text(words)}</text>'
    )


def _sign(left: float, sign: Sign) -> str:
    shape = "-4,-9 4,-9 0,-2" if sign.worse else "-4,-2 4,-2 0,-9"
    kind = "fl-worse" if sign.worse else "fl-better"
    return (
        f'<g class="{kind}" transform="translate({left:.1f} {_TOP})"><title>{text(sign.text)}</title>'
        f'<line x1="0" x2="0" y1="-2" y2="{HEIGHT - _TOP - _BOTTOM}"/><polygon points="{shape}"/></g>'
    )


def _times(span: float) -> str:
    ago = _("{minutes} min ago").format(minutes=f"{span / 60:g}")
    return (
        f'<text class="fl-time" x="{_LEFT}" y="{HEIGHT - 2}">{text(ago)}</text>'
        f'<text class="fl-time" x="{WIDTH - _LEFT}" y="{HEIGHT - 2}" text-anchor="end">{text(_("now"))}</text>'
    )


def _legend(curves: Sequence[Curve]) -> str:
    """Which line is which; not for one alone."""
    if len(curves) < 2:
        return ""
    keys = []
    for index, curve in enumerate(curves[: len(_DASHES)]):
        dash = f' stroke-dasharray="{_DASHES[index]}"' if _DASHES[index] else ""
        keys.append(
            f'<span><svg width="20" height="6" aria-hidden="true"><line class="fl-c{index}" x1="0" y1="3" x2="20" y2="3"'
            f"{dash}/></svg> {text(curve.name)}</span>"
        )
    return f'<div class="fl-legend">{"".join(keys)}</div>'


def _thinned(points: Points) -> Points:
    """At most so many, the newest among them."""
    step = -(-len(points) // _MOST_POINTS)
    return points if step <= 1 else points[(len(points) - 1) % step :: step]


STYLE = """
.fl-charts{display:flex;flex-wrap:wrap;gap:.6em 1.2em}
.fl-chart{margin:0;width:264px}.fl-chart figcaption{font-size:13px;white-space:nowrap;overflow:hidden;
text-overflow:ellipsis}
.fl-chart svg{display:block;max-width:100%}.fl-now{font-variant-numeric:tabular-nums;font-family:ui-monospace,monospace;
font-size:12px}
.fl svg text{font:10px system-ui,sans-serif;fill:currentColor}
.fl-axis{stroke:var(--fl-line)}.fl-time{opacity:.82}
.fl-c0,.fl-c1,.fl-c2{fill:none;stroke-width:1.7}
.fl-c0{stroke:var(--fl-key)}.fl-c1{stroke:currentColor}.fl-c2{stroke:#b26a00}
.fl-limit{stroke:#c5362e;stroke-dasharray:7 3;stroke-width:1}.fl svg text.fl-limit-word{font-size:9.5px}
.fl-worse{stroke:#c5362e;fill:#c5362e}.fl-better{stroke:#1b6e47;fill:none}
.fl-worse line,.fl-better line{stroke-opacity:.45}
.fl-legend{display:flex;gap:.2em 1em;flex-wrap:wrap;font-size:12px}
.fl-legend svg{display:inline-block;vertical-align:middle}
"""
"""Beside that of ``markup``."""
