"""Opening the models that the settings name; where one cannot be had, the embedded one works and says so."""

from __future__ import annotations

from typing import Any

from framelane.errors import FramelaneError, UsageError
from framelane.models import catalog, store
from framelane.models.kept import kept
from framelane.perception.detectors import Detector, catalogue_name, load_detector
from framelane.processors.attention.backbone import load_backbone
from framelane.processors.attention.maps import FrameMaps, Maps
from framelane.processors.attention.methods import get_method
from framelane.processors.attention.video_models import NAMES as VIDEO_BACKBONES
from framelane.processors.attention.video_models import load_video_backbone
from framelane.processors.attention.windows import WindowMaps
from framelane.processors.base import Context

PACE = {"mvit_v2_s": 7.5, "mvit_v2_b": 10.0, "videomae": 7.5}
"""Frames per second that a video backbone was trained at: every 4th (mvit_v2_b: every 3rd) of Kinetics' 30."""
EMBEDDED_BACKBONE, EMBEDDED_DETECTOR = "dinov2_vits14", "nanodet"
SMALLER = {"mvit_v2_b": "mvit_v2_s"}
"""What is tried before the embedded backbone. No publisher names a digest for the weights of mvit_v2_b."""


def _available(name: str, instead: str, context: Context) -> bool:
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
    entry = catalog.get(name)
    context.models.append({"name": entry.name, "sha256": store.digest(name), "licence": entry.licence})
    return True


def open_maps(context: Context) -> Maps:
    """The source of channel A's maps.

    Raises:
        UsageError: a setting does not fit the backbone.
        FramelaneError: not even the embedded backbone's weights can be fetched or read.
    """
    import torch

    options = context.settings.attention
    if context.device == "cpu":
        torch.set_num_threads(context.threads)
    method = get_method(options.method, **({"norm": options.gmar_norm} if options.method == "gmar" else {}))
    name: str = options.backbone
    while name in VIDEO_BACKBONES:
        instead = SMALLER.get(name, EMBEDDED_BACKBONE)
        if _available(name, instead, context):
            return open_windows(name, context)
        name = instead
    _available(EMBEDDED_BACKBONE, EMBEDDED_BACKBONE, context)
    wanted = (
        EMBEDDED_BACKBONE, context.device, options.spatial_resolution, context.settings.hardware.mixed_precision
    )  # fmt: skip
    backbone = kept("backbone", (*wanted, store.digest(EMBEDDED_BACKBONE)), lambda: load_backbone(*wanted))
    start_layer = backbone.usual_start if options.start_layer is None else options.start_layer
    backbone.check_layer(start_layer)
    return FrameMaps(EMBEDDED_BACKBONE, backbone, method, rate=options.sample_fps, start_layer=start_layer)


def open_windows(name: str, context: Context) -> WindowMaps:
    """Windows through a video backbone, whose weights are here.

    Raises:
        UsageError: a setting does not fit the backbone.
        FramelaneError: the weights do not fit it.
    """
    options, hardware = context.settings.attention, context.settings.hardware
    wanted: dict[str, Any] = {
        "resolution": options.spatial_resolution, "window": options.window,
        "mixed_precision": hardware.mixed_precision, "pooling": options.pooling,
    }  # fmt: skip
    backbone = kept(
        "backbone",
        (name, context.device, *wanted.values(), store.digest(name)),
        lambda: load_video_backbone(name, context.device, **wanted),
    )
    backbone.checkpointing = hardware.gradient_checkpointing  # a job before may have switched it on
    start_layer = backbone.usual_start if options.start_layer is None else options.start_layer
    backbone.check_layer(start_layer)
    backbone.check_target(options.target)
    return WindowMaps(
        name,
        backbone,
        get_method(options.method, **({"norm": options.gmar_norm} if options.method == "gmar" else {})),
        rate=options.window_fps or PACE[name],
        overlap=options.overlap,
        start_layer=start_layer,
        target=options.target,
        degrade=context.degrade,
    )


def open_detector(context: Context) -> Detector:
    """Channel B's detector.

    Raises:
        UsageError: an unknown class, or a package that the user must install is missing.
        FramelaneError: a model is damaged or does not fit.
    """
    options = context.settings.attention
    name: str = options.detector
    weights = catalogue_name(name, options.detector_size)
    if weights and not _available(weights, EMBEDDED_DETECTOR, context):
        name = EMBEDDED_DETECTOR
        _available(name, name, context)
    wanted: dict[str, Any] = {
        "device": context.device, "threads": context.threads, "threshold": options.detection_threshold,
        "classes": tuple(options.classes), "size": options.detector_size,
    }  # fmt: skip
    digest = store.digest(weights) if (weights := catalogue_name(name, options.detector_size)) else None
    if digest is None:  # the user's own weights, which may change between two jobs
        detector = load_detector(name, **wanted)
    else:
        detector = kept("detector", (name, *wanted.values(), digest), lambda: load_detector(name, **wanted))
    if detector.own_weights:
        context.models.append(detector.own_weights)
    if detector.notice:
        context.warn(detector.notice)
    if detector.downgrade:
        context.degrade(detector.downgrade)
    return detector
