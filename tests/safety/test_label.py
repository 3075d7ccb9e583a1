"""The visible label: always there, always the same, always legible."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framelane.errors import FramelaneError
from framelane.processors.faceswap.label import ALWAYS, Label, wording
from framelane.provenance import legible
from framelane.provenance.visible import _LUMA, shows
from framelane.sections.faceswap import FaceswapSettings

SIZES = [(176, 144), (320, 240), (720, 1280), (1920, 1080), (3840, 2160)]


@pytest.mark.parametrize("corner", ["top-left", "top-right", "bottom-left", "bottom-right"])
@pytest.mark.parametrize("size", SIZES)
def test_the_label_stands_in_its_corner_and_its_letters_have_the_size_asked_for(corner, size):
    width, height = size
    mark = Label(FaceswapSettings(label_corner=corner)).mark(width, height)
    high, wide = mark.picture.shape[:2]
    assert mark.top + high <= height
    assert mark.left + wide <= width
    assert (mark.top + high / 2 > height / 2) == corner.startswith("bottom")
    assert (mark.left + wide / 2 > width / 2) == corner.endswith("right")
    assert mark.letters >= min(0.035 * height - 0.5, 38) or width < height
    rows = np.flatnonzero((mark.picture[2:-2, 2:-2] > 200).all(axis=-1).any(axis=1))
    assert rows[-1] - rows[0] + 1 >= mark.letters  # white pixels of letters, as high as said


@pytest.mark.parametrize("background", [0, 90, 128, 255, "noise", "label"])
def test_it_reads_on_any_background_and_is_the_same_on_every_frame(background):
    label = Label(FaceswapSettings())
    frames = torch.zeros((3, 3, 240, 320), dtype=torch.uint8)
    if background == "noise":
        frames = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 3, 240, 320), np.uint8))
    elif background == "label":  # one that lies askew beneath it
        frames = torch.roll(label.draw(frames), (-5, 7), (2, 3))
    else:
        frames += background
    drawn = label.draw(frames.clone())
    mark = label.mark(320, 240)
    high, wide = mark.picture.shape[:2]
    inside = drawn[..., mark.top : mark.top + high, mark.left : mark.left + wide]
    for frame in inside:
        np.testing.assert_array_equal(frame.numpy().transpose(1, 2, 0), mark.picture)
    rest = torch.ones((240, 320), dtype=torch.bool)
    rest[mark.top : mark.top + high, mark.left : mark.left + wide] = False
    assert torch.equal(drawn[..., rest], frames[..., rest])
    grey = mark.picture.astype(np.float32) @ _LUMA
    assert grey.max() - grey.min() > 200
    assert shows(drawn[0, 0].numpy(), grey, mark.left, mark.top)
    assert background == "label" or not shows(frames[0, 0].numpy(), grey, mark.left, mark.top)


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=3, max_size=60), st.integers(120, 900), st.integers(120, 900), st.floats(0.02, 0.2))
def test_whatever_is_set_it_says_that_it_is_ai_generated(text, width, height, share):
    label = Label(FaceswapSettings(label=text, label_size=share))
    assert label.text.startswith(ALWAYS)
    assert label.text.isprintable()
    try:
        mark = label.mark(width, height)
    except FramelaneError:  # too small: then nothing is made at all
        return
    assert mark.letters >= 7
    assert 0 <= mark.left <= width - mark.picture.shape[1]
    assert 0 <= mark.top <= height - mark.picture.shape[0]


@pytest.mark.parametrize(
    "text", ["   ", "\u200b\u200b\u200b", "...", "\n\n\n", "not AI", "AI-generatedish", "\u202eAI-generated"]
)
def test_a_label_that_would_say_nothing_or_the_opposite_still_begins_with_the_truth(text):
    assert wording(text).startswith(f"{ALWAYS} - ") or wording(text) == ALWAYS


def test_frames_that_are_too_small_for_it_are_refused():
    with pytest.raises(FramelaneError, match="too small for the legible label"):
        Label(FaceswapSettings()).mark(48, 32)


def test_legible_in_a_smaller_picture():
    mark = Label(FaceswapSettings()).mark(1920, 1080)
    assert legible(mark, 360, 1080)
    assert not legible(mark, 90, 1080)
    assert legible(mark, 360, 2160)  # drawn at 1080 lines, scaled up to 2160
