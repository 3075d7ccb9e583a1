"""Gradient checkpointing: the same capture from a fraction of the memory. Random weights: for plumbing only."""

import gc
import weakref

import pytest
import torch

from framelane.processors.attention.methods import get_method
from support import tiny

CASES = {
    "mvit": (tiny.mvit, (2, 3, 4, 32, 32)),
    "videomae": (tiny.videomae, (2, 4, 3, 16, 16)),
}


def pixels(kind):
    return torch.randn(CASES[kind][1], generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("target", ["top-1", "right", "mean"])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_nothing_that_comes_out_differs(kind, target, start):
    make = CASES[kind][0]
    plain, twice = (
        make(checkpointing=flag).capture(pixels(kind), gradients=True, start_layer=start, target=target)
        for flag in (False, True)
    )
    assert len(plain.gradients) == len(twice.gradients) == 3 - start
    for name in ("attentions", "gradients"):
        for one, other in zip(getattr(plain, name), getattr(twice, name), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    for name in ("activation", "activation_gradient", "logits"):
        torch.testing.assert_close(getattr(plain, name), getattr(twice, name), atol=1e-5, rtol=0)
    for name in ("grid", "prefix", "readout", "target", "pools", "action", "probability"):
        assert getattr(plain, name) == getattr(twice, name)
    assert not any(tensor.requires_grad for tensor in (*twice.attentions, *twice.gradients, twice.logits))
    for method in ("gmar", "chefer", "gradcam"):
        torch.testing.assert_close(get_method(method).maps(plain), get_method(method).maps(twice), atol=1e-5, rtol=0)


def test_where_no_gradients_are_wanted_it_is_the_plain_pass():
    plain, twice = (tiny.mvit(checkpointing=flag).capture(pixels("mvit"), gradients=False) for flag in (False, True))
    assert torch.equal(plain.logits, twice.logits)
    assert not twice.gradients


class Saved:
    """Bytes that graphs hold for their way back, now and at most; every storage counts once."""

    def __init__(self):
        self.now = self.peak = 0
        self.held = {}

    def pack(self, tensor):
        box = [tensor.detach()]  # an output that held its own graph would be a cycle
        key, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        holder = Holder(box)
        if self.held.setdefault(key, 0) == 0:
            self.now += size
            self.peak = max(self.peak, self.now)
        self.held[key] += 1
        weakref.finalize(holder, self.drop, key, size)
        return holder

    def drop(self, key, size):
        self.held[key] -= 1
        if not self.held[key]:
            self.now -= size


class Holder:
    def __init__(self, box):
        self.box = box


def peak(backbone, frames):
    saved = Saved()
    weights = {p.untyped_storage().data_ptr() for p in backbone._model.parameters()}
    saved.held = dict.fromkeys(weights, 1)  # these are there anyway
    gc.collect()
    gc.disable()  # on a GPU nothing may wait for it
    try:
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda holder: holder.box[0]):
            backbone.capture(frames, gradients=True)
        assert saved.now == 0
    finally:
        gc.enable()
    return saved.peak


@pytest.mark.parametrize(("kind", "size"), [("mvit", {"more": 9}), ("videomae", {"layers": 12})])
def test_graphs_hold_one_layer_at_a_time(kind, size):
    """Twelve layers: what graphs hold at most falls to a fraction, for only the largest layer is there at once."""
    make = CASES[kind][0]
    plain, twice = (peak(make(checkpointing=flag, **size), pixels(kind)) for flag in (False, True))
    assert plain > 0
    assert twice < 0.5 * plain
    if kind == "videomae":  # all its layers are of one size
        assert twice < 0.15 * plain
