"""The figures of quality against pictures and rows whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from framelane.processors.faceswap.compose import composed
from framelane.processors.faceswap.figures import fold
from framelane.processors.faceswap.quality import of_patch, seam
from framelane.processors.faceswap.swapper import Patch


def disc(side=120, radius=35):
    y, x = np.mgrid[:side, :side] - side / 2
    return x**2 + y**2 < radius**2


def test_the_seam_is_the_colour_difference_of_its_two_sides():
    inside, outside = (200, 150, 120), (180, 150, 140)
    picture = np.empty((120, 120, 3), np.uint8)
    picture[:] = outside
    picture[disc()] = inside
    wanted = np.linalg.norm(rgb2lab(np.array([[inside]]) / 255) - rgb2lab(np.array([[outside]]) / 255))
    assert seam(picture, disc()) == pytest.approx(wanted, rel=0.02)
    assert seam(np.full((120, 120, 3), 90, np.uint8), disc()) == pytest.approx(0, abs=1e-3)


def test_a_gradient_under_the_seam_is_not_taken_for_one():
    """The whole inside is darker than the whole outside, but not where they meet."""
    x = np.linspace(60, 200, 120, dtype=np.float32)
    picture = np.repeat(np.repeat(x[None, :, None], 120, 0), 3, 2).astype(np.uint8)
    left = np.zeros((120, 120), bool)
    left[:, :60] = True
    assert seam(picture, left) < 4
    assert seam(picture, np.ones((120, 120), bool)) is None


def test_a_patch_of_the_same_pixels_changes_nothing_and_a_blurred_one_is_less_sharp():
    rng = np.random.default_rng(3)
    frame = torch.from_numpy(rng.integers(0, 255, (3, 160, 160)).astype(np.uint8))
    alpha = torch.from_numpy(disc().astype(np.float32))[None]
    part = frame[:, 20:140, 20:140].float()
    same = Patch(20, 20, part, alpha)
    assert torch.equal(composed(frame, [same]), frame)
    assert of_patch(same, frame, frame)["sharpness"] == pytest.approx(1)
    soft = Patch(20, 20, torch.nn.functional.avg_pool2d(part[None], 5, 1, 2)[0], alpha)
    after = composed(frame, [soft])
    assert of_patch(soft, frame, after)["sharpness"] < 0.5
    outside = torch.ones(160, 160, dtype=torch.bool)
    outside[20:140, 20:140] = ~torch.from_numpy(disc())
    assert torch.equal(after[:, outside], frame[:, outside])
    half = composed(frame, [soft], 0.5).float()
    assert (half - (frame.float() + after.float()) / 2).abs().max() <= 1


def test_rows_become_shares_reasons_means_and_the_worst_with_its_time():
    rows = [{"frame": i, "time": i / 10, "faces": []} for i in range(10)]
    for i in range(2, 10):
        rows[i]["faces"] = [{"track": 1, "source": "a", "swapped": True, "seam_in": 2.0, "seam_out": 2.0 + i}]
    rows[8]["faces"][0] |= {"like_source": 0.3}
    rows[9]["faces"] = [{"track": 1, "source": "a", "left": "turned too far (61°)"}]
    found = fold(iter(rows))
    assert (found["frames"], found["found"], found["swapped"]) == (10, 0.8, 0.7)
    assert found["left_alone"] == {"turned too far": 1}
    assert found["seam_out"] == {"mean": 7.0, "worst": 10.0, "worst_at_s": 0.8}
    assert found["like_source"] == {"mean": 0.3, "worst": 0.3, "worst_at_s": 0.8}
    assert found["tracks"][0]["like_source"]["worst_at_s"] == 0.8
    worst = found["worst_frames"]
    assert worst[0] == {"frame": 9, "time": 0.9, "why": "left alone: turned too far (61°)"}
    assert all(abs(a["time"] - b["time"]) >= 0.4 for a in worst for b in worst if a is not b)


def test_a_long_clip_keeps_ten_of_its_worst():
    rows = (
        {"frame": i, "time": i / 5, "faces": [{"track": 1, "swapped": True, "seam_in": 0.0, "seam_out": i % 97 + 1.0}]}
        for i in range(5000)
    )
    worst = fold(rows)["worst_frames"]
    assert len(worst) == 10
    assert all(one["frame"] % 97 >= 90 for one in worst)
