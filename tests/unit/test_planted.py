"""Planted scenes know their answer to the pixel, and the metrics are right where the answer can be worked out."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch

from framelane.bench import planted
from framelane.bench.outlines import OBJECTS
from framelane.bench.planted import (
    BACKGROUNDS,
    background,
    centre_bias,
    cutout,
    evaluate,
    mass_in_box,
    pointing_game,
    random_map,
    scenes,
)
from framelane.errors import FramelaneError

SIZE = (180, 320)
GRID = (9, 16)


@pytest.fixture(scope="module")
def small():
    return scenes(frames=3, size=SIZE, seed=1)


def repeat(attention):
    return lambda frames: attention[None].repeat(len(frames), 1, 1)


def oracle(known):
    """A predictor that knows the boxes: its map is 1 inside and 0 outside, at the frame's own resolution."""

    def predict(frames):
        scene = next(s for s in known if s.frames is frames)
        maps = torch.zeros(len(frames), *frames.shape[-2:])
        for attention, (x1, y1, x2, y2) in zip(maps, scene.boxes.int().tolist(), strict=True):
            attention[y1:y2, x1:x2] = 1
        return maps

    return predict


def test_every_object_over_every_background(small):
    assert {(s.object, s.background) for s in small} == {(o, b) for o in OBJECTS for b in BACKGROUNDS}
    assert len(small) == 20
    for scene in small:
        assert scene.frames.dtype == torch.uint8
        assert scene.frames.shape == (3, 3, *SIZE)
        assert scene.boxes.shape == (3, 4)


def test_the_boxes_contain_the_pasted_pixels_exactly(small):
    for scene in small:
        behind = torch.from_numpy(background(scene.background, SIZE)).permute(2, 0, 1).int()
        for frame, (x1, y1, x2, y2) in zip(scene.frames.int(), scene.boxes.int().tolist(), strict=True):
            changed = (frame - behind).abs().amax(0)
            outside = changed.clone()
            outside[y1:y2, x1:x2] = 0
            assert outside.max() == 0
            # Tight: a faint edge may round to the background's value, but not over more than two pixels.
            rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
            found = [int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]
            assert max(abs(a - b) for a, b in zip(found, (x1, y1, x2, y2), strict=True)) <= 2


