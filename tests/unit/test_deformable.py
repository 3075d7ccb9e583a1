"""The maps of deformable attention: planted sampling points, and a slow reimplementation of the published formula.

The models are the real classes of ``transformers``, small and with random weights.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from framelane.errors import FramelaneError
from framelane.perception.deformable import LONG_SIDE, Samples, grid_for, maps_of, sampling, splat
from support import detr

MODELS = [("rfdetr", {}), ("rtdetr", {}), ("deformable_detr", {})]
TWO_STAGE = ("deformable_detr", {"with_box_refine": True, "two_stage": True, "two_stage_num_proposals": 12})
GRID = (27, 48)


@pytest.fixture(scope="module", params=[*MODELS, TWO_STAGE], ids=lambda item: "-".join((item[0], *item[1])))
def model(request):
    name, changes = request.param
    return detr.build(name, **changes)[0]


def run(model, reference=None) -> tuple[Samples, dict, object]:
    """One pass over two frames; also what the last cross-attention was given, by a hook of the test's own.

    ``reference`` takes the place of every query's own reference point or box there.
    """
    given: dict = {}

    def note(_module, args, kwargs):
        assert not args
        if reference is not None:
            own = kwargs["reference_points"]
            assert own.shape[-1] == len(reference)
            kwargs["reference_points"] = own.new_tensor(reference).expand_as(own)
        given.update(kwargs)
        return args, kwargs

    torch.manual_seed(1)
    own_hook = detr.decoder_layer(model).register_forward_pre_hook(note, with_kwargs=True)
    with own_hook, torch.inference_mode(), sampling(model) as samples:
        outputs = model(torch.rand(2, 3, 64, 64), output_attentions=True)
    return samples, given, outputs


def formula(layer, given: dict) -> tuple[np.ndarray, np.ndarray]:
    """Deformable DETR, eq. 2 and 3, and "iterative bounding box refinement" in its appendix A.4, in NumPy.

    Offsets are linear in the query; they count in cells of the level for a reference point, and in half sizes of the
    box, divided by the number of points, for a reference box. Weights are a softmax over levels and points.
    """
    query = (given["hidden_states"] + given["position_embeddings"]).detach().double().numpy()
    frames, queries = query.shape[:2]

    def linear(part):
        return query @ part.weight.detach().double().numpy().T + part.bias.detach().double().numpy()

    heads, levels, points = layer.n_heads, layer.n_levels, layer.n_points
    offsets = linear(layer.sampling_offsets).reshape(frames, queries, heads, levels, points, 2)
    weights = np.exp(linear(layer.attention_weights)).reshape(frames, queries, heads, levels * points)
    weights = (weights / weights.sum(-1, keepdims=True)).reshape(frames, queries, heads, levels, points)
    reference, shapes = given["reference_points"].detach().double().numpy(), given["spatial_shapes"].numpy()
    locations = np.empty_like(offsets)
    for level in range(levels):
        # Some models give one reference for all levels.
        place = reference[:, :, min(level, reference.shape[2] - 1)][:, :, None, None]
        if reference.shape[-1] == 2:
            step = offsets[:, :, :, level] / shapes[level][::-1]
        else:
            step = offsets[:, :, :, level] / points * place[..., 2:] * 0.5
        locations[:, :, :, level] = place[..., :2] + step
    return locations, weights


def slow_splat(points: np.ndarray, weights: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """One map by plain loops in float64."""
    rows, columns = grid
    found = np.zeros(grid)
    for (x, y), weight in zip(points, weights, strict=True):
        if not (0 <= x <= 1 and 0 <= y <= 1):
            continue
        across, down = min(max(x * columns - 0.5, 0), columns - 1), min(max(y * rows - 0.5, 0), rows - 1)
        for row in range(rows):
            for column in range(columns):
                found[row, column] += weight * max(0, 1 - abs(down - row)) * max(0, 1 - abs(across - column))
    return found / found.sum() if found.sum() else np.full(grid, 1 / (rows * columns))


def whole(frames: int) -> torch.Tensor:
    return torch.ones(frames, 2)


def every(samples: Samples, grid: tuple[int, int] = GRID, extent: torch.Tensor | None = None) -> np.ndarray:
    """All maps as (frames, queries, rows, columns)."""
    frames, queries = samples.weights.shape[:2]
    pairs = torch.tensor(list(itertools.product(range(frames), range(queries))))
    maps = maps_of(samples, pairs[:, 0], pairs[:, 1], whole(frames) if extent is None else extent, grid)
    return maps.numpy().reshape(frames, queries, *grid)


def test_points_and_weights_are_those_of_the_published_formula(model):
    samples, given, outputs = run(model)
    locations, weights = formula(detr.decoder_layer(model), given)
    np.testing.assert_allclose(samples.locations.numpy(), locations, atol=2e-5)
    np.testing.assert_allclose(samples.weights.numpy(), weights, atol=2e-6)
    # And the weights are those that transformers itself gives out for the last layer.
    np.testing.assert_array_equal(samples.weights.numpy(), outputs.cross_attentions[-1].numpy())
    assert not np.allclose(outputs.cross_attentions[0].numpy(), outputs.cross_attentions[-1].numpy())


def test_maps_equal_slow_ones_of_the_formula(model):
    samples, given, _ = run(model)
    locations, weights = formula(detr.decoder_layer(model), given)
    grid = (5, 9)
    maps = every(samples, grid)
    for frame, query in itertools.product(range(2), range(0, detr.QUERIES, 3)):
        expected = slow_splat(locations[frame, query].reshape(-1, 2), weights[frame, query].ravel(), grid)
        np.testing.assert_allclose(maps[frame, query], expected, atol=2e-5)


def plant(model, offsets, chosen: int | None = None) -> None:
    """Every query samples at the same offsets, one a head; all weight on one point of the levels, or spread evenly."""
    layer = detr.decoder_layer(model)
    shape = (layer.n_heads, layer.n_levels, layer.n_points)
    with torch.no_grad():
        layer.sampling_offsets.weight.zero_()
        layer.attention_weights.weight.zero_()
        steps = torch.tensor(offsets, dtype=torch.float32).view(layer.n_heads, 1, 1, 2).expand(*shape, 2)
        layer.sampling_offsets.bias.copy_(steps.reshape(-1))
        scores = torch.zeros(layer.n_heads, layer.n_levels * layer.n_points)
        if chosen is not None:
            scores[:, chosen] = 60.0
        layer.attention_weights.bias.copy_(scores.reshape(-1))


def mass_near(grid: np.ndarray, x: float, y: float) -> float:
    """Mass of the cells that touch a place, x and y from 0 to 1."""
    rows, columns = grid.shape
    across = np.abs(np.arange(columns) + 0.5 - np.clip(x * columns, 0.5, columns - 0.5)) < 1
    down = np.abs(np.arange(rows) + 0.5 - np.clip(y * rows, 0.5, rows - 0.5)) < 1
    return float(grid[np.ix_(down, across)].sum())


@pytest.mark.parametrize("item", [*MODELS[:2], TWO_STAGE], ids=lambda item: item[0])
def test_planted_heads_look_at_two_edges_of_a_reference_box(item):
    """Offsets of (points, 0) and (0, -points) lead to the middles of the right and of the upper edge of the box."""
    model, _ = detr.build(item[0], **item[1])
    points = detr.decoder_layer(model).n_points
    plant(model, [(points, 0), (0, -points)])
    for grid in every(run(model, reference=(0.4, 0.6, 0.3, 0.5))[0]).reshape(-1, *GRID):
        assert mass_near(grid, 0.4 + 0.15, 0.6) == pytest.approx(0.5, abs=1e-4)
        assert mass_near(grid, 0.4, 0.6 - 0.25) == pytest.approx(0.5, abs=1e-4)
    # The right edge leaves the frame: the other head is all that saw it.
    for grid in every(run(model, reference=(0.9, 0.6, 0.3, 0.5))[0]).reshape(-1, *GRID):
        assert mass_near(grid, 0.9, 0.35) == pytest.approx(1, abs=1e-4)
    # Both leave it.
    gone = every(run(model, reference=(0.9, 0.1, 0.3, 0.5))[0])
    np.testing.assert_allclose(gone, 1 / (GRID[0] * GRID[1]), rtol=1e-5)


@pytest.mark.parametrize("item", [*MODELS[:2], TWO_STAGE], ids=lambda item: item[0])
def test_planted_weight_chooses_one_of_the_points_of_a_reference_box(item):
    """Points at 0, 1, 2, ... half widths to the left, and all weight on the second of the first level."""
    model, _ = detr.build(item[0], **item[1])
    layer = detr.decoder_layer(model)
    plant(model, [(0, 0), (0, 0)], chosen=1)
    with torch.no_grad():
        bias = layer.sampling_offsets.bias.view(layer.n_heads, layer.n_levels, layer.n_points, 2)
        bias[..., 0] = -torch.arange(layer.n_points) * float(layer.n_points)
    for grid in every(run(model, reference=(0.7, 0.5, 0.4, 0.2))[0]).reshape(-1, *GRID):
        assert mass_near(grid, 0.5, 0.5) == pytest.approx(1, abs=1e-4)


def test_planted_point_of_a_deformable_detr_is_where_it_was_put():
    """Reference points planted too: nothing in the expected place comes from the model."""
    model, _ = detr.build("deformable_detr")
    plant(model, [(0.0, 0.0), (0.0, 0.0)])
    with torch.no_grad():
        model.model.reference_points.weight.zero_()
        model.model.reference_points.bias.copy_(torch.logit(torch.tensor([0.7, 0.2])))
    maps = every(run(model)[0])
    assert maps.reshape(-1, *GRID).sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
    for grid in maps.reshape(-1, *GRID):
        assert mass_near(grid, 0.7, 0.2) == pytest.approx(1, abs=1e-5)


def test_offsets_count_in_cells_of_their_level_and_the_weights_choose_the_point():
    """With all weight on one level of a reference point, two heads look one cell of that level apart."""
    model, _ = detr.build("deformable_detr")
    layer = detr.decoder_layer(model)
    with torch.no_grad():
        model.model.reference_points.weight.zero_()
        model.model.reference_points.bias.copy_(torch.logit(torch.tensor([0.5, 0.5])))
    for level in range(layer.n_levels):
        plant(model, [(1.0, 0.0), (0.0, 0.0)], chosen=level * layer.n_points)
        samples, given, _ = run(model)
        cells = int(given["spatial_shapes"][level, 1])
        seen = every(samples, (48, 48))[0, 0]
        for x in (0.5, 0.5 + 1 / cells):
            expected = 0.5 if 0 <= x <= 1 else 0.0
            if cells == 1:  # one cell to the right is outside: what is left counts alone
                expected = 1.0 if x == 0.5 else 0.0
            assert mass_near(seen, x, 0.5) == pytest.approx(expected, abs=1e-4)


def test_no_hook_is_left(model):
    def hooks() -> int:
        return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())

    before = hooks()
    with sampling(model):
        assert hooks() == before + 1
    assert hooks() == before
    with pytest.raises(ZeroDivisionError), sampling(model):
        raise ZeroDivisionError
    assert hooks() == before


def test_a_model_without_deformable_attention_is_refused():
    model, _ = detr.build("rtdetr")
    detr.decoder_layer(model).attn = torch.nn.Identity()
    with pytest.raises(FramelaneError, match="RTDetrForObjectDetection has 0 modules"), sampling(model):
        pass


def test_padding_is_not_part_of_the_frame():
    """A point at (0.5, 0.25) of the frame lies at (0.25, 0.125) of an input that the frame fills to a half."""
    samples = Samples()
    samples.locations = torch.tensor([0.25, 0.125]).expand(1, 1, 2, 1, 3, 2)
    samples.weights = torch.full((1, 1, 2, 1, 3), 1 / 3)
    grid = every(samples, extent=torch.tensor([[0.5, 0.5]]))[0, 0]
    assert mass_near(grid, 0.5, 0.25) == pytest.approx(1)


floats = st.floats(-0.5, 1.5, width=32)


@given(st.lists(st.tuples(floats, floats, st.floats(0, 1, width=32)), min_size=1, max_size=20), st.integers(1, 9))
def test_splat_is_a_distribution_and_equals_the_slow_one(rows, columns):
    given_rows = torch.tensor(rows)
    found = splat(given_rows[None, :, :2], given_rows[None, :, 2], (4, columns))[0]
    assert found.dtype == torch.float32
    assert found.shape == (4, columns)
    assert (found >= 0).all()
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    inside = [(x, y) for x, y, weight in rows if 0 <= x <= 1 and 0 <= y <= 1 and weight > 1e-30]
    if inside or not any(weight for _, _, weight in rows):
        expected = slow_splat(given_rows[:, :2].double().numpy(), given_rows[:, 2].double().numpy(), (4, columns))
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_splat_is_the_transpose_of_the_models_bilinear_reading():
    torch.manual_seed(0)
    points, weights = torch.rand(3, 40, 2), torch.rand(3, 40).softmax(-1)
    picture = torch.rand(1, 1, *GRID)
    read = torch.nn.functional.grid_sample(
        picture, 2 * points.view(1, 3, 40, 2) - 1, mode="bilinear", padding_mode="border", align_corners=False
    )[0, 0]
    torch.testing.assert_close((splat(points, weights, GRID) * picture[0]).sum((1, 2)), (read * weights).sum(1))


def test_points_outside_are_dropped_and_without_any_left_the_map_is_uniform():
    nan = float("nan")
    points = torch.tensor([[[0.3, 0.5], [1.01, 0.5], [nan, 0.2]], [[-0.01, 0.5], [0.5, 7.0], [nan, nan]]])
    found = splat(points, torch.tensor([[0.1, 0.5, 0.4]] * 2), (10, 10)).numpy()
    assert mass_near(found[0], 0.3, 0.5) == pytest.approx(1)
    np.testing.assert_allclose(found[1], 0.01)


def test_no_points_at_all_give_no_maps():
    assert splat(torch.zeros(0, 8, 2), torch.zeros(0, 8), GRID).shape == (0, *GRID)


@pytest.mark.parametrize(
    ("size", "grid"),
    [((720, 1280), (27, 48)), ((1280, 720), (48, 27)), ((500, 500), (48, 48)), ((1, 4000), (1, 48))],
)
def test_the_grid_keeps_the_aspect_ratio(size, grid):
    assert grid_for(*size) == grid
    assert max(grid) == LONG_SIDE
