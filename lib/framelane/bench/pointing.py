"""How well an attention map points at a box, and the controls that any method must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from framelane.errors import FramelaneError

if TYPE_CHECKING:
    from torch import Tensor


def pointing_game(attention: Tensor, box: Tensor, frame_hw: tuple[int, int]) -> bool:
    """Whether a map's highest point lies inside the box (Zhang et al. 2018, "Top-down neural attention").

    The map is enlarged to the frame bilinearly. The tolerance is 0 pixels; the original has 15. Of equal maxima the
    first in reading order counts.

    Args:
        attention: (gh, gw), any grid over the frame.
        box: x1, y1, x2, y2 in pixels.
        frame_hw: (height, width) of the frame in pixels.

    Raises:
        FramelaneError: the map is not two-dimensional, or holds a value that is no finite number.
    """
    from torch.nn.functional import interpolate

    _check(attention)
    full = interpolate(attention[None, None].double(), size=frame_hw, mode="bilinear", align_corners=False)
    y, x = divmod(int(full.argmax()), frame_hw[1])
    x1, y1, x2, y2 = (float(v) for v in box)
    return x1 <= x + 0.5 < x2 and y1 <= y + 0.5 < y2


def mass_in_box(attention: Tensor, box: Tensor, frame_hw: tuple[int, int]) -> float:
    """The share of a map's mass inside the box, exact: a cell that the box cuts counts by the area inside.

    Args:
        attention: (gh, gw), not negative; its cells tile the frame evenly.
        box: x1, y1, x2, y2 in pixels.
        frame_hw: (height, width) of the frame in pixels.

    Returns:
        0 to 1; 0 for a map without any mass.

    Raises:
        FramelaneError: the map is not two-dimensional, or holds a negative value or one that is no finite number.
    """
    _check(attention)
    if float(attention.min()) < 0:
        raise FramelaneError("An attention map with negative values has no mass to share out.")
    x1, y1, x2, y2 = (float(v) for v in box)
    rows = overlap(attention.shape[0], y1, y2, frame_hw[0])
    columns = overlap(attention.shape[1], x1, x2, frame_hw[1])
    weights = attention.double()
    total = float(weights.sum())
    return float(rows @ weights @ columns) / total if total > 0 else 0.0


def overlap(cells: int, low: float, high: float, length: int) -> Tensor:
    """For each of the cells that tile ``length`` pixels, the share of it between ``low`` and ``high``: (cells,)."""
    import torch

    edges = torch.linspace(0, length, cells + 1, dtype=torch.float64)
    inside = torch.clamp(edges[1:], max=high) - torch.clamp(edges[:-1], min=low)
    return inside.clamp(min=0) / (length / cells)


def _check(attention: Tensor) -> None:
    if attention.ndim != 2 or not bool(attention.isfinite().all()):
        raise FramelaneError(f"An attention map must be a grid of finite numbers, not {tuple(attention.shape)}.")


def centre_bias(grid: tuple[int, int]) -> Tensor:
    """The control that looks at no pixel: a Gaussian around the centre, sigma a quarter of each side.

    Returns:
        float32 (gh, gw) that sums to 1.
    """
    import torch

    rows, columns = (((torch.arange(n) + 0.5) / n - 0.5) / 0.25 for n in grid)
    bell = torch.exp(-0.5 * (rows[:, None] ** 2 + columns[None, :] ** 2))
    return bell / bell.sum()


def random_map(grid: tuple[int, int], seed: int) -> Tensor:
    """The control that knows nothing: independent uniform values; float32 (gh, gw) that sums to 1."""
    import torch

    values = torch.rand(grid, generator=torch.Generator().manual_seed(seed))
    return values / values.sum()
