"""An object's own attention on its way from the detection to the frame: moved, smoothed, kept and drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
import supervision as sv
import torch

from framelane.overlay import Mark, ObjectShadow, Weight, shadow
from framelane.perception.arrays import follow, pack, unpack
from framelane.perception.detr import RfDetr
from framelane.perception.lanes import BoxLane, Track
from framelane.perception.nanodet import NanoDet
from framelane.perception.trackers import load_tracker
from framelane.processors.attention.memory import ObjectMaps, Paths
from framelane.processors.attention.picture import Picture
from framelane.sections.attention import AttentionSettings


class Looking(RfDetr):
    """An RF-DETR of which only the name is wanted."""

    name = ""  # not registered a second time

    def __init__(self):
        self.name = "rfdetr"


class Blind(NanoDet):
    """A NanoDet of which only the name is wanted."""

    name = ""

    def __init__(self):
        self.name = "nanodet"


FRAME = (270, 480)
GRID = (27, 48)


def blob(x, y, sigma=1.5):
    """A bell around a point given in pixels of the frame."""
    rows, columns = np.indices(GRID)
    bell = np.exp(-((columns + 0.5 - x / 10) ** 2 + (rows + 0.5 - y / 10) ** 2) / (2 * sigma**2))
    return (bell / bell.sum()).astype(np.float32)


def centre(grid):
    rows, columns = np.indices(grid.shape)
    return float(((columns + 0.5) * grid).sum() * 10 / grid.sum()), float(((rows + 0.5) * grid).sum() * 10 / grid.sum())


def box(x, y):
    return (x - 20.0, y - 30.0, x + 20.0, y + 30.0)


def test_a_map_moves_with_its_box():
    moved = follow(blob(100, 100), box(100, 100), box(137, 81), FRAME)
    assert centre(moved) == pytest.approx((137, 81), abs=0.5)
    assert moved.sum() == pytest.approx(1, abs=1e-5)


def test_a_map_that_leaves_the_frame_holds_no_nan():
    gone = follow(blob(100, 100), box(100, 100), box(5000, 100), FRAME)
    assert np.isfinite(gone).all()


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_packed_maps_come_back(kind):
    values = blob(40, 70).astype(kind).astype(np.float32)
    np.testing.assert_array_equal(unpack(json.loads(json.dumps(pack(values, kind)))), values)


def detections(*places):
    return sv.Detections(
        xyxy=np.array([box(*place) for place in places], np.float32),
        confidence=np.full(len(places), 0.9, np.float32),
        class_id=np.zeros(len(places), np.int64),
        data={
            "class_name": np.array(["person"] * len(places)),
            "attention": np.stack([blob(*place) for place in places]),
        },
    )


class Item:
    """What a lane reads of a frame."""

    def __init__(self, index, found):
        self.index, self.time, self.detections, self.tracks = index, index / 25, found, None
        self.same_as = None
        self.step = type("Step", (), {"cut": index == 0, "camera": None})


@pytest.mark.parametrize("tracker", ["bytetrack", "botsort"])
def test_the_tracker_hands_every_map_to_its_own_object_and_between_detections_it_is_there_too(tracker):
    lane = BoxLane(load_tracker(tracker, rate=12.5), FRAME)
    path = {i: ((60 + 6 * i, 100), (400 - 6 * i, 200)) for i in range(9)}
    items = [Item(i, detections(*path[i]) if i % 2 == 0 else None) for i in range(9)]
    for item in items:
        lane.track(item)
        lane.restore(json.loads(json.dumps(lane.snapshot())))  # as after every segment
    lane.fill(items, ended=False)
    for item in items[4:]:
        assert len(item.tracks) == 2
        for track in item.tracks:
            place = min(path[item.index], key=lambda p: abs(p[1] - (track.box[1] + track.box[3]) / 2))
            assert centre(track.attention) == pytest.approx(place, abs=4)
            assert track.attention.sum() == pytest.approx(1, abs=2e-3)


def track(x, y, grid=None):
    return Track(1, "person", box(x, y), 0.9, attention=blob(x, y) if grid is None else grid)


def test_smoothing_follows_the_box_and_calms_a_map_that_jitters():
    rng = np.random.default_rng(3)
    maps = ObjectMaps(0.3, FRAME)
    raw, smooth = [], []
    for i in range(40):
        x, y = 60 + 8 * i, 120
        noisy = blob(x + rng.normal(0, 12), y + rng.normal(0, 12))
        (found,) = maps.update([track(x, y, noisy)], i / 25, cut=False)
        maps.restore(json.loads(json.dumps(maps.snapshot())))
        raw.append(centre(noisy)[0] - x)
        smooth.append(centre(found.attention)[0] - x)
    assert np.std(smooth[10:]) < 0.5 * np.std(raw[10:])
    assert abs(np.mean(smooth[10:])) < 4, "no lag behind the object"
    (after,) = maps.update([track(60, 60)], 2.0, cut=True)
    np.testing.assert_array_equal(after.attention, blob(60, 60))


def test_an_object_lost_a_moment_ago_takes_its_map_along():
    paths = Paths(1.0, 1.0, FRAME)
    for i in range(6):
        paths.update([track(60 + 10 * i, 100)], i / 10, cut=False)
    (ghost,) = paths.update([], 0.8, cut=False)
    middle = (ghost.box[0] + ghost.box[2]) / 2
    assert middle > 120
    assert centre(ghost.attention)[0] == pytest.approx(middle, abs=3)


@pytest.mark.parametrize(
    ("channels", "detector", "said", "unsaid"),
    [
        ("ab", Looking(), ["gmar · mvit_v2_s", "objects: own attention (rfdetr)", "%: blue attention"], []),
        ("ab", Blind(), ["gmar · mvit_v2_s", "%: blue attention in the box"], ["own attention"]),
        ("b", Looking(), ["rfdetr · bytetrack", "own attention (rfdetr)"], ["%", "gmar"]),
        ("a", None, ["gmar · mvit_v2_s"], ["%", "own attention"]),
    ],
)
def test_the_legend_says_what_the_colours_and_numbers_are(channels, detector, said, unsaid):
    picture = Picture(AttentionSettings(channels=channels), FRAME, backbone="mvit_v2_s", detector=detector)
    assert all(words in picture.legend.detail for words in said)
    assert not any(words in picture.legend.detail for words in unsaid)


def test_the_legend_names_the_action_and_draws_it():
    picture = Picture(AttentionSettings(channels="a"), FRAME, backbone="mvit_v2_s")
    frame = torch.full((3, *FRAME), 90, dtype=torch.uint8)
    field = np.full((27, 48), 1 / (27 * 48), np.float32)
    seen = picture.draw(frame, field, [], {}, ("tai chi", 0.62))
    assert picture.legend.note == "action: tai chi 62 %"
    without = picture.draw(frame, field, [], {}, None)
    assert (seen != without).any()


@pytest.mark.parametrize("alpha", [0.2, 0.5])
def test_pixels_in_boxes_keep_half_their_contrast_under_both_shadows(alpha):
    rng = np.random.default_rng(0)
    before = torch.from_numpy(rng.integers(0, 256, (3, *FRAME), np.uint8))
    marks = [Mark(box(100, 100), (255, 140, 26)), Mark(box(120, 110), (255, 210, 26))]
    weights = [
        Weight(blob(*p) / blob(*p).max(), m.colour) for p, m in zip(((100, 100), (120, 110)), marks, strict=True)
    ]
    layer = ObjectShadow(weights, FRAME, alpha)
    results = []
    for picture in (before, 255 - before):  # the difference of a picture and its negative is contrast, colours go out
        out = picture.clone()
        shadow(out, torch.ones(GRID), (26, 92, 255), 0.6, marks=marks, tint=layer.plane("cpu"))
        results.append(layer.annotate(out).to(torch.int32))
    kept = (results[0] - results[1]).abs().float()
    was = (before.int() - (255 - before).int()).abs().float()
    inside = torch.zeros(was.shape, dtype=torch.bool)
    inside[:, 70:130, 80:120] = inside[:, 80:140, 100:140] = True
    strong = inside & (was > 100)
    assert (kept[strong] / was[strong]).min() >= 0.5 - 0.025  # 2 levels of rounding in 100
    assert layer.opacity.max() <= 256 * alpha
    assert layer.opacity[100, 100] > 200 * alpha


def test_each_place_has_the_colour_of_whom_it_matters_most_to():
    red, green = (255, 0, 0), (0, 255, 0)
    layer = ObjectShadow(
        [Weight(blob(100, 100) / blob(100, 100).max(), red), Weight(blob(300, 100) / blob(300, 100).max(), green)],
        FRAME,
        0.5,
    )
    out = layer.annotate(torch.zeros(3, *FRAME, dtype=torch.uint8))
    assert out[:, 100, 100].tolist()[0] > 100 > out[:, 100, 100].tolist()[1]
    assert out[:, 100, 300].tolist()[1] > 100 > out[:, 100, 300].tolist()[0]
    assert out[:, 250, 20].max() == 0
