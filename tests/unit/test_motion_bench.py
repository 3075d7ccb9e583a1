"""The clips of ``framelane bench motion``, its controls and its scores."""

import numpy as np
import pytest
import torch

from framelane.bench import cost, motion, moving


@pytest.fixture(scope="module")
def scene():
    return moving.make_scene(40, 5)


def test_the_disk_is_where_its_box_says_and_moves_as_its_label_says(scene):
    for clip, label, boxes, moves in zip(scene.clips, scene.labels, scene.boxes, scene.moves, strict=True):
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        steps = np.diff(centres, axis=0)
        moving_steps = steps[np.abs(steps).sum(1) > 0]
        assert len(moving_steps) == moving.MOVING
        assert {tuple(step) for step in moving_steps} == {
            tuple(moving.SPEED * np.array(moving._DIRECTIONS[label], float))
        }
        assert moves.sum() == moving.MOVING + 1
        assert boxes.min() >= 0
        assert boxes.max() <= moving.SIDE
        for frame, (x, y) in zip(clip, centres.astype(int), strict=True):
            red, green, blue = frame[:, y, x].astype(int)
            assert green > 150, "the disk is drawn last, so nothing covers it"
            assert red < 60
            assert blue < 60


def test_the_same_seed_gives_the_same_clips():
    one, two, other = moving.make_scene(3, 9), moving.make_scene(3, 9), moving.make_scene(3, 10)
    assert np.array_equal(one.clips, two.clips)
    assert not np.array_equal(one.clips, other.clips)


def test_scores_of_maps_that_are_known(scene):
    boxes, moves = scene.boxes[0], scene.moves[0]
    perfect = torch.zeros(moving.FRAMES, moving.SIDE, moving.SIDE)
    for t in np.flatnonzero(moves):
        x1, y1, x2, y2 = boxes[t].astype(int)
        perfect[t, y1:y2, x1:x2] = 1
    tally = motion.Tally()
    tally.add(perfect, boxes, moves, moving.SIDE)
    assert tally.means() == dict.fromkeys(motion.SCORES, 100)
    even = motion.Tally()
    even.add(torch.ones(moving.FRAMES, 8, 8), boxes, moves, moving.SIDE)
    assert even.means()["mass"] == pytest.approx(100 * 11 * 11 / moving.SIDE**2, abs=0.1)
    assert even.means()["time"] == pytest.approx(62.5)
    assert even.means()["order"] == 50
    late = motion.Tally()
    late.add(torch.from_numpy(~moves).float()[:, None, None].expand(-1, 8, 8), boxes, moves, moving.SIDE)
    assert {key: late.means()[key] for key in ("time", "moment", "order")} == {"time": 0, "moment": 0, "order": 0}


def test_frames_are_told_apart_by_pairs():
    found = motion.told_apart(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 1.0, 0.0]))
    assert found == pytest.approx((3 + 0 + 0.5 + 1) / 6)


def test_motion_energy_finds_what_moves():
    clip = np.zeros((4, 3, 16, 16), np.uint8)
    for t in range(4):
        clip[t, :, 2:4, 2 + 3 * t : 4 + 3 * t] = 255
    energy = motion.motion_energy(clip, (4, 4))
    assert energy.shape == (4, 4, 4)
    assert (energy[:, 0] > 0).any()
    assert (energy[:, 2:] == 0).all()


def test_the_model_finds_the_class_and_every_map_is_scored():
    found = motion.measure(clips=8, repeats=1, large_repeats=0)
    assert found["accuracy"] >= 75
    assert set(found["scores"]) == {"chefer", "gmar", "gradcam", "last_layer", "rollout", *motion.CONTROLS}
    assert all(0 <= value <= 100 for score in found["scores"].values() for value in score.values())
    assert set(found["right"]) == set(found["scores"])
    assert set(found["learned"]) == set(found["scores"]) - set(motion.CONTROLS)
    assert found["learned"]["gmar"] != found["scores"]["gmar"]
    assert set(found["ms"]["moving-mvit"]) >= {cost.FORWARD, cost.GRADIENTS, "rollout"}
    assert motion.tables(found)


def test_the_verdict_is_as_found():
    scores = {name: {"pointing": points} for name, points in (("gmar", 70.0), ("rollout", 41.0), ("chefer", 70.0))}
    first, second = motion.sentences(scores)
    assert "29.0" in first
    assert "MISSED" in first
    assert ": met" in second


def test_shares_are_of_the_pass_that_a_method_needs():
    ms = {cost.FORWARD: 90.0, cost.GRADIENTS: 190.0, "rollout": 10.0, "gmar": 10.0}
    assert cost.share(ms, "rollout") == pytest.approx(10)
    assert cost.share(ms, "gmar") == pytest.approx(5)
    assert "10.0 %" in cost.sentence(ms)
    assert "MISSED" in cost.sentence(ms)
    assert ": met" in cost.sentence({**ms, "rollout": 5.0})


def test_neither_colour_nor_shape_tells_the_disk_from_the_others():
    """In every clip something else is green, and something else is round."""
    scene = moving.make_scene(60, 3)
    for clip, boxes in zip(scene.clips, scene.boxes, strict=True):
        green = coloured = 0
        for frame, box in zip(clip.astype(int), boxes.astype(int), strict=True):
            outside = np.ones((moving.SIDE, moving.SIDE), bool)
            outside[box[1] : box[3], box[0] : box[2]] = False
            red, greens, blue = frame
            green += int(((greens > 150) & (red < 60) & (blue < 60) & outside).sum())
            coloured += int((np.maximum(red, blue) - greens > 100).sum())
        assert green > 0
        assert coloured > 0
