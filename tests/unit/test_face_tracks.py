"""Faces followed and smoothed: no lag, less noise, through blinks and not over cuts; the same after a snapshot."""

from __future__ import annotations

import json

import numpy as np
import pytest

from framelane.perception.faces.base import Face
from framelane.perception.faces.smoothing import smoothed, weights
from framelane.perception.faces.tracks import FaceTracks, Sight, faces_at, joined

RATE = 25


def face_at(x, y=100.0, size=60.0, noise=0.0, rng=None):
    points = np.array([[-15, -10], [15, -10], [0, 5], [-10, 20], [10, 20]], np.float32) + np.array([x, y])
    if noise:
        points = points + rng.normal(0, noise, points.shape)
    box = np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2], np.float32)
    return Face(box, 0.9, points.astype(np.float32))


def sights_of(places, track=1, missing=()):
    return [Sight(i, i / RATE, track, face_at(x)) for i, x in enumerate(places) if i not in missing]


def test_weights_sum_to_one_and_follow_an_acceleration_exactly_at_uneven_times():
    times = np.array([0, 0.04, 0.07, 0.13, 0.16, 0.22, 0.25, 0.3])
    path = 3 + 50 * times - 120 * times**2
    for moment in (0.13, 0.15, 0.16):
        found = weights(times.tolist(), moment, 0.16)
        assert found.sum() == pytest.approx(1)
        assert found @ path == pytest.approx(3 + 50 * moment - 120 * moment**2, abs=1e-6)


def test_one_sight_alone_is_itself():
    assert weights([1.0], 1.0, 0.16).tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("hertz", [0.5, 1.0])
def test_smoothing_has_no_lag(hertz):
    """The cross-correlation of what is smoothed with the true path is highest at a shift of 0."""
    times = np.arange(100) / RATE
    true = 40 * np.sin(2 * np.pi * hertz * times)
    rng = np.random.default_rng(1)
    faces = [face_at(x, noise=1.5, rng=rng) for x in true]
    out = [
        smoothed(faces[max(0, i - 8) : i + 9], times[max(0, i - 8) : i + 9].tolist(), times[i], 0.16).points[2, 0]
        for i in range(100)
    ]
    middle = slice(15, 85)
    errors = {s: np.abs(np.roll(out, -s)[middle] - true[middle]).mean() for s in (-2, -1, 0, 1, 2)}
    assert min(errors, key=errors.get) == 0, errors
    assert errors[0] < 1.0


def test_smoothing_takes_more_than_half_of_the_trembling():
    rng = np.random.default_rng(2)
    times = (np.arange(200) / RATE).tolist()
    faces = [face_at(100 + 0.5 * i, noise=1.0, rng=rng) for i in range(200)]
    raw = np.stack([face.points for face in faces])
    out = np.stack([smoothed(faces[i - 8 : i + 9], times[i - 8 : i + 9], times[i], 0.16).points for i in range(8, 192)])
    tremble = [np.linalg.norm(np.diff(path, 2, axis=0), axis=2).mean() for path in (raw, out)]
    assert tremble[1] < 0.5 * tremble[0]


def test_a_blink_is_bridged_and_a_longer_loss_is_not():
    places = [100 + 2 * i for i in range(40)]
    blink = sights_of(places, missing={20, 21})
    found = faces_at(blink, 20, 20 / RATE, width=0.16)
    assert found[1].points[2, 0] == pytest.approx(140, abs=0.2)
    long = sights_of(places, missing=set(range(15, 30)))
    assert faces_at(long, 20, 20 / RATE, width=0.16) == {}
    # what lies beyond the loss does not pull at what is before it
    assert faces_at(long, 13, 13 / RATE, width=1.0)[1].points[2, 0] == pytest.approx(126, abs=0.2)


def test_the_first_sight_of_a_track_belongs_to_it():
    """A tracker believes a face at its second sight: the frame of the first one would show the original face."""
    tracks = FaceTracks(rate=RATE, threshold=0.5)
    seen = [sight for i in range(4) for sight in tracks.update(i, i / RATE, [face_at(100 + i)], cut=False)]
    assert seen[0].track < 0 < seen[1].track
    assert {sight.track for sight in joined(seen)} == {seen[1].track}


def test_ids_last_through_a_loss_of_half_a_second_and_end_at_a_cut():
    tracks = FaceTracks(rate=RATE, threshold=0.5)
    ids = []
    for i in range(40):
        faces = [] if 15 <= i < 27 else [face_at(100 + i)]
        ids.append([sight.track for sight in tracks.update(i, i / RATE, faces, cut=i == 35)])
    assert ids[10] == ids[14] == ids[28] == ids[34]
    assert ids[38] != ids[34]


def test_two_faces_that_pass_each_other_keep_their_ids():
    tracks = FaceTracks(rate=RATE, threshold=0.5)
    last = {}
    for i in range(60):
        faces = [face_at(100 + 4 * i, y=100), face_at(340 - 4 * i, y=125)]
        seen = tracks.update(i, i / RATE, faces, cut=False)
        last[i] = [sight.track for sight in seen]
    assert last[5] == last[59]
    assert len(set(last[5])) == 2


def test_a_snapshot_goes_on_as_the_run_that_took_it():
    def run(resume):
        tracks, answers = FaceTracks(rate=RATE, threshold=0.5), []
        for i in range(30):
            answers.append([s.track for s in tracks.update(i, i / RATE, [face_at(100 + 3 * i)], cut=False)])
            if i == 12:
                state = json.loads(json.dumps(tracks.snapshot()))
                tracks = FaceTracks(rate=RATE, threshold=0.5) if resume else tracks
                tracks.restore(state)
                again = tracks.update(
                    11, 11 / RATE, [face_at(133)], cut=False
                )  # replayed: the answer of the first time
                assert [s.track for s in again] == answers[11]
        return answers

    assert run(True) == run(False)
