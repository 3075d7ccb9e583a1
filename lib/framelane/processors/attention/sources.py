"""Opening the backbone that the settings name; where it cannot be had, the embedded one works and says so."""

from __future__ import annotations

from typing import Any

from framelane.models import store
from framelane.models.kept import kept
from framelane.processors.attention.backbone import load_backbone
from framelane.processors.attention.maps import FrameMaps, Maps
from framelane.processors.attention.methods import Method, get_method
from framelane.processors.attention.video_models import NAMES as VIDEO_BACKBONES
from framelane.processors.attention.video_models import load_video_backbone
from framelane.processors.attention.windows import WindowMaps
from framelane.processors.base import Context
from framelane.processors.opening import available
from framelane.sections.attention import AttentionSettings

PACE = {"mvit_v2_s": 7.5, "mvit_v2_b": 10.0, "videomae": 7.5}
"""Frames per second that a video backbone was trained at: every 4th (mvit_v2_b: every 3rd) of Kinetics' 30."""
EMBEDDED_BACKBONE = "dinov2_vits14"
SMALLER = {"mvit_v2_b": "mvit_v2_s"}
"""What is tried before the embedded backbone. No publisher names a digest for the weights of mvit_v2_b."""

_OF_WINDOWS = ("target", "pooling", "window", "window_fps", "overlap")
_OF_FRAMES = ("sample_fps",)
_MUCH = 0.25  # of all memory


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
        if available(name, instead, context):
            maps = open_windows(name, context)
            _say_what_windows_cost(maps, clip_rate, size, context)
            return maps
        name = instead
    available(EMBEDDED_BACKBONE, EMBEDDED_BACKBONE, context)
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
