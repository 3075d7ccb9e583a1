"""From wishes to pixels: swap, restore, paste, with smaller groups where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from framelane.memory import free_memory, is_out_of_memory
from framelane.processors.faceswap.align import over
from framelane.processors.faceswap.swapper import Patch, Refused, Swapper, Wish

if TYPE_CHECKING:
    import torch

    from framelane.processors.faceswap.restore import Restorer


def swapped(
    swapper: Swapper,
    restorer: Restorer | None,
    frames: torch.Tensor,
    wishes: list[Wish],
    degrade: Callable[[str], None],
) -> list[Patch | Refused]:
    """An answer for each wish. Where memory runs out, the wishes are halved: an answer depends on no other wish.

    Args:
        swapper: makes patches.
        restorer: restores their detail; None does not.
        frames: (N, 3, H, W) uint8.
        wishes: in any order.
        degrade: takes a sentence.
    """
    if not wishes:
        return []
    try:
        answers = swapper.swap(frames, wishes)
        return answers if restorer is None else restorer.restore(frames, wishes, answers)
    except BaseException as error:
        if not is_out_of_memory(error) or len(wishes) == 1:
            raise
    free_memory()
    degrade("Memory ran out; fewer faces are swapped at once.")
    half = len(wishes) // 2
    first = swapped(swapper, restorer, frames, wishes[:half], degrade)
    return first + swapped(swapper, restorer, frames, wishes[half:], degrade)


def composed(frame: torch.Tensor, patches: Sequence[Patch], blend: float = 1.0) -> torch.Tensor:
    """A frame with patches laid on it, later ones above; what no patch covers keeps its bytes.

    Args:
        frame: (3, H, W) uint8, not changed.
        patches: on the same device.
        blend: share of the patches, 0 to 1.
    """
    result = frame.clone()
    for patch in patches:
        height, width = patch.rgb.shape[-2:]
        target = result[:, patch.top : patch.top + height, patch.left : patch.left + width]
        shared = patch if blend == 1 else replace(patch, alpha=patch.alpha * blend)
        target.copy_(over(target, shared).round_().clamp_(0, 255))
    return result
