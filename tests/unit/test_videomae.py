"""VideoMAE: a model without CLS. Its passes and its maps against a form written out in NumPy.

The weights are random in transformers' own class, which serves for plumbing only: no map here means anything.
"""

import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from framelane.errors import FramelaneError, UsageError
from framelane.models import catalog, store
from framelane.processors.attention.methods import get_method, method_names
from framelane.processors.attention.video_models import NAMES, load_video_backbone
from framelane.processors.attention.videomae import VideoMaeBackbone
from support import tiny
from support.shop import shop, stock

__all__ = ["shop"]
LAYERS, HEADS, TOKENS, GRID, WINDOWS = 3, 2, 8, (2, 2, 2), 2
STEP = 1e-5
CHOSEN = tiny.CLASSES.index("right")
erf = np.vectorize(math.erf)


class Reference:
    """The encoder and its head in NumPy, float64; attention maps can be moved on the way."""

    def __init__(self, state):
        self.w = {name: value.double().numpy() for name, value in state.items()}

    def linear(self, x, name, bias=True):
        return x @ self.w[f"{name}.weight"].T + (self.w[f"{name}.bias"] if bias else 0)

    def norm(self, x, name, epsilon=1e-12):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def run(self, x, move=None):
        """One window's tokens to logits and all attention maps; move = (layer, head, i, j, amount)."""
        maps = np.zeros((LAYERS, HEADS, TOKENS, TOKENS))
        size = x.shape[1] // HEADS
        for layer in range(LAYERS):
            at = f"videomae.encoder.layer.{layer}"
            y = self.norm(x, f"{at}.layernorm_before")
            inside = f"{at}.attention.attention"
            q, v = self.linear(y, f"{inside}.query"), self.linear(y, f"{inside}.value")
            k = self.linear(y, f"{inside}.key", bias=False)
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
            x = x + self.linear(np.concatenate(heads, 1), f"{at}.attention.output.dense")
            y = self.linear(self.norm(x, f"{at}.layernorm_after"), f"{at}.intermediate.dense")
            x = x + self.linear(y * 0.5 * (1 + erf(y / math.sqrt(2))), f"{at}.output.dense")
        return self.linear(self.norm(x.mean(0), "fc_norm", 1e-5), "classifier"), maps

    def gradients(self, x):
        """dy/dA by central differences, y the logit of "right"."""
        out = np.zeros((LAYERS, HEADS, TOKENS, TOKENS))
        for at in np.ndindex(out.shape):
            up, down = (self.run(x, (*at, sign * STEP))[0][CHOSEN] for sign in (1, -1))
            out[at] = (up - down) / (2 * STEP)
        return out


