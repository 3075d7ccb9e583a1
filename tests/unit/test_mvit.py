"""MViT: the model's own logits, and pooled attention against matrices written out in full.

The weights are random, which serves for plumbing only: no map here means anything.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from framelane.errors import UsageError
from framelane.processors.attention.methods import get_method, method_names
from framelane.processors.attention.mvit import MvitBackbone
from framelane.processors.attention.mvit_models import kinetics_classes, mvit_v2_s
from framelane.processors.attention.pooling import Pooling, on_tiles
from support.tiny import CLASSES
from support.tiny import mvit as tiny
from support.tiny import mvit_model as tiny_model


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(3))


# -- the model itself ---------------------------------------------------------------------------------------------------


def test_logits_are_torchvisions_own():
    model = mvit_v2_s().eval()
    window = torch.randn(1, 3, 16, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(window)
    found = MvitBackbone(model, "cpu", kinetics_classes()).capture(window, gradients=False)
    assert (found.logits - expected).abs().max() == 0.0
    assert found.grid == (8, 56, 56)
    assert len(found.attentions) == len(found.pools) == 16
    assert get_method("rollout").maps(found).shape == (1, 8, 56, 56)


def test_the_trap_is_still_there_and_ours_keeps_out_of_it(pixels):
    """``create_feature_extractor`` drops in-place additions: if this fails, the warning in mvit.py can go."""
    from torchvision.models.feature_extraction import create_feature_extractor

    model = tiny_model().eval()
    with torch.no_grad():
        expected = model(pixels)
        trapped = create_feature_extractor(model, {"head": "logits"})(pixels)["logits"]
    assert (trapped - expected).abs().max() > 1e-3
    for gradients in (False, True):
        assert (tiny().capture(pixels, gradients).logits - expected).abs().max() == 0.0


def test_gradients_are_those_of_finite_differences(pixels):
    """dy/dA by moving single entries of the last layer's attention while the model runs."""
    backbone = tiny()
    found = backbone.capture(pixels[:1], gradients=True, target="right")
    layer = len(found.attentions) - 1
    model = backbone._model.double()
    for at in [(0, 0, 0, 0), (0, 1, 0, 3), (0, 0, 5, 2), (0, 1, 9, 1)]:
        ys = []
        for amount in (1e-4, -1e-4):
            with Moved(layer, at, amount), torch.no_grad():
                ys.append(float(model(pixels[:1].double())[0, CLASSES.index("right")]))
        assert (ys[0] - ys[1]) / 2e-4 == pytest.approx(float(found.gradients[layer][at]), abs=1e-5)


class Moved(torch.overrides.TorchFunctionMode):
    def __init__(self, layer, at, amount):
        super().__init__()
        self.layer, self.at, self.amount, self.count = layer, at, amount, 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "softmax":
            if self.count == self.layer:
                result = result.clone()
                result[self.at] += self.amount
            self.count += 1
        return result


# -- pooled attention ---------------------------------------------------------------------------------------------------


def dense(source, pooled, stride, kernel=None, padding=(0, 0, 0)):
    """P written out, entry by entry."""
    kernel = np.ones(stride) if kernel is None else kernel
    at = {cell: 1 + i for i, cell in enumerate(np.ndindex(*source))}
    matrix = np.zeros((1 + int(np.prod(pooled)), 1 + len(at)))
    matrix[0, 0] = 1
    for i, cell in enumerate(np.ndindex(*pooled)):
        for offset in np.ndindex(*kernel.shape):
            place = tuple(c * s - p + o for c, s, p, o in zip(cell, stride, padding, offset, strict=True))
            if place in at:
                matrix[1 + i, at[place]] = kernel[offset]
        matrix[1 + i] /= matrix[1 + i].sum()
    return matrix


CASES = [
    ((2, 4, 4), (2, 4, 4), (1, 1, 1), None, (0, 0, 0)),
    ((2, 4, 4), (2, 2, 2), (1, 2, 2), None, (0, 0, 0)),
    ((3, 5, 7), (3, 3, 4), (1, 2, 2), None, (0, 0, 0)),
    ((4, 8, 8), (4, 1, 1), (1, 8, 8), None, (0, 0, 0)),
    ((2, 4, 4), (2, 2, 2), (1, 2, 2), (3, 3, 3), (1, 1, 1)),
    ((3, 5, 7), (3, 3, 4), (1, 2, 2), (3, 3, 3), (1, 1, 1)),
    ((3, 9, 9), (3, 2, 2), (1, 8, 8), (3, 3, 3), (1, 1, 1)),
]


