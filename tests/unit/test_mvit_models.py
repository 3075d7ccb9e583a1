"""The published MViTs: their size, and SlowFast's names under torchvision's.

SlowFast cannot be installed here (it wants detectron2), so its names and shapes are derived again from its
configuration, and its forward pass is written out again from its source under its own names, in float64.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from framelane.errors import FramelaneError
from framelane.processors.attention.loading import fill
from framelane.processors.attention.mvit import MvitBackbone
from framelane.processors.attention.mvit_models import from_slowfast, kinetics_classes, load_mvit, mvit_v2_b, mvit_v2_s
from support.tiny import mvit_model

# configs/Kinetics/MVITv2_B_32x3.yaml of SlowFast
MVITV2_B = {"depth": 24, "width": 96, "doubles": {2, 5, 21}, "kv": 8, "frames": 32, "side": 224, "classes": 400}


def plan(depth, doubles, kv, heads=1):
    """Per layer (heads, stride of q, stride of k and v), as SlowFast's POOL_KV_STRIDE_ADAPTIVE works them out."""
    layers = []
    for index in range(depth):
        q = 2 if index in doubles else 1
        heads, kv = heads * q, max(kv // q, 1)
        layers.append((heads, q, kv))
    return layers


def slowfast_shapes(depth, width, doubles, kv, frames, side, classes):
    """Every name of a SlowFast MViTv2 with its shape."""
    shapes = {
        "cls_token": (1, 1, width),
        "patch_embed.proj.weight": (width, 3, 3, 7, 7),
        "patch_embed.proj.bias": (width,),
    }
    size = side // 4

    def linear(name, out, into):
        shapes.update({f"{name}.weight": (out, into), f"{name}.bias": (out,)})

    def norm(name, channels):
        shapes.update({f"{name}.weight": (channels,), f"{name}.bias": (channels,)})

    for index, (heads, q, k) in enumerate(plan(depth, doubles, kv)):
        at, wide = f"blocks.{index}", width * q
        each = wide // heads
        norm(f"{at}.norm1", width)
        linear(f"{at}.attn.qkv", 3 * wide, width)
        linear(f"{at}.attn.proj", wide, wide)
        for part in "qkv":
            shapes[f"{at}.attn.pool_{part}.weight"] = (each, 1, 3, 3, 3)
            norm(f"{at}.attn.norm_{part}", each)
        for axis in "hw":
            shapes[f"{at}.attn.rel_pos_{axis}"] = (2 * max(size // q, size // k) - 1, each)
        shapes[f"{at}.attn.rel_pos_t"] = (2 * (frames // 2) - 1, each)
        norm(f"{at}.norm2", wide)
        linear(f"{at}.mlp.fc1", 4 * wide, wide)
        linear(f"{at}.mlp.fc2", wide, 4 * wide)
        if q > 1:
            linear(f"{at}.proj", wide, width)
        width, size = wide, size // q
    norm("norm", width)
    linear("head.projection", classes, width)
    return shapes


@pytest.fixture(scope="module")
def base():
    """MViTv2-B without memory for its parameters."""
    with torch.device("meta"):
        return mvit_v2_b()


def test_mvit_v2_b_has_the_published_size(base):
    assert sum(p.numel() for p in base.parameters()) == 51_230_128
    backbone = MvitBackbone(base, "meta", kinetics_classes(), frames=32)
    assert backbone.grid == (16, 56, 56)
    assert len(backbone._layers) == 24


def test_every_parameter_has_one_name_in_slowfast_and_every_name_one_parameter(base):
    shapes = slowfast_shapes(**MVITV2_B)
    given = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    renamed = from_slowfast(given)
    assert len(renamed) == len(given)
    assert {name: tuple(t.shape) for name, t in renamed.items()} == {
        name: tuple(t.shape) for name, t in base.state_dict().items()
    }


def slowfast_forward(w, video, layers):
    """Logits by slowfast/models/attention.py and video_model_builder.py, written out again: one window (1, 3, T, S, S)."""

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    def pool(x, thw, function):
        """(heads, 1 + tokens, C) to the same on a coarser grid; CLS stays."""
        grid = function(x[:, 1:].transpose(1, 2).reshape(len(x), -1, *thw))
        return torch.cat([x[:, :1], grid.flatten(2).transpose(1, 2)], 1), tuple(grid.shape[2:])

    def table(name, q, k):
        """Relative positions of q cells and k cells on one axis, (q, k, C)."""
        by_q, by_k = max(k / q, 1), max(q / k, 1)
        return torch.stack([
            torch.stack([w[name][int(i * by_q - j * by_k + (k - 1) * by_k)] for j in range(k)]) for i in range(q)
        ])  # fmt: skip

    grid = F.conv3d(video, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], (2, 4, 4), (1, 3, 3))
    thw = tuple(grid.shape[2:])
    x = torch.cat([w["cls_token"][0], grid[0].flatten(1).T])
    for index, (heads, stride_q, stride_kv) in enumerate(layers):
        at = f"blocks.{index}"
        y = norm(x, f"{at}.norm1")
        parts = linear(y, f"{at}.attn.qkv").chunk(3, dim=1)
        pooled = {}
        for part, value, stride in zip("qkv", parts, (stride_q, stride_kv, stride_kv), strict=True):
            kernel = w[f"{at}.attn.pool_{part}.weight"]
            split = value.reshape(len(value), heads, -1).transpose(0, 1)
            coarse, shape = pool(
                split, thw, lambda g, k=kernel, s=stride: F.conv3d(g, k, None, (1, s, s), 1, groups=len(k))
            )
            pooled[part] = norm(coarse, f"{at}.attn.norm_{part}"), shape
        (q, q_thw), (k, k_thw), (v, _) = pooled["q"], pooled["k"], pooled["v"]
        scores = q @ k.transpose(1, 2) / q.shape[2] ** 0.5
        cells = q[:, 1:].reshape(heads, *q_thw, -1)
        bias = torch.zeros(heads, *q_thw, *k_thw, dtype=q.dtype)
        for axis, (letter, own) in enumerate(zip("thw", ("t", "h", "w"), strict=True)):
            r = table(f"{at}.attn.rel_pos_{letter}", q_thw[axis], k_thw[axis])
            found = torch.einsum(f"nthwc,{own}kc->nthwk", cells, r)
            bias += found.reshape(heads, *q_thw, *[n if i == axis else 1 for i, n in enumerate(k_thw)])
        scores[:, 1:, 1:] += bias.reshape(heads, len(q[0]) - 1, -1)
        out = scores.softmax(2) @ v
        out[:, 1:] += q[:, 1:]
        out = linear(out.transpose(0, 1).flatten(1), f"{at}.attn.proj")
        skip = linear(y, f"{at}.proj") if f"{at}.proj.weight" in w else x
        if stride_q > 1:
            s = stride_q
            skip = pool(skip[None], thw, lambda g, s=s: F.max_pool3d(g, (1, s + 1, s + 1), (1, s, s), (0, 1, 1)))[0][0]
        x, thw = skip + out, q_thw
        x = x + linear(F.gelu(linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1")), f"{at}.mlp.fc2")
    return linear(norm(x, "norm")[:1], "head.projection")


def test_under_the_new_names_the_model_computes_what_slowfast_computes():
    shapes = slowfast_shapes(depth=3, width=16, doubles={1}, kv=4, frames=4, side=32, classes=3)
    rng = np.random.default_rng(2)
    weights = {name: torch.from_numpy(rng.normal(size=shape) * 0.4) for name, shape in shapes.items()}
    video = torch.from_numpy(rng.normal(size=(1, 3, 4, 32, 32)))
    model = mvit_model().double().eval()
    fill(model, from_slowfast(weights), "here", "the tiny MViT")
    with torch.no_grad():
        expected = slowfast_forward(weights, video, plan(3, {1}, 4))
        torch.testing.assert_close(model(video), expected, atol=1e-10, rtol=1e-10)
        assert expected.abs().max() > 0.1


# -- files --------------------------------------------------------------------------------------------------------------


def test_a_file_of_torchvision_becomes_the_model(tmp_path):
    """Random weights of the real class; the published file is 138 MB and not here."""
    model = mvit_v2_s().eval()
    path = tmp_path / "mvit_v2_s.pth"
    torch.save(model.state_dict(), path)
    backbone = MvitBackbone.from_file("mvit_v2_s", path, "cpu", pooling="learned", checkpointing=True)
    assert (backbone.frames, backbone.grid, backbone.resolution) == (16, (8, 56, 56), 224)
    assert len(backbone.classes) == 400
    for name, value in model.state_dict().items():
        assert torch.equal(backbone._model.state_dict()[name], value), name
    assert not any(p.requires_grad for p in backbone._model.parameters())


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_what_is_not_the_model_is_a_sentence(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    cases = [
        ("mvit_v2_s", {"conv_proj.weight": torch.zeros(1)}, r"do not fit MViTv2-S: \d+ missing keys"),
        ("mvit_v2_b", {"conv_proj.weight": torch.zeros(1)}, r"do not fit MViTv2-B: SlowFast's model_state is missing"),
        ("mvit_v2_b", {"model_state": {"norm.bias": torch.zeros(1)}}, r"do not fit MViTv2-B: 588 missing keys"),
        ("mvit_v2_s", [1, 2], r"hold a list, not parameters by name"),
        ("mvit_v2_s", {"a": Evil()}, r"cannot be read as tensors alone"),
    ]
    for name, content, text in cases:
        torch.save(content, path)
        with pytest.raises(FramelaneError, match=text):
            load_mvit(name, path)
    assert "code ran" not in capsys.readouterr().out
    path.write_bytes(b"junk")
    with pytest.raises(FramelaneError, match="cannot be read as tensors alone"):
        load_mvit("mvit_v2_s", path)


def test_one_wrong_shape_and_one_name_too_many_are_named():
    model = mvit_model()
    weights = model.state_dict()
    with pytest.raises(FramelaneError, match=r"1 mismatched keys, the first is norm\.bias \(3,\) instead of \(32,\)"):
        fill(model, {**weights, "norm.bias": torch.zeros(3)}, "here", "it")
    with pytest.raises(FramelaneError, match=r"1 unexpected keys, the first is more"):
        fill(model, {**weights, "more": torch.zeros(3)}, "here", "it")


def test_class_names_are_in_the_order_of_the_alphabet():
    """By which SlowFast's datasets number the classes, so that its weights and torchvision's share one list."""
    names = kinetics_classes()
    assert len(set(names)) == 400
    assert names == sorted(names)
