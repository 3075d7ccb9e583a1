"""Gradients of attention with one layer's activations in memory at a time.

Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174, section 3) with a checkpoint at every layer: the forward
pass keeps only what enters each layer. Then, from the last layer to the first, the layer runs again with its graph, and
that graph is gone before the next one is made. ``torch.utils.checkpoint`` does not serve here: it recomputes attention
inside the backward pass, where dy/dA cannot be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framelane.processors.attention.backbone import keeping, precision
from framelane.processors.attention.video import Seen, VideoBackbone, VideoCapture

if TYPE_CHECKING:
    from torch import Tensor

    from framelane.processors.attention.pooling import Pools


def recomputed(backbone: VideoBackbone, pixels: Tensor, start_layer: int, target: str) -> VideoCapture:
    """The capture with gradients that :meth:`VideoBackbone.capture` gives, layer by layer.

    Args:
        backbone: any.
        pixels: as its ``prepare`` gives them.
        start_layer: the first layer kept.
        target: whose logit y is.

    Raises:
        FramelaneError: the model computed its attention where it cannot be seen.
    """
    import torch

    with precision(backbone._half):
        states, tokens = _forward(backbone, pixels, start_layer)
        with torch.enable_grad():
            tokens.requires_grad_()
            logits = backbone._head(tokens).float()
            (slope,) = torch.autograd.grad(backbone._y(logits, target), [tokens])
        layers: list[_Layer] = []
        for index in range(len(backbone._layers) - 1, start_layer - 1, -1):
            layer, slope = _again(backbone, index, states.pop(), slope)
            layers.insert(0, layer)
    seen = Seen([layer.attention for layer in layers], [pool for layer in layers for pool in layer.pools])
    activation = layers[-1].activation
    assert activation is not None, "the norm is the last layer's"
    return backbone._captured(seen, [layer.gradient for layer in layers], activation, logits, target)


def _forward(backbone: VideoBackbone, pixels: Tensor, start_layer: int) -> tuple[list[tuple[Any, ...]], Tensor]:
    """What enters each layer from ``start_layer`` on, and what leaves the last one."""
    import torch

    states = []
    with torch.no_grad():
        state = backbone._stem(pixels)
        for index in range(len(backbone._layers)):
            if index >= start_layer:
                states.append(state)
            state = backbone._through(index, state)
    return states, state[0]


@dataclass(frozen=True)
class _Layer:
    """What stays of a layer: its attention, dy/d of it, how it pooled; of the last one also its norm, and dy/d of that."""

    attention: Tensor
    gradient: Tensor
    pools: list[Pools]
    activation: tuple[Tensor, Tensor] | None


def _again(backbone: VideoBackbone, index: int, state: tuple[Any, ...], slope: Tensor) -> tuple[_Layer, Tensor]:
    """Run a layer again and go back through it.

    Args:
        backbone: of the layer.
        index: of the layer.
        state: what enters it.
        slope: dy/d of what leaves it.

    Returns:
        What stays of it, and dy/d of what enters it. Neither has a graph.
    """
    import torch

    seen = Seen()
    with torch.enable_grad(), backbone._noting(seen), keeping(backbone._last_norm) as activations:
        entered = state[0].detach().requires_grad_()
        left = backbone._through(index, (entered, *state[1:]))[0]
        backbone._check_seen(seen, 1)
        wanted = [entered, *seen.attentions, *activations]
        before, gradient, *rest = torch.autograd.grad(left, wanted, slope.to(left.dtype))
    activation = (activations[0].detach(), rest[0]) if activations else None
    return _Layer(seen.attentions[0].detach(), gradient, seen.pools, activation), before
