"""What the attention processor draws: the blue shadow, the objects, their trails and labels, and the legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from framelane.overlay import (
    Boxes,
    Labels,
    Legend,
    Mark,
    ObjectShadow,
    Trails,
    Weight,
    parse_colour,
    shade,
    shadow,
)
from framelane.perception.lanes import Track
from framelane.sections.attention import AttentionSettings

if TYPE_CHECKING:
    import torch

    from framelane.perception.detectors import Detector

_STRONGEST = 99.5  # percentile of the map drawn at full opacity: a single hot patch must not dim all others
_TITLES = {"a": "attention", "b": "tracked objects", "ab": "attention + tracked objects"}


class Picture:
    """Draws one frame after another.

    Args:
        options: colours, opacities and what is wanted.
        frame: (height, width) in pixels as displayed.
        backbone: what the maps come from; empty without channel A.
        detector: channel B's; the legend says whether it gives every object attention of its own.
    """

    def __init__(
        self,
        options: AttentionSettings,
        frame: tuple[int, int],
        *,
        backbone: str = "",
        detector: Detector | None = None,
    ) -> None:
        self.options, self.frame = options, frame
        self.colours = options.family_colours.model_dump()
        self.own = bool(detector and detector.has_attention)
        self.boxes = Boxes(tint=0.0 if self.own else options.object_alpha)
        self.trails = Trails()
        with_map = "a" in options.channels
        self.legend = Legend(
            _TITLES[options.channels],
            "\n".join(self._details(backbone, detector.name if detector else "")),
            (parse_colour(options.colour), options.alpha) if with_map else None,
        )

    def _details(self, backbone: str, detector: str) -> list[str]:
        """What the colours and numbers are."""
        options = self.options
        models = {"a": f"{options.method} · {backbone}", "b": f"{detector} · {options.tracker}"}
        lines = [models["a" if "a" in options.channels else "b"]]
        if self.own:
            lines.append(f"objects: own attention ({detector})")
        if options.channels == "ab":
            lines.append("%: blue attention in the box")
        return lines

    def draw(
        self,
        rgb: torch.Tensor,
        field: np.ndarray | None,
        shares: list[tuple[Track, float | None]],
        trails: dict[int, list[tuple[float, float]]],
        action: tuple[str, float] | None = None,
    ) -> torch.Tensor:
        """Draw on a copy of a frame.

        Args:
            rgb: uint8 ``(3, H, W)``.
            field: the attention map, summing to 1; None draws no shadow.
            shares: objects with their share of the map.
            trails: per object its path (x, y) in pixels, oldest first.
            action: what a video backbone takes it for, and how probable that is.

        Returns:
            uint8 ``(3, H, W)``.
        """
        import torch

        out = rgb.clone()
        marks = [self._mark(track, part, trails.get(track.index, [])) for track, part in shares]
        layer = self._own_attention([track for track, _ in shares], marks) if self.own else None
        if field is not None:
            shadow(
                out,
                torch.from_numpy(strength(field)).to(out.device),
                parse_colour(self.options.colour),
                self.options.alpha,
                marks=marks,
                tint=self.options.object_alpha if layer is None else layer.plane(str(out.device)),
            )
        if layer is not None:
            layer.annotate(out)
        self.boxes.annotate(out, marks)
        self.trails.annotate(out, marks)
        self.legend.note = "" if action is None else f"action: {action[0]} {_percent(action[1])}"
        self._words(out, marks, [track for track, _ in shares])
        return out

    def _own_attention(self, tracks: list[Track], marks: list[Mark]) -> ObjectShadow:
        weights = [
            Weight(strength(track.attention), mark.colour, mark.strength)
            for track, mark in zip(tracks, marks, strict=True)
            if track.attention is not None
        ]
        return ObjectShadow(weights, self.frame, self.options.object_shadow)

    def _words(self, out: torch.Tensor, marks: list[Mark], tracks: list[Track]) -> None:
        height, width = self.frame
        present = {track.family for track in tracks}
        families = [(name, parse_colour(colour)) for name, colour in self.colours.items() if name in present]
        fits = False
        if self.options.legend:
            left, top, right, bottom = self.legend.rect(width, height, families)
            fits = left >= 0 and top >= 0 and right <= width and bottom <= height
        Labels([self.legend.rect(width, height, families)] if fits else []).annotate(out, marks)
        if fits:
            self.legend.annotate(out, families)

    def _mark(self, track: Track, part: float | None, trail: list[tuple[float, float]]) -> Mark:
        text = f"{track.name} {track.index}" + ("" if part is None else f" · {_percent(part)}")
        return Mark(track.box, shade(self.colours[track.family], track.index), text, tuple(trail), track.seen)


def strength(field: np.ndarray) -> np.ndarray:
    """How strongly each place is drawn: proportional to its attention above the map's median.

    The median is what a place gets that is nothing special; it is drawn as nothing, the strongest half percent as 1.

    Args:
        field: float32 ``(h, w)``.

    Returns:
        float32 ``(h, w)``, 0 to 1.
    """
    usual, strongest = np.percentile(field, (50, _STRONGEST))
    if strongest <= usual * (1 + 1e-6):
        return np.zeros_like(field)
    return np.asarray(np.clip((field - usual) / (strongest - usual), 0, 1), np.float32)


def _percent(part: float) -> str:
    return "< 1 %" if 0 < part < 0.005 else f"{100 * part:.0f} %"
