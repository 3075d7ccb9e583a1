"""How good a swap is, in figures: measured on the frames that come out, with the finder that found the faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from framelane.perception.faces.base import Face, FaceFinder
from framelane.processors.faceswap.swapper import Patch, Source

if TYPE_CHECKING:
    import torch

MEASURED_EVERY_S = 1.0
"""So often three frames in a row are looked at again after the swap: finding faces a second time in all would double it."""
_BAND = 4  # pixels to either side of the seam
_SMALL = 192  # longer side at which the seam is looked at


class Quality:
    """Measures frame by frame.

    Args:
        finder: finds the faces again in what comes out.
        sources: by index of the rule.
        rate: frames a second.
    """

    def __init__(self, finder: FaceFinder, sources: Sequence[Source], rate: float) -> None:
        self.finder, self.sources = finder, list(sources)
        self.every = max(3, round(rate * MEASURED_EVERY_S))
        self._last: dict[int, list[list[Any]]] = {}  # by track: index, points before, points after of two frames

    def row(
        self,
        index: int,
        time: float,
        faces: Mapping[int, Face],
        rules: Mapping[int, int],
        left: Mapping[int, str],
        patches: Mapping[int, Patch],
        before: torch.Tensor,
        after: torch.Tensor,
    ) -> dict[str, Any]:
        """What is kept of a frame.

        Args:
            index: of the frame in the clip.
            time: seconds.
            faces: all that were found, by track.
            rules: the rule of those that were to be swapped.
            left: why some of them were left alone.
            patches: what was laid on the frame.
            before: (3, H, W) uint8.
            after: (3, H, W) uint8, not labelled.
        """
        kept: dict[int, dict[str, Any]] = {}
        for track, face in faces.items():
            kept[track] = {"track": track, "box": [round(float(side)) for side in face.box]}
            if track in rules:
                kept[track]["source"] = self.sources[rules[track]].name
            if track in left:
                kept[track]["left"] = left[track]
            if track in patches:
                kept[track] |= {"swapped": True, **of_patch(patches[track], before, after)}
        if patches and index % self.every < 3:
            for track, figures in self._again(index, faces, rules, patches, before, after).items():
                kept[track] |= figures
        return {"frame": index, "time": round(time, 4), "faces": list(kept.values())}

    def _again(
        self,
        index: int,
        faces: Mapping[int, Face],
        rules: Mapping[int, int],
        patches: Mapping[int, Patch],
        before: torch.Tensor,
        after: torch.Tensor,
    ) -> dict[int, dict[str, Any]]:
        """Who the swapped faces are, and how much their points tremble, before and after."""
        import torch

        was, now = self.finder.find(torch.stack([before, after]))
        found: dict[int, dict[str, Any]] = {}
        for track in patches:
            old, new = nearest(faces[track], was), nearest(faces[track], now)
            if new is None:
                found[track] = {"found_again": False}
                self._last.pop(track, None)
                continue
            found[track] = {"found_again": True, **self._who(old, new, self.sources[rules[track]])}
            if old is not None:
                found[track] |= self._jitter(index, track, old, new)
        self._last = {track: seen for track, seen in self._last.items() if seen[-1][0] >= index - 2}
        return found

    def _who(self, old: Face | None, new: Face, source: Source) -> dict[str, float]:
        """Cosine of the angle between embeddings: of the result and the source, of the result and the original."""
        if not self.finder.tells_who or new.embedding is None:
            return {}
        figures = {}
        if source.embedding is not None:
            figures["like_source"] = round(float(new.embedding @ source.embedding), 4)
        if old is not None and old.embedding is not None:
            figures["like_original"] = round(float(new.embedding @ old.embedding), 4)
        return figures

    def _jitter(self, index: int, track: int, old: Face, new: Face) -> dict[str, float]:
        """Second difference of the five points over three frames, mean over the points, share of the eye distance."""
        last = [seen for seen in self._last.get(track, []) if seen[0] in (index - 1, index - 2)]
        self._last[track] = [*last[-1:], [index, old.points.tolist(), new.points.tolist()]]
        if len(last) < 2:
            return {}
        eyes = max(float(np.linalg.norm(old.points[0] - old.points[1])), 1.0)
        figures = {}
        for name, place, points in (("jitter_in", 1, old.points), ("jitter_out", 2, new.points)):
            bend = points - 2 * np.array(last[1][place]) + np.array(last[0][place])
            figures[name] = round(float(np.linalg.norm(bend, axis=1).mean()) / eyes, 5)
        return figures

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data."""
        return {"last": [[track, seen] for track, seen in self._last.items()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self._last = dict(state["last"])


def nearest(face: Face, others: Sequence[Face]) -> Face | None:
    """The one of other faces that is at the same place: its middle no further than half of the face's size."""
    middle = (face.box[:2] + face.box[2:]) / 2
    best = min(others, key=lambda other: _away(other, middle), default=None)
    return best if best is not None and _away(best, middle) <= face.size / 2 else None


def _away(face: Face, middle: NDArray[np.floating]) -> float:
    return float(np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - middle))


def of_patch(patch: Patch, before: torch.Tensor, after: torch.Tensor) -> dict[str, float]:
    """The seam's colour difference before and after, and the sharpness after by that before."""
    import cv2

    height, width = patch.rgb.shape[-2:]
    part = (slice(None), slice(patch.top, patch.top + height), slice(patch.left, patch.left + width))
    was, now = (np.ascontiguousarray(frame[part].permute(1, 2, 0).cpu().numpy()) for frame in (before, after))
    mask = patch.alpha[0].cpu().numpy() > 0.5
    if not mask.any():
        return {}
    sharp = [float(cv2.Laplacian(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), cv2.CV_32F)[mask].var()) for p in (was, now)]
    figures = {"sharpness": round(float((sharp[1] / max(sharp[0], 1e-6)) ** 0.5), 4)}
    for name, picture in (("seam_in", was), ("seam_out", now)):
        if (difference := seam(picture, mask)) is not None:
            figures[name] = round(difference, 3)
    return figures


def seam(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float | None:
    """Colour difference across a seam: CIE 1976 Delta E of the means of narrow bands inside and outside of it.

    Compared place by place along the seam, with the means of what lies near, so that a face that is darker than its
    surroundings does not count for itself: the original has a difference there, too.

    Args:
        picture: (h, w, 3) RGB.
        mask: (h, w) the inside.

    Returns:
        The mean along the seam; None where the region has no outside.
    """
    import cv2

    scale = min(1.0, _SMALL / max(mask.shape))
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    inside = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _BAND + 1, 2 * _BAND + 1))
    inner = (inside - cv2.erode(inside, disc, borderValue=1)).astype(np.float32)
    outer = (cv2.dilate(inside, disc, borderValue=0) - inside).astype(np.float32)
    edge = (inside - cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1)).astype(bool)
    window = (4 * _BAND + 1, 4 * _BAND + 1)
    near = [cv2.boxFilter(band, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT) for band in (inner, outer)]
    edge &= (near[0] > 0.5) & (near[1] > 0.5)
    if not edge.any():
        return None
    means = [
        cv2.boxFilter(lab * band[..., None], -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)[edge]
        / count[edge][:, None]
        for band, count in zip((inner, outer), near, strict=True)
    ]
    return float(np.linalg.norm(means[0] - means[1], axis=1).mean())
