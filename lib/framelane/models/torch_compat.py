"""Letting torchvision load beside a torch that it was not compiled for, where that is harmless.

torchvision from a registry beside a CPU-only torch fails on import with ``operator torchvision::nms does not exist``:
its compiled library wants CUDA, so its operators are never declared, and whatever imports torchvision (transformers,
ultralytics) fails with it. Declaring the operators first lets the import pass; ``nms``, the only one that the models
here call, gets a kernel in plain torch, ``roi_align`` falls back to torchvision's own plain-torch form, and the others
say that they are missing when they are called.
"""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError, chain

if TYPE_CHECKING:
    from torch import Tensor

_POOL = "float spatial_scale, SymInt pooled_height, SymInt pooled_width"
_SHAPE = "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
_QUANTISED = "float input_scale, int input_zero_point, float rois_scale, int rois_zero_point"
_DEFORM = (
    "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, SymInt stride_w, "
    "SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, SymInt offset_groups, "
    "bool use_mask"
)
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align(Tensor input, Tensor rois, {_POOL}, int sampling_ratio, bool aligned) -> Tensor",
    f"qroi_align(Tensor input, Tensor rois, {_QUANTISED}, {_POOL}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_align_backward(Tensor grad, Tensor rois, {_POOL}, {_SHAPE}, int sampling_ratio, bool aligned) -> Tensor",
    f"ps_roi_align(Tensor input, Tensor rois, {_POOL}, int sampling_ratio) -> (Tensor, Tensor)",
    "_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor channel_mapping, "
    f"{_POOL}, int sampling_ratio, {_SHAPE}) -> Tensor",
    f"roi_pool(Tensor input, Tensor rois, {_POOL}) -> (Tensor, Tensor)",
    f"_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, {_POOL}, {_SHAPE}) -> Tensor",
    f"ps_roi_pool(Tensor input, Tensor rois, {_POOL}) -> (Tensor, Tensor)",
    f"_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor channel_mapping, {_POOL}, {_SHAPE}) -> Tensor",
    f"deform_conv2d({_DEFORM}) -> Tensor",
    f"_deform_conv2d_backward(Tensor grad, {_DEFORM}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
"""torchvision's operators as its C++ sources declare them (``torchvision/csrc/ops``)."""

_libraries: list[Any] = []
"""The declarations: torch drops them with the object that made them, so they are kept for the life of the process."""


def ensure_torchvision() -> bool:
    """Make ``import torchvision`` work; call it before anything that imports it. Calling it again costs nothing.

    A pair that works is left exactly as it is. So is a machine without torch or torchvision.

    Returns:
        True if operators had to be declared, in this call or an earlier one; False if nothing was needed.

    Raises:
        FramelaneError: torchvision needs another torch than the one installed, or fails for another reason.
    """
    if _libraries:
        return True
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchvision") is None:
        return False
    problem = _import_problem()
    if problem is None:
        return False
    _refuse_mismatch(problem)
    if "operator torchvision::" not in str(problem):
        raise _broken(problem) from problem
    _forget_torchvision()
    _declare()
    problem = _import_problem()
    if problem is not None:
        raise _broken(problem) from problem
    # torchvision.ops.nms refuses to call even a working operator while this says that no library is loaded. Only now,
    # after the import: roi_align has by then chosen its own fallback in plain torch, which works.
    sys.modules["torchvision.extension"]._has_ops = lambda: True  # type: ignore[attr-defined]
    return True


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression, with the meaning of ``torchvision.ops.nms``.

    Args:
        dets: (N, 4) boxes as x1, y1, x2, y2, in any unit.
        scores: (N,).
        iou_threshold: a box is dropped if its IoU with a kept box of higher score is above this.

    Returns:
        int64 (K,): indices of the kept boxes, highest score first.
    """
    import torch

    boxes = dets.double() if dets.dtype == torch.float64 else dets.float()
    order = torch.argsort(scores, descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[Tensor] = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(best)
        top = torch.maximum(boxes[best, :2], boxes[rest, :2])
        bottom = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (bottom - top).clamp(min=0).prod(dim=1)
        # A product instead of a quotient: two empty boxes share nothing, where 0 / 0 would be NaN.
        order = rest[shared <= iou_threshold * (area[best] + area[rest] - shared)]
    return torch.stack(kept) if kept else order.new_empty(0)


def _import_problem() -> Exception | None:
    """What goes wrong on ``import torchvision``; None if it works and its operators are there."""
    try:
        importlib.import_module("torchvision")
        import torch

        _ = torch.ops.torchvision.nms
    except (ImportError, OSError, RuntimeError, AttributeError, AssertionError) as error:
        # An attribute that torch.ops does not have is an operator that torchvision, old ones at least, failed to load.
        return RuntimeError("operator torchvision::nms is not there") if isinstance(error, AttributeError) else error
    return None


def _refuse_mismatch(problem: Exception) -> None:
    """Raise if the metadata of torchvision asks for another torch; declaring operators would only hide that."""
    from packaging.requirements import Requirement

    installed, own = _version("torch"), _version("torchvision")
    try:
        wanted = [Requirement(line) for line in metadata.requires("torchvision") or []]
    except metadata.PackageNotFoundError:
        return
    for requirement in wanted:
        if requirement.name != "torch" or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            raise FramelaneError(
                f"torchvision {own} needs torch{requirement.specifier}, but torch {installed} is installed; install "
                f"the torchvision that was made for torch {installed}, or remove torchvision ({chain(problem)})."
            ) from problem


def _broken(problem: Exception) -> FramelaneError:
    return FramelaneError(
        f"torchvision {_version('torchvision')} cannot be imported beside torch {_version('torch')} "
        f"({chain(problem)}); install the two as one matching pair, or remove torchvision."
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _forget_torchvision() -> None:
    # The submodules of a failed import stay behind half made.
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]


def _declare() -> None:
    import torch

    registry: Any = torch.library
    library = registry.Library("torchvision", "FRAGMENT")
    _libraries.append(library)
    for schema in SCHEMAS:
        name = schema.partition("(")[0]
        if torch._C._dispatch_has_kernel(f"torchvision::{name}"):
            continue
        library.define(schema)
        # Plain torch is the same on every device; an explicit kernel leaves torchvision's own shape functions alone.
        library.impl(name, nms if name == "nms" else _missing(name), "CompositeExplicitAutograd")


def _missing(name: str) -> Any:
    def kernel(*_args: object, **_kwargs: object) -> Any:
        raise FramelaneError(
            f"torchvision::{name} needs the compiled library of torchvision {_version('torchvision')}, which does not "
            f"load beside torch {_version('torch')}; install a torchvision that was built for this torch."
        )

    return kernel
