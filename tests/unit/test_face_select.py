"""Which face gets which source, and that it keeps it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from framelane.perception.faces import appearance
from framelane.perception.faces.base import Face
from framelane.perception.faces.centerface import CenterFaceFinder
from framelane.perception.faces.tracks import Sight
from framelane.processors.faceswap.select import Chooser, Rule
from framelane.processors.faceswap.swapper import Source
from support.face_clips import moved
from support.faces import astronaut, hopper

ANNA, BERT = Source("anna", (), ()), Source("bert", (), ())


def unit(*values):
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


def face(size=60.0, embedding=None):
    return Face(np.array([0, 0, size, size], np.float32), 0.9, np.zeros((5, 2), np.float32), embedding=embedding)


def run(chooser, frames):
    """The rules of each frame; ``frames`` are faces by track."""
    sights = [Sight(i, i / 25, t, f) for i, faces in enumerate(frames) for t, f in faces.items()]
    return [
        chooser.choose(i, i / 25, faces, [s for s in sights if abs(s.index - i) <= 3]) for i, faces in enumerate(frames)
    ]


def test_many_takes_all():
    assert run(Chooser("many", [Rule(ANNA)], 1), [{1: face(), -5: face()}]) == [{1: 0, -5: 0}]


def test_the_largest_does_not_change_with_every_pixel():
    sizes = [(60, 50), (60, 62), (60, 70), (60, 80), (70, 80), (60, 60)]
    frames = [{1: face(a), 2: face(b)} for a, b in sizes]
    found = run(Chooser("largest", [Rule(ANNA)], 1), frames)
    assert [next(iter(one)) for one in found] == [1, 1, 1, 2, 2, 2]
    assert all(len(one) == 1 for one in found)


def test_pairs_go_by_who_it_is_from_the_first_frame_on_and_stay():
    rules = [Rule(ANNA, unit(1, 0, 0)), Rule(BERT, unit(0, 1, 0))]
    like_a, like_b, nobody, blurred = unit(1, 0.1, 0), unit(0.1, 1, 0), unit(0, 0, 1), unit(0.3, 0.3, 1)
    frames = [{1: face(embedding=None), 2: face(embedding=like_b), 3: face(embedding=nobody)}]
    frames += [{1: face(embedding=like_a), 2: face(embedding=like_b), 3: face(embedding=nobody)}] * 3
    frames += [{1: face(embedding=blurred), 2: face(embedding=blurred), 3: face(embedding=nobody)}] * 8
    found = run(Chooser("like", rules, 0.85), frames)
    assert found == [{1: 0, 2: 1}] * len(frames)


def test_one_person_is_not_put_on_two_faces_at_once():
    rules = [Rule(ANNA, unit(1, 0, 0))]
    frames = [{1: face(embedding=unit(1, 0.5, 0)), 2: face(embedding=unit(1, 0.05, 0))}] * 3
    assert run(Chooser("like", rules, 0.85), frames) == [{2: 0}] * 3


def test_a_snapshot_goes_on():
    rules = [Rule(ANNA, unit(1, 0, 0)), Rule(BERT, unit(0, 1, 0))]
    frames = [{1: face(embedding=unit(1, 0.4, 0)), 2: face(embedding=unit(0.2, 1, 0))}] * 6
    whole = Chooser("like", rules, 0.85)
    run(whole, frames)
    other = Chooser("like", rules, 0.85)
    other.restore(json.loads(json.dumps(whole.snapshot())))
    assert other.snapshot() == whole.snapshot()
    blind = [{1: face(), 2: face()}]
    assert run(other, blind) == run(whole, blind) == [{1: 0, 2: 1}]


@pytest.mark.parametrize(
    ("angle", "scale", "light"), [(0, 1, 0.8), (0, 1, 1.2), (8, 1.1, 1), (-8, 0.7, 1), (0, 0.4, 1)]
)
def test_two_people_are_told_apart_by_how_they_look(angle, scale, light):
    finder = CenterFaceFinder(device="cpu", threads=1)
    hopper_small = cv2.resize(hopper(), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)

    def description(picture, angle=0.0, scale=1.0, light=1.0):
        pixels = moved(picture, (400, 400), x=200, y=200, angle=angle, scale=scale)
        rgb = torch.from_numpy(np.clip(pixels * light, 0, 255).astype(np.uint8).transpose(2, 0, 1).copy())
        return appearance.describe(rgb, finder.find(rgb[None])[0][0])

    woman, man = description(astronaut()[0:260, 90:350]), description(hopper_small)
    changed = description(astronaut()[0:260, 90:350], angle, scale, light)
    assert ((changed - woman) ** 2).sum() < appearance.DISTANCE < ((changed - man) ** 2).sum()
