"""Whom the camera follows: settings as people write them, numbers of tracks, the action, scenes too short for tracks."""

from __future__ import annotations

import numpy as np
import pytest

from framelane.bench.balls import TUNING, make_scene, planted
from framelane.errors import UsageError
from framelane.processors.follow.chain import Tracklet, best_chain
from framelane.processors.follow.framing import Framing
from framelane.processors.follow.plan import plan_clip
from framelane.processors.follow.processor import _tracks
from framelane.processors.follow.show import Numbers
from framelane.processors.follow.sightings import Sightings
from framelane.processors.follow.subject import LOST, NOBODY, SEEN, find_subject
from framelane.sections.follow import FollowSettings
from framelane.settings import load, parse_assignment

SIZE = (960, 540)


def sightings(people, count=120, rate=30, cuts=(0,), every=2):
    """Rows of a first pass: ``people`` is (number, x of each frame, first frame, one after the last, height)."""
    rows = []
    for i in range(count):
        row = {"frame": i, "time": i / rate, "cut": i in cuts}
        if i % every == 0 or i in cuts:
            row["tracks"] = [
                [number, "person", x[i] - high / 5, 300 - high / 2, x[i] + high / 5, 300 + high / 2, 0.8]
                for number, x, start, stop, high in people
                if start <= i < stop
            ]
        rows.append(row)
    return Sightings.of(rows)


def at(x, count=120):
    return np.full(count, float(x))


