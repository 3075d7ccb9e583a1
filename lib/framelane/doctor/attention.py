"""Attention: which kinds of PyTorch's fused attention really run here, and whether attention maps come back.

Under fused attention ``transformers`` returns no maps and no error, so both are found by doing.
"""

from __future__ import annotations

from typing import Any

from framelane.doctor.finding import Finding
from framelane.errors import chain

_KINDS = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH")
_LARGEST_ERROR = 2e-2  # against float64; float16 on a GPU is good to about 1e-3
_LAYERS, _HEADS, _SIDE, _PATCH = 2, 2, 28, 14


def probe(gpu: bool) -> list[Finding]:
    """Run every kind of fused attention, and a tiny DINOv2 with explicit ("eager") attention.

    Args:
        gpu: whether to run on the GPU.
    """
    device = "cuda" if gpu else "cpu"
    return [_backends(device), _maps(device)]


def _backends(device: str) -> Finding:
    name = "attention backend"
    try:
        runs, refused = kinds_that_run(device)
    except Exception as error:
        fix = "Install torch 2.6 or newer, as the runtime ships it."
        return Finding(name, "error", f"PyTorch's attention cannot be tried ({chain(error)}).", fix)
    said = f"Of PyTorch's fused attention, these really run on the {_place(device)}: {', '.join(runs) or 'none'}"
    said += f"; these do not: {', '.join(refused)}." if refused else "."
    figures = {kind.lower(): kind in runs for kind in _KINDS}
    if not runs:
        return Finding(name, "error", said, "Install torch again, as the runtime ships it.", figures)
    return Finding(name, "ok", said, figures=figures)


def kinds_that_run(device: str) -> tuple[list[str], list[str]]:
    """(kinds that gave the right result, kinds that refused or were wrong), by the names of ``SDPBackend``.

    Args:
        device: ``"cuda"`` (float16) or ``"cpu"`` (float32).
    """
    import warnings

    import torch
    from torch.nn import functional
    from torch.nn.attention import SDPBackend, sdpa_kernel

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 4, 128, 64, generator=generator) for _ in range(3))
    wanted = (q.double() @ k.double().mT / 64**0.5).softmax(-1) @ v.double()
    number = torch.float16 if device == "cuda" else torch.float32
    q, k, v = (tensor.to(device, number) for tensor in (q, k, v))
    runs: list[str] = []
    refused: list[str] = []
    for kind in _KINDS:
        try:
            with warnings.catch_warnings(), sdpa_kernel(getattr(SDPBackend, kind)):
                warnings.simplefilter("ignore")  # each refusal warns once for every reason
                made = functional.scaled_dot_product_attention(q, k, v)
            right = float((made.double().cpu() - wanted).abs().max()) <= _LARGEST_ERROR
        except Exception:  # "No viable backend": this build or this card has none of that kind
            right = False
        (runs if right else refused).append(kind)
    return runs, refused


def _maps(device: str) -> Finding:
    name = "attention maps"
    try:
        eager, fused = maps_that_come_back("eager", device), maps_that_come_back("sdpa", device)
    except Exception as error:
        return Finding(
            name, "error", f"A tiny DINOv2 could not be run ({chain(error)}).", "Run: pip install 'transformers>=5.0'."
        )
    said = (
        f"A tiny DINOv2 on the {_place(device)} returns {eager} of {_LAYERS} layers' maps with explicit (eager) attention, "
        f"which framelane uses, and {fused} with fused attention."
    )
    figures = {"eager": eager, "fused": fused}
    if eager != _LAYERS:
        fix = "Run: pip install 'transformers>=5.0'; the attention processor needs these maps."
        return Finding(name, "error", said, fix, figures)
    return Finding(name, "ok", said, figures=figures)


def maps_that_come_back(implementation: str, device: str) -> int:
    """How many layers of a tiny DINOv2 return an attention map whose rows sum to one.

    Args:
        implementation: ``"eager"`` or ``"sdpa"``.
        device: where it runs.
    """
    import torch

    from framelane.models.torch_compat import ensure_torchvision

    ensure_torchvision()
    from transformers import Dinov2Config, Dinov2Model, logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call,unused-ignore]
    config: Any = Dinov2Config(
        hidden_size=16, num_hidden_layers=_LAYERS, num_attention_heads=_HEADS, image_size=_SIDE, patch_size=_PATCH,
        attn_implementation=implementation,
    )  # fmt: skip
    model = Dinov2Model(config).eval().to(device)
    with torch.no_grad():
        found = model(torch.ones(1, 3, _SIDE, _SIDE, device=device), output_attentions=True).attentions
    tokens = (_SIDE // _PATCH) ** 2 + 1
    return sum(
        layer is not None
        and tuple(layer.shape) == (1, _HEADS, tokens, tokens)
        and bool((layer.sum(-1) - 1).abs().max() < 1e-3)
        for layer in found or ()
    )


def _place(device: str) -> str:
    return "GPU" if device == "cuda" else "CPU"
