"""Opening the model of the depth processor; where the depth model cannot be had, everything else goes on and says so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from framelane.errors import FramelaneError, UsageError
from framelane.models import catalog, store
from framelane.models.kept import kept
from framelane.perception.depth_onnx import yolo_path
from framelane.perception.depths import DepthEstimator, DepthOptions, Kind, load_estimator, own_weights
from framelane.processors.base import Context
from framelane.processors.opening import noted

A = TypeVar("A")
B = TypeVar("B")
TASK = "depth"


def open_estimator(context: Context) -> DepthEstimator | None:
    """The depth model, noted for the report; None, said aloud, where it cannot be had.

    Raises:
        UsageError: ``depth.model`` is nothing that there is, or the user's own file is missing or does not fit.
    """
    wanted = context.settings.depth.model
    if wanted == "none":
        context.warn("depth.model=none: distances are unknown; zones come from the boxes alone.")
        return None
    if wanted == "yolo" or wanted.lower().endswith(".onnx") or "/" in wanted:
        return _own(wanted, context)
    entry = _entry(wanted)
    # On a CPU nobody waits for a download that was not asked for.
    asked = context.device == "cuda" or "depth.model" in context.own
    try:
        path = store.resolve(wanted, fetch=asked, notify=context.warn)
        name, options = (
            ("onnx", _options(context, _kind_of(entry))) if path.is_file() else ("depth_anything", _options(context))
        )
        opened = kept("depth", (name, options, store.digest(wanted)), lambda: load_estimator(name, path, options))
    except UsageError:
        raise
    except FramelaneError as error:
        context.degrade(
            f"There is no depth in this result: distances are unknown, and zones come from the boxes alone. {error}"
        )
        return None
    context.models.append({**noted(wanted), "provider": opened.provider})
    return _said(opened, context)


def _own(wanted: str, context: Context) -> DepthEstimator:
    path = yolo_path() if wanted == "yolo" else Path(wanted).expanduser()
    name = "yolo" if wanted == "yolo" else "depth_anything" if path.is_dir() else "onnx"
    options = _options(context, context.settings.depth.kind)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        return load_estimator(name, path, options)  # which says what is missing
    weights = {**own_weights(file, "not known (your own file)"), "name": path.stem}
    opened = kept("depth", (name, str(path), options, weights["sha256"]), lambda: load_estimator(name, path, options))
    context.models.append({**(opened.own_weights or weights), "provider": opened.provider})
    return _said(opened, context)


def _said(opened: DepthEstimator, context: Context) -> DepthEstimator:
    if opened.notice:
        context.warn(opened.notice)
    if opened.downgrade:
        context.degrade(opened.downgrade)
    if opened.kind == "relative":
        context.warn(
            "The depth model is relative: it orders what is near and far and knows no metres, so distances are unknown and "
            "zones come from the boxes alone. For metres take depth.model=depth_anything_v2_metric_outdoor or _indoor."
        )
    return opened


def _options(context: Context, kind: Kind | None = None) -> DepthOptions:
    wanted = context.settings.depth
    return DepthOptions(
        device=context.device, threads=context.threads, size=wanted.size,
        half=context.settings.hardware.mixed_precision, kind=kind, normalisation=wanted.normalisation,
    )  # fmt: skip


def _kind_of(entry: catalog.Entry) -> Kind:
    return "metric" if "metric" in entry.name else "relative"


def _entry(name: str) -> catalog.Entry:
    known = [entry for entry in catalog.entries() if entry.task == TASK]
    found = next((entry for entry in known if entry.name == name), None)
    if found is None:
        raise UsageError(
            f"depth.model: {name!r} is unknown; allowed are {', '.join(entry.name for entry in known)}, yolo, none, or the "
            "path of an .onnx file or of a folder with Depth Anything's files (./NAME)."
        )
    return found


def both(device: str, first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Run two models: on a card side by side, each on a stream of its own, else in turn.

    A stream alone would not do: a model that copies its result to the host waits there. So the second has a thread, too.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        first: runs in this thread.
        second: runs in another one on a card.
    """
    if device != "cuda":
        return first(), second()
    import torch

    current = torch.cuda.current_stream()
    streams: list[Any] = [torch.cuda.Stream(), torch.cuda.Stream()]  # type: ignore[no-untyped-call]
    for stream in streams:
        stream.wait_stream(current)

    def on(stream: Any, work: Callable[[], Any]) -> Any:
        with torch.cuda.stream(stream) if stream else nullcontext():
            return work()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(on, streams[1], second)
        try:
            found = on(streams[0], first)
        finally:
            other.exception()  # waits: nothing may still run when memory is asked for again
    for stream in streams:
        current.wait_stream(stream)
    return found, other.result()
