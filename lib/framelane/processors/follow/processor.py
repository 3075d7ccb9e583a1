"""Follow: a virtual camera that keeps the ball or a person in the picture, planned over the whole clip."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from framelane.processors.base import Context, OutputSpec, Processor
from framelane.processors.follow.crop import cut_out
from framelane.processors.follow.framing import framing
from framelane.processors.follow.metrics import fold
from framelane.processors.follow.plan import Camera, plan_clip
from framelane.processors.follow.scout import Scout
from framelane.processors.follow.show import Numbers, drawn
from framelane.processors.follow.sightings import PERSON, Sightings
from framelane.processors.follow.subject import STATES
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch

_BLURRED = 1.05
_LONGEST = 20  # tracks that the report names


class Follow(Processor):
    """The ``follow`` processor; see the module's docstring and ``follow.*`` in the settings.

    All of the thinking is done between the passes (:meth:`learn`); the second pass cuts, frame by frame, with no state.
    """

    name = "follow"
    version = 2
    scalable = False
    exports = (".camera.csv",)

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Sizes, and the first pass with its models."""
        self.options = context.settings.follow
        self.context = context
        self.framing = framing(clip, self.options, context.own)
        self.scout: Scout | None = Scout(clip, context)
        self.camera: Camera | None = None
        if self.options.show:
            return OutputSpec()
        if self.framing.upscaled * self.options.zoom_min > _BLURRED:
            width, height = (round(side / self.options.zoom_min) for side in self.framing.widest)
            context.warn(
                f"The window is {width}x{height} pixels of the clip at most and the output "
                f"{self.framing.output[0]}x{self.framing.output[1]}: it is scaled up and no sharper than the clip."
            )
        return OutputSpec(size=self.framing.output)

    def first_pass(self) -> Processor | None:
        """What looks for the subject."""
        return self.scout

    def learn(self, rows: Iterable[dict[str, Any]]) -> None:
        """Plan the camera."""
        self.scout = None
        found = Sightings.of(rows)
        self.camera = (
            plan_clip(found, self.framing, self.options, _lab(self.options.colour)) if len(found.times) else None
        )
        self.tracks = _tracks(found)
        self.numbers = Numbers(found) if self.options.show else None
        if self.camera is None or not self.camera.state.any():
            self.context.warn(_nobody(self.options.subject, found))

    def infer(self, batch: FrameBatch) -> FrameBatch:
        """Cut the windows out."""
        assert self.camera is not None
        windows = [self.camera.window(batch.first_index + index) for index in range(len(batch))]
        if self.numbers is not None:
            return drawn(batch, windows, self.camera, self.numbers)
        return cut_out(batch, windows, self.framing.output)

    def commit(self, batch: FrameBatch, inferred: FrameBatch) -> list[FrameBatch]:
        """The frames with their rows."""
        return [inferred.replace(rows=[self._row(batch.first_index + i, t) for i, t in enumerate(batch.times)])]

    def _row(self, index: int, time: float) -> dict[str, Any]:
        assert self.camera is not None
        camera, i = self.camera, min(index, len(self.camera) - 1)
        window = camera.window(i)
        return {
            "frame": index,
            "time": round(time, 6),
            "window": [round(value, 3) for value in (window.x, window.y, window.width, window.height)],
            "subject": [round(float(value), 2) for value in camera.place[i]],
            "certainty": round(float(camera.certainty[i]), 3),
            "state": STATES[camera.state[i]],
            "cut": bool(camera.cuts[i]),
            "zoom": round(self.framing.widest[0] / window.width, 4),
        }

    def report(self, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """How the camera did, by where the subject is believed to be."""
        said: dict[str, Any] = {"subject": self.options.subject, "output": list(self.framing.output)}
        if self.camera is not None:
            said |= {"tracks_followed": list(self.camera.followed), "observations_rejected": self.camera.rejected}
            said["tracks"] = self.tracks
        return {**said, **fold(rows)}

    def export(self, suffix: str, rows: Iterable[dict[str, Any]], path: Path) -> None:
        """``.camera.csv``: a line a frame; pixels of the displayed clip. Where nobody was found, the subject is empty."""
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["frame", "time", "x", "y", "w", "h", "subject_x", "subject_y", "certainty", "state"])
            for row in rows:
                subject = ["", ""] if row["state"] == "nobody" else row["subject"]
                table.writerow([row["frame"], row["time"], *row["window"], *subject, row["certainty"], row["state"]])

    def close(self) -> None:
        """Release the models."""
        if (scout := self.__dict__.get("scout")) is not None:
            scout.close()


def _lab(colour: str | None) -> Any:
    """``#rrggbb`` in OpenCV's 8-bit Lab, float64 ``(3,)``."""
    if colour is None:
        return None
    import cv2

    rgb = np.array([[[int(colour[i : i + 2], 16) for i in (1, 3, 5)]]], np.uint8)
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[0, 0].astype(np.float64)


def _tracks(found: Sightings) -> list[dict[str, Any]]:
    """The people that were tracked longest, by whose numbers ``follow.subject`` may ask for them."""
    own = found.tracks[(found.tracks[:, 2] == PERSON) & (found.tracks[:, 1] > 0)]
    numbers, first, back = np.unique(own[:, 1], return_index=True, return_inverse=True)
    last = np.zeros(len(numbers), int)
    np.maximum.at(last, back, np.arange(len(own)))
    spans = [
        (int(number), *(round(float(found.times[int(own[row, 0])]), 3) for row in (begin, end)))
        for number, begin, end in zip(numbers, first, last, strict=True)
    ]
    spans.sort(key=lambda span: (span[1] - span[2], span[0]))
    return [{"track": number, "from_s": begin, "to_s": end} for number, begin, end in spans[:_LONGEST]]


def _nobody(subject: str, found: Sightings) -> str:
    if subject.isdigit():
        known = sorted({int(index) for index in found.tracks[:, 1] if index > 0})
        there = f"there are {', '.join(map(str, known[:20]))}" if known else "there is none at all"
        return f"No track {subject} is in the clip ({there}); the camera stands still in the middle."
    if subject == "ball":
        return "No ball was found in the clip; the camera stands still in the middle."
    return "Nobody was found in the clip; the camera stands still in the middle."
