"""Which profile fits a GPU: decided by its measured memory and its compute capability, never by its name."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
_TENSOR_CORES = (7, 0)  # Volta: the first with FP16 tensor cores
_AMPERE = (8, 0)
_TURING = (7, 5)


@dataclass(frozen=True)
class Features:
    """What a compute capability brings (NVIDIA, CUDA C Programming Guide, "Compute Capabilities").

    Attributes:
        fp16: tensor cores for FP16, so that mixed precision pays.
        bf16: bfloat16 in hardware. PyTorch also emulates it on older cards, and says that it is supported.
        tf32: TF32 matrix products.
        flash_attention: FlashAttention 2, as its package requires.
    """

    fp16: bool
    bf16: bool
    tf32: bool
    flash_attention: bool


def features(capability: tuple[int, int]) -> Features:
    """What a GPU of this compute capability can do."""
    ampere = capability >= _AMPERE
    return Features(fp16=capability >= _TENSOR_CORES, bf16=ampere, tf32=ampere, flash_attention=ampere)


@dataclass(frozen=True)
class Vram:
    """What decides over a profile: a GPU's memory in bytes and its compute capability."""

    total: int
    free: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Rule:
    """A profile and what it needs.

    Attributes:
        free: bytes of VRAM that must be free. Less than the card's nominal size: the driver and a desktop take their part.
        oldest: lowest compute capability.
        newest: highest compute capability, or None.
    """

    profile: str
    free: float
    oldest: tuple[int, int] = (0, 0)
    newest: tuple[int, int] | None = None

    def fits(self, free: int, capability: tuple[int, int]) -> bool:
        """Whether a GPU with so much free memory meets the rule."""
        return free >= self.free and self.oldest <= capability <= (self.newest or capability)


# The first that fits is taken.
RULES = (
    Rule("ultra_quality", 36 * GIB, _AMPERE),
    Rule("high_quality", 20 * GIB, _TENSOR_CORES),
    Rule("t4", 12 * GIB, _TURING, _TURING),
    Rule("balanced", 9 * GIB, _TENSOR_CORES),
    Rule("optimized", 5 * GIB, _TENSOR_CORES),
    Rule("memory_saver", 3 * GIB, _TENSOR_CORES),
    Rule("legacy", 3 * GIB, newest=(6, 9)),
)


def profile_for(gpu: Vram) -> tuple[str, str]:
    """The profile for a GPU that PyTorch computes on, and a sentence that says why.

    Args:
        gpu: measured memory, in bytes, and compute capability.

    Returns:
        The first of :data:`RULES` that fits; ``"cpu"`` where less than 3 GB are free.
    """
    major, minor = gpu.capability
    measured = f"{gpu.free / GIB:.1f} of {gpu.total / GIB:.1f} GB VRAM are free, compute capability {major}.{minor}"
    if not features(gpu.capability).fp16:
        measured += " (no FP16 tensor cores, so FP32)"
    name = _first(gpu.free, gpu.capability)
    alone = _first(gpu.total, gpu.capability)
    if alone != name:
        measured += f"; with all of it free it would be {alone}: other programs hold the rest"
    if name == "cpu":
        return name, f"{measured}. That is too little for the models, which run on the CPU."
    return name, f"{measured}: {name} fits."


def _first(free: int, capability: tuple[int, int]) -> str:
    return next((rule.profile for rule in RULES if rule.fits(free, capability)), "cpu")
