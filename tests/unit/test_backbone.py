"""DINOv2 out of its ONNX file: the same numbers as the file itself, and captures that leave nothing behind.

These tests take the real weights from the cache; on a fresh machine the store fetches them (97 MB).
"""

import gc

import numpy as np
import pytest
import torch

from framelane.errors import FramelaneError, UsageError
from framelane.models import store
from framelane.models.torch_compat import ensure_torchvision
from framelane.processors.attention import dino_weights
from framelane.processors.attention.backbone import MEAN, STD, Backbone, load_backbone
from framelane.processors.attention.dino_weights import PATCH

LAYERS = 12


@pytest.fixture(scope="module")
def path():
    return store.resolve("dinov2_vits14")


@pytest.fixture(scope="module")
def backbone(path):
    return load_backbone("dinov2_vits14", "cpu", 224)


@pytest.fixture(scope="module")
def weights(path):
    return dino_weights.read_weights(path)


@pytest.fixture(scope="module")
def photo():
    """Real pictures, uint8 (2, 3, 224, 224): an astronaut and a cat."""
    from skimage import data

    pictures = [data.astronaut()[:224, 100:324], data.chelsea()[40:264, 100:324]]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def tiny():
    """A backbone with random weights: plumbing only."""

    def make(attention="eager"):
        ensure_torchvision()
        from transformers import Dinov2Config, Dinov2Model

        torch.manual_seed(0)
        config = Dinov2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=PATCH,
            use_mask_token=False, attn_implementation=attention,
        )  # fmt: skip
        return Backbone(Dinov2Model(config), "cpu", 56)

    return make


def onnx_tensors(path, pixels):
    """What the file itself computes: the softmax of every layer and the tokens after the final norm."""
    import onnx
    import onnxruntime

    model = onnx.load(str(path))
    names = [f"/backbone/encoder/layer.{i}/attention/attention/Softmax_output_0" for i in range(LAYERS)]
    names.append("/backbone/layernorm/Add_1_output_0")
    for name in names:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    for axis, size in zip((2, 3), pixels.shape[2:], strict=True):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, {"input_image": pixels.numpy()})


@pytest.mark.parametrize("crop", [(224, 224), (168, 224)], ids=["square", "wide"])
def test_the_model_computes_what_its_onnx_file_computes(backbone, path, photo, crop):
    pixels = backbone.prepare(photo)[:, :, : crop[0], : crop[1]].contiguous()
    *attentions, tokens = onnx_tensors(path, pixels)
    capture = backbone.capture(pixels, gradients=False)
    assert len(capture.attentions) == LAYERS
    for ours, theirs in zip(capture.attentions, attentions, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)
    with torch.no_grad():
        ours = backbone._model(pixels).last_hidden_state.numpy()
    np.testing.assert_allclose(ours, tokens, atol=1e-4 * np.abs(tokens).max())


def test_a_capture_holds_attention_and_gradients_of_every_layer(backbone, photo):
    capture = backbone.capture(backbone.prepare(photo), gradients=True)
    assert (capture.grid, capture.prefix) == ((16, 16), 1)
    for attention, gradient in zip(capture.attentions, capture.gradients, strict=True):
        assert attention.shape == gradient.shape == (2, 6, 257, 257)
        assert not attention.requires_grad
        assert not gradient.requires_grad
        torch.testing.assert_close(attention.sum(-1), torch.ones(2, 6, 257))
        assert gradient.abs().max() > 0.1
    # y is made of the CLS token alone, so behind the last layer no other query can matter.
    assert capture.gradients[-1][:, :, 1:].abs().max() == 0
    assert capture.gradients[-2][:, :, 1:].abs().max() > 0
    assert "z_cls" in capture.target


def test_without_gradients_none_are_computed(backbone, photo):
    capture = backbone.capture(backbone.prepare(photo[:1]), gradients=False)
    assert capture.gradients == []
    assert capture.target == ""
    assert all(layer.grad_fn is None for layer in capture.attentions)


def test_a_frame_has_the_same_gradients_alone_and_in_a_batch(backbone, photo):
    pixels = backbone.prepare(photo)
    both, alone = backbone.capture(pixels, True), backbone.capture(pixels[1:], True)
    for many, one in zip(both.gradients, alone.gradients, strict=True):
        torch.testing.assert_close(many[1:], one, atol=1e-3, rtol=1e-3)


