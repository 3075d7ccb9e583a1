"""Attention methods against a brute-force form of their equations.

The network is a real ``transformers.Dinov2Model`` of three tiny layers with random weights, which serves for plumbing
only: no map of it means anything. The reference shares no code with the library: the forward pass is written in NumPy
in float64, dy/dA comes from central differences (each entry of each attention map is moved and the rest of the network
run again), and the methods are full matrix products with explicit loops.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from framelane.errors import FramelaneError, UsageError
from framelane.models.torch_compat import ensure_torchvision
from framelane.processors.attention.backbone import Backbone, Capture, keeping
from framelane.processors.attention.methods import get_method, method_names

LAYERS, HEADS, WIDTH = 3, 2, 16
GRID = (3, 2)
TOKENS = 1 + GRID[0] * GRID[1]
FRAMES = 2
STEP = 1e-5
erf = np.vectorize(math.erf)


class Reference:
    """The encoder in NumPy, float64; attention maps can be moved on the way."""

    def __init__(self, state):
        self.w = {name: value.double().numpy() for name, value in state.items()}

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def run(self, x, move=None):
        """One frame's tokens (T, width) to the final CLS token and all attention maps; move = (l, h, i, j, amount)."""
        maps = np.zeros((LAYERS, HEADS, TOKENS, TOKENS))
        size = WIDTH // HEADS
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}"
            y = self.norm(x, f"{at}.norm1")
            q, k, v = (self.linear(y, f"{at}.attention.{part}_proj") for part in "qkv")
            heads = []
            for head in range(HEADS):
                cut = slice(head * size, (head + 1) * size)
                scores = q[:, cut] @ k[:, cut].T / math.sqrt(size)
                a = np.exp(scores - scores.max(-1, keepdims=True))
                a /= a.sum(-1, keepdims=True)
                maps[layer, head] = a
                if move and move[:2] == (layer, head):
                    a[move[2], move[3]] += move[4]
                heads.append(a @ v[:, cut])
            x = (
                x
                + self.linear(np.concatenate(heads, 1), f"{at}.attention.o_proj") * self.w[f"{at}.layer_scale1.lambda1"]
            )
            y = self.linear(self.norm(x, f"{at}.norm2"), f"{at}.mlp.fc1")
            y = self.linear(y * 0.5 * (1 + erf(y / math.sqrt(2))), f"{at}.mlp.fc2")
            x = x + y * self.w[f"{at}.layer_scale2.lambda1"]
        return self.norm(x, "layernorm")[0], maps

    def gradients(self, x):
        """dy/dA by central differences, y = z . z0 with z0 the unmoved CLS token."""
        held, _ = self.run(x)
        out = np.zeros((LAYERS, HEADS, TOKENS, TOKENS))
        for at in np.ndindex(out.shape):
            up, down = (self.run(x, (*at, sign * STEP))[0] @ held for sign in (1, -1))
            out[at] = (up - down) / (2 * STEP)
        return out


def product(matrices):
    """M_L ... M_2 M_1, entry by entry."""
    result = np.eye(TOKENS)
    for matrix in matrices:
        step = np.zeros((TOKENS, TOKENS))
        for i in range(TOKENS):
            for j in range(TOKENS):
                step[i, j] = sum(matrix[i, k] * result[k, j] for k in range(TOKENS))
        result = step
    return result


def as_map(row):
    patches = np.maximum(row[1:], 0)
    return (patches / patches.sum()).reshape(GRID)


def with_residual(attention):
    mixed = 0.5 * attention + 0.5 * np.eye(TOKENS)
    return mixed / mixed.sum(1, keepdims=True)


def brute_rollout(a, g):
    return as_map(product([with_residual(sum(a[layer]) / HEADS) for layer in range(LAYERS)])[0])


def brute_last_layer(a, g):
    return as_map(sum(a[-1, head, 0] for head in range(HEADS)) / HEADS)


def brute_gmar(a, g, power):
    matrices = []
    for layer in range(LAYERS):
        norms = [sum(abs(v) ** power for v in g[layer, head].flat) ** (1 / power) for head in range(HEADS)]
        matrices.append(with_residual(sum(norms[head] / sum(norms) * a[layer, head] for head in range(HEADS))))
    return as_map(product(matrices)[0])


