"""Opening the backbone that the settings name."""

from __future__ import annotations

from framelane.models import catalog, store
from framelane.processors.attention.backbone import load_backbone
from framelane.processors.attention.maps import FrameMaps, Maps
from framelane.processors.attention.methods import get_method
from framelane.processors.base import Context


def note_model(name: str, context: Context) -> None:
    """Fetch a model where needed, and note it for the report."""
    store.resolve(name, notify=context.warn)
    entry = catalog.get(name)
    context.models.append({"name": entry.name, "sha256": entry.sha256, "licence": entry.licence})


def open_maps(context: Context) -> Maps:
    """The source of channel A's maps.

    Raises:
        UsageError: a setting does not fit the backbone.
        FramelaneError: its weights cannot be fetched or read.
    """
    import torch

    options = context.settings.attention
    if context.device == "cpu":
        torch.set_num_threads(context.threads)
    note_model(options.backbone, context)
    backbone = load_backbone(
        options.backbone, context.device, options.spatial_resolution, context.settings.hardware.mixed_precision
    )
    start_layer = backbone.usual_start if options.start_layer is None else options.start_layer
    backbone.check_layer(start_layer)
    method = get_method(options.method, **({"norm": options.gmar_norm} if options.method == "gmar" else {}))
    return FrameMaps(options.backbone, backbone, method, rate=options.sample_fps, start_layer=start_layer)