@pytest.mark.parametrize("case", CASES)
def test_pooling_is_its_matrix(case):
    source, pooled, stride, shape, padding = case
    rng = np.random.default_rng(0)
    kernel = None if shape is None else rng.uniform(0.1, 1, shape)
    row = rng.random((2, 1 + int(np.prod(pooled))))
    expected = row @ dense(source, pooled, stride, kernel, padding)
    tensor = None if kernel is None else torch.from_numpy(kernel)
    found = Pooling(source, pooled, stride, tensor, padding)(torch.from_numpy(row))
    assert found.shape == (2, 1 + int(np.prod(source)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(1).numpy(), row.sum(1), atol=1e-12)


def written_out(capture, method, window):
    """The method as full matrix products, first layer to last, in float64."""
    total, relevance = None, None
    for layer, pools in enumerate(capture.pools):
        a = capture.attentions[layer][window].double().numpy()
        g = capture.gradients[layer][window].double().numpy()
        to_q, to_k = (
            dense(p.source, p.pooled, p.stride, None if p.kernel is None else p.kernel.numpy(), p.padding)
            for p in (pools.queries, pools.keys)
        )
        if method == "chefer":
            step = np.maximum(a * g, 0).mean(0) @ to_k
            relevance = to_q + step if relevance is None else (to_q + step) @ relevance
            continue
        weights = {"rollout": np.full(len(a), 1 / len(a)), "gmar": np.abs(g).sum((1, 2)) / np.abs(g).sum()}[method]
        mixed = np.tensordot(weights, a, 1)
        step = 0.5 * (mixed / mixed.sum(1, keepdims=True)) @ to_k + 0.5 * to_q
        total = step if total is None else step @ total
    row = (relevance if method == "chefer" else total)[0, 1:]
    return (row / row.sum()).reshape(capture.grid)


@pytest.mark.parametrize("pooling", ["uniform", "learned"])
@pytest.mark.parametrize("method", ["rollout", "gmar", "chefer"])
def test_methods_are_the_products_of_their_matrices(method, pooling, pixels):
    capture = replace(tiny(pooling=pooling).capture(pixels, gradients=True, target="up"), shift=())
    maps = get_method(method).maps(capture).numpy()
    assert maps.shape == (2, 2, 8, 8)
    for window in (0, 1):
        np.testing.assert_allclose(maps[window], written_out(capture, method, window), atol=1e-6)


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("start", [0, 1, 2])
def test_maps_sum_to_one_from_any_layer(method, start, pixels):
    capture = tiny().capture(pixels, gradients=True, start_layer=start)
    maps = get_method(method).maps(capture)
    assert maps.shape == (2, *((2, 8, 8) if start < 2 else (2, 4, 4)))
    assert torch.allclose(maps.sum((1, 2, 3)), torch.ones(2))


def test_windows_do_not_mix(pixels):
    both = get_method("gmar").maps(tiny().capture(pixels, gradients=True, target="left"))
    alone = get_method("gmar").maps(tiny().capture(pixels[1:], gradients=True, target="left"))
    assert torch.allclose(both[1], alone[0], atol=1e-6)


# -- where tokens lie -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 2])
def test_tokens_lie_where_the_model_sees(start):
    """The middle of the frames and pixels that a token depends on, in every axis, from gradients of the model itself."""
    backbone = tiny()
    model = backbone._model
    pixels = torch.randn(1, 3, 4, 32, 32, requires_grad=True)
    inputs = []
    hook = model.blocks[start].register_forward_pre_hook(lambda _module, given: inputs.append(given[0]))
    # Attention mixes everything, so what is followed is the shortcut: the residual path alone.
    hooks = [block.attn.register_forward_hook(lambda _m, _i, out: (out[0] * 0, out[1])) for block in model.blocks]
    for block in model.blocks:
        hooks.append(block.mlp.register_forward_hook(lambda _m, _i, out: out * 0))
        if getattr(block, "pool_skip", None) is not None:
            pool = block.pool_skip.pool
            block.pool_skip.pool = torch.nn.AvgPool3d(pool.kernel_size, pool.stride, pool.padding)
    model(pixels)
    for one in (hook, *hooks):
        one.remove()
    capture = backbone.capture(pixels.detach(), gradients=True, start_layer=start)
    grid = capture.grid
    at = tuple(n // 2 for n in grid)
    token = inputs[0][0, 1 + int(np.ravel_multi_index(at, grid))]
    seen = torch.autograd.grad(token.square().sum(), pixels)[0][0].abs().sum(0) > 0
    for axis, (cell, cells, shift) in enumerate(zip(at, grid, capture.shift, strict=True)):
        touched = torch.where(seen.sum(tuple(a for a in range(3) if a != axis)) > 0)[0]
        size = pixels.shape[2 + axis] / cells
        assert (float(touched[0] + touched[-1]) + 1) / 2 == pytest.approx((cell + 0.5 + shift) * size)


def test_maps_are_brought_onto_even_tiles():
    spot = torch.zeros(1, 1, 4, 4)
    spot[0, 0, 2, 1] = 1
    moved = on_tiles(spot, (0.0, -0.25, 0.5))
    assert torch.allclose(moved.sum(), torch.tensor(1.0))
    # A token a quarter before its tile lies on the tile before, too; one a half behind on the next.
    assert moved[0, 0, 1:3, 1:3].flatten().tolist() == pytest.approx([0.125, 0.125, 0.375, 0.375])
    even = torch.full((1, 2, 5, 3), 1 / 30)
    assert torch.allclose(on_tiles(even, (-0.25, -0.4, 0.1)), even)
    assert on_tiles(spot, ()) is spot


# -- settings -----------------------------------------------------------------------------------------------------------


def test_targets(pixels):
    backbone = tiny()
    top = backbone.capture(pixels[:1], gradients=True)
    assert top.probability == pytest.approx([float(top.logits.softmax(dim=1)[0, CLASSES.index(top.action[0])])])
    assert top.probability[0] >= 1 / 3
    named = backbone.capture(pixels[:1], gradients=True, target=top.action[0])
    mean = backbone.capture(pixels[:1], gradients=True, target="mean")
    assert all(torch.equal(a, b) for a, b in zip(top.gradients, named.gradients, strict=True))
    assert not torch.equal(top.gradients[-1], mean.gradients[-1])
    assert top.target == "logit of the most likely class"
    with pytest.raises(UsageError, match=r"'rihgt' is no class of this model. Did you mean right"):
        backbone.capture(pixels, gradients=True, target="rihgt")
    for layer in (-1, 3):
        with pytest.raises(UsageError, match=rf"start_layer: {layer} is not one of the backbone's layers, 0 to 2"):
            backbone.check_layer(layer)
    with pytest.raises(UsageError, match="0 to 2"):
        backbone.capture(pixels, gradients=False, start_layer=3)


def test_other_sizes_interpolate_positions_or_are_refused():
    wide = tiny(resolution=64, frames=8)
    assert wide.grid == (4, 16, 16)
    frames = torch.randint(0, 256, (8, 3, 36, 48), dtype=torch.uint8)
    maps = get_method("gmar").maps(wide.capture(wide.prepare(frames), gradients=True))
    assert maps.shape == (1, 4, 16, 16)
    with pytest.raises(UsageError, match="multiple of 8"):
        tiny(resolution=36)
    with pytest.raises(UsageError, match="multiple of 2"):
        tiny(frames=5)
    with pytest.raises(UsageError, match="fixed positions and takes 4 frames of 32 pixels only"):
        MvitBackbone(tiny_model(relative=False), "cpu", CLASSES, frames=4, resolution=64)
    with pytest.raises(UsageError, match="allowed are uniform, learned"):
        tiny(pooling="max")


@pytest.mark.gpu
@pytest.mark.parametrize("name", method_names())
def test_on_a_gpu_half_precision_gives_the_maps_of_single_precision_and_gives_them_again(name):
    pixels = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(5))
    maps = []
    for half in (False, True, True):
        backbone = MvitBackbone(
            tiny_model(), "cuda", CLASSES, frames=4, resolution=32, mixed_precision=half, checkpointing=False
        )
        maps.append(get_method(name).maps(backbone.capture(pixels.cuda(), gradients=True)).cpu())
    assert (maps[0] - maps[1]).abs().sum() < 0.05
    torch.testing.assert_close(maps[1].half(), maps[2].half(), rtol=1e-3, atol=1e-6)


def test_nothing_of_a_window_stays_in_memory(pixels):
    """200 windows: no tensor is left behind, and no graph."""
    import gc

    backbone, method = tiny(), get_method("gmar")

    def window():
        capture = backbone.capture(pixels[:1], gradients=True)
        assert not any(t.requires_grad for t in [*capture.attentions, *capture.gradients, capture.logits])
        return method.maps(capture)

    def alive():
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    window()
    before = alive()
    for _ in range(200):
        window()
    assert alive() <= before
    assert not backbone._model.blocks[0].attn._forward_hooks
