"""Opening the models that the settings name; where one cannot be had, the embedded one works and says so."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from framelane.errors import FramelaneError, UsageError
from framelane.models import catalog, store
from framelane.models.kept import kept
from framelane.perception.detectors import Detector, catalogue_name, load_detector
from framelane.processors.attention.backbone import load_backbone
from framelane.processors.attention.maps import FrameMaps, Maps
from framelane.processors.attention.methods import Method, get_method
from framelane.processors.attention.video_models import NAMES as VIDEO_BACKBONES
from framelane.processors.attention.video_models import load_video_backbone
from framelane.processors.attention.windows import WindowMaps
from framelane.processors.base import Context
from framelane.sections.attention import AttentionSettings

PACE = {"mvit_v2_s": 7.5, "mvit_v2_b": 10.0, "videomae": 7.5}
"""Frames per second that a video backbone was trained at: every 4th (mvit_v2_b: every 3rd) of Kinetics' 30."""
EMBEDDED_BACKBONE, EMBEDDED_DETECTOR = "dinov2_vits14", "nanodet"
NEEDS = {"deformable_detr": "timm"}
"""Packages that a published model needs beyond our own dependencies."""
SMALLER = {"mvit_v2_b": "mvit_v2_s"}
"""What is tried before the embedded backbone. No publisher names a digest for the weights of mvit_v2_b."""

_OF_WINDOWS = ("target", "pooling", "window", "window_fps", "overlap")
_OF_FRAMES = ("sample_fps",)
_MUCH = 0.25  # of all memory


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


def open_maps(context: Context, clip_rate: float, size: tuple[int, int]) -> Maps:
    """The source of channel A's maps.

    Args:
        context: the settings; takes sentences.
        clip_rate: frames per second of the clip.
        size: (width, height) of its frames.

    Raises:
        UsageError: a setting does not fit the backbone.
        FramelaneError: not even the embedded backbone's weights can be fetched or read.
    """
    import torch

    options = context.settings.attention
    if context.device == "cpu":
        torch.set_num_threads(context.threads)
    name: str = options.backbone
    while name in VIDEO_BACKBONES:
        instead = SMALLER.get(name, EMBEDDED_BACKBONE)
        if _available(name, instead, context):
            maps = open_windows(name, context)
            _say_what_windows_cost(maps, clip_rate, size, context)
            return maps
        name = instead
    _available(EMBEDDED_BACKBONE, EMBEDDED_BACKBONE, context)
    _without_effect(_OF_WINDOWS, EMBEDDED_BACKBONE, context)
    wanted = (
        EMBEDDED_BACKBONE, context.device, options.spatial_resolution, context.settings.hardware.mixed_precision
    )  # fmt: skip
    backbone = kept("backbone", (*wanted, store.digest(EMBEDDED_BACKBONE)), lambda: load_backbone(*wanted))
    start_layer = backbone.usual_start if options.start_layer is None else options.start_layer
    backbone.check_layer(start_layer)
    return FrameMaps(EMBEDDED_BACKBONE, backbone, _method(options), rate=options.sample_fps, start_layer=start_layer)


def _method(options: AttentionSettings) -> Method:
    return get_method(options.method, **({"norm": options.gmar_norm} if options.method == "gmar" else {}))


def _without_effect(keys: tuple[str, ...], name: str, context: Context) -> None:
    """Say which of the user's own settings this backbone does not look at."""
    if given := sorted(context.own & {f"attention.{key}" for key in keys}):
        context.warn(f"{', '.join(given)} {'has' if len(given) == 1 else 'have'} no effect with {name}.")


def _say_what_windows_cost(maps: WindowMaps, clip_rate: float, size: tuple[int, int], context: Context) -> None:
    import psutil

    if clip_rate < 0.9 * maps.rate:
        context.warn(
            f"The clip has {clip_rate:.3g} frames a second, and {maps.name} was trained with {maps.rate:.3g}: what moves "
            "looks faster to it than it is."
        )
    waiting = maps.length / min(maps.rate, clip_rate) * clip_rate * size[0] * size[1] * 1.5  # 4:2:0, 8 bits
    if waiting > _MUCH * psutil.virtual_memory().total:
        context.warn(
            f"Frames wait for their window of {maps.length}, about {waiting / 1e9:.1f} GB of memory at "
            f"{size[0]}x{size[1]}; hardware.working_height makes it less."
        )


def open_windows(name: str, context: Context) -> WindowMaps:
    """Windows through a video backbone, whose weights are here.

    Raises:
        UsageError: a setting does not fit the backbone.
        FramelaneError: the weights do not fit it.
    """
    options, hardware = context.settings.attention, context.settings.hardware
    _without_effect(_OF_FRAMES, name, context)
    # What a profile or a mode says is meant for the backbone that it names: another one has sizes of its own.
    fixed = name == "videomae" and "attention.spatial_resolution" not in context.own
    meant = name == options.backbone or "attention.window" in context.own
    wanted: dict[str, Any] = {
        "resolution": None if fixed else options.spatial_resolution, "window": options.window if meant else None,
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
        _method(options),
        rate=options.window_fps or PACE[name],
        overlap=options.overlap,
        start_layer=start_layer,
        target=options.target,
        degrade=context.degrade,
    )


def open_detector(context: Context) -> Detector:
    """Channel B's detector.

    Raises:
        UsageError: an unknown class, or a file that the user must bring is missing.
        FramelaneError: not even the embedded detector can be opened.
    """
    name: str = context.settings.attention.detector
    weights = catalogue_name(name, context.settings.attention.detector_size)
    detector = None
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        context.degrade(
            f"{EMBEDDED_DETECTOR} is used instead of {name}, which needs the package {NEEDS[name]}: run "
            f"pip install {NEEDS[name]}."
        )
    elif not weights or _available(weights, EMBEDDED_DETECTOR, context):
        detector = _opened(name, context)
    if detector is None:
        _available(EMBEDDED_DETECTOR, EMBEDDED_DETECTOR, context)
        detector = _load(EMBEDDED_DETECTOR, context)
    if detector.own_weights:
        context.models.append(detector.own_weights)
    context.models[-1]["provider"] = detector.provider
    if detector.notice:
        context.warn(detector.notice)
    if detector.downgrade:
        context.degrade(detector.downgrade)
    return detector


def _opened(name: str, context: Context) -> Detector | None:
    """The detector; None, said aloud, where its files are here and sound but cannot be made to work."""
    try:
        return _load(name, context)
    except UsageError:
        raise
    except FramelaneError as error:
        if name == EMBEDDED_DETECTOR:
            raise
        context.models.pop()
        context.degrade(f"{EMBEDDED_DETECTOR} is used instead of {name}. {error}")
        return None


def _load(name: str, context: Context) -> Detector:
    options = context.settings.attention
    wanted: dict[str, Any] = {
        "device": context.device, "threads": context.threads, "threshold": options.detection_threshold,
        "classes": tuple(options.classes), "size": options.detector_size,
    }  # fmt: skip
    weights = catalogue_name(name, options.detector_size)
    if weights is None:  # the user's own weights, which may change between two jobs
        detector = load_detector(name, **wanted)
    else:
        opened = (name, *wanted.values(), store.digest(weights))
        detector = kept("detector", opened, lambda: load_detector(name, **wanted))
    detector.half = context.settings.hardware.mixed_precision
    return detector
