"""From the attention of all layers and heads to one map per frame.

Every method follows the CLS token's row of a product of matrices. It starts from the row vector e_cls and multiplies
from the last layer to the first: vector times matrix, T squared steps a layer, not T cubed. A model that has no CLS and
reads the mean of all tokens (VideoMAE) starts from the even row instead: its answer takes as much of every token.

Notation: A_lh is the attention of layer l and head h, (Tq, Tk), rows are queries; y is :attr:`Capture.target`.

Where a layer pools (MViT), its attention A is replaced by A P_kv and its identity by P_q, see :mod:`pooling`: with
the residual weight 1/2 a layer of the rollout is then 0.5 A P_kv + 0.5 P_q, from the layer's pooled queries to the
tokens that entered it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar

from framelane.errors import FramelaneError, UsageError
from framelane.processors.attention.backbone import Capture
from framelane.processors.attention.pooling import Pools, on_tiles

if TYPE_CHECKING:
    from torch import Tensor

_methods: dict[str, type[Method]] = {}


class Method(ABC):
    """One way to make maps; a subclass with a ``name`` registers itself.

    Attributes:
        name: what ``attention.method`` calls it.
        needs_gradients: whether the capture must hold dy/dA.
    """

    name: ClassVar[str]
    needs_gradients: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _methods[cls.name] = cls

    def maps(self, capture: Capture) -> Tensor:
        """The map of every frame.

        Args:
            capture: with gradients if :attr:`needs_gradients`.

        Returns:
            float32 (N, gh, gw), or (N, gt, gh, gw) of a video model, on even tiles of the frame (and of the window), on
            the capture's device; no value is negative and every map sums to 1. Where a method finds nothing at all, the
            map is even.

        Raises:
            FramelaneError: the method needs gradients and the capture has none, or a value is not finite.
        """
        import torch

        if self.needs_gradients and len(capture.gradients) != len(capture.attentions):
            raise FramelaneError(f"The attention method {self.name} needs gradients, and none were captured.")
        with torch.no_grad():
            patches = self.row(capture)[:, capture.prefix :].float().clamp(min=0)
            total = patches.sum(dim=1, keepdim=True)
            if not bool(torch.isfinite(total).all()):
                raise FramelaneError(f"The attention method {self.name} met a value that is not finite.")
            even = torch.full_like(patches, 1 / patches.shape[1])
            shares = torch.where(total > 0, patches / total.clamp(min=torch.finfo(torch.float32).tiny), even)
            return on_tiles(shares.view(-1, *capture.grid), capture.shift)

    @abstractmethod
    def row(self, capture: Capture) -> Tensor:
        """What the CLS token (or the mean of all) takes from every token, (N, T), CLS first; of any scale."""


class Rollout(Method):
    """Attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928, section 3 and equation 1).

    A_l = 0.5 mean_h A_lh + 0.5 I, rows normalised; the map is the CLS row of A_L ... A_1.
    """

    name = "rollout"

    def row(self, capture: Capture) -> Tensor:
        """The CLS row of the product."""
        row = _readout(capture)
        for layer in _backwards(capture):
            row = _half_residual(row, _normalised(layer.attention.mean(dim=1)), layer)
        return row


class LastLayer(Method):
    """CLS attention of the last layer, mean of the heads (DINO, Caron et al. 2021, arXiv 2104.14294, figure 1)."""

    name = "last_layer"

    def row(self, capture: Capture) -> Tensor:
        """The CLS row of the last layer."""
        last, *earlier = _backwards(capture)
        row = last.from_keys((_readout(capture)[:, None, None] @ last.attention)[:, :, 0].mean(dim=1))
        for layer in earlier:
            row = layer.from_queries(row)
        return row


class Gmar(Method):
    """Gradient-driven multi-head attention rollout (Jo, Jang & Park 2025, arXiv 2504.19414, method section).

    G_lh = ||dy/dA_lh||, the sum of absolute values (``l1``) or the root of the sum of squares (``l2``);
    w_lh = G_lh / sum_h G_lh; then rollout of sum_h w_lh A_lh with the residual. The paper, not its public code.
    """

    name = "gmar"
    needs_gradients = True

    def __init__(self, norm: str = "l1") -> None:
        """Choose the norm of the gradient, ``"l1"`` or ``"l2"``."""
        if norm not in ("l1", "l2"):
            raise UsageError(f"attention.gmar_norm: {norm!r} is unknown; allowed are l1, l2.")
        self._order = int(norm[1])

    def row(self, capture: Capture) -> Tensor:
        """The CLS row of the product."""
        row = _readout(capture)
        for layer in _backwards(capture):
            weighted = (self.head_weights(layer.gradient)[:, :, None, None] * layer.attention).sum(dim=1)
            row = _half_residual(row, _normalised(weighted), layer)
        return row

    def head_weights(self, gradient: Tensor) -> Tensor:
        """How much each head counts: (N, heads, T, T) to (N, heads), summing to 1; even where the gradient is zero."""
        import torch

        norms = torch.linalg.vector_norm(gradient.flatten(2), ord=self._order, dim=2)
        total = norms.sum(dim=1, keepdim=True)
        even = torch.full_like(norms, 1 / norms.shape[1])
        return torch.where(total > 0, norms / total.clamp(min=torch.finfo(norms.dtype).tiny), even)


class Chefer(Method):
    """Relevance of self-attention (Chefer, Gur & Wolf 2021, arXiv 2103.15679, equations 5 and 6).

    E_l = mean_h (dy/dA_lh * A_lh)^+ with the elementwise product and negative values set to zero; R_0 = I,
    R <- R + E_l R for l = 1 ... L; the map is the CLS row of R - I.
    """

    name = "chefer"
    needs_gradients = True

    def row(self, capture: Capture) -> Tensor:
        """The CLS row of R - I."""
        row = alone = _readout(capture)
        for layer in _backwards(capture):
            relevance = (layer.attention * layer.gradient).clamp_(min=0).mean(dim=1)
            row = layer.from_queries(row) + layer.from_keys(_times(row, relevance))
            alone = layer.from_queries(alone)  # what I has in this row; from CLS that leads to CLS only, pooled or not
        return row - alone


class GradCam(Method):
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2) on the last layer's normalised input.

    alpha_c = mean over the patches of dy/da_pc; the map is (sum_c alpha_c a_pc)^+ . The layer is the one that
    pytorch-grad-cam recommends for ViTs (``blocks[-1].norm1``). A pooled model's map is brought back to the first grid.
    """

    name = "gradcam"
    needs_gradients = True

    def row(self, capture: Capture) -> Tensor:
        """The weighted sum of channels, CLS left out."""
        import torch

        if capture.activation is None or capture.activation_gradient is None:
            raise FramelaneError("The attention method gradcam needs activations, and none were captured.")
        patches = capture.activation[:, capture.prefix :]
        alpha = capture.activation_gradient[:, capture.prefix :].mean(dim=1, keepdim=True)
        found = (alpha * patches).sum(dim=2).clamp(min=0)
        row = torch.cat([found.new_zeros(len(found), capture.prefix), found], dim=1)
        for layer in _backwards(capture)[1:]:
            row = layer.from_queries(row)
        return row


