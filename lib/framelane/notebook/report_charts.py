"""The charts of a finished clip, drawn once by matplotlib as a PNG of a few tens of kB."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from framelane.i18n import gettext as _
from framelane.jobs.plan_view import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE, _HIGH, _DPI = 3.4, 2.1, 90
_INK, _GROUND = "#1c1f23", "#ffffff"
_LOOKS = (("#1f5fd0", "-"), ("#b65a00", "--"), ("#14795a", ":"), ("#7a2d99", "-."))
_MOST = 8

Draw = Callable[["Axes"], None]


def report_charts(card: Mapping[str, Any]) -> tuple[bytes, str]:
    """All charts that a result's card has figures for, side by side.

    The figures are drawn on white whatever the page's theme is: so they can be read, printed and passed on.

    Args:
        card: of :class:`framelane.notebook.finished.Result`.

    Returns:
        The PNG and what it shows in words; both empty where there is nothing to draw.
    """
    wanted = [(title, draw) for title, draw in _wanted(card) if draw is not None]
    if not wanted:
        return b"", ""
    return _drawn(wanted), "; ".join(title for title, _draw in wanted)


def bars_png(title: str, values: Mapping[str, float]) -> bytes:
    """One chart of bars as a PNG.

    Args:
        title: what it shows.
        values: by name; the largest eight are drawn.
    """
    return _drawn([(title, _bars(values))], wide=2)


def _drawn(wanted: Sequence[tuple[str, Draw]], wide: float = 1) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: what the notebook has set up for its own charts stays as it is

    columns = min(2, len(wanted))
    lines = -(-len(wanted) // columns)
    figure = Figure(figsize=(_WIDE * columns * wide, _HIGH * lines), dpi=_DPI, facecolor=_GROUND, layout="constrained")
    for place, (title, draw) in enumerate(wanted):
        axes = figure.add_subplot(lines, columns, place + 1)
        axes.set_title(title, fontsize=9, loc="left", color=_INK)
        axes.tick_params(labelsize=8, colors=_INK)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        draw(axes)
    packed = io.BytesIO()
    FigureCanvasAgg(figure).print_png(packed)  # type: ignore[no-untyped-call]
    return packed.getvalue()


def _wanted(card: Mapping[str, Any]) -> list[tuple[str, Draw | None]]:
    stages = {name: float(ms) for name, ms in (card.get("stage_ms") or {}).items() if ms}
    shares = {name: 100 * float(share) for name, share in (card.get("shares") or {}).items()}
    speeds = [(float(point[0]), float(point[2])) for point in card.get("speeds") or []]
    tracks = {str(track["name"]): track["share"] for track in card.get("tracks") or [] if len(track["share"]) > 1}
    names = {"decode": _("decode"), "process": _("process"), "encode": _("encode")}
    told = {names.get(stage, stage): ms for stage, ms in stages.items()}
    return [
        (_("Time a frame, in ms"), _bars(told) if told else None),
        (_("Attention by class, in %"), _bars(shares) if shares else None),
        (_("Frames a second"), _lines({"": speeds}, _("seconds of the job")) if len(speeds) > 1 else None),
        (_("Share of the attention, by object"), _lines(tracks, _("seconds of the clip")) if tracks else None),
    ]


def _bars(values: Mapping[str, float]) -> Draw:
    kept = dict(sorted(values.items(), key=lambda item: -item[1])[:_MOST])

    def draw(axes: Axes) -> None:
        names = [_plain(name) for name in reversed(kept)]
        bars = axes.barh(names, list(reversed(kept.values())), color=_LOOKS[0][0])
        axes.bar_label(bars, fmt="%.3g", fontsize=8, padding=2, color=_INK)
        axes.margins(x=0.18)

    return draw


def _lines(series: Mapping[str, Any], over: str) -> Draw:
    def draw(axes: Axes) -> None:
        axes.set_xlabel(over, fontsize=8, color=_INK)
        for (colour, dash), (name, points) in zip(_LOOKS, series.items(), strict=False):
            across, up = [float(point[0]) for point in points], [float(point[1]) for point in points]
            axes.plot(across, up, color=colour, linestyle=dash, linewidth=1.5, label=_plain(name) or None)
        axes.set_ylim(bottom=0)
        if any(series):
            axes.legend(fontsize=7, frameon=False)

    return draw


def _plain(name: str) -> str:
    """A name without control characters, and with none that matplotlib takes for mathematics or for a hidden entry."""
    return shown(name)[:34].replace("$", r"\$").lstrip("_")
