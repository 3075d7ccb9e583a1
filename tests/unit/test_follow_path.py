"""The virtual camera's parts against known answers: filter, path, window, sizes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from framelane.errors import UsageError
from framelane.processors.follow.causal import CausalCamera
from framelane.processors.follow.chain import Tracklet, best_chain
from framelane.processors.follow.crop import Window, cut_planes, resample
from framelane.processors.follow.framing import Framing, framing
from framelane.processors.follow.kalman import smooth
from framelane.processors.follow.metrics import camera_metrics
from framelane.processors.follow.path import Limits, Wish, plan
from framelane.processors.follow.plan import plan_scene
from framelane.processors.follow.subject import Subject, nobody
from framelane.sections.follow import FollowSettings
from framelane.video.clip import probe
from framelane.video.colour import ColourTags, Orientation, plane_array
from framelane.video.frames import Layout
from support.clips import WALKER

LIMITS = Limits(1.5, 3.0, 10.0)


def wish(place, comfort=0.1, inside=0.4, low=0.5, high=4.0):
    ones = np.ones(len(place))
    return Wish(place, place, ones, comfort * ones, inside * ones, low * ones, high * ones)


def test_a_subject_that_shakes_inside_the_dead_zone_leaves_the_camera_still():
    place = 2 + 0.08 * np.sin(np.arange(150))
    path = plan(wish(place), 1 / 15, LIMITS)
    assert np.ptp(path) < 0.02
    assert np.abs(path - place).max() <= 0.2


def test_limits_are_kept_and_the_subject_stays_inside_over_many_windows():
    step = 1 / 15
    times = np.arange(450) * step
    place = 2 + 1.2 * np.sin(times * 0.9)
    path = plan(wish(place), step, LIMITS)
    for order, most in ((1, 1.5), (2, 3.0), (3, 10.0)):
        assert np.abs(np.diff(path, order)).max() / step**order <= most * 1.01, f"derivative {order}"
    assert np.abs(path - place).max() <= 0.41


def test_a_camera_at_the_frames_edge_stays_in_the_frame():
    path = plan(wish(np.linspace(0, 5, 100)), 1 / 15, LIMITS)
    assert path.min() >= 0.5
    assert path.max() <= 4.0


def test_the_filter_bridges_a_loss_and_rejects_a_false_ball():
    times = np.arange(90) / 30
    truth = np.stack([0.2 + 0.4 * times, np.full(90, 0.5)], 1)
    frames = np.array([i for i in range(90) if not 40 <= i < 55])
    seen = truth[frames] + np.random.default_rng(0).normal(0, 0.003, (len(frames), 2))
    false = int(np.flatnonzero(frames == 70)[0])
    seen[false] += 0.4
    found = smooth(times, frames.astype(float), seen, np.full(len(frames), 0.005), 3.0)
    assert np.abs(found.place - truth).max() < 0.02
    assert not found.used[false]
    assert found.used.sum() == len(frames) - 1
    assert found.spread[47] > 2 * found.spread[30], "it knows less where it saw nothing"


def test_the_filter_follows_a_bounce():
    times = np.arange(60) / 30
    truth = np.stack([0.5 * times, np.abs(1 - 2 * times)], 1)
    found = smooth(times, np.arange(60.0), truth, np.full(60, 0.004), 1.0)
    assert np.abs(found.place - truth).max() < 0.05


def tracklet(start, stop, x, index, appeal=0.5):
    frames = np.arange(start, stop)
    places = np.stack([np.full(len(frames), float(x)), np.full(len(frames), 100.0)], 1)
    same = np.full(len(frames), appeal)
    return Tracklet(frames, frames / 30, places, np.full((len(frames), 2), 40.0), same, same, index)


def test_somebody_who_was_lost_for_a_moment_keeps_the_camera():
    mine, again, other = tracklet(0, 60, 100, 1), tracklet(75, 150, 115, 2), tracklet(20, 110, 500, 3)
    chain = best_chain([mine, again, other], 540, steady=True)
    assert [part.index for part in chain] == [1, 2]
    assert not chain[1].leaps


def test_who_takes_over_when_the_subject_has_gone_is_a_leap_for_the_filter():
    chain = best_chain([tracklet(0, 90, 100, 1), tracklet(100, 220, 700, 2)], 540, steady=True)
    assert [(part.index, part.leaps) for part in chain] == [(1, False), (2, True)]


# -- cutting ----------------------------------------------------------------------------------------------------------


def waves(width=320, height=200, phase=0.0):
    y, x = np.mgrid[:height, :width]
    return (127 + 80 * np.sin((x + phase) / 9) * np.cos(y / 13)).astype(np.float32)


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
def test_a_window_moves_the_picture_by_fractions_of_a_pixel(scale):
    plane = np.clip(np.rint(waves()), 0, 255).astype(np.uint8)
    middles = []
    for shift in np.arange(0, 2.01, 0.125):
        cut = resample(plane, (scale, scale), (40 + shift, 30), (64, 48)).astype(np.float64)
        x = 40 + shift + (np.arange(64) + 0.5) * scale - 0.5
        y = 30 + (np.arange(48) + 0.5) * scale - 0.5
        truth = 127 + 80 * np.sin(x[None] / 9) * np.cos(y[:, None] / 13)
        assert np.abs(cut - truth).mean() < 1.2
        middles.append(cut[24, 32])
    steps = np.abs(np.diff(middles, 2))
    assert steps.max() <= 2.5, "a slow pan jitters"


def yuv_frame(width=160, height=120):
    from av.video.frame import VideoFrame

    frame = VideoFrame(width, height, "yuv420p")
    for place, plane in enumerate(frame.planes):
        own = plane_array(plane)
        y, x = np.mgrid[: own.shape[0], : own.shape[1]]
        own[:] = (
            40 + place * 30 + 60 * np.sin(x / (6 if place else 12)) * np.cos(y / (5 if place else 10)) + 60
        ).astype(np.uint8)
    return frame


def layout(orientation=None):
    return Layout(160, 120, Fraction(1, 30), 0, ColourTags(), orientation or Orientation())


def test_a_window_on_whole_even_pixels_is_the_frames_own_samples():
    frame = yuv_frame()
    cut = cut_planes(frame, layout(), Window(20, 10, 96, 64), (96, 64))
    for place, (x, y, w, h) in enumerate([(20, 10, 96, 64), (10, 5, 48, 32), (10, 5, 48, 32)]):
        assert np.array_equal(plane_array(cut.planes[place]), plane_array(frame.planes[place])[y : y + h, x : x + w])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_clip_is_cut_upright(turns):
    frame = yuv_frame()
    size = (48, 64)
    cut = cut_planes(frame, layout(Orientation(turns)), Window(16, 20, *size), size)
    luma = np.rot90(plane_array(frame.planes[0]), turns)[20 : 20 + size[1], 16 : 16 + size[0]]
    assert np.array_equal(plane_array(cut.planes[0]), luma)
    chroma = np.rot90(plane_array(frame.planes[1]), turns)[10 : 10 + 32, 8 : 8 + 24].astype(int)
    # Chroma that lay level with the left pixels lies above or right of them now: a shift of a quarter to half a sample.
    assert np.abs(plane_array(cut.planes[1]).astype(int) - chroma).max() <= 8


def test_luma_is_closer_to_the_truth_than_by_way_of_rgb():
    from framelane.video.colour import from_rgb, to_rgb

    frame, tags = yuv_frame(), ColourTags()
    window, size = Window(20, 10, 96, 64), (96, 64)
    ours = cut_planes(frame, layout(), window, size)
    rgb = np.empty((3, 120, 160), np.uint8)
    to_rgb(frame, tags, rgb)
    theirs = from_rgb(np.ascontiguousarray(rgb[:, 10:74, 20:116]), tags, "yuv420p")
    truth = plane_array(frame.planes[0])[10:74, 20:116].astype(int)
    error = [np.abs(plane_array(f.planes[0]).astype(int) - truth).mean() for f in (ours, theirs)]
    assert error[0] == 0 < error[1]


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ({}, (304, 540)),
        ({"aspect": "16:9"}, (960, 540)),
        ({"aspect": "1:1", "size": "720p"}, (720, 720)),
        ({"size": "1080x1920"}, (1080, 1920)),
        ({"aspect": "4:5"}, (432, 540)),
        ({"aspect": "9:16", "size": "720p"}, (720, 1280)),
    ],
)
def test_sizes(given, output):
    found = framing(probe(WALKER), FollowSettings(**given), frozenset())
    assert found.output == output
    assert found.widest[0] <= 960.001
    assert found.widest[1] <= 540.001
    assert found.widest[0] / found.widest[1] == pytest.approx(output[0] / output[1], rel=0.01)


def test_an_anamorphic_or_turned_clip_is_cut_in_its_own_pixels():
    clip = replace(probe(WALKER), sample_aspect=Fraction(4, 3))
    found = framing(clip, FollowSettings(aspect="1:1"), frozenset())
    assert found.widest == pytest.approx((405, 540))
    assert found.output == (540, 540)


def test_size_and_aspect_that_disagree_are_refused():
    with pytest.raises(UsageError, match=r"follow\.size 1080x1920 is not 16:9"):
        framing(probe(WALKER), FollowSettings(size="1080x1920", aspect="16:9"), frozenset({"follow.aspect"}))


@pytest.mark.parametrize(("size", "said"), [("9000x500", "at most 8192 pixels"), ("10x40", "at least 32 pixels")])
def test_a_size_that_nobody_can_want_is_refused(size, said):
    with pytest.raises(UsageError, match=said):
        framing(probe(WALKER), FollowSettings(size=size), frozenset())


# -- the whole scene --------------------------------------------------------------------------------------------------

FRAME = Framing((960, 540), (304, 540), (303.75, 540.0))


def subject(x, count=120, size=(60, 200)):
    places = np.stack([np.asarray(x, float), np.full(count, 300.0)], 1)
    speed = np.gradient(places, 1 / 30, axis=0)
    return Subject(places, speed, np.tile(np.array(size, float), (count, 1)), np.ones(count), np.ones(count, np.int8))


@pytest.mark.parametrize("options", [FollowSettings(), FollowSettings(zoom_min=1.0, zoom_max=3.0)])
def test_the_window_never_leaves_the_frame_and_holds_the_subject(options):
    times = np.arange(120) / 30
    x = 480 + 440 * np.sin(times)
    windows = plan_scene(times, subject(x), FRAME, options)
    assert (windows[:, :2] >= 0).all()
    assert (windows[:, :2] + windows[:, 2:] <= np.array([960, 540]) + 1e-6).all()
    every = np.ones(120, bool)
    figures = camera_metrics(times, windows, subject(x).place, every, np.arange(120) == 0)
    assert figures["in_frame"] == 1.0


def test_a_subject_larger_than_the_window_is_seen_as_wide_as_can_be():
    times = np.arange(60) / 30
    windows = plan_scene(times, subject(np.full(60, 500.0), 60, (500, 530)), FRAME, FollowSettings())
    assert windows[:, 2] == pytest.approx(303.75)
    assert np.abs(windows[:, 0] + 152 - 500).max() < 60


def test_nobody_gets_a_still_window_in_the_middle():
    windows = plan_scene(np.arange(30) / 30, nobody(30, (960, 540)), FRAME, FollowSettings())
    assert np.ptp(windows, axis=0) == pytest.approx(0)
    assert windows[0, 0] == pytest.approx((960 - 303.75) / 2)


@pytest.mark.parametrize("rate", [24, 30, 59.94])
def test_the_limits_hold_from_frame_to_frame_and_at_the_frames_edge(rate):
    times = np.arange(round(12 * rate)) / rate
    x = np.clip(480 + 600 * np.sin(times * 1.1), 5, 955)  # who runs to the edge, stands there, and comes back
    windows = plan_scene(times, subject(x, len(x)), FRAME, FollowSettings(zoom_max=1.0))
    middle = (windows[:, 0] + windows[:, 2] / 2) / windows[0, 2]
    assert windows[:, 0].min() < 2
    for order, most in ((1, 1.5), (2, 3.0), (3, 10.0)):
        assert np.abs(np.diff(middle, order)).max() * rate**order <= most * 1.02, f"derivative {order}"


def test_variable_frame_times_do_not_disturb_the_camera():
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(1 / 60, 1 / 10, 120))
    x = 150 + 60 * (times - times[0])
    windows = plan_scene(times, subject(x), FRAME, FollowSettings(zoom_max=1.0))
    speed = np.diff(windows[:, 0]) / np.diff(times)
    assert np.percentile(speed, 90) < 110
    assert (np.abs(x - windows[:, 0] - 152) < 152).all()


def test_the_causal_camera_keeps_its_limits_and_its_subject():
    options = FollowSettings(zoom_max=1.0)
    camera = CausalCamera(FRAME, LIMITS, options)
    times = np.arange(240) / 30
    x = 480 + 250 * np.sin(times)
    lost = (times > 4) & (times < 4.4)
    windows = []
    for time, place, gone in zip(times.tolist(), x.tolist(), lost.tolist(), strict=True):
        w = camera.step(time, None if gone else (place, 300.0), 1.0)
        windows.append([w.x, w.y, w.width, w.height])
    windows = np.array(windows)
    middle = (windows[:, 0] + windows[:, 2] / 2) / 303.75
    assert np.abs(np.diff(middle)).max() * 30 <= 1.5 * 1.01
    assert np.abs(np.diff(middle, 3)).max() * 30**3 <= 1.05 * 10
    assert (np.abs(x - windows[:, 0] - 152) < 152).all()
    before = camera.step(8.0, (100.0, 300.0), 1.0, cut=True)
    assert before.x == pytest.approx(max(0.0, 100 - 152), abs=1), "a cut is jumped, not panned"


@pytest.mark.parametrize(("zoom_max", "rounding"), [(1.0, 1.05), (1.6, 1.05)])
def test_the_causal_camera_stops_softly_at_the_frames_edge(zoom_max, rounding):
    """The subject walks out of reach on both sides; the window must not run into the edge."""
    camera = CausalCamera(FRAME, LIMITS, FollowSettings(zoom_max=zoom_max))
    times = np.arange(450) / 30
    x = np.clip(480 + 700 * np.sin(times * 0.9), 5, 955)
    windows = np.array([
        [w.x, w.y, w.width, w.height]
        for w in (camera.step(t, (p, 300.0), 1.0) for t, p in zip(times.tolist(), x.tolist(), strict=True))
    ])  # fmt: skip
    assert windows[:, 0].min() >= 0
    assert windows[:, 0].min() < 20, "the scene does not reach the edge"
    assert (windows[:, :2] + windows[:, 2:] <= np.array([960, 540]) + 1e-6).all()
    middle = (windows[:, 0] + windows[:, 2] / 2) / 303.75
    assert np.abs(np.diff(middle, 3)).max() * 30**3 <= rounding * 10
    assert np.abs(np.diff(middle, 2)).max() * 30**2 <= 1.2 * 3