# -- settings as they are written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("aspect=9:16", "aspect", "9:16"),
        ("aspect=16:9", "aspect", "16:9"),
        ("aspect=1:1", "aspect", "1:1"),
        ("aspect=4:5", "aspect", "4:5"),
        ("subject=2", "subject", "2"),
        ("subject=action", "subject", "action"),
        ("cue=off", "cue", "off"),
        ("cue=on", "cue", "on"),
        ("size=720p", "size", "720p"),
        ("size=null", "size", None),
    ],
)
def test_what_yaml_takes_for_a_number_or_a_switch_is_what_was_written(written, key, value, tmp_path):
    file = tmp_path / "mine.yaml"
    name, _, plain = written.partition("=")
    file.write_text(f"follow:\n  {name}: {plain}\n")
    assert getattr(load(overrides=dict([parse_assignment(f"follow.{written}")])).settings.follow, key) == value
    assert getattr(load(config=file).settings.follow, key) == value


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("aspect=5:4", "'16:9', '9:16', '1:1' or '4:5'"),
        ("aspect=720", "'16:9', '9:16', '1:1' or '4:5'"),
        ("subject=dog", "ball, person, action or the number of a track"),
        ("subject=0", "ball, person, action or the number of a track"),
        ("subject=true", "ball, person, action or the number of a track"),
        ("size=720", "a size such as 1080x1920, or 720p"),
        ("size=1080x", "a size such as 1080x1920, or 720p"),
        ("cue=maybe", "'auto', 'on' or 'off'"),
        ("zoom_min=3", "zoom_min (3) must not be above zoom_max (1.6)"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(written, said):
    with pytest.raises(UsageError) as caught:
        load(overrides=dict([parse_assignment(f"follow.{written}")]))
    assert said in str(caught.value)
    assert str(caught.value).startswith("follow")


# -- a track's number ---------------------------------------------------------------------------------------------------


def test_a_number_is_followed_though_others_are_larger_and_more_central():
    found = sightings([(1, at(480), 0, 120, 400), (7, at(850), 30, 90, 80)])
    subject = find_subject(found, "7", SIZE, 1.0)
    assert subject.followed == (7,)
    assert np.abs(subject.place[30:90, 0] - 850).max() < 1
    assert (subject.state[32:88] == SEEN).all()
    assert subject.state[119] == LOST


def test_a_number_that_is_not_there_is_nobody_and_the_window_stands_still():
    found = sightings([(1, at(100), 0, 120, 200)])
    camera = plan_clip(found, Framing(SIZE, (304, 540), (303.75, 540.0)), FollowSettings(subject="5"))
    assert (camera.state == NOBODY).all()
    assert np.ptp(camera.left) == 0


def test_after_a_cut_a_number_of_another_scene_is_nobody():
    found = sightings([(1, at(200), 0, 60, 200), (2, at(700), 60, 120, 200)], cuts=(0, 60))
    camera = plan_clip(found, Framing(SIZE, (304, 540), (303.75, 540.0)), FollowSettings(subject="1"))
    assert (camera.state[:60] != NOBODY).all()
    assert (camera.state[60:] == NOBODY).all()


def test_numbers_are_told_in_the_report_and_drawn():
    found = sightings([(1, at(200), 0, 40, 200), (7, at(700), 0, 120, 200)])
    assert _tracks(found) == [
        {"track": 7, "from_s": 0.0, "to_s": pytest.approx(118 / 30, abs=1e-3)},
        {"track": 1, "from_s": 0.0, "to_s": pytest.approx(38 / 30, abs=1e-3)},
    ]
    assert _tracks(sightings([])) == []
    numbers = Numbers(found)
    assert [mark.label for mark in numbers.at(21)] == ["1", "7"], "as on frame 20, which was looked at"
    assert [mark.label for mark in numbers.at(100)] == ["7"]


# -- the action ---------------------------------------------------------------------------------------------------------


def test_the_action_is_where_people_move_not_where_they_stand():
    run = 500 + 200 * np.abs(np.arange(120) / 20 % 2 - 1)
    found = sightings([(1, at(100), 0, 120, 200), (2, run, 0, 120, 200), (3, run + 80, 0, 120, 200)])
    subject = find_subject(found, "action", SIZE, 3.0)
    assert subject.followed == ()
    middle = (100 + run + run + 80) / 3
    assert (subject.place[5:115, 0] > middle[5:115] + 50).mean() > 0.9
    assert (subject.state == SEEN).all()


def test_the_action_between_two_alike_is_in_the_middle_and_as_wide_as_both():
    found = sightings([(1, at(300), 0, 120, 200), (2, at(700), 0, 120, 200)])
    subject = find_subject(found, "action", SIZE, 3.0)
    assert subject.place[60, 0] == pytest.approx(500, abs=2)
    assert subject.size[60, 0] > 400


def test_without_players_there_is_no_action():
    assert (find_subject(sightings([]), "action", SIZE, 3.0).state == NOBODY).all()


# -- short and long -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 20])
def test_in_a_scene_too_short_for_tracks_the_largest_is_followed(count):
    found = sightings([(-1, at(800, count), 0, count, 300), (-1, at(200, count), 0, count, 100)], count=count)
    subject = find_subject(found, "person", SIZE, 3.0)
    assert (subject.state == SEEN).all()
    assert subject.place[:, 0] == pytest.approx(800, abs=1)
    assert subject.followed == ()


def test_in_a_longer_scene_what_no_tracker_confirmed_is_nobody():
    assert (find_subject(sightings([(-1, at(800), 0, 120, 300)]), "person", SIZE, 3.0).state == NOBODY).all()


def long_track(start, stop, x, index):
    times = np.arange(start, stop, 0.5)
    frames = (times * 2).astype(int)
    places = np.stack([at(x, len(times)), at(100, len(times))], 1)
    same = at(0.8, len(times))
    return Tracklet(frames, times, places, np.full((len(times), 2), 40.0), same, same, index)


@pytest.mark.parametrize("steady", [True, False])
def test_a_track_of_minutes_has_a_successor_and_so_has_one_long_gone(steady):
    parts = [long_track(0, 200, 100, 1), long_track(201, 260, 110, 2), long_track(400, 460, 105, 3)]
    assert [part.index for part in best_chain(parts, 540, steady=steady)] == [1, 2, 3]


def test_a_ball_behind_wide_pillars_is_not_taken_for_its_double():
    """Hidden 40 % of the time, while the double flies through in one piece: motion over the gaps must decide."""
    scene = make_scene(20, 25, TUNING[25])
    subject = find_subject(Sightings.of(planted(scene, 35)).part(0, 600), "ball", SIZE, 3.0)
    off = np.linalg.norm(subject.place - scene.ball, axis=1)
    assert scene.hidden.mean() > 0.35
    assert (off > 150).mean() < 0.05


@pytest.mark.parametrize(("score", "state"), [(0.15, NOBODY), (0.4, SEEN)])
def test_a_ball_that_nothing_is_sure_of_is_no_ball(score, state):
    """NanoDet takes the sun of walker.mp4 for a ball, with a score of 0.15."""
    rows = [
        {"frame": i, "time": i / 30, "cut": i == 0,
         "tracks": [[0, "ball", 300.0 + 3 * i, 200.0, 320.0 + 3 * i, 220.0, score if i % 5 else 0.8 * score]]}
        for i in range(60)
    ]  # fmt: skip
    assert (find_subject(Sightings.of(rows), "ball", SIZE, 3.0).state == state).all()
