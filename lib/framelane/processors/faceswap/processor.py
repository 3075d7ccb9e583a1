"""Face swap: a consented source face put on faces of a clip, in every frame labelled as what it is."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.perception.faces.base import Face
from framelane.perception.faces.tracks import GAP_S, WIDTH_S, FaceTracks, Sight, faces_at, joined
from framelane.perception.motion import bare_steps
from framelane.perception.waiting import Waiting
from framelane.processors.base import Context, Moment, OutputSpec, Processor, Snapshot
from framelane.processors.faceswap import opening, safety
from framelane.processors.faceswap.compose import composed, swapped
from framelane.processors.faceswap.figures import fold
from framelane.processors.faceswap.quality import Quality
from framelane.processors.faceswap.swapper import Patch, Refused, Wish
from framelane.provenance import Provenance
from framelane.schema import Settings
from framelane.sections.faceswap import FaceswapSettings
from framelane.video.clip import Clip
from framelane.video.copies import to_device
from framelane.video.frames import FrameBatch

if TYPE_CHECKING:
    import torch

_RAREST = 16  # frames between two looks at faces; beyond that nothing can be interpolated
_CUT = 0.3  # as attention.cut_threshold's default


@dataclass(frozen=True)
class Inferred:
    """What was found in a frame batch, by position in it.

    Attributes:
        cuts: positions at which another scene begins.
        faces: at frames that were looked at.
    """

    cuts: frozenset[int]
    faces: dict[int, list[Face]]


@dataclass(frozen=True)
class _Look:
    """What was found in a frame that was looked at."""

    index: int
    scene: int
    sights: list[Sight]


@dataclass(frozen=True)
class _Planned:
    """A frame and what is to be done in it."""

    frame: FrameBatch
    faces: dict[int, Face]
    rules: dict[int, int]
    left: dict[int, str]


class Faceswap(Processor):
    """The ``faceswap`` processor; see ``faceswap.*`` in the settings.

    Faces are found in :meth:`infer`. Frames then wait for :attr:`ahead` later ones: with them a face is smoothed without
    lag, is known from its first frame on, and a blink does not lose it.
    """

    name = "faceswap"
    version = 2
    makes_sheet = True
    says_what_it_is = True

    def require(self, settings: Settings, output: Path) -> None:
        """Refuse a job without consent, without a source, or with an output that cannot say what it is."""
        safety.require(settings, output)
        opening.named(settings.faceswap)

    def provenance(self) -> Provenance:
        """What the output says of itself."""
        return self.says

    def open(self, clip: Clip, context: Context) -> OutputSpec:
        """Check what must be checked before any work, load models and sources."""
        self.options: FaceswapSettings = context.settings.faceswap
        self.context = context
        opened = opening.open_all(clip, context)
        self.finder, self.swapper, self.restorer = opened.finder, opened.swapper, opened.restorer
        self.chooser, self.label, self.describe = opened.chooser, opened.label, opened.describe
        self.says, self.told_apart_by = opened.provenance, opened.told_apart_by
        rate = max(float(clip.rate), 1.0)
        wanted = self.options.detect_every
        self.every = max(wanted, min(wanted * context.settings.hardware.stride, _RAREST))
        self.width = max(WIDTH_S, 2.5 * self.every / rate)
        self.gap = max(GAP_S, 2 * self.every / rate)
        self.ahead = min(64, max(ceil(max(self.gap, self.width) * rate), self.every))
        self.tracks = FaceTracks(rate=rate / self.every, threshold=self.options.detection_threshold)
        self.quality = Quality(self.finder, [rule.source for rule in self.chooser.rules], rate)
        self.waiting: deque[Waiting] = deque()
        self.looks: deque[_Look] = deque()
        self.scene, self.released = 0, -1
        return OutputSpec(touches=True)

    # -- pure --------------------------------------------------------------------------------------------------------

    def infer(self, batch: FrameBatch) -> Inferred:
        """Faces of every N-th frame, and of the first one of a scene."""
        cuts = frozenset(place for place, step in enumerate(bare_steps(batch, _CUT)) if step.cut)
        wanted = [i for i in range(len(batch)) if i in cuts or (batch.first_index + i) % self.every == 0]
        faces: dict[int, list[Face]] = {}
        if wanted:
            pixels = batch.rgb[wanted]
            for place, found in zip(wanted, self.finder.find(pixels), strict=True):
                faces[place] = [self.describe(batch.rgb[place], face) for face in found]
        return Inferred(cuts, faces)

    # -- in order ----------------------------------------------------------------------------------------------------

    def commit(self, batch: FrameBatch, inferred: Inferred) -> list[FrameBatch]:
        """Queue the frames and give back those that enough later ones are known of."""
        for place in range(len(batch)):
            frame = batch.alone(place)
            cut = place in inferred.cuts
            self.scene = frame.first_index if cut else self.scene
            self.waiting.append(Waiting(frame, self.scene))
            time = frame.times[0]
            if place in inferred.faces:
                seen = self.tracks.update(frame.first_index, time, inferred.faces[place], cut=cut)
                self.looks.append(_Look(frame.first_index, self.scene, seen))
        return self._release(ended=False)

    def flush(self) -> list[FrameBatch]:
        """Give back what still waits."""
        return self._release(ended=True)

    def _release(self, *, ended: bool) -> list[FrameBatch]:
        if not self.waiting:
            return []
        newest = self.waiting[-1].index
        ready = []
        while self.waiting and (ended or self.waiting[0].index + self.ahead <= newest):
            item = self.waiting.popleft()
            if item.index > self.released:  # else: replayed after a resume, only for what was seen in it
                ready.append(self._plan(item))
                self.released = item.index
        oldest = self.released + 1 - self.ahead
        while self.looks and self.looks[0].index < oldest:
            self.looks.popleft()
        self.tracks.forget_before(oldest)
        size = max(1, self.context.settings.hardware.batch_size)
        return [done for start in range(0, len(ready), size) for done in self._finish(ready[start : start + size])]

    def _plan(self, item: Waiting) -> _Planned:
        """Which faces of a frame are replaced, and where they are."""
        near = [x for x in self.looks if x.scene == item.scene and abs(x.index - item.index) <= self.ahead]
        around = joined(sight for look in near for sight in look.sights)
        last = near[-1].index if near else item.index
        faces = faces_at(around, item.index, item.time, width=self.width, gap=self.gap, last=last)
        rules = self.chooser.choose(item.index, item.time, faces, around)
        small = {track for track in rules if faces[track].size < self.options.min_face_px}
        left = {track: f"too small ({faces[track].size:.0f} px)" for track in small}
        return _Planned(item.frame, faces, {k: v for k, v in rules.items() if k not in small}, left)

    def _finish(self, group: list[_Planned]) -> list[FrameBatch]:
        """Swap, restore, paste, label and measure some frames."""
        import torch

        pixels = to_device(torch.cat([plan.frame.rgb for plan in group]), self.context.device)
        wishes, owners = [], []
        for place, plan in enumerate(group):
            for track, rule in plan.rules.items():
                wishes.append(Wish(place, plan.faces[track], self.chooser.rules[rule].source))
                owners.append((place, track))
        answers = swapped(self.swapper, self.restorer, pixels, wishes, self.context.degrade)
        done = []
        for place, plan in enumerate(group):
            own = {track: answer for (at, track), answer in zip(owners, answers, strict=True) if at == place}
            done.append(self._drawn(plan, pixels[place], own))
        return done

    def _drawn(self, plan: _Planned, before: torch.Tensor, answers: dict[int, Patch | Refused]) -> FrameBatch:
        patches = {track: answer for track, answer in answers.items() if isinstance(answer, Patch)}
        left = {**plan.left, **{t: answer.reason for t, answer in answers.items() if isinstance(answer, Refused)}}
        after = composed(before, list(patches.values()), self.options.blend)
        frame = plan.frame
        row = self.quality.row(frame.first_index, frame.times[0], plan.faces, plan.rules, left, patches, before, after)
        labelled = self.label.draw(after)
        return frame.replace(rgb=labelled[None], rows=[row])

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The state after the last commit; the tracker is rebuilt from it, just as a resume rebuilds it."""
        first = max(0, self.released + 1 - self.ahead)
        state = {
            "released": self.released,
            "tracks": self.tracks.snapshot(),
            "chooser": self.chooser.snapshot(),
            "quality": self.quality.snapshot(),
        }
        self._take(json.loads(json.dumps(state)))
        return Snapshot(state, first)

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot."""
        self.released, self.scene = state["released"], -1  # of frames that are replayed, until the next cut
        self._take(state)

    def _take(self, state: dict[str, Any]) -> None:
        self.tracks.restore(state["tracks"])
        self.chooser.restore(state["chooser"])
        self.quality.restore(state["quality"])

    def report(self, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Quality figures, and with what they were made."""
        made_with = {
            "swapper": self.swapper.name,
            "restored": self.restorer is not None,
            "told_apart_by": self.told_apart_by,
            "identity_measured": self.finder.tells_who,
        }
        return {**made_with, **fold(rows)}

    def moments(self, metrics: Mapping[str, Any]) -> list[Moment]:
        """The worst frames."""
        return [Moment(frame["time"], frame["why"]) for frame in metrics["worst_frames"]]

    def close(self) -> None:
        """Release the models."""
        for model in ("finder", "swapper", "restorer"):
            if (opened := self.__dict__.pop(model, None)) is not None:
                opened.close()
        self.waiting = deque()
