"""From poses on every N-th frame to the people of every frame: tracked, smoothed, bridged."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from framelane.perception.camera import Motion, compose, from_json, to_json
from framelane.perception.pose_tracks import Filling, Person, PoseTracks
from framelane.processors.pose.causal import Causal
from framelane.sections.pose import PoseSettings

if TYPE_CHECKING:
    import supervision

_MOST_WAITING = 64  # frames held back at most
_LEAST_LOOKS = 2.5  # looks to either side that smoothing needs


class Lane:
    """What is done to poses in the order of the frames.

    Args:
        options: ``pose.*``.
        rate: frames per second of the clip.
        every: poses are given on every N-th frame, and now and then on others.

    Attributes:
        ahead: how many later frames must have been given before a frame is asked for.
    """

    def __init__(self, options: PoseSettings, *, rate: float, every: int) -> None:
        gap = max(options.gap_s, 1.01 * every / rate)
        width = max(options.smoothing_s, _LEAST_LOOKS * every / rate) if options.smoothing == "loess" else 0.0
        self.ahead = min(_MOST_WAITING, max(ceil(max(gap, width) * rate), every))
        self.filling = Filling(options.joint_threshold, gap, width)
        self.causal = Causal(options.min_cutoff, options.beta) if options.smoothing == "one_euro" else None
        self.tracks = PoseTracks(options.tracker, rate=rate / every, threshold=options.detection_threshold)
        self.camera: Motion | None = None

    def give(
        self,
        index: int,
        time: float,
        scene: int,
        found: supervision.Detections | None,
        *,
        same_as: int | None = None,
        camera: Motion | None = None,
    ) -> None:
        """The next frame; one that was given before a resume is known already.

        Args:
            index: of the frame in the clip.
            time: seconds.
            scene: index of the frame at which its scene begins.
            found: the people, where it was looked at.
            same_as: a frame that was looked at and from which this one does not differ.
            camera: its motion since the frame before.
        """
        if index <= self.tracks.until:
            return
        if index == scene:
            self.end()
        self.camera = None if index == scene else compose(self.camera, camera)
        if found is not None:
            self.tracks.update(index, time, scene, found, self.camera)
        elif same_as is not None:
            self.tracks.repeat(index, time, same_as, self.camera)
        if self.tracks.until == index:
            self.camera = None

    def end(self) -> None:
        """The scene, or the clip, ends behind the frames given so far."""
        self.tracks.end_scene()

    def take(self, index: int, time: float, scene: int) -> list[Person]:
        """The people of a frame, asked for once and in order, when :attr:`ahead` later ones are given or the clip ends."""
        near = [look for look in self.tracks.looks if look.scene == scene and abs(look.index - index) <= self.ahead]
        people = self.filling.people_at(near, index, time, last=near[-1].index) if near else []
        if self.causal:
            people = self.causal.update(people, time, cut=index == scene)
        self.tracks.forget_before(index + 1 - self.ahead)
        return people

    def snapshot(self) -> dict[str, Any]:
        """The state as plain data."""
        causal = self.causal.snapshot() if self.causal else []
        return {"tracks": self.tracks.snapshot(), "camera": to_json(self.camera), "causal": causal}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.tracks.restore(state["tracks"])
        self.camera = from_json(state["camera"])
        if self.causal:
            self.causal.restore(state["causal"])