def brute_chefer(a, g):
    r = np.eye(TOKENS)
    for layer in range(LAYERS):
        e = np.zeros((TOKENS, TOKENS))
        for head in range(HEADS):
            for i in range(TOKENS):
                for j in range(TOKENS):
                    e[i, j] += max(0.0, g[layer, head, i, j] * a[layer, head, i, j]) / HEADS
        r = r + product([r, e])
    return as_map((r - np.eye(TOKENS))[0])


BRUTE = {
    "rollout": ({}, brute_rollout),
    "last_layer": ({}, brute_last_layer),
    "gmar": ({"norm": "l1"}, lambda a, g: brute_gmar(a, g, 1)),
    "gmar l2": ({"norm": "l2"}, lambda a, g: brute_gmar(a, g, 2)),
    "chefer": ({}, brute_chefer),
}


def tiny_backbone():
    """A real Dinov2Model of three tiny layers with random weights, and two frames for it."""
    ensure_torchvision()
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, mlp_ratio=2, image_size=42, patch_size=14,
        use_mask_token=False, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(4)
    model = Dinov2Model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Weights of about this size make attention uneven; with the usual small ones all methods look the same.
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return Backbone(model, "cpu", 42), torch.randn(FRAMES, 3, GRID[0] * 14, GRID[1] * 14)


@pytest.fixture(scope="module")
def case():
    """The capture of two frames, and what the reference finds: attention and gradients, (N, layers, heads, T, T)."""
    backbone, pixels = tiny_backbone()
    with torch.no_grad():
        tokens = backbone._model.embeddings(pixels).double().numpy()
    reference = Reference(backbone._model.state_dict())
    attentions = np.stack([reference.run(frame)[1] for frame in tokens])
    gradients = np.stack([reference.gradients(frame) for frame in tokens])
    return backbone.capture(pixels, gradients=True), attentions, gradients


def stacked(layers):
    return torch.stack(layers, dim=1).double().numpy()


def test_the_captured_attention_is_that_of_the_reference(case):
    capture, attentions, _ = case
    assert (capture.grid, capture.prefix) == (GRID, 1)
    np.testing.assert_allclose(stacked(capture.attentions), attentions, atol=1e-5)


def test_the_captured_gradients_are_those_of_central_differences(case):
    capture, _, gradients = case
    assert np.abs(gradients).max() > 0.1
    np.testing.assert_allclose(stacked(capture.gradients), gradients, rtol=1e-3, atol=1e-4 * np.abs(gradients).max())


@pytest.mark.parametrize("name", BRUTE)
def test_a_method_equals_its_equations(case, name):
    capture, attentions, gradients = case
    options, brute = BRUTE[name]
    maps = get_method(name.split()[0], **options).maps(capture)
    assert maps.dtype == torch.float32
    expected = np.stack([brute(attentions[frame], gradients[frame]) for frame in range(FRAMES)])
    np.testing.assert_allclose(maps.numpy(), expected, atol=1e-5)


def test_the_case_tells_the_methods_apart(case):
    _, attentions, gradients = case
    maps = {name: brute(attentions[0], gradients[0]) for name, (_, brute) in BRUTE.items()}
    maps["even"] = np.full(GRID, 1 / 6)
    names = list(maps)
    for i, one in enumerate(names):
        for other in names[:i]:
            assert np.abs(maps[one] - maps[other]).max() > 1e-3, (one, other)


def test_grad_cam_is_that_of_its_equations():
    """By loops over an activation and a slope that are given: alpha_c first, then the sum that stays positive."""
    rng = np.random.default_rng(5)
    activation, slope = rng.normal(size=(2, 7, 4)), rng.normal(size=(2, 7, 4))
    expected = np.zeros((2, *GRID))
    for n in range(2):
        alpha = [sum(slope[n, p, c] for p in range(1, 7)) / 6 for c in range(4)]
        cam = [max(0.0, sum(alpha[c] * activation[n, p, c] for c in range(4))) for p in range(1, 7)]
        expected[n] = np.array(cam).reshape(GRID) / sum(cam)
    even = torch.full((2, 1, 7, 7), 1 / 7)
    given = Capture(
        [even], [even], GRID, 1, "y", activation=torch.tensor(activation), activation_gradient=torch.tensor(slope)
    )
    np.testing.assert_allclose(get_method("gradcam").maps(given).numpy(), expected, atol=1e-6)