def method_names() -> list[str]:
    """The names that :func:`get_method` knows."""
    return sorted(_methods)


def get_method(name: str, **options: Any) -> Method:
    """The method of that name.

    Args:
        name: one of :func:`method_names`.
        **options: of the method: ``norm`` for ``gmar``.

    Raises:
        UsageError: there is no such method, or it does not have this option.
    """
    if name not in _methods:
        raise UsageError(f"attention.method: {name!r} is unknown; allowed are {', '.join(method_names())}.")
    try:
        return _methods[name](**options)
    except TypeError as error:
        raise UsageError(f"The attention method {name} has no option {', '.join(sorted(options))}.") from error


@dataclass(frozen=True)
class _Layer:
    """One layer's attention and the ways from its grids back to the tokens that entered it."""

    attention: Tensor
    _gradient: Tensor | None
    _pools: Pools | None

    @property
    def gradient(self) -> Tensor:
        assert self._gradient is not None, "maps() has looked"
        return self._gradient

    def from_keys(self, row: Tensor) -> Tensor:
        """(N, Tk) to (N, T)."""
        return row if self._pools is None else self._pools.keys(row)

    def from_queries(self, row: Tensor) -> Tensor:
        """(N, Tq) to (N, T)."""
        return row if self._pools is None else self._pools.queries(row)


def _backwards(capture: Capture) -> list[_Layer]:
    """The layers, last to first."""
    layers = zip_longest(capture.attentions, capture.gradients, capture.pools)
    return [_Layer(*layer) for layer in layers][::-1]


def _readout(capture: Capture) -> Tensor:
    """The row vector that reads the answer, (N, Tq) of the last layer: e_cls, or the even row."""
    last = capture.attentions[-1]
    row = last.new_zeros(last.shape[0], last.shape[-2])
    if capture.readout == "mean":
        return row + 1 / row.shape[1]
    row[:, 0] = 1
    return row


def _times(row: Tensor, matrix: Tensor) -> Tensor:
    """(N, Tq) times (N, Tq, Tk)."""
    return (row[:, None] @ matrix)[:, 0]


def _half_residual(row: Tensor, attention: Tensor, layer: _Layer) -> Tensor:
    return 0.5 * layer.from_keys(_times(row, attention)) + 0.5 * layer.from_queries(row)


def _normalised(attention: Tensor) -> Tensor:
    """Rows that sum to 1; under FP16 the softmax leaves them off by a thousandth."""
    return attention / attention.sum(dim=-1, keepdim=True)
