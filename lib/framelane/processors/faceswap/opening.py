"""Opening what the settings of ``faceswap`` name; where a model cannot be had, the embedded one works and says so."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError, UsageError
from framelane.perception.faces import appearance
from framelane.perception.faces.base import Face, FaceFinder, Floats
from framelane.processors.base import Context
from framelane.processors.faceswap import consent, content
from framelane.processors.faceswap.label import Label
from framelane.processors.faceswap.select import Chooser, Rule
from framelane.processors.faceswap.sources import load_source
from framelane.processors.faceswap.swapper import Source, Swapper
from framelane.video.clip import Clip
from framelane.video.reader import frame_near

if TYPE_CHECKING:
    import torch

_MOMENT = re.compile(r"(\d+(?:\.\d+)?)#(\d+)")
Describe = Callable[["torch.Tensor", Face], Face]


@dataclass(frozen=True)
class Opened:
    """Everything that a job needs.

    Attributes:
        finder: finds faces.
        swapper: makes patches.
        restorer: restores their detail; None does not.
        chooser: which face gets which source.
        label: drawn on every frame.
        describe: gives a face what it is compared by, where somebody in particular is replaced.
        records: for the report: whose faces, on what ground, what was checked, how faces are told apart.
    """

    finder: FaceFinder
    swapper: Swapper
    restorer: Any
    chooser: Chooser
    label: Label
    describe: Describe
    records: dict[str, Any]


def open_all(clip: Clip, context: Context) -> Opened:
    """Check the settings, the consent and the contents, then load what swaps.

    Raises:
        UsageError: settings that do not fit, no consent, a source without a face.
        FramelaneError: a refusal, or a model that is missing and has no stand-in.
    """
    options = context.settings.faceswap
    named = _named(context)
    finder = open_finder(context)
    try:
        sources = [load_source(Path(source), finder) for source, _ in named]
        records: dict[str, Any] = {"consent": consent.check(context.settings, sources)}
        records["content_check"] = content.check_clip(clip, sources, context, finder)
        swapper = open_swapper(context, finder, sources)
        restorer = open_restorer(context, swapper)
        targets = [None if target is None else _target(target, clip, context, finder) for _, target in named]
        told = {None} != set(targets_named(named))
        chooser = Chooser(
            "like" if told else "largest" if options.select == "largest" else "many",
            [Rule(source, target) for source, target in zip(sources, targets, strict=True)],
            _distance(context, finder) if told else options.similar_face_distance,
        )
    except BaseException:
        finder.close()
        raise
    describe: Describe = partial(described, finder) if told else as_it_is
    records["told_apart_by"] = _told_by(finder, told)
    return Opened(finder, swapper, restorer, chooser, Label(options), describe, records)


def targets_named(named: list[tuple[str, str | None]]) -> list[str | None]:
    """The targets of sources, as the settings name them."""
    return [target for _, target in named]


def as_it_is(rgb: torch.Tensor, face: Face) -> Face:
    """Nobody in particular is replaced: nothing to compare."""
    return face


def described(finder: FaceFinder, rgb: torch.Tensor, face: Face) -> Face:
    """A face with a vector that it is compared by: the finder's embedding, else how it looks."""
    return face if finder.tells_who else replace(face, embedding=appearance.describe(rgb, face))


def _named(context: Context) -> list[tuple[str, str | None]]:
    """Sources and their targets as the settings name them.

    Raises:
        UsageError: something is missing, or named twice.
    """
    options = context.settings.faceswap
    if options.pairs:
        if options.source or options.reference:
            raise UsageError("faceswap.pairs name their sources and targets: leave faceswap.source and reference away.")
        return [(pair.source, pair.target) for pair in options.pairs]
    if not options.source:
        raise UsageError("faceswap.source is missing: name an image of the source face, or a folder of such images.")
    if options.select == "reference":
        if not options.reference:
            raise UsageError(
                "faceswap.select=reference needs faceswap.reference: an image of the face to replace, or SECONDS#INDEX."
            )
        return [(options.source, options.reference)]
    if options.reference:
        context.warn(f"faceswap.reference has no effect with faceswap.select={options.select}.")
    return [(options.source, None)]


def _target(text: str, clip: Clip, context: Context, finder: FaceFinder) -> Floats:
    """What a target's face is compared by.

    Raises:
        UsageError: there is no such face.
    """
    if moment := _MOMENT.fullmatch(text):
        seconds, index = float(moment[1]), int(moment[2])
        rgb = frame_near(clip, seconds, context.threads).rgb.to(context.device)
        faces = sorted(finder.find(rgb)[0], key=lambda face: float(face.box[0]))
        if index >= len(faces):
            raise UsageError(
                f"At {seconds:g} s {clip.path.name} shows {len(faces)} face(s); {text} asks for number {index}, counted "
                "from 0 at the left."
            )
        found = described(finder, rgb[0], faces[index]).embedding
    else:
        source = load_source(Path(text), finder)
        import torch

        picture = torch.from_numpy(source.images[0].transpose(2, 0, 1).copy())
        found = source.embedding if finder.tells_who else described(finder, picture, source.faces[0]).embedding
    if found is None:
        raise FramelaneError(f"The face of {text} could not be described.")
    return found


def _distance(context: Context, finder: FaceFinder) -> float:
    own = "faceswap.similar_face_distance" in context.own
    if not finder.tells_who:
        context.degrade(
            "Faces are told apart by how they look (light and hair count), for the finder in use does not know people; "
            "faceswap.finder=insightface does."
        )
    if finder.tells_who or own:
        return context.settings.faceswap.similar_face_distance
    return appearance.DISTANCE


def _told_by(finder: FaceFinder, told: bool) -> str | None:
    if not told:
        return None
    return "embedding" if finder.tells_who else "appearance"


# -- models --------------------------------------------------------------------------------------------------------------


def open_finder(context: Context) -> FaceFinder:
    """What finds faces."""
    from framelane.perception.faces.centerface import CenterFaceFinder

    options = context.settings.faceswap
    finder: FaceFinder = CenterFaceFinder(
        device=context.device, threads=context.threads, threshold=options.detection_threshold
    )
    context.models.extend(finder.models)
    return finder


def open_swapper(context: Context, finder: FaceFinder, sources: list[Source]) -> Swapper:
    """What swaps."""
    from framelane.processors.faceswap.warp import Warp

    swapper: Swapper = Warp(keep_mouth=context.settings.faceswap.keep_mouth)
    context.models.extend(swapper.models)
    return swapper


def open_restorer(context: Context, swapper: Swapper) -> Any:
    """What restores, or None."""
    return None