def test_a_cutout_is_tight_around_its_opacity():
    for name in OBJECTS:
        alpha = cutout(name, 80, SIZE).alpha
        assert all(edge.max() > 0 for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
        assert 0.35 < alpha.mean() < 0.95  # neither a sliver nor a rectangle
        assert alpha.max() == 1


def test_objects_have_the_promised_size_and_move_in_a_straight_line():
    for scene in scenes(frames=5, size=(360, 640), seed=3):
        x1, y1, x2, y2 = scene.boxes.T
        shares = ((x2 - x1) * (y2 - y1)).sqrt() / (360 * 640) ** 0.5
        assert shares.min() >= 0.14
        assert shares.max() <= 0.36
        assert float(scene.boxes.min()) >= 0
        assert float(x2.max()) <= 640
        assert float(y2.max()) <= 360
        steps = scene.boxes[1:, :2] - scene.boxes[:-1, :2]
        assert float((steps - steps.mean(0)).abs().max()) <= 1.0


def test_the_same_seed_gives_the_same_scenes_and_another_does_not():
    first, again, other = (scenes(frames=1, size=(96, 128), seed=s) for s in (5, 5, 6))
    assert all(
        torch.equal(a.frames, b.frames) and torch.equal(a.boxes, b.boxes) for a, b in zip(first, again, strict=True)
    )
    assert not all(torch.equal(a.boxes, b.boxes) for a, b in zip(first, other, strict=True))


def test_an_oracle_scores_everything(small):
    score = evaluate(small, oracle(small))
    assert score.pointing == 1
    assert score.mass == pytest.approx(1, abs=1e-12)


def test_a_uniform_map_has_the_mass_of_the_area(small):
    for grid in (GRID, (7, 13), (1, 1)):
        score = evaluate(small, repeat(torch.ones(grid)))
        assert score.mass == pytest.approx(score.area, rel=1e-9)


def test_controls_stay_near_chance():
    known = scenes(frames=2, size=SIZE, seed=0)
    centre = evaluate(known, repeat(centre_bias(GRID)))
    assert centre.pointing <= 0.3
    assert centre.mass <= 2 * centre.area
    seeds = iter(range(1000))
    chance = evaluate(known, lambda frames: torch.stack([random_map(GRID, next(seeds)) for _ in frames]))
    assert chance.mass == pytest.approx(chance.area, rel=0.2)
    assert chance.pointing <= 0.3


def test_mass_is_exact_on_maps_made_by_hand():
    attention = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    frame = (100, 200)
    assert mass_in_box(attention, torch.tensor([0, 0, 100, 50]), frame) == pytest.approx(0.1)
    assert mass_in_box(attention, torch.tensor([100, 50, 200, 100]), frame) == pytest.approx(0.4)
    # A quarter of each cell.
    assert mass_in_box(attention, torch.tensor([50, 25, 150, 75]), frame) == pytest.approx(0.25)
    # 30 % across and 20 % down of the first cell.
    assert mass_in_box(attention, torch.tensor([0, 0, 30, 10]), frame) == pytest.approx(0.1 * 0.06)
    assert mass_in_box(attention, torch.tensor([-50, -50, 999, 999]), frame) == pytest.approx(1)
    assert mass_in_box(torch.zeros(2, 2), torch.tensor([0, 0, 50, 50]), frame) == 0


def test_the_pointing_game_is_decided_by_the_highest_point():
    attention = torch.zeros(4, 4)
    attention[1, 2] = 1  # its centre is at x = 125, y = 37.5 of 200 x 100
    frame = (100, 200)
    assert pointing_game(attention, torch.tensor([120.0, 30.0, 130.0, 45.0]), frame)
    assert not pointing_game(attention, torch.tensor([0.0, 0.0, 120.0, 100.0]), frame)
    assert not pointing_game(attention, torch.tensor([120.0, 40.0, 130.0, 60.0]), frame)


def test_controls_are_distributions():
    for control in (centre_bias(GRID), random_map(GRID, 3)):
        assert control.shape == GRID
        assert float(control.sum()) == pytest.approx(1, rel=1e-5)
    bell = centre_bias((9, 15))
    assert int(bell.argmax()) == 4 * 15 + 7
    assert torch.equal(random_map(GRID, 3), random_map(GRID, 3))
    assert not torch.equal(random_map(GRID, 3), random_map(GRID, 4))


def test_wrong_maps_are_sentences(small):
    box, frame = small[0].boxes[0], SIZE
    with pytest.raises(FramelaneError, match="grid of finite numbers"):
        pointing_game(torch.full((2, 2), float("nan")), box, frame)
    with pytest.raises(FramelaneError, match="negative"):
        mass_in_box(-torch.ones(2, 2), box, frame)
    with pytest.raises(FramelaneError, match="shape"):
        evaluate(small, lambda frames: torch.ones(1, 2, 2))
    with pytest.raises(FramelaneError, match="no planted scene"):
        evaluate([], repeat(torch.ones(2, 2)))
    with pytest.raises(FramelaneError, match="at least one frame"):
        scenes(frames=0)


@pytest.mark.parametrize(("missing", "name"), [("skimage", "chelsea"), ("matplotlib", "grace_hopper")])
def test_missing_packages_are_a_sentence(monkeypatch, missing, name):
    real = builtins.__import__

    def refuse(module, *args, **kwargs):
        if module.split(".")[0] == missing:
            raise ImportError(module)
        return real(module, *args, **kwargs)

    planted._photograph.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(FramelaneError, match="pip install scikit-image matplotlib"):
        planted._photograph(name)


def test_photographs_are_colour_pictures():
    for name in [*BACKGROUNDS, *(outline.picture for outline in OBJECTS.values())]:
        picture = planted._photograph(name)
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
