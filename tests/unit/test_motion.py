"""Planted motion: maps follow what moves, and nothing survives a cut."""

from __future__ import annotations

from collections import deque
from fractions import Fraction

import cv2
import numpy as np
import pytest

from framelane.perception.arrays import pack, unpack
from framelane.perception.lanes import Pending, Seen, fill_maps
from framelane.perception.motion import normalised, steps, to_field
from framelane.processors.attention.memory import Smoother
from framelane.processors.attention.metrics import cumulative, entropy, share
from framelane.video.colour import ColourTags, Orientation, from_rgb
from framelane.video.frames import FrameBatch, Layout

H, W, SPEED, RADIUS = 360, 640, 8, 34
SKIMAGE = pytest.importorskip("skimage.data")


def background(seed=0):
    picture = SKIMAGE.grass() if seed == 0 else SKIMAGE.brick()
    return cv2.cvtColor(cv2.resize(picture, (W, H), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)


def cat():
    return cv2.resize(SKIMAGE.chelsea()[20:280, 100:360], (2 * RADIUS, 2 * RADIUS), interpolation=cv2.INTER_AREA)


def centre(index):
    return 80 + SPEED * index, 180


def clip(count, cut_at=None):
    """A cat moving 8 pixels a frame over grass; at ``cut_at`` the picture changes to bricks and the cat jumps back."""
    frames = []
    for index in range(count):
        after = cut_at is not None and index >= cut_at
        picture = background(1 if after else 0).copy()
        x, y = centre(index - cut_at if after else index)
        mask = np.zeros((H, W), np.uint8)
        cv2.circle(mask, (x, y), RADIUS - 2, 255, -1)
        whole = np.zeros_like(picture)
        whole[y - RADIUS : y + RADIUS, x - RADIUS : x + RADIUS] = cat()
        picture[mask > 0] = whole[mask > 0]
        frames.append(from_rgb(np.ascontiguousarray(picture.transpose(2, 0, 1)), ColourTags(height=H), "yuv420p"))
    return frames


def batch(frames):
    layout = Layout(W, H, Fraction(1, 30), 0, ColourTags(height=H), Orientation())
    return FrameBatch(tuple(frames), tuple(range(len(frames))), (1,) * len(frames), 0, layout)


def true_map(index, grid=(18, 32), noise=None):
    """What a perfect transformer would give on its grid: a blob on the object, over a floor."""
    x, y = centre(index)
    rows, columns = np.mgrid[0 : grid[0], 0 : grid[1]]
    px, py = (columns + 0.5) * W / grid[1], (rows + 0.5) * H / grid[0]
    blob = np.exp(-((px - x) ** 2 + (py - y) ** 2) / (2 * RADIUS**2)) + 1e-4
    if noise is not None:
        blob = blob * noise.uniform(0.6, 1.4, blob.shape)
    return (blob / blob.sum()).astype(np.float32)


def centroid(field):
    columns = np.arange(field.shape[1])[None]
    weight = np.clip(field - np.median(field) * 2, 0, None)
    return ((columns + 0.5) * weight).sum() / weight.sum() * W / field.shape[1]


def run_lane(frames, sampled, cut_at=None, noise=None, time_constant=0.25):
    data = batch(frames)
    waiting = deque()
    for index, step in enumerate(steps(data, 0.3)):
        offset = cut_at if cut_at is not None and index >= cut_at else 0
        here = index in sampled or step.cut
        seen = Seen(true_map(index - offset, noise=noise)) if here else None
        waiting.append(Pending(data.slice(index, index + 1), step, here, None, seen=seen))
    fill_maps(waiting, ended=True)
    smoother = Smoother(time_constant)
    return [(item, *smoother.update(item.field, item.step, item.time)) for item in waiting]


@pytest.mark.parametrize("every", [1, 4, 8])
def test_the_smoothed_map_lags_by_at_most_one_frame(every):
    found = run_lane(clip(48), set(range(0, 48, every)))
    lags = [centre(item.index)[0] - centroid(shown) for item, shown, *_ in found]
    assert max(abs(lag) for lag in lags[8:]) <= SPEED, lags


def test_smoothing_without_motion_would_lag():
    """The test above can fail: the same smoothing on a still flow trails behind by more than a frame."""
    frames = clip(48)
    data = batch(frames)
    smoother, lags = Smoother(0.25), []
    from dataclasses import replace

    for index, step in enumerate(steps(data, 0.3)):
        still = replace(step, back=np.zeros_like(step.back)) if step.back is not None else step
        shown, *_ = smoother.update(to_field(true_map(index), step.size), still, index / 30)
        lags.append(centre(index)[0] - centroid(shown))
    assert np.median(lags[16:]) > SPEED


def test_smoothing_takes_flicker_away():
    found = run_lane(clip(40), set(range(0, 40, 2)), noise=np.random.default_rng(0))
    before = np.mean([b for _, _, b, _ in found[8:]])
    after = np.mean([a for *_, a in found[8:]])
    assert after < 0.6 * before


def test_nothing_survives_a_cut():
    cut_at = 21
    found = run_lane(clip(40, cut_at), {0, 8, 16, 24, 32}, cut_at)
    assert [item.index for item, *_ in found if item.step.cut] == [0, cut_at]
    fresh = run_lane(clip(40, cut_at)[cut_at:], {3, 11})
    for (_, shown, *_), (_, alone, *_) in zip(found[cut_at:], fresh, strict=True):
        np.testing.assert_allclose(shown, alone, atol=1e-6)
    assert abs(centroid(found[cut_at - 1][1]) - centre(cut_at - 1)[0]) <= SPEED, "the next scene's map leaked backwards"


def test_motion_exposure_and_stillness_are_no_cuts():
    frames = clip(12)
    assert sum(step.cut for step in steps(batch(frames), 0.3)) == 1
    still = [frames[0]] * 5
    assert [step.cut for step in steps(batch(still), 0.3)] == [True, False, False, False, False]


def test_steps_do_not_depend_on_how_frames_are_batched():
    frames = clip(10)
    whole = steps(batch(frames), 0.3)
    pieces = [step for piece in (batch(frames).slice(0, 3), batch(frames).slice(3, 10)) for step in steps(piece, 0.3)]
    for one, other in zip(whole, pieces, strict=True):
        assert one.cut == other.cut
        if one.back is not None:
            np.testing.assert_array_equal(one.back, other.back)


def test_share_is_exact_on_hand_made_maps():
    field = normalised(np.arange(12, dtype=np.float32).reshape(3, 4))
    table = cumulative(field)
    assert share(table, (0, 0, 400, 300), (300, 400)) == pytest.approx(1)
    assert share(table, (100, 100, 200, 200), (300, 400)) == pytest.approx(5 / 66)
    assert share(table, (150, 0, 250, 100), (300, 400)) == pytest.approx((0.5 * 1 + 0.5 * 2) / 66)
    assert share(table, (-50, -50, 0, 0), (300, 400)) == pytest.approx(0)


def test_entropy():
    assert entropy(np.full((8, 8), 1 / 64, np.float32)) == pytest.approx(1)
    point = np.zeros((8, 8), np.float32)
    point[3, 3] = 1
    assert entropy(point) == 0


def test_fields_survive_json_bit_for_bit():
    import json

    field = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    np.testing.assert_array_equal(unpack(json.loads(json.dumps(pack(field)))), field)
