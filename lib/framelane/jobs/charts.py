"""Small charts as inline SVG, drawn by hand: no script, no library, a few kB each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 220, 64
COLOURS = ("#3b6ff5", "#e0722f", "#1f9d72", "#a855c8")
Points = Sequence[Sequence[float]]


def lines(series: Mapping[str, Points], *, unit: str, title: str) -> str:
    """Curves over a common axis; ``""`` where there is nothing to draw.

    Args:
        series: (x, y) points by name; the vertical axis begins at 0.
        unit: of y, after its largest value.
        title: what it shows.
    """
    points = [point for curve in series.values() for point in curve]
    if len(points) < 2:
        return ""
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    top = max(y for _, y in points) or 1.0
    across, up = (WIDTH - 4) / ((high - low) or 1.0), (HEIGHT - 18) / top
    drawn = []
    for colour, (name, curve) in zip(COLOURS, series.items(), strict=False):
        path = " ".join(f"{2 + (x - low) * across:.1f},{HEIGHT - 2 - y * up:.1f}" for x, y in curve)
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"><title>{_said(name)}</title>'
            "</polyline>"
        )
    names = "".join(
        f'<text x="{2 + 54 * index}" y="10" style="fill:{colour}">{_said(name[:9])}</text>'
        for index, (colour, name) in enumerate(zip(COLOURS, series, strict=False))
    )
    named = names if len(series) > 1 else ""
    return _figure(HEIGHT, f"{title} (highest: {top:.3g}{unit})", f"{named}{''.join(drawn)}")


def bars(values: Mapping[str, float], *, unit: str, title: str) -> str:
    """One horizontal bar a value; ``""`` where there is none.

    Args:
        values: by name; none below 0.
        unit: of the values.
        title: what it shows.
    """
    if not values:
        return ""
    most = max(values.values()) or 1.0
    rows = []
    for index, (name, value) in enumerate(values.items()):
        y = 16 * index
        rows.append(
            f'<text x="74" y="{y + 11}" text-anchor="end">{_said(name[:12])}</text>'
            f'<rect x="78" y="{y + 2}" width="{max(0.5, 92 * value / most):.1f}" height="10" rx="2" fill="{COLOURS[0]}"/>'
            f'<text x="{82 + 92 * value / most:.1f}" y="{y + 11}">{_said(f"{value:.3g}{unit}")}</text>'
        )
    return _figure(16 * len(values), title, "".join(rows))


def _figure(height: int, title: str, content: str) -> str:
    return (
        f'<figure><figcaption>{_said(title)}</figcaption><svg role="img" aria-label="{_said(title)}" width="{WIDTH}" '
        f'height="{height}" viewBox="0 0 {WIDTH} {height}">{content}</svg></figure>'
    )


def _said(text: str) -> str:
    return escape(text, quote=True)
