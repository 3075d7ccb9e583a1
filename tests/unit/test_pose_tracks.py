"""People followed by their poses: ids, bridged joints, smoothing, and what a checkpoint keeps."""

from __future__ import annotations

import json
from math import pi

import numpy as np
import pytest

from framelane.perception.poses import people
from framelane.perception.smoothing import OneEuro
from framelane.processors.pose.lane import Lane
from framelane.sections.pose import PoseSettings

RATE = 30
BODY = np.random.default_rng(3).uniform([-20, -100], [20, 100], (17, 2))


def found(*places, missing=(), score=0.6):
    """People with a body around (x, y) each."""
    joints = np.stack([np.column_stack([BODY + place, np.full(17, 0.8)]) for place in places])
    joints[:, list(missing), 2] = 0.0
    return people(joints.astype(np.float32), np.full(len(places), score, np.float32))


def run(lane, looks, count, every=1, start=0):
    """Give looks (a function of the index) and take every frame."""
    answers = {}
    for index in range(start, count + lane.ahead):
        if index < count:
            lane.give(index, index / RATE, 0, looks(index) if index % every == 0 else None)
        if index - lane.ahead >= start:
            at = index - lane.ahead
            answers[at] = lane.take(at, at / RATE, 0)
    return answers


def lane(every=1, **options):
    return Lane(PoseSettings(**options), rate=RATE, every=every)


@pytest.mark.parametrize("smoothing", ["loess", "one_euro", "none"])
def test_two_who_pass_each_other_keep_their_numbers_from_the_first_frame_on(smoothing):
    answers = run(lane(smoothing=smoothing), lambda i: found((100 + 4 * i, 200), (400 - 4 * i, 330)), 60)
    for index, shown in answers.items():
        assert [person.track for person in shown] == [1, 2], index
        xs = [float(person.joints[:, 0].mean() - BODY[:, 0].mean()) for person in shown]
        assert xs[0] == pytest.approx(100 + 4 * index, abs=6)
        assert xs[1] == pytest.approx(400 - 4 * index, abs=6)


@pytest.mark.parametrize("tracker", ["bytetrack", "botsort"])
def test_who_goes_by_behind_somebody_has_the_same_number_again(tracker):
    """The hidden one's last poses are pulled towards the one in front, then there are none for over half a second."""

    def looks(index):
        front, behind = (500 - 4 * index, 210), (100 + 4 * index, 200)
        if 46 <= index < 68:
            return found(front)
        return found(front, (244 - 4 * (index - 38), 200) if 38 <= index < 46 else behind)

    answers = run(lane(2, tracker=tracker), looks, 90, 2)
    for index in (10, 30, 70, 85):
        xs = {person.track: float((person.joints[:, 0] - BODY[:, 0]).mean()) for person in answers[index]}
        assert xs == pytest.approx({1: 500 - 4 * index, 2: 100 + 4 * index}, abs=8), index


def test_a_joint_hidden_for_a_moment_is_bridged_and_marked():
    hidden = range(20, 26)
    answers = run(lane(), lambda i: found((100 + 3 * i, 200), missing=[9] if i in hidden else []), 50)
    for index, (person,) in answers.items():
        assert bool(person.joints[9, 3]) == (index in hidden), index
        assert not person.joints[[0, 16], 3].any()
        np.testing.assert_allclose(person.joints[9, :2], BODY[9] + [100 + 3 * index, 200], atol=0.5)


def test_a_longer_loss_is_not_made_up():
    hidden = range(20, 31)
    answers = run(lane(gap_s=0.3), lambda i: found((100, 200), missing=[9] if i in hidden else []), 50)
    assert all((answers[i][0].joints[9, 2] == 0) == (i in hidden) for i in answers)


def test_a_person_hidden_for_a_moment_is_bridged():
    answers = run(lane(), lambda i: found((100, 200)) if i not in range(20, 26) else found((900, 900)), 50)
    assert answers[22][0].track == 1
    assert answers[22][0].joints[:, 3].all()
    assert not answers[19][0].joints[:, 3].any()


@pytest.mark.parametrize("every", [2, 3, 5])
def test_frames_between_looks_are_filled_and_not_called_bridged(every):
    answers = run(lane(every), lambda i: found((100 + 3 * i, 200)), 61, every)
    for index, (person,) in answers.items():
        assert not person.joints[:, 3].any()
        np.testing.assert_allclose(person.joints[:, 0], BODY[:, 0] + 100 + 3 * index, atol=0.01)


@pytest.mark.parametrize("smoothing", ["loess", "one_euro", "none"])
def test_frames_that_last_long_are_filled_as_well(smoothing):
    """A clip of variable rate: most frames in a thirtieth, some after a second. Who is seen before and after is there."""
    times = np.cumsum([1.0 if index % 7 == 3 else 1 / RATE for index in range(40)])
    one = lane(2, smoothing=smoothing)
    for index in range(40 + one.ahead):
        if index < 40:
            one.give(index, times[index], 0, found((100, 200)) if index % 2 == 0 else None)
        at = index - one.ahead
        if at >= 0:
            (person,) = one.take(at, times[at], 0)
            assert not person.joints[:, 3].any()
            np.testing.assert_allclose(person.joints[:, :2], BODY + np.array([100, 200]), atol=0.01)


