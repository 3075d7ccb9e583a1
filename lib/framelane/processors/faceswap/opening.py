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
from framelane.processors.faceswap import safety
from framelane.processors.faceswap.label import Label
from framelane.processors.faceswap.select import Chooser, Rule
from framelane.processors.faceswap.sources import load_source
from framelane.processors.faceswap.swapper import Source, Swapper
from framelane.provenance import Provenance
from framelane.sections.faceswap import FaceswapSettings
from framelane.video.clip import Clip
from framelane.video.reader import frame_near

if TYPE_CHECKING:
    import torch

    from framelane.processors.faceswap.restore import Restorer

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
        provenance: what the output must say of itself, and whose faces were used on what ground.
        told_apart_by: ``"embedding"`` or ``"appearance"``; None where nobody in particular is replaced.
    """

    finder: FaceFinder
    swapper: Swapper
    restorer: Restorer | None
    chooser: Chooser
    label: Label
    describe: Describe
    provenance: Provenance
    told_apart_by: str | None


def open_all(clip: Clip, context: Context) -> Opened:
    """Check the settings, the consent and the contents, then load what swaps.

    Raises:
        UsageError: settings that do not fit, no consent, a source without a face.
        FramelaneError: a refusal, or a model that is missing and has no stand-in.
    """
    options = context.settings.faceswap
    given = named(options)
    if options.reference and options.select != "reference":
        context.warn(f"faceswap.reference has no effect with faceswap.select={options.select}.")
    finder = open_finder(context)
    try:
        sources = [load_source(Path(source), finder) for source, _ in given]
        passed = safety.check(clip, context, sources, finder)
        swapper = open_swapper(context, sources)
        restorer = open_restorer(context)
        targets = [None if target is None else _target(target, clip, context, finder) for _, target in given]
        told = any(target is not None for target in targets)
        chooser = Chooser(
            "like" if told else "largest" if options.select == "largest" else "many",
            [Rule(source, target) for source, target in zip(sources, targets, strict=True)],
            _distance(context, finder) if told else options.similar_face_distance,
        )
    except BaseException:
        finder.close()
        raise
    describe: Describe = partial(described, finder) if told else as_it_is
    label = Label(options)
    says = passed.provenance(_statement(swapper, restorer), label.mark(*clip.display_size))
    return Opened(finder, swapper, restorer, chooser, label, describe, says, _told_by(finder, told))


def _statement(swapper: Swapper, restorer: Restorer | None) -> str:
    """What was done to the clip, in words, for the metadata."""
    tool = swapper.name + (" and GFPGAN" if restorer else "")
    return f"AI-generated: faces of persons in this video were replaced with another person's face ({tool})."


def as_it_is(_: torch.Tensor, face: Face) -> Face:
    """Nobody in particular is replaced: nothing to compare."""
    return face


def described(finder: FaceFinder, rgb: torch.Tensor, face: Face) -> Face:
    """A face with a vector that it is compared by: the finder's embedding, else how it looks."""
    return face if finder.tells_who else replace(face, embedding=appearance.describe(rgb, face))


def named(options: FaceswapSettings) -> list[tuple[str, str | None]]:
    """Sources and their targets as the settings name them.

    Raises:
        UsageError: something is missing, or named twice.
    """
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
    """What finds faces: insightface where it is asked for and can be had, else CenterFace; with a mesh either way.

    Raises:
        FramelaneError: not even the embedded finder can be opened.
    """
    from framelane.perception.faces.centerface import CenterFaceFinder
    from framelane.perception.faces.insight import InsightFinder
    from framelane.perception.faces.meshed import Meshed

    where: dict[str, Any] = {"device": context.device, "threads": context.threads}
    threshold = context.settings.faceswap.detection_threshold
    finder: Meshed | CenterFaceFinder | None = None
    if context.settings.faceswap.finder == "insightface":
        try:
            inner = InsightFinder.open(**where, threshold=threshold, warn=context.warn, degrade=context.degrade)
            finder = Meshed(inner, **where)
        except FramelaneError as error:
            context.degrade(f"centerface is used instead of insightface, and cannot tell who somebody is. {error}")
    if finder is None:
        finder = CenterFaceFinder(**where, threshold=threshold)
    if finder.downgrade:
        context.degrade(finder.downgrade)
    context.models.extend(finder.models)
    return finder


def open_swapper(context: Context, sources: list[Source]) -> Swapper:
    """What swaps: InSwapper where it is asked for and can be had, else the embedded mesh warp.

    Raises:
        FramelaneError: not even the embedded one can be opened.
    """
    from framelane.processors.faceswap.inswapper import InSwapper
    from framelane.processors.faceswap.warp import Warp

    swapper: Swapper | None = None
    if context.settings.faceswap.swapper == "inswapper":
        if any(source.embedding is None for source in sources):
            context.degrade("warp is used instead of inswapper, which needs a finder that tells who the source is.")
        else:
            try:
                swapper = InSwapper.open(context)
            except FramelaneError as error:
                context.degrade(f"warp is used instead of inswapper. {error}")
    if swapper is None:
        swapper = Warp(device=context.device, threads=context.threads, keep_mouth=context.settings.faceswap.keep_mouth)
    context.models.extend(swapper.models)
    return swapper


def open_restorer(context: Context) -> Restorer | None:
    """What restores; None where it is not asked for, or, said aloud, cannot be had."""
    if context.settings.faceswap.restore == "none":
        return None
    if context.device == "cpu" and "faceswap.restore" not in context.own:
        context.degrade(
            "Swapped faces are not restored: without a GPU that takes seconds a face. --set faceswap.restore=gfpgan does "
            "it all the same."
        )
        return None
    from framelane.processors.faceswap.restore import Restorer

    try:
        restorer = Restorer.open(context)
    except FramelaneError as error:
        context.degrade(f"Swapped faces are not restored. {error}")
        return None
    context.models.extend(restorer.models)
    return restorer
