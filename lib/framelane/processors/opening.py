"""Opening the models that the settings name; where one cannot be had, the embedded one works and says so.

Every processor that looks for objects has the same settings for it in a section of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from framelane.errors import FramelaneError, UsageError
from framelane.models import catalog, store
from framelane.models.kept import kept
from framelane.perception.detectors import Detector, DetectorOptions, catalogue_name, load_detector
from framelane.processors.base import Context

EMBEDDED_DETECTOR = "nanodet"
NEEDS = {"deformable_detr": "timm"}
"""Packages that a published model needs beyond our own dependencies."""


def noted(name: str) -> dict[str, Any]:
    """A model of the catalogue, as the report names it: name, sha256, licence."""
    entry = catalog.get(name)
    return {"name": entry.name, "sha256": store.digest(name), "licence": entry.licence}


def available(name: str, instead: str, context: Context) -> bool:
    """Fetch a model where needed and note it for the report; False, said aloud, where it cannot be had.

    Raises:
        FramelaneError: not even ``instead``, which needs nothing, is there.
    """
    try:
        store.resolve(name, notify=context.warn)
    except UsageError:
        raise
    except FramelaneError as error:
        if name == instead:
            raise
        context.degrade(f"{instead} is used instead of {name}. {error}")
        return False
    context.models.append(noted(name))
    return True


def open_detector(context: Context, section: str, classes: Sequence[str] | None = None) -> Detector:
    """The object detector that a section of the settings names, noted for the report.

    Args:
        context: the settings; takes sentences and models.
        section: with ``detector``, ``detector_size``, ``detection_threshold``, and ``classes`` where none are given.
        classes: COCO class names to keep, where the user has no choice.

    Raises:
        UsageError: an unknown class, or a file that the user must bring is missing.
        FramelaneError: not even the embedded detector can be opened.
    """
    asked = getattr(context.settings, section)
    wanted = DetectorOptions(
        device=context.device,
        threads=context.threads,
        threshold=asked.detection_threshold,
        classes=tuple(asked.classes if classes is None else classes),
        size=asked.detector_size,
        section=section,
    )
    name: str = asked.detector
    weights = catalogue_name(name, wanted.size)
    detector = None
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        context.degrade(
            f"{EMBEDDED_DETECTOR} is used instead of {name}, which needs the package {NEEDS[name]}: run "
            f"pip install {NEEDS[name]}."
        )
    elif not weights or available(weights, EMBEDDED_DETECTOR, context):
        detector = _opened(name, wanted, context)
    if detector is None:
        available(EMBEDDED_DETECTOR, EMBEDDED_DETECTOR, context)
        detector = _load(EMBEDDED_DETECTOR, wanted)
    detector.half = context.settings.hardware.mixed_precision
    if detector.own_weights:
        context.models.append(detector.own_weights)
    context.models[-1]["provider"] = detector.provider
    if detector.notice:
        context.warn(detector.notice)
    if detector.downgrade:
        context.degrade(detector.downgrade)
    return detector


def _opened(name: str, wanted: DetectorOptions, context: Context) -> Detector | None:
    """The detector; None, said aloud, where its files are here and sound but cannot be made to work."""
    try:
        return _load(name, wanted)
    except UsageError:
        raise
    except FramelaneError as error:
        if name == EMBEDDED_DETECTOR:
            raise
        context.models.pop()
        context.degrade(f"{EMBEDDED_DETECTOR} is used instead of {name}. {error}")
        return None


def _load(name: str, wanted: DetectorOptions) -> Detector:
    weights = catalogue_name(name, wanted.size)
    if weights is None:  # the user's own, which may change between two jobs
        return load_detector(name, wanted)
    return kept("detector", (name, wanted, store.digest(weights)), lambda: load_detector(name, wanted))
