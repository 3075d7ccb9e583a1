"""Drawing: exact blends, the balance rule on a real picture, borders, tiny and odd frames, repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from framelane.overlay import (
    Boxes,
    Labels,
    Legend,
    Mark,
    Trails,
    balanced_alpha,
    parse_colour,
    paste,
    shade,
    shadow,
    stamp,
)
from framelane.overlay.blend import _blend_tensor, blend, upsampled
from framelane.overlay.boxes import corners_of, frame_of, without
from framelane.overlay.labels import place
from framelane.overlay.text import drawable, font, label_patch

BLUE = (26, 92, 255)
FAMILY = ("#ff8c1a", "#ffd21a", "#4fd35a", "#ff4fa3", "#c58cff")


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)
    return torch.from_numpy(values)


def mixed(rgb: torch.Tensor, colour, alpha) -> np.ndarray:
    """The blend in float64; ``alpha`` is 0 to 1, a number or (h, w)."""
    base = rgb.numpy().astype(np.float64)
    over = np.asarray(colour, dtype=np.float64).reshape(3, *([1, 1] if np.ndim(colour) == 1 else np.shape(colour)[1:]))
    return base + (over - base) * alpha


def worst(rgb: torch.Tensor, expected: np.ndarray) -> float:
    return float(np.abs(rgb.numpy() - expected).max())


@pytest.mark.parametrize("size", [(54, 96), (33, 47), (16, 16), (1, 1)])
@pytest.mark.parametrize("colour", [BLUE, (0, 0, 0), (255, 255, 255)])
def test_shadow_is_within_a_level_of_the_float_blend(size, colour):
    rgb = noise(*size)
    weight = torch.rand(5, 9, generator=torch.Generator().manual_seed(1))
    expected = mixed(rgb, colour, 0.6 * upsampled(weight, size).numpy().astype(np.float64))
    assert worst(shadow(rgb, weight, colour, 0.6), expected) <= 1


def test_shadow_takes_opacity_per_pixel_and_leaves_weight_zero_alone():
    rgb, before = noise(40, 60), noise(40, 60)
    alpha = torch.zeros(40, 60)
    alpha[:, 30:] = 1.0
    shadow(rgb, torch.ones(4, 6), BLUE, alpha)
    assert torch.equal(rgb[:, :, :30], before[:, :, :30])
    assert (rgb[:, :, 30:] == torch.tensor(BLUE, dtype=torch.uint8)[:, None, None]).all()
    assert torch.equal(shadow(rgb.clone(), torch.zeros(4, 6), BLUE, 0.6), rgb)


def test_upsampling_keeps_place_and_range():
    weight = torch.zeros(10, 20)
    weight[3, 15] = 1.0
    large = upsampled(weight, (540, 960))
    row, column = divmod(int(large.argmax()), 960)
    assert abs(row + 0.5 - 3.5 * 54) < 8
    assert abs(column + 0.5 - 15.5 * 48) < 8
    assert 0.8 < float(large.max()) <= 1
    assert float(large.min()) == 0


@pytest.mark.parametrize("at", [(0, 0), (-5, 3), (3, -7), (55, 10), (10, 36), (-4, -4), (58, 38)])
def test_patches_are_cut_at_every_border(at):
    rgb = noise(40, 60)
    patch = np.random.default_rng(2).integers(0, 256, (11, 13, 4), dtype=np.uint8)
    x, y = at
    canvas = np.zeros((40 + 40, 60 + 40, 4))
    canvas[y + 20 : y + 31, x + 20 : x + 33] = patch
    canvas = canvas[20:60, 20:80].transpose(2, 0, 1)
    expected = mixed(rgb, canvas[:3], canvas[3] / 255)
    mask = rgb.clone()
    assert worst(paste(rgb, patch, x, y), expected) <= 1
    assert worst(stamp(mask.clone(), patch[..., 3], BLUE, x, y, 0.5), mixed(mask, BLUE, canvas[3] / 255 * 0.5)) <= 1


@pytest.mark.parametrize("at", [(-13, 0), (60, 0), (0, -11), (0, 40), (500, 500)])
def test_patches_outside_the_frame_change_nothing(at):
    rgb = noise(40, 60)
    assert torch.equal(paste(rgb.clone(), np.full((11, 13, 4), 255, np.uint8), *at), rgb)


def test_an_opaque_patch_is_copied_and_a_clear_one_is_not():
    rgb, before = noise(20, 20), noise(20, 20)
    patch = np.random.default_rng(3).integers(0, 256, (20, 20, 4), dtype=np.uint8)
    patch[:, :10, 3], patch[:, 10:, 3] = 255, 0
    paste(rgb, patch, 0, 0)
    assert (rgb[:, :, :10].numpy() == patch[:, :10, :3].transpose(2, 0, 1)).all()
    assert torch.equal(rgb[:, :, 10:], before[:, :, 10:])


def test_the_blend_of_a_gpu_gives_the_same_bytes():
    """What runs on a GPU is torch; here it runs on the CPU, beside NumPy."""
    picture, plane = noise(31, 45, 5).numpy(), torch.randint(0, 257, (31, 45), dtype=torch.int16)
    for colour, alpha in ((BLUE, plane), (BLUE, 77), (BLUE, 256), (picture, plane.numpy()), ((255, 255, 255), plane)):
        array, tensor = noise(31, 45), noise(31, 45)
        assert torch.equal(blend(array, colour, alpha), _blend_tensor(tensor, colour, alpha))


def test_maps_grow_on_a_cpu_as_on_a_gpu():
    from torch.nn.functional import interpolate

    weight = torch.rand(16, 28, generator=torch.Generator().manual_seed(3))
    middle = interpolate(weight[None, None], (67, 120), mode="bicubic", align_corners=False).clamp_(0, 1)
    expected = interpolate(middle, (540, 960), mode="bilinear", align_corners=False)[0, 0]
    assert float((upsampled(weight, (540, 960)) - expected).abs().max()) < 1e-4


def contrast(before: np.ndarray, after: np.ndarray) -> float:
    """Slope of the output's luma over the input's: the share of its own contrast that a picture keeps."""
    luma = np.array([0.2126, 0.7152, 0.0722])
    x, y = before @ luma, after @ luma
    return float(np.polyfit(x, y, 1)[0])


@pytest.mark.parametrize("tint", [0.0, 0.18, 0.5])
@pytest.mark.parametrize("alpha", [0.6, 1.0])
def test_pixels_in_tracked_boxes_keep_half_their_contrast(tint, alpha):
    picture = astronaut()
    rgb = torch.from_numpy(picture).permute(2, 0, 1).contiguous()
    boxes = [(60, 20, 300, 300), (180, 150, 420, 480), (200, 200, 280, 320), (210, 190, 300, 300), (190, 180, 290, 310)]
    marks = [Mark(box, shade(FAMILY[0], index)) for index, box in enumerate(boxes)]
    shadow(rgb, torch.ones(16, 16), BLUE, alpha, marks=marks, tint=tint)
    Boxes(tint=tint).annotate(rgb, marks)
    after = rgb.permute(1, 2, 0).numpy()
    inside = [(70, 30, 170, 140), (320, 320, 410, 470), (215, 205, 275, 295)]  # the last: all five boxes overlap
    for x1, y1, x2, y2 in inside:
        part = np.s_[y1:y2, x1:x2]
        # Lines are exempt; away from them the slope is what counts, over many pixels: rounding evens out.
        keep = np.ones(picture[part].shape[:2], bool)
        for box in boxes:
            for edge, axis in ((box[0], 1), (box[2], 1), (box[1], 0), (box[3], 0)):
                where = np.arange(keep.shape[axis]) + (x1 if axis else y1)
                near = np.abs(where - edge) <= 4
                keep &= ~near[None, :] if axis else ~near[:, None]
        assert keep.sum() > 500
        assert contrast(picture[part][keep], after[part][keep]) >= 0.5 - 0.004


def test_the_cap_holds_at_every_pixel_and_only_in_boxes():
    weight = torch.ones(8, 8)
    marks = [Mark((-10, -10, 20.5, 30.2), BLUE), Mark((15, 10, 50, 40), BLUE)]
    for tint in np.linspace(0, 0.5, 26):
        plane = balanced_alpha(weight, (60, 80), 0.6, marks, float(tint)).numpy() / 256
        laid = int(tint * 256 + 1e-6) / 256
        assert ((1 - plane[:31, :21]) * (1 - laid) >= 0.5).all()
        assert ((1 - plane[10:40, 15:50]) * (1 - laid) >= 0.5).all()
        np.testing.assert_allclose(plane[41:, :], 0.6, atol=0.5 / 256)


def test_overlapping_boxes_tint_a_pixel_once_and_the_smallest_wins():
    rgb, before = noise(100, 100), noise(100, 100)
    red, green = (255, 0, 0), (0, 255, 0)
    Boxes(tint=0.4, outline=0.0).annotate(rgb, [Mark((0, 0, 100, 100), red), Mark((30, 30, 70, 70), green)])
    inner, outer = np.s_[:, 45:55, 45:55], np.s_[:, 45:55, 10:20]
    alpha = int(0.4 * 256) / 256
    assert worst(rgb[inner], mixed(before[inner], green, alpha)) <= 1
    assert worst(rgb[outer], mixed(before[outer], red, alpha)) <= 1


def test_corners_are_opaque_and_lines_lie_inside_the_box():
    rgb, before = noise(270, 300), noise(270, 300)
    Boxes(outline=0.5).annotate(rgb, [Mark((40, 50, 140, 250), (1, 2, 3))])
    assert rgb[:, 50, 40].tolist() == [1, 2, 3]
    assert rgb[:, 249, 139].tolist() == [1, 2, 3]
    assert worst(rgb[:, 150:151, 40:41], mixed(before[:, 150:151, 40:41], (1, 2, 3), 0.5)) <= 1
    rgb[:, 50:250, 40:140] = before[:, 50:250, 40:140]
    assert torch.equal(rgb, before)


@pytest.mark.parametrize("box", [(3, 4, 50, 60), (3, 4, 5, 60), (3, 4, 50, 6), (3, 4, 4, 5), (0, 0, 9, 9)])
def test_lines_never_overlap_themselves(box):
    """A pixel that two rectangles of one line share would be blended twice."""
    for parts in (frame_of(*box, 2), corners_of(*box, 2, 6)):
        hits = np.zeros((80, 80), int)
        for x1, y1, x2, y2 in parts:
            assert box[0] <= x1 < x2 <= box[2]
            assert box[1] <= y1 < y2 <= box[3]
            hits[y1:y2, x1:x2] += 1
        assert hits.max() == 1


@pytest.mark.parametrize("other", [(5, 5, 15, 15), (0, 0, 20, 20), (8, 0, 12, 30), (30, 30, 40, 40), (10, 5, 12, 18)])
def test_a_rectangle_without_another(other):
    part = (4, 6, 18, 16)
    rest = np.zeros((50, 50), int)
    for x1, y1, x2, y2 in without(part, other):
        rest[y1:y2, x1:x2] += 1
    expected = np.zeros((50, 50), int)
    expected[part[1] : part[3], part[0] : part[2]] = 1
    expected[other[1] : other[3], other[0] : other[2]] = 0
    assert (rest == expected).all()


def test_a_trail_lies_on_its_path_and_fades_with_age():
    rgb = torch.zeros(3, 270, 200, dtype=torch.uint8)
    trail = tuple((20.0 + 16 * k, 100.5) for k in range(11))
    Trails(opacity=1.0).annotate(rgb, [Mark((0, 0, 1, 1), (255, 255, 255), trail=trail)])
    line = rgb[0, 100].numpy()
    assert 10 < line[25] < line[100] < line[178] > 200
    rows = np.flatnonzero(rgb[0, :, 178].numpy())
    assert rows.min() >= 98
    assert rows.max() <= 103
    assert not rgb[0, :, 195:].any()


def test_trails_far_outside_allocate_nothing_large():
    rgb, before = noise(50, 60), noise(50, 60)
    far = tuple((1e5 + k, 1e5) for k in range(3))
    through = ((-1e5, 25.0), (1e5, 25.0))
    Trails().annotate(rgb, [Mark((0, 0, 1, 1), BLUE, trail=far)])
    assert torch.equal(rgb, before)
    Trails().annotate(rgb, [Mark((0, 0, 1, 1), BLUE, trail=through)])
    assert not torch.equal(rgb[:, 25], before[:, 25])


def test_labels_stay_inside_and_off_each_other():
    rng = np.random.default_rng(4)
    marks, sizes = [], []
    for _ in range(12):
        x, y = rng.uniform(-20, 900), rng.uniform(-20, 500)
        marks.append(Mark((x, y, x + 60, y + 120), BLUE, "person 3 · 12 %"))
        sizes.append((110, 20))
    spots = place(marks, sizes, 960, 540, [(8, 450, 170, 532)])
    covered = np.zeros((540, 960), int)
    covered[450:532, 8:170] += 1
    for x, y in spots:
        assert 0 <= x <= 960 - 110
        assert 0 <= y <= 540 - 20
        covered[y : y + 20, x : x + 110] += 1
    assert covered.max() == 1


def test_a_label_stands_above_its_box_and_leaves_the_face_of_another_free():
    alone = place([Mark((100, 100, 160, 250), BLUE)], [(80, 20)], 400, 400)
    assert alone == [(100, 79)]
    above = [Mark((100, 100, 160, 250), BLUE), Mark((90, 60, 190, 400), BLUE)]
    x, y = place(above, [(80, 20)] * 2, 400, 400)[0]
    heads = [(100, 100, 160, 145), (90, 60, 190, 162)]
    assert all(x >= r or x + 80 <= left or y >= b or y + 20 <= t for left, t, r, b in heads)


def test_text_is_drawn_with_every_sign_that_labels_use():
    face = font(16)
    for sign in "·%+0123456789AZaz":
        mask = face.getmask(sign)
        assert mask.getbbox() is not None, sign
        assert bytes(mask) != bytes(face.getmask("\u4e00")), f"{sign} is drawn as a missing glyph"
    assert drawable("vehículo 3 · 5 %\u4e00") == "vehiculo 3 · 5 %?"
    assert label_patch("a · 1 %", BLUE, 16).shape[1] > label_patch("a 1 %", BLUE, 16).shape[1]


def test_labels_contrast_with_their_plate():
    for family in FAMILY:
        patch = label_patch("person 3 · 12 %", shade(family, 3), 16)[4:-4, 6:-6, :3].astype(float)
        luma = patch @ [0.2126, 0.7152, 0.0722]
        assert luma.max() - luma.min() > 60


def test_shades_belong_to_their_family_and_differ_from_their_neighbours():
    centres = {family: np.array(parse_colour(family), float) for family in FAMILY}
    for family in FAMILY:
        shades = [np.array(shade(family, index), float) for index in range(1, 25)]
        for colour in shades:
            assert colour @ [0.2126, 0.7152, 0.0722] > 60
            saturated = {name: hue_distance(colour, centre) for name, centre in centres.items()}
            assert min(saturated, key=saturated.get) == family
        near = [(first, second) for step in (1, 2) for first, second in zip(shades, shades[step:], strict=False)]
        assert min(np.linalg.norm(first - second) for first, second in near) > 25
    assert shade("#ff8c1a", 7) == shade("#ff8c1a", 7)


def hue_distance(a: np.ndarray, b: np.ndarray) -> float:
    import colorsys

    first, second = (colorsys.rgb_to_hls(*(colour / 255))[0] for colour in (a, b))
    return min(abs(first - second), 1 - abs(first - second))


def test_the_legend_shows_gradient_and_families_in_its_corner():
    for corner, (x, y) in {"bottom-left": (0, 1), "top-right": (1, 0)}.items():
        rgb = torch.full((3, 540, 960), 128, dtype=torch.uint8)
        legend = Legend("Attention", "gmar · dinov2_vits14", (BLUE, 0.6), corner=corner)
        families = [("person", parse_colour(FAMILY[0])), ("ball", parse_colour(FAMILY[3]))]
        left, top, right, bottom = legend.rect(960, 540, families)
        assert (left < 20) == (x == 0)
        assert (top < 20) == (y == 0)
        legend.annotate(rgb, families)
        panel = rgb[:, top:bottom, left:right]
        for _, colour in families:
            assert (panel == torch.tensor(colour, dtype=torch.uint8)[:, None, None]).all(dim=0).any()
        strongest = torch.tensor([205 + (c - 205) * 0.6 for c in BLUE])[:, None, None]
        assert ((panel - strongest).abs() <= 1).all(dim=0).any()
        panel.fill_(128)
        assert (rgb == 128).all()


def draw_all(rgb: torch.Tensor, marks: list[Mark]) -> torch.Tensor:
    shadow(rgb, torch.linspace(0, 1, 40).reshape(5, 8), BLUE, 0.6, marks=marks, tint=0.18)
    legend = Legend("Attention", "gmar", (BLUE, 0.6))
    Boxes(0.18).annotate(rgb, marks)
    Trails().annotate(rgb, marks)
    Labels().annotate(rgb, marks)
    return legend.annotate(rgb, [("person", BLUE)])


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (101, 77), (1, 1), (540, 960)])
def test_any_size_and_any_box_is_survived_and_repeats_exactly(size):
    marks = [
        Mark((2.5, 3.5, 12.2, 13.9), BLUE, "person 1", ((1.0, 2.0), (8.0, 9.0)), 1.0),
        Mark((-50, -50, -10, -10), BLUE, "person 2", ((-40.0, -40.0),)),
        Mark((-5, -5, 5000, 5000), (255, 140, 26), "person 3 · 12 %", ((0.0, 0.0), (5000.0, 5000.0)), 0.4),
        Mark((8, 8, 8, 8), BLUE, "nothing"),
        Mark((4, 4, 9, 9), BLUE, "gone", ((1.0, 1.0), (2.0, 2.0)), 0.0),
    ]
    first, second = draw_all(noise(*size), marks), draw_all(noise(*size), marks)
    assert torch.equal(first, second)
    assert first.shape == (3, *size)
    assert not torch.equal(first, noise(*size))


def test_no_marks_draw_nothing():
    rgb = noise(60, 80)
    for annotator in (Boxes(0.2), Trails(), Labels()):
        assert torch.equal(annotator.annotate(rgb.clone(), []), rgb)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
def test_a_gpu_draws_what_a_cpu_draws():
    marks = [Mark((20, 30, 120, 200), (255, 140, 26), "person 1 · 9 %", ((20.0, 20.0), (60.0, 90.0)), 0.7)]
    on_cpu = draw_all(noise(270, 480), marks)
    weight = torch.linspace(0, 1, 40).reshape(5, 8).cuda()
    rgb = noise(270, 480).cuda()
    shadow(rgb, weight, BLUE, 0.6, marks=marks, tint=0.18)
    for annotator in (Boxes(0.18), Trails(), Labels()):
        annotator.annotate(rgb, marks)
    Legend("Attention", "gmar", (BLUE, 0.6)).annotate(rgb, [("person", BLUE)])
    assert (rgb.cpu().int() - on_cpu.int()).abs().max() <= 1