@pytest.fixture(scope="module")
def case():
    """The capture of two windows, and what the reference finds: logits, attention, gradients."""
    backbone = tiny.videomae(LAYERS)
    pixels = torch.randn(WINDOWS, 4, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        tokens = backbone._stem(pixels)[0].double().numpy()
    reference = Reference(backbone._model.state_dict())
    found = [reference.run(window) for window in tokens]
    logits, attentions = (np.stack(part) for part in zip(*found, strict=True))
    gradients = np.stack([reference.gradients(window) for window in tokens])
    return backbone.capture(pixels, gradients=True, target="right"), logits, attentions, gradients


def stacked(layers):
    return torch.stack(layers, dim=1).double().numpy()


def test_logits_attention_and_gradients_are_those_of_the_reference(case):
    capture, logits, attentions, gradients = case
    assert (capture.grid, capture.prefix, capture.readout, capture.pools) == (GRID, 0, "mean", [])
    np.testing.assert_allclose(capture.logits.numpy(), logits, atol=1e-4)
    np.testing.assert_allclose(stacked(capture.attentions), attentions, atol=1e-5)
    largest = np.abs(gradients).max()
    assert largest > 0.05
    np.testing.assert_allclose(stacked(capture.gradients), gradients, rtol=1e-3, atol=1e-4 * largest)


def test_the_action_is_the_likeliest_class_with_its_probability(case):
    capture, logits, _, _ = case
    for window in range(WINDOWS):
        shares = np.exp(logits[window]) / np.exp(logits[window]).sum()
        assert capture.action[window] == tiny.CLASSES[int(shares.argmax())]
        assert capture.probability[window] == pytest.approx(shares.max(), abs=1e-4)


def brute(name, a, g):
    """The mean of all rows of the method's matrix, written out as full products, first layer to last."""
    total, relevance = np.eye(TOKENS), np.eye(TOKENS)
    for layer in range(LAYERS):
        weights = {"gmar": np.abs(g[layer]).sum((1, 2)), "gmar l2": np.sqrt((g[layer] ** 2).sum((1, 2)))}
        share = weights.get(name, np.ones(HEADS))
        mixed = sum(share[head] / share.sum() * a[layer, head] for head in range(HEADS))
        total = (0.5 * mixed + 0.5 * np.eye(TOKENS)) @ total
        relevance = relevance + np.maximum(g[layer] * a[layer], 0).mean(0) @ relevance
    matrix = {"chefer": relevance - np.eye(TOKENS), "last_layer": a[-1].mean(0)}.get(name, total)
    row = matrix.mean(0)
    return (row / row.sum()).reshape(GRID)


@pytest.mark.parametrize("name", ["rollout", "last_layer", "gmar", "gmar l2", "chefer"])
def test_a_method_reads_the_mean_of_all_rows(case, name):
    capture, _, attentions, gradients = case
    options = {"norm": "l2"} if name == "gmar l2" else {}
    maps = get_method(name.split()[0], **options).maps(capture).numpy()
    expected = np.stack([brute(name, attentions[n], gradients[n]) for n in range(WINDOWS)])
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    assert np.abs(expected - 1 / TOKENS).max() > 1e-2


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("start", [0, 2])
def test_maps_are_distributions_over_all_tokens(method, start):
    capture = tiny.videomae().capture(torch.randn(1, 4, 3, 16, 16), gradients=True, start_layer=start)
    assert len(capture.attentions) == 3 - start
    maps = get_method(method).maps(capture)
    assert maps.shape == (1, *GRID)
    assert float(maps.sum()) == pytest.approx(1, abs=1e-5)


def test_frames_are_squeezed_and_normalised_as_transformers_does(saved, tmp_path):
    """Against transformers' own processor, on frames that need no resizing; mean and deviation are the folder's."""
    from transformers import VideoMAEImageProcessor

    size = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    theirs = VideoMAEImageProcessor(**size, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.25])
    folder = tmp_path / "own"
    shutil.copytree(saved, folder)
    theirs.save_pretrained(folder)
    backbone = VideoMaeBackbone.from_folder(folder, "cpu")
    frames = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    expected = theirs(list(frames.numpy()), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    found = backbone.prepare(frames)
    assert found.shape == (1, 4, 3, 16, 16)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert backbone.prepare(torch.zeros(4, 3, 20, 36, dtype=torch.uint8)).shape == (1, 4, 3, 16, 16)
    assert VideoMaeBackbone.from_folder(saved, "cpu").mean == (0.485, 0.456, 0.406)
    (folder / "preprocessor_config.json").write_text('{"image_mean": 0.5}')
    with pytest.raises(FramelaneError, match=r"preprocessor_config\.json does not say how frames are normalised"):
        VideoMaeBackbone.from_folder(folder, "cpu")


def test_attention_that_cannot_be_seen_is_a_sentence():
    hidden = VideoMaeBackbone(tiny.videomae_model(attention="sdpa"), "cpu")
    with pytest.raises(FramelaneError, match=r"attention of 0 layers instead of 3.*eager attention"):
        hidden.capture(torch.zeros(1, 4, 3, 16, 16), gradients=False)
    with pytest.raises(FramelaneError, match="use_mean_pooling"):
        VideoMaeBackbone(tiny.videomae_model(use_mean_pooling=False), "cpu")


# -- files --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The tiny model as the published one is stored: biases of queries and values under names of their own."""
    folder = tmp_path_factory.mktemp("videomae")
    tiny.videomae_model().save_pretrained(folder)
    assert any(name.endswith("q_bias") for name in load_file(folder / "model.safetensors"))
    return folder


def test_from_the_hub_to_a_capture(saved, shop):
    """The catalogue's own entry, the real hub client and the real loading code; only the weights are tiny."""
    content = {path.name: path.read_bytes() for path in sorted(saved.iterdir())}
    content["preprocessor_config.json"] = b"{}"
    stock(shop, catalog.get("videomae").hub.repo, content)
    said = []
    backbone = load_video_backbone("videomae", resolution=16, checkpointing=True, notify=said.append)
    assert "NC-4.0" in said[-1]
    assert "commercially" in said[-1]
    pixels = torch.randn(1, 4, 3, 16, 16)
    expected = tiny.videomae().capture(pixels, gradients=True)
    found = backbone.capture(pixels, gradients=True)
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.gradients[0], expected.gradients[0])
    assert backbone.classes == tiny.CLASSES
    assert store.digest("videomae") == store.files.read_digest(saved / "model.safetensors")
    with pytest.raises(
        UsageError, match=r"spatial_resolution: VideoMAE has fixed .* 4 frames of 16 pixels only, not 224"
    ):
        load_video_backbone("videomae", resolution=224)
    assert load_video_backbone("videomae").resolution == 16  # its own, where nothing is asked for
    with pytest.raises(UsageError, match=r"attention\.window: .*not 8"):
        load_video_backbone("videomae", resolution=16, window=8)


def test_what_does_not_fit_is_a_sentence(saved, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(saved, folder)
    weights = load_file(folder / "model.safetensors")
    first = weights.pop("fc_norm.bias")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FramelaneError, match=r"do not fit VideoMAE: 1 missing keys, the first is fc_norm\.bias"):
        VideoMaeBackbone.from_folder(folder, "cpu")
    save_file(
        {**weights, "fc_norm.bias": first, "more": first.clone()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(FramelaneError, match=r"1 unexpected keys, the first is more"):
        VideoMaeBackbone.from_folder(folder, "cpu")
    save_file({**weights, "fc_norm.bias": first[:3].clone()}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FramelaneError, match=r"VideoMAE"):
        VideoMaeBackbone.from_folder(folder, "cpu")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(FramelaneError, match="cannot be read as VideoMAE"):
        VideoMaeBackbone.from_folder(folder, "cpu")


def test_unknown_names_are_answered_with_what_there_is():
    assert all(catalog.get(name).task == "video backbone" for name in NAMES)
    with pytest.raises(UsageError, match=r"'mvit'.*mvit_v2_s, mvit_v2_b, videomae"):
        load_video_backbone("mvit")