def test_captures_leave_nothing_behind(tiny):
    model = tiny()
    pixels = torch.randn(2, 3, 56, 56)

    def live():
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    model.capture(pixels, gradients=True)
    gc.collect()
    before = live()
    gc.disable()
    try:
        # Counted without the collector: a graph held by a cycle would wait for it, with its memory.
        for _ in range(20):
            model.capture(pixels, gradients=True)
        assert live() <= before
    finally:
        gc.enable()
    for parameter in model._model.parameters():
        assert not parameter.requires_grad
        assert parameter.grad is None
    assert not model._model.embeddings._forward_hooks


def test_attention_that_comes_back_empty_is_a_sentence(tiny):
    with pytest.raises(FramelaneError, match=r"Dinov2Model of transformers .* returned no attention"):
        tiny("sdpa").capture(torch.randn(1, 3, 56, 56), gradients=False)


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((1080, 1080), (16, 16)),
        ((1080, 1920), (12, 21)),
        ((1920, 1080), (21, 12)),
        ((576, 768), (14, 18)),
        ((9, 4000), (1, 337)),
    ],
)
def test_the_grid_keeps_aspect_and_area(tiny, size, grid):
    model = tiny()
    model.resolution = 224
    assert model.grid_for(*size) == grid


def test_prepare_resizes_and_normalises(tiny):
    model = tiny()
    model.resolution = 112
    frames = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 240, 320).contiguous()
    pixels = model.prepare(frames)
    assert pixels.dtype == torch.float32
    assert pixels.shape == (2, 3, 98, 126)
    for channel, value in enumerate((1.0, 0.0, 0.2)):
        expected = (value - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(pixels[:, channel], torch.full((2, 98, 126), expected))


def test_prepare_averages_what_is_finer_than_a_pixel(tiny):
    model = tiny()
    board = (torch.arange(480)[:, None] + torch.arange(640)) % 2 * 255
    pixels = model.prepare(board.to(torch.uint8).expand(1, 3, 480, 640).contiguous())
    grey = pixels * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)
    # Without antialiasing single pixels of the board would be picked: values near 0 and 1.
    assert (grey - 0.5).abs().max() < 0.1


def test_bytes_and_floats_are_resized_to_nearly_the_same(tiny, photo):
    from torch.nn import functional

    model = tiny()
    model.resolution = 112
    pixels = model.prepare(photo) * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)
    exact = functional.interpolate(photo.float(), size=(112, 112), mode="bicubic", antialias=True).clamp(0, 255) / 255
    # The byte form rounds between its two passes, as Pillow does in DINOv2's own preparation.
    assert (pixels - exact).abs().max() < 3 / 255
    assert (pixels - exact).abs().mean() < 0.5 / 255


def test_a_parameter_missing_left_over_or_of_another_shape_is_named(weights, path):
    name = "encoder.layer.3.mlp.fc1.weight"
    with pytest.raises(FramelaneError, match=r"missing keys, the first is encoder\.layer\.3\.mlp\.fc1\.weight"):
        dino_weights.dino_model({key: value for key, value in weights.items() if key != name}, path)
    with pytest.raises(FramelaneError, match=r"unexpected keys, the first is encoder\.layer\.99"):
        dino_weights.dino_model({**weights, "encoder.layer.99.norm1.bias": torch.zeros(384)}, path)
    with pytest.raises(FramelaneError, match="do not fit DINOv2"):
        dino_weights.dino_model({**weights, name: torch.zeros(7, 384)}, path)


def test_every_weight_of_the_file_reaches_the_model(weights, backbone):
    ours = sum(parameter.numel() for parameter in backbone._model.parameters())
    assert ours == sum(value.numel() for value in weights.values()) == 22_056_192


def test_a_file_that_is_no_model_and_an_unknown_name_are_sentences(tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(FramelaneError, match=r"junk\.onnx cannot be read as ONNX"):
        dino_weights.read_weights(tmp_path / "junk.onnx")
    with pytest.raises(UsageError, match="'resnet' is unknown; allowed is dinov2_vits14"):
        load_backbone("resnet")


def test_starting_at_a_later_layer_gives_the_same_tensors_for_less(backbone, photo):
    pixels = backbone.prepare(photo[:1])
    whole, late = backbone.capture(pixels, True), backbone.capture(pixels, True, start_layer=7)
    assert len(late.attentions) == len(late.gradients) == 5
    for mine, theirs in zip(late.attentions + late.gradients, whole.attentions[7:] + whole.gradients[7:], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match=r"0 to 11"):
        backbone.capture(pixels, False, start_layer=12)