def test_a_look_at_nobody_in_a_long_time_is_a_loss():
    times = [0.5 * index for index in range(8)]
    one = Lane(PoseSettings(gap_s=0.3), rate=RATE, every=1)
    for index, time in enumerate(times):
        one.give(index, time, 0, found((100, 200), missing=[9] if index == 4 else []))
    joints = [one.take(index, time, 0)[0].joints[9] for index, time in enumerate(times)]
    assert [joint[2] > 0 for joint in joints] == [index != 4 for index in range(8)]


def test_a_clip_of_one_frame_shows_who_is_in_it():
    one = lane(2)
    one.give(0, 0.0, 0, found((100, 200), (400, 330)))
    one.end()
    assert [person.track for person in one.take(0, 0.0, 0)] == [1, 2]
    nobody = lane(2)
    nobody.give(0, 0.0, 0, found((100, 200), score=0.15))
    nobody.end()
    assert nobody.take(0, 0.0, 0) == [], "too weak to begin a track"


def test_a_scene_of_one_frame_shows_who_is_in_it():
    one = lane()
    scenes = [0] * 5 + [5] + [6] * 5
    for index, scene in enumerate(scenes):
        one.give(index, index / RATE, scene, found((100, 200)))
    one.end()
    assert [[p.track for p in one.take(i, i / RATE, scene)] for i, scene in enumerate(scenes)] == [
        *[[1]] * 5, [2], *[[3]] * 5,
    ]  # fmt: skip


def test_the_last_frames_behind_the_last_look_keep_it():
    answers = run(lane(5), lambda i: found((100, 200)), 24, 5)
    assert len(answers[23]) == 1


def test_a_cut_ends_all_tracks():
    one = lane()
    shown = {}
    for index in range(40):
        scene = 0 if index < 20 else 20
        one.give(index, index / RATE, scene, found((100, 200)))
        at = index - one.ahead
        if at >= 0:
            shown[at] = [person.track for person in one.take(at, at / RATE, 0 if at < 20 else 20)]
    assert shown[19] == [1]
    assert shown[20] == [2]


def test_a_picture_that_stands_still_is_not_looked_at_again():
    one = lane(2)
    for index in range(40):
        same = index - 2 if index % 2 == 0 and index % 8 else None
        one.give(index, index / RATE, 0, found((100, 200)) if index % 8 == 0 or index == 1 else None, same_as=same)
        at = index - one.ahead
        if at >= 0:
            (person,) = one.take(at, at / RATE, 0)
            assert person.track == 1
            assert not person.joints[:, 3].any()


@pytest.mark.parametrize("smoothing", ["loess", "one_euro"])
@pytest.mark.parametrize("stop", [17, 31])
def test_a_checkpoint_goes_on_the_same(smoothing, stop):
    """Frames that were held back are given again, as after a resume."""

    def looks(index):
        return found((100 + 3 * index, 200), missing=[9] if index in range(24, 29) else [])

    whole, again = lane(smoothing=smoothing), lane(smoothing=smoothing)
    for index in range(stop):
        whole.give(index, index / RATE, 0, looks(index))
        if index >= whole.ahead:
            whole.take(index - whole.ahead, (index - whole.ahead) / RATE, 0)
    state = json.loads(json.dumps(whole.snapshot()))
    assert len(json.dumps(state)) < 40_000
    whole.restore(state)
    again.restore(state)
    first = stop - whole.ahead
    answers = [run_on(each, looks, first, begin, 60) for each, begin in ((whole, stop), (again, first))]
    assert answers[0] == answers[1]
    assert len(answers[0]) > 20


def run_on(one, looks, first, begin, count):
    done = []
    for index in range(begin, count):
        one.give(index, index / RATE, 0, looks(index))
        if index - one.ahead >= first and index >= begin + (0 if begin > first else one.ahead):
            at = index - one.ahead
            done.append([(p.track, p.joints.tolist()) for p in one.take(at, at / RATE, 0)])
    return done


def test_one_euro_is_the_papers():
    """Against the paper's algorithm (Casiez et al. 2012, appendix), written down word by word."""

    def alpha(rate, cutoff):
        tau, te = 1 / (2 * pi * cutoff), 1 / rate
        return 1 / (1 + tau / te)

    rng = np.random.default_rng(0)
    signal = np.cumsum(rng.normal(0, 1, 50))
    mincutoff, beta, dcutoff, rate = 1.2, 0.3, 1.0, 30.0
    expected, xhat, dxhat = [], signal[0], 0.0
    for x in signal:
        dx = (x - xhat) * rate
        dxhat = alpha(rate, dcutoff) * dx + (1 - alpha(rate, dcutoff)) * dxhat
        cutoff = mincutoff + beta * abs(dxhat)
        xhat = alpha(rate, cutoff) * x + (1 - alpha(rate, cutoff)) * xhat
        expected.append(xhat)
    one = OneEuro(mincutoff, beta, dcutoff)
    ours = [float(one(np.array([x]), i / rate)[0]) for i, x in enumerate(signal)]
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
