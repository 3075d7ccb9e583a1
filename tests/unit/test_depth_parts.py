"""The depth processor's parts: steadied fields, what is measured of an object, zones and alerts, tones."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from framelane.errors import UsageError
from framelane.perception.lanes import Track
from framelane.perception.motion import Step
from framelane.processors.depth.field import DepthLane, Frame, aligned, blended, robust_fit
from framelane.processors.depth.fusion import Histories, Measured, bearing, inside, measure, slope
from framelane.processors.depth.picture import radar
from framelane.processors.depth.tables import MOST, row, tones_of
from framelane.processors.depth.zones import Zones
from framelane.schema import Settings
from framelane.settings import load
from framelane.video.tones import Tone, sounding

FRAME = (480, 640)


def _track(box, index=1):
    return Track(index, "person", box, 0.9)


def _measured(distance=None, closing=None, ttc=None, growth=None, box=(300, 200, 340, 280), index=1):
    return Measured(_track(box, index), distance, None, "centre", None, closing, growth, ttc)


def test_scale_and_shift_are_found_though_a_third_is_wrong():
    rng = np.random.default_rng(1)
    source = rng.uniform(0, 1, 3000).astype(np.float32)
    target = 1.3 * source - 0.2 + rng.normal(0, 0.005, 3000).astype(np.float32)
    target[:1000] = rng.uniform(2, 3, 1000)
    scale, shift = robust_fit(source, target)
    assert scale == pytest.approx(1.3, abs=0.05)
    assert shift == pytest.approx(-0.2, abs=0.05)
    assert robust_fit(np.ones(50, np.float32), np.ones(50, np.float32)) == (1.0, 0.0)


def test_flicker_of_what_stands_still_is_taken_back_and_a_true_approach_is_not():
    before = np.full((20, 30), 8.0, np.float32)
    still, moving = np.zeros((20, 30), np.float32), np.full((20, 30), 2.0, np.float32)
    found, scale = aligned(before * np.float32(1.1), before, still, "metric", 0.9, 0.12)
    assert scale == pytest.approx(1.1**-0.9, rel=1e-4)
    assert found.mean() == pytest.approx(8 * 1.1**0.1, rel=1e-3)
    assert aligned(before * np.float32(0.9), before, moving, "metric", 0.9, 0.12)[1] == 1.0, "the camera moves"
    assert aligned(before * np.float32(0.5), before, still, "metric", 0.9, 0.12)[1] == 1.0, "half as far is no flicker"
    slow = np.full((20, 30), 0.2, np.float32)
    assert aligned(before * np.float32(0.99), before, slow, "metric", 0.9, 0.04)[1] == 1.0, (
        "so fast is a walking camera"
    )
    near = before.copy()
    near[:, :12] = 2.0  # something came close before a still background
    _, scale = aligned(near, before, np.where(near < 3, 5, 0).astype(np.float32), "metric", 0.9, 0.12)
    assert scale == pytest.approx(1.0)


def test_between_two_depth_frames_the_nearer_counts_where_they_disagree():
    forward, back = np.array([[4.0, 4.0]], np.float32), np.array([[4.4, 12.0]], np.float32)
    assert blended(forward, back, 0.25, "metric").tolist() == [[pytest.approx(4.1), 4.0]]
    assert blended(forward, back, 0.75, "metric")[0, 1] == 12.0


def test_between_two_depth_frames_what_comes_fast_falls_in_a_line():
    forward, back = np.full((1, 1), 3.0, np.float32), np.full((1, 1), 2.04, np.float32)  # 4 m/s, 6 frames
    found = [float(blended(forward, back, i / 6, "metric")[0, 0]) for i in range(1, 6)]
    assert found == pytest.approx([3.0 - 4 * i / 25 for i in range(1, 6)], abs=1e-5)


def _frames(count, every, cuts=()):
    flow = np.zeros((12, 16, 2), np.float32)
    rng = np.random.default_rng(3)
    steps = [Step(True, (12, 16)) if i in (0, *cuts) else Step(False, (12, 16), flow, flow) for i in range(count)]
    key = [steps[i].cut or i % every == 0 for i in range(count)]
    return [
        Frame(i, i / 25, steps[i], rng.uniform(4, 5, (24, 32)).astype(np.float32) if key[i] else None)
        for i in range(count)
    ]


def test_a_lane_that_is_restored_goes_on_with_the_same_fields():
    whole = _frames(14, 4)
    lane = DepthLane("metric", 1.0)
    lane.fill(whole, ended=True)
    again = _frames(14, 4)
    lane = DepthLane("metric", 1.0)
    lane.fill(again[:10], ended=False)
    assert [item.depth is not None for item in again[:10]] == [True] * 8 + [False] * 2, (
        "two wait for the depth frame ahead"
    )
    lane.forget_before(6)
    state = json.loads(json.dumps(lane.snapshot()))
    fresh = DepthLane("metric", 1.0)
    fresh.restore(state)
    rest = _frames(14, 4)[lane.begins_at(6) :]
    fresh.fill(rest, ended=True)
    assert rest[0].index == 4
    for item in rest:
        assert np.array_equal(item.depth, whole[item.index].depth)


def test_nothing_is_carried_over_a_cut():
    frames = _frames(8, 4, cuts=(6,))
    DepthLane("metric", 1.0).fill(frames, ended=True)
    lonely = np.array(frames[6].raw, np.float16).astype(np.float32)
    assert np.array_equal(frames[6].depth, lonely)
    assert np.array_equal(frames[7].depth, lonely)
    assert np.array_equal(frames[5].depth, frames[4].depth), "what lies before the cut knows nothing of it"


def test_the_distance_is_that_of_the_object_and_not_of_its_background():
    depth = np.full((240, 320), 20.0, np.float32)
    depth[60:140, 100:140] = 6.0
    values = inside(depth, (190, 110, 290, 290), FRAME)
    assert np.percentile(values, 10) == 6.0
    assert inside(depth, (700, 10, 720, 30), FRAME).size == 0
    assert inside(depth, (200.2, 120.1, 201, 121), FRAME).tolist() == [[6.0]], "at least one pixel"


def test_bearings_are_those_of_a_pinhole_camera():
    assert bearing((310, 0, 330, 9), 640, 60) == ("centre", pytest.approx(0))
    side, angle = bearing((630, 0, 650, 9), 640, 60)
    assert (side, angle) == ("right", pytest.approx(30))
    assert bearing((0, 0, 160, 9), 640, None) == ("left", None)
    assert bearing((150, 0, 170, 9), 640, 90)[1] == pytest.approx(-math.degrees(math.atan(0.5)))


def test_speeds_are_not_moved_by_an_outlier():
    samples = [(i / 25, 10 - 3 * i / 25) for i in range(25)]
    samples[12] = (12 / 25, 30.0)
    assert slope(samples) == pytest.approx(-3, abs=0.05)
    assert slope(samples[:3]) is None


@pytest.mark.parametrize("speed", [4.0, -2.0, 0.0])
def test_closing_speed_and_time_to_collision(speed):
    histories = Histories(1.0)
    for i in range(26):
        time = i / 25
        depth = np.full((24, 32), 12 - speed * time, np.float32)
        found = measure(
            _track((280, 100, 380, 300)), depth, histories, time, frame=FRAME, kind="metric", percentile=10, fov=None
        )
    assert found.closing == pytest.approx(speed, abs=1e-3)
    assert found.ttc == (pytest.approx((12 - speed) / speed, rel=1e-3) if speed > 0 else None)
    assert found.recedes == (speed < 0)
    assert len(histories.distances[1]) <= 26


def test_without_depth_no_distance_is_invented_and_time_comes_from_the_boxs_growth():
    histories = Histories(1.0)
    for i in range(26):
        half = 60 * 4 / (4 - i / 25)  # an object 4 s away
        box = (300, 240 - half, 340, 240 + half)
        found = measure(_track(box), None, histories, i / 25, frame=FRAME, kind=None, percentile=10, fov=None)
    assert (found.distance, found.nearness, found.closing) == (None, None, None)
    assert found.ttc == pytest.approx(3.0, abs=0.1)
    small = Histories(1.0)
    for i in range(26):
        half = 10 * 4 / (4 - i / 25)
        box = (300, 240 - half, 340, 240 + half)
        found = measure(_track(box), None, small, i / 25, frame=FRAME, kind=None, percentile=10, fov=None)
    assert found.ttc is None, "of a small box the growth is the detector's"


def test_zones_are_left_later_than_they_are_entered():
    zones = Zones(Settings().depth, FRAME[0])
    seen = []
    for i, far in enumerate([6.0, 5.1, 4.9, 5.1, 5.7, 5.8, 1.9, 2.2, 2.4]):
        seen.append(zones.update([_measured(far, 0.0)], i, i / 25)[0][0])
    assert seen == ["safe", "safe", "warning", "warning", "warning", "safe", "danger", "danger", "warning"]


def test_an_alert_comes_once_and_again_after_the_cooldown():
    zones = Zones(Settings().depth, FRAME[0])
    frames = []
    for i in range(300):
        far = 1.5 if (i // 25) % 2 else 3.0  # in and out of danger, a second each
        _, alerts = zones.update([_measured(far, 0.5, ttc=far / 0.5)], i, i / 25)
        frames += [alert.frame for alert in alerts]
    assert frames == [25, 175], "entered at 75 and 125, too, within five seconds of the first"


def test_what_goes_away_never_alerts_and_what_is_not_known_yet_waits():
    zones = Zones(Settings().depth, FRAME[0])
    for i in range(50):
        closing = None if i < 6 else -2.0
        assert zones.update([_measured(1.0 + i / 50, closing)], i, i / 25)[1] == []
    waiting = Zones(Settings().depth, FRAME[0])
    raised = [i for i in range(20) if waiting.update([_measured(1.0)], i, i / 25)[1]]
    assert raised == [8], "0.3 s, then it is believed to stand there"


def test_zones_go_on_from_a_snapshot():
    zones = Zones(Settings().depth, FRAME[0])
    zones.update([_measured(1.5, 1.0, 1.5)], 0, 0.0)
    fresh = Zones(Settings().depth, FRAME[0])
    fresh.restore(json.loads(json.dumps(zones.snapshot())))
    for i in range(1, 200):
        item = [_measured(1.5, 1.0, 1.5)]
        one, other = zones.update(item, i, i / 25), fresh.update(item, i, i / 25)
        assert one == other


def test_rows_are_bounded_and_keep_the_nearest():
    found = [(_measured(float(200 - k), index=k), "safe") for k in range(150)]
    data = row(3, 0.12, found, [], cut=False, scale=None)
    assert (data["count"], len(data["objects"])) == (150, MOST)
    assert data["objects"][0]["distance_m"] == 51.0
    assert len(json.dumps(data)) < 12_000


def test_tones_sound_when_they_should_and_the_worse_wins():
    rows = [
        {"time": 1.0, "alerts": [{"zone": "warning"}]},
        {"time": 1.1, "alerts": [{"zone": "danger"}, {"zone": "warning"}]},
        {"time": 2.0, "alerts": [{"zone": "warning"}]},
    ]
    tones = tones_of(rows)
    assert [(tone.start, tone.pitch > 1000) for tone in tones] == [(1.0, False), (1.1, True), (2.0, False)]
    assert tones[0].start + tones[0].length == pytest.approx(1.1)
    sound, left = sounding([Tone(0.5)], 0.0, 48000, 48000)
    loud = np.flatnonzero(np.abs(sound) > 1e-3) / 48000
    assert (loud[0], loud[-1]) == (pytest.approx(0.5, abs=0.01), pytest.approx(0.68, abs=0.01))
    spectrum = np.abs(np.fft.rfft(sound))
    assert spectrum.argmax() == pytest.approx(880, abs=3), "one second: bins are Hz"
    assert left.min() == pytest.approx(0.5, abs=0.01)


def test_the_radar_puts_near_things_below_and_right_things_right():
    options = Settings().depth.model_copy(update={"fov": 60.0})

    def spot(far, angle, zone):
        item = Measured(_track((0, 0, 9, 9)), far, None, "left", angle, None, None, None)
        patch = radar([(item, zone)], 200, options, 640).astype(int)
        rows, columns = np.nonzero(np.abs(patch - radar([], 200, options, 640)).sum(axis=2) > 60)
        return columns.mean(), rows.mean()

    near, far = spot(3.0, 0.0, "warning"), spot(25.0, 0.0, "safe")
    assert near[1] > far[1] + 40
    assert spot(10.0, 20.0, "safe")[0] > 110
    assert spot(10.0, -20.0, "safe")[0] < 90
    assert spot(None, 0.0, "safe")[1] < far[1], "a distance that is not known stands outside the rim"


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(UsageError, match=r"danger_m \(9\) must be below warning_m \(5\)"):
        load(overrides={"depth.danger_m": 9.0})