def test_the_activations_slope_is_that_of_a_small_step():
    """Moving the last layer's normalised input along the captured slope moves y by the slope's own square."""
    backbone, pixels = tiny_backbone()
    capture = backbone.capture(pixels[:1], gradients=True)
    norm = backbone._model.encoder.layer[-1].norm1
    slope = capture.activation_gradient
    with torch.no_grad(), keeping(norm) as seen:
        fixed = backbone._model(pixels[:1]).last_hidden_state[:, 0]
    torch.testing.assert_close(seen[0], capture.activation)
    ys = []
    for amount in (1e-4, -1e-4):
        with norm.register_forward_hook(lambda _m, _i, out, by=amount: out + by * slope), torch.no_grad():
            ys.append(float((backbone._model(pixels[:1]).last_hidden_state[:, 0].double() * fixed.double()).sum()))
    assert (ys[0] - ys[1]) / 2e-4 == pytest.approx(float((slope.double() ** 2).sum()), rel=2e-2)


def test_grad_cam_is_that_of_pytorch_grad_cam():
    """Against the package itself; `make test` installs it without its dependencies (a second OpenCV)."""
    ensure_torchvision()  # which the package imports
    package = pytest.importorskip("pytorch_grad_cam", reason="pip install -r requirements-parity.txt --no-deps")
    backbone, pixels = tiny_backbone()
    model, (rows, columns) = backbone._model, GRID
    found = get_method("gradcam").maps(backbone.capture(pixels[:1], gradients=True))[0]

    class Cls(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model.requires_grad_(True)

        def forward(self, frames):
            return self.model(frames).last_hidden_state[:, 0]

    def patches(tokens):
        return tokens[:, 1:].reshape(len(tokens), rows, columns, -1).permute(0, 3, 1, 2)

    layers = [model.encoder.layer[-1].norm1]
    with package.GradCAM(model=Cls(), target_layers=layers, reshape_transform=patches) as cam:
        out = cam.activations_and_grads(pixels[:1])
        (out * out.detach()).sum().backward()
        seen = cam.activations_and_grads
        activation, slope = seen.activations[0].numpy(), seen.gradients[0].numpy()
        expected = np.maximum(cam.get_cam_image(pixels, layers[0], [None], activation, slope, False)[0], 0)
    np.testing.assert_allclose(found.numpy(), expected / expected.sum(), atol=1e-6)


def test_every_map_is_a_distribution(case):
    for name in method_names():
        maps = get_method(name).maps(case[0])
        assert maps.shape == (FRAMES, *GRID)
        assert (maps >= 0).all()
        torch.testing.assert_close(maps.sum((1, 2)), torch.ones(FRAMES))


def test_register_tokens_are_left_out():
    # CLS, one register, two patches; all of the last layer's attention beyond the register lies on the second patch.
    attention = torch.tensor([0.1, 0.6, 0.0, 0.3]).repeat(4, 1).view(1, 1, 4, 4)
    maps = get_method("last_layer").maps(Capture([attention], [], (1, 2), 2, ""))
    torch.testing.assert_close(maps, torch.tensor([[[0.0, 1.0]]]))


def test_where_nothing_is_found_the_map_is_even():
    attention = torch.full((1, 2, 5, 5), 0.2)
    capture = Capture([attention], [torch.zeros_like(attention)], (2, 2), 1, "")
    for name in ("chefer", "gmar"):
        torch.testing.assert_close(get_method(name).maps(capture), torch.full((1, 2, 2), 0.25))


def test_missing_gradients_and_values_that_are_not_finite_are_sentences(case):
    capture = case[0]
    bare = Capture(capture.attentions, [], GRID, 1, "")
    for name in ("gmar", "chefer"):
        assert get_method(name).needs_gradients
        with pytest.raises(FramelaneError, match=f"{name} needs gradients"):
            get_method(name).maps(bare)
    with pytest.raises(FramelaneError, match="gradcam needs activations"):
        get_method("gradcam").maps(replace(capture, activation=None))
    nan = float("nan")
    broken = replace(capture, attentions=[a * nan for a in capture.attentions], activation=capture.activation * nan)
    for name in method_names():
        with pytest.raises(FramelaneError, match="not finite"):
            get_method(name).maps(broken)


def test_unknown_methods_and_options_are_answered_with_what_there_is():
    with pytest.raises(UsageError, match=r"'rolout'.*chefer, gmar, gradcam, last_layer, rollout"):
        get_method("rolout")
    with pytest.raises(UsageError, match="rollout has no option norm"):
        get_method("rollout", norm="l1")
    with pytest.raises(UsageError, match=r"'l3'.*l1, l2"):
        get_method("gmar", norm="l3")
