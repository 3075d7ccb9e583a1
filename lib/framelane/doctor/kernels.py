"""PyTorch: whether it has kernels for this card's compute capability, and whether a product comes out right."""

from __future__ import annotations

import re
from typing import Any

from framelane.doctor.finding import Figure, Finding
from framelane.errors import chain
from framelane.gpu import find_gpu, try_torch_cuda

_SIZE = 192
# Largest error of a (192, 192) product of standard normal numbers, as a share of its largest entry.
_LARGEST_ERROR = {"float32": 2e-3, "float16": 1e-2}  # float32 may be TF32 on Ampere and later
_REINSTALL = "Install the CUDA build of torch that the runtime ships (never another one over it), then restart."


def probe() -> list[Finding]:
    """Look at PyTorch and compute something with it."""
    try:
        import torch
    except Exception as error:  # a broken build raises anything from OSError to AttributeError
        fix = "Install torch; without a GPU: pip install framelane[cpu]."
        return [Finding("PyTorch", "error", f"PyTorch cannot be imported ({chain(error)}).", fix)]
    _, works, reason = try_torch_cuda()
    gpu, _ = find_gpu()
    if works:
        return [_on_the_card(torch)]
    product = _products(torch, "cpu", ("float32",))
    said = f"{reason} A product of two matrices on the CPU is right to {product['float32']:.0e}."
    figures: dict[str, Figure] = {"device": "cpu", "float32_error": product["float32"]}
    if not product["float32"] <= _LARGEST_ERROR["float32"]:
        return [Finding("PyTorch", "error", f"{reason} A product on the CPU is wrong.", _REINSTALL, figures)]
    if gpu:
        fix = f"Install a CUDA build of torch for CUDA {gpu.cuda} or older, or update the driver."
        return [Finding("PyTorch", "error", f"There is a {gpu.name}, but it is not used. {said}", fix, figures)]
    return [Finding("PyTorch", "ok", said, figures=figures)]


def _on_the_card(torch: Any) -> Finding:
    capability, archs = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    how = kernels_for(capability, archs)
    errors = _products(torch, "cuda", ("float32", "float16"))
    named = f"{capability[0]}.{capability[1]}"
    right = ", ".join(f"{kind} to {error:.0e}" for kind, error in errors.items())
    has = how or "no kernels for it"
    said = f"PyTorch {torch.__version__} on compute capability {named} ({has}): products right: {right}."
    figures: dict[str, Figure] = {
        "device": "cuda", "capability": named, "archs": " ".join(archs), "kernels": how,
        **{f"{kind}_error": error for kind, error in errors.items()},
    }  # fmt: skip
    if any(not error <= _LARGEST_ERROR[kind] for kind, error in errors.items()):
        return Finding("PyTorch", "error", f"{said} At least one of these is wrong.", _REINSTALL, figures)
    if how is None:
        fix = f"Use a build of torch whose list has sm_{capability[0]}{capability[1]} (here: {' '.join(archs)})."
        return Finding("PyTorch", "warning", said, fix, figures)
    if how.startswith("compiled"):
        return Finding("PyTorch", "note", said, "The first use of each kernel takes longer; nothing else.", figures)
    return Finding("PyTorch", "ok", said, figures=figures)


def kernels_for(capability: tuple[int, int], archs: list[str]) -> str | None:
    """How a build's kernels run on a card: as they are, compiled when first used, or not at all (None).

    A kernel for ``sm_XY`` runs on capability X.Z with Z >= Y; PTX (``compute_XY``) on that and everything later (CUDA C++
    Programming Guide, "Binary Compatibility" and "PTX Compatibility"). Kernels of a letter (``sm_90a``) run on that
    capability alone.

    Args:
        capability: (major, minor) of the card.
        archs: from ``torch.cuda.get_arch_list()``.
    """
    major, minor = capability
    found = [match for arch in archs if (match := re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", arch))]
    fitting = [
        own
        for match in found
        if match[1] == "sm" and (own := (int(match[2]), int(match[3]), match[4]))[:2] <= capability
        if own[0] == major and (not own[2] or own[1] == minor)
    ]
    if fitting:
        best = max(fitting)
        return f"has kernels of sm_{best[0]}{best[1]}{best[2]}"
    if any(m[1] == "compute" and not m[4] and (int(m[2]), int(m[3])) <= capability for m in found):
        return "compiled from PTX when first used"
    return None


def _products(torch: Any, device: str, kinds: tuple[str, ...]) -> dict[str, float]:
    """The error of a product by type of number, against float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(_SIZE, _SIZE, generator=generator, dtype=torch.float64) for _ in range(2))
    found = {}
    for kind in kinds:
        number = getattr(torch, kind)
        low_a, low_b = a.to(number), b.to(number)
        wanted = low_a.double() @ low_b.double()
        made = (low_a.to(device) @ low_b.to(device)).double().cpu()
        found[kind] = float((made - wanted).abs().max() / wanted.abs().max())
    return found
