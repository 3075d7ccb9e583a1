"""What the depth processor draws: coloured depth, objects in their zone's colour, the radar, and the legends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from framelane.overlay import RGB, Boxes, Labels, Legend, Mark, paste
from framelane.overlay.blend import blend, fixed
from framelane.overlay.text import Patch, drawable, font, rounded, text_size
from framelane.processors.depth.fusion import Measured
from framelane.processors.depth.zones import Zone
from framelane.sections.depth import DepthSettings

if TYPE_CHECKING:
    import torch

COLOURS: dict[Zone, RGB] = {"danger": (255, 59, 48), "warning": (255, 176, 32), "safe": (52, 199, 89)}
_PLATE, _INK, _FAINT = (14, 16, 22, 200), (240, 242, 246, 255), (120, 126, 138, 255)
_HALF_ANGLE = 30.0  # degrees that the radar opens to each side where the lens is not known: a drawing, not a measure
_GREY = 96


def coloured(depth: np.ndarray, kind: str, near: float, far: float) -> np.ndarray:
    """A field in colours, near red and far blue (Turbo: Mikhailov 2019), uint8 ``(h, w, 3)``.

    Args:
        depth: metres, in steps of the logarithm between ``near`` and ``far``; or inverse depth from 0 to 1.
        kind: ``"metric"`` or ``"relative"``.
        near: metres of the nearest colour.
        far: metres of the farthest.
    """
    import cv2

    metric = kind == "metric"
    share = np.log(far / np.clip(depth, near, far)) / math.log(far / near) if metric else np.clip(depth, 0, 1)
    levels = np.asarray(share * 235 + 10.5, np.uint8)  # Turbo's ends are nearly black
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB))


class Picture:
    """Draws one frame after another.

    Args:
        options: colours, view and what is wanted.
        frame: (height, width) in pixels as displayed.
        kind: of the depth model; None where there is none.
        names: of the depth model and the detector, for the legend.
    """

    def __init__(
        self, options: DepthSettings, frame: tuple[int, int], kind: str | None, names: tuple[str, str]
    ) -> None:
        self.options, self.frame, self.kind = options, frame, kind
        self.boxes = Boxes(tint=0.08)
        unknown = "" if kind == "metric" else "\ndistance unknown: zones by box size"
        self.legend = Legend("obstacles", f"{' · '.join(name for name in names if name)}{unknown}")
        self.beside = options.view == "side_by_side" and kind is not None

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) of what comes out, where it is not the clip's own."""
        return (2 * self.frame[1], self.frame[0] - self.frame[0] % 2) if self.beside else None

    def draw(self, rgb: torch.Tensor, depth: np.ndarray | None, found: Sequence[tuple[Measured, Zone]]) -> torch.Tensor:
        """Draw on a copy of a frame.

        Args:
            rgb: uint8 ``(3, H, W)``.
            depth: its field, or None.
            found: the objects and their zones.

        Returns:
            uint8 ``(3, H, W)``, or ``(3, H, 2 W)`` side by side.
        """
        import torch

        out = rgb.clone()
        layer = self._layer(depth) if depth is not None and self.options.view != "plain" else None
        if layer is not None and not self.beside:
            blend(out, layer, fixed(self.options.alpha))
        marks = [self._mark(item, zone) for item, zone in found]
        self.boxes.annotate(out, marks)
        keep_out = self._furniture(out, found)
        Labels(keep_out).annotate(out, marks)
        if not self.beside or layer is None:
            return out
        right = torch.from_numpy(np.ascontiguousarray(layer)).to(out.device)
        self.boxes.annotate(right, marks)
        self._key(right)
        assert self.size is not None
        return torch.cat([out, right], dim=2)[:, : self.size[1]].contiguous()

    def _layer(self, depth: np.ndarray) -> np.ndarray:
        """The coloured field as planes ``(3, H, W)``."""
        import cv2

        assert self.kind is not None
        small = coloured(depth, self.kind, self.options.near_m, self.options.far_m)
        full = cv2.resize(small, self.frame[::-1], interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(full.transpose(2, 0, 1))

    def _mark(self, item: Measured, zone: Zone) -> Mark:
        return Mark(item.track.box, COLOURS[zone], label(item), (), item.track.seen)

    def _furniture(
        self, out: torch.Tensor, found: Sequence[tuple[Measured, Zone]]
    ) -> list[tuple[float, float, float, float]]:
        """Legend, scale and radar; what labels keep out of."""
        height, width = self.frame
        taken: list[tuple[float, float, float, float]] = []
        if self.options.legend:
            families = list(COLOURS.items())
            rect = self.legend.rect(width, height, families)
            if rect[0] >= 0 and rect[1] >= 0 and rect[2] <= width and rect[3] <= height:
                self.legend.annotate(out, families)
                taken.append(rect)
            if not self.beside and self.options.view == "blend":
                taken += self._key(out)
        if self.options.radar:
            side = round(0.32 * min(height, width))
            margin = max(2, height // 60)
            patch = radar(found, side, self.options, width)
            paste(out, patch, width - side - margin, margin)
            taken.append((width - side - margin, margin, width - margin, margin + patch.shape[0]))
        return taken

    def _key(self, out: torch.Tensor) -> list[tuple[float, float, float, float]]:
        """The colours' scale at the top left."""
        if self.kind is None or not self.options.legend:
            return []
        patch = key_patch(self.kind, self.options.near_m, self.options.far_m, text_size(self.frame[0]))
        margin = max(2, self.frame[0] // 60)
        if patch.shape[1] + 2 * margin > self.frame[1]:
            return []
        paste(out, patch, margin, margin)
        return [(margin, margin, margin + patch.shape[1], margin + patch.shape[0])]


def label(item: Measured) -> str:
    """``person 3 · 4.2 m · 2.1 s``; a distance that is not known is a question mark."""
    far = "? m" if item.distance is None else f"{item.distance:.1f} m"
    soon = "" if item.ttc is None or item.ttc > 9.95 else f" · {item.ttc:.1f} s"
    return f"{item.track.name} {item.track.index} · {far}{soon}"


@lru_cache(maxsize=8)
def key_patch(kind: str, near: float, far: float, size: int) -> Patch:
    """The scale of the colours: a bar with metres, or the words near and far for a relative model.

    Returns:
        uint8 ``(h, w, 4)``, shared by all callers: do not write to it.
    """
    from PIL import Image, ImageDraw

    pad, wide, high = max(4, size // 2), 13 * size, max(6, size // 2)
    picture = rounded(wide + 2 * pad, high + round(1.4 * size) + 2 * pad, max(3, size // 3), _PLATE)
    steps = np.linspace(0, 1, wide, dtype=np.float32)
    line = near * (far / near) ** steps if kind == "metric" else 1 - steps
    colours = coloured(line[None], kind, near, far)
    picture.paste(Image.fromarray(np.ascontiguousarray(np.repeat(colours, high, axis=0))), (pad, pad))
    draw, face = ImageDraw.Draw(picture), font(max(9, round(size * 0.82)))
    for share, text, anchor in _ticks(kind, near, far):
        draw.text((pad + share * (wide - 1), pad + high + size * 0.75), text, font=face, fill=_INK, anchor=anchor)
    return np.array(picture)


def _ticks(kind: str, near: float, far: float) -> list[tuple[float, str, str]]:
    if kind != "metric":
        return [(0.0, "near", "lm"), (0.5, "no metres", "mm"), (1.0, "far", "rm")]
    ticks = [(0.0, f"{near:g} m", "lm"), (1.0, f"{far:g} m", "rm")]
    for metres in (1, 2, 5, 10, 20, 50, 100):
        share = math.log(metres / near) / math.log(far / near) if metres > near else 0.0
        if 0.24 < share < 0.76 and all(abs(share - other) > 0.15 for other, _, _ in ticks):
            ticks.append((share, f"{metres} m", "mm"))
    return ticks


def radar(found: Sequence[tuple[Measured, Zone]], side: int, options: DepthSettings, width: int) -> Patch:
    """Objects from above: the camera below in the middle, ahead is up, rings at the zones' limits.

    An object without a distance stands outside the rim, where only its direction is told. Without ``depth.fov`` the
    directions are those in the picture, spread over a sector that is drawn and not measured.

    Args:
        found: the objects and their zones.
        side: of the square in pixels.
        options: zones, field of view, the rim.
        width: of the frame.
    """
    import cv2

    half = options.fov / 2 if options.fov else _HALF_ANGLE
    picture = _radar_base(side, half, options.danger_m, options.warning_m, options.far_m).copy()
    origin, reach = _radar_place(side, half)
    for item, zone in sorted(found, key=lambda pair: pair[1] == "danger"):
        middle = min(1.0, max(-1.0, (item.track.box[0] + item.track.box[2]) / width - 1))
        angle = math.radians(item.angle) if item.angle is not None else math.radians(middle * half)
        # Depth is measured along the axis: the way to the object is longer by 1 / cos.
        metres = None if item.distance is None else item.distance / max(0.2, math.cos(angle))
        away = 1.08 if metres is None else _radar_share(metres, options.far_m)
        spot = (origin[0] + away * reach * math.sin(angle), origin[1] - away * reach * math.cos(angle))
        centre = (round(16 * spot[0]), round(16 * spot[1]))
        colour = (*COLOURS[zone], 255)
        dot = max(2, side // 40)
        thick = -1 if metres is not None else max(1, dot // 2)
        cv2.circle(picture, centre, 16 * dot, colour, thick, cv2.LINE_AA, shift=4)
    return picture


def _radar_place(side: int, half: float) -> tuple[tuple[float, float], float]:
    """Where the camera is, and how many pixels the rim is away, so that the sector and its numbers fit."""
    return (side / 2, side * 0.93), side * min(0.76, 0.36 / math.sin(math.radians(half)))


def _radar_share(metres: float, far: float) -> float:
    """Square root: what is near, and matters, gets the room."""
    return math.sqrt(min(metres, far) / far)


@lru_cache(maxsize=8)
def _radar_base(side: int, half: float, danger: float, warning: float, far: float) -> Patch:
    from PIL import ImageDraw

    picture = rounded(side, side, max(3, side // 20), _PLATE)
    draw = ImageDraw.Draw(picture)
    (x, y), reach = _radar_place(side, half)
    face = font(max(8, side // 14))
    rings: list[tuple[float, RGB]] = [(far, (_GREY, _GREY, _GREY))]
    rings += [(metres, COLOURS[zone]) for metres, zone in ((warning, "warning"), (danger, "danger")) if metres < far]  # type: ignore[index]
    for metres, colour in rings:
        radius = _radar_share(metres, far) * reach
        draw.arc((x - radius, y - radius, x + radius, y + radius), -90 - half, -90 + half, fill=(*colour, 255), width=1)
        left = math.radians(half)
        spot = (x + radius * math.sin(left) + 2, y - radius * math.cos(left))
        draw.text(
            spot, drawable(f"{metres:g}"), font=face, fill=_FAINT if metres == far else (*colour, 255), anchor="lm"
        )
    for sign in (-1, 1):
        edge = math.radians(sign * half)
        draw.line((x, y, x + reach * math.sin(edge), y - reach * math.cos(edge)), fill=(_GREY, _GREY, _GREY, 255))
    draw.text((side * 0.04, side * 0.95), "m", font=face, fill=_FAINT, anchor="lm")
    return np.array(picture)
