"""Insertion, deletion and sanity check on models whose answer is known, and against Quantus.

Models here are planted (a score that reads one region) or have random weights; real ones are measured by the bench.
"""

import json
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from framelane import bench
from framelane.bench import curves, faithfulness, sanity
from framelane.errors import FramelaneError, UsageError
from framelane.models.torch_compat import ensure_torchvision
from framelane.processors.attention.backbone import Backbone

ensure_torchvision()

REGION = (slice(2, 5), slice(6, 9))  # cells of a 12 x 12 grid over 48 x 48 pixels


@pytest.fixture
def picture():
    return torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(0)) + 1


def mask():
    cells = torch.zeros(12, 12)
    cells[REGION] = 1
    return cells


def read_region(pictures):
    """A planted model: it sees the mean brightness of one region and nothing else."""
    return pictures[..., 8:20, 24:36].mean(dim=(1, 2, 3))


# -- curves ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fractions", [curves.quadratic(10), torch.linspace(0, 1, 17)])
def test_the_true_map_beats_random_and_the_inverted_one(picture, fractions):
    noise = torch.rand(12, 12, generator=torch.Generator().manual_seed(1))
    found = curves.curves(
        read_region,
        picture,
        torch.zeros_like(picture),
        {"true": mask(), "random": noise, "inverted": -mask()},
        fractions,
    )
    ins = {name: curves.area(pair.insertion, fractions) for name, pair in found.items()}
    dels = {name: curves.area(pair.deletion, fractions) for name, pair in found.items()}
    assert ins["true"] > ins["random"] + 0.2 > ins["inverted"] + 0.4
    assert dels["true"] < dels["random"] - 0.2 < dels["inverted"] - 0.4


def test_the_ends_are_the_scores_of_the_original_and_the_baseline_and_the_way_is_monotone(picture):
    baseline = torch.zeros_like(picture)
    fractions = curves.quadratic(12)
    found = curves.curves(read_region, picture, baseline, {"true": mask(), "inverted": -mask()}, fractions)
    whole, empty = (float(read_region(one[None])[0]) for one in (picture, baseline))
    for pair in found.values():
        assert float(pair.insertion[0]) == float(pair.deletion[-1]) == empty
        assert float(pair.insertion[-1]) == float(pair.deletion[0]) == whole
        assert (pair.insertion.diff() >= 0).all()
        assert (pair.deletion.diff() <= 0).all()


def test_cells_are_replaced_most_important_first(picture):
    places = curves.ranks(mask())
    assert sorted(places[REGION].flatten().tolist()) == list(range(9))
    assert sorted(places.flatten().tolist()) == list(range(144))
    other = torch.zeros_like(picture)
    assert torch.equal(curves.replaced(picture, other, places, 0), picture)
    assert torch.equal(curves.replaced(picture, other, places, 1), other)
    gone = curves.replaced(picture, other, places, 9 / 144)
    assert (gone[:, 8:20, 24:36] == 0).all()
    assert int((gone == 0).sum()) == 3 * 12 * 12


def test_volumes_are_replaced_in_space_and_time():
    clip, saliency = torch.ones(3, 4, 6, 6), torch.zeros(4, 3, 3)
    saliency[2, 0, 1] = 1
    gone = curves.replaced(clip, torch.zeros_like(clip), curves.ranks(saliency), 1 / 36)
    assert (gone[:, 2, 0:2, 2:4] == 0).all()
    assert int((gone == 0).sum()) == 3 * 4


def test_equal_cells_come_in_random_order_that_a_seed_repeats():
    even = torch.ones(8, 8)
    assert torch.equal(curves.ranks(even, 3), curves.ranks(even, 3))
    assert not torch.equal(curves.ranks(even, 3), curves.ranks(even, 4))
    assert not torch.equal(curves.ranks(even, 3).flatten(), torch.arange(64))


def test_the_batch_changes_nothing(picture):
    arguments = (read_region, picture, curves.blurred(picture), {"a": mask(), "b": torch.eye(12)}, curves.quadratic(6))
    one, other = curves.curves(*arguments, batch=1), curves.curves(*arguments, batch=7)
    for name in one:
        torch.testing.assert_close(one[name].insertion, other[name].insertion)
        torch.testing.assert_close(one[name].deletion, other[name].deletion)


def test_fractions_that_do_not_reach_the_end_are_refused(picture):
    with pytest.raises(FramelaneError, match="from 0 to 1"):
        curves.curves(read_region, picture, picture, {"a": mask()}, torch.tensor([0.0, 0.5]))


def test_area_is_rises_auc():
    values = torch.tensor([1.0, 0.7, 0.6, 0.1, 0.0], dtype=torch.float64)
    rise = (values.sum() - values[0] / 2 - values[-1] / 2) / (len(values) - 1)
    assert curves.area(values, torch.linspace(0, 1, 5)) == pytest.approx(float(rise), abs=1e-12)
    assert curves.area(torch.tensor([0.0, 0.01, 1.0]), torch.tensor([0.0, 0.01, 1.0])) == pytest.approx(0.5)


def test_baselines():
    picture = torch.zeros(3, 40, 60)
    picture[0, :, 30:] = 1
    picture[1] = 0.25
    mean = curves.mean_colour(picture)
    assert mean.shape == picture.shape
    assert torch.allclose(mean[:, 3, 7], torch.tensor([0.5, 0.25, 0]))
    soft = curves.blurred(picture)
    assert torch.allclose(soft[1], picture[1], atol=1e-6)
    assert float(soft[0, 20, 29]) == pytest.approx(0.45, abs=0.03)
    cv2 = pytest.importorskip("cv2")
    noise = torch.rand(3, 40, 60)
    expected = cv2.GaussianBlur(noise.numpy().transpose(1, 2, 0), (25, 25), 4, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(curves.blurred(noise).numpy().transpose(1, 2, 0), expected, atol=1e-5)
    clip = torch.rand(3, 5, 40, 60)
    assert torch.allclose(curves.blurred(clip)[:, 2], curves.blurred(clip[:, 2]), atol=1e-6)


def test_spearman_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for one, other in [
        (rng.random((5, 7)), rng.random((5, 7))),
        (rng.integers(0, 4, (9, 9)), rng.integers(0, 4, (9, 9))),
    ]:
        found = curves.spearman(torch.from_numpy(one), torch.from_numpy(other))
        assert found == pytest.approx(stats.spearmanr(one.ravel(), other.ravel()).statistic, abs=1e-12)
    assert curves.spearman(torch.ones(3, 3), torch.rand(3, 3)) == 0
    with pytest.raises(FramelaneError, match="cannot be correlated"):
        curves.spearman(torch.ones(9), torch.ones(3, 3))


# -- against Quantus ------------------------------------------------------------------------------------------------------


class Classes(nn.Module):
    """Real DINOv2 classes of transformers with random weights, as an image classifier."""

    def __init__(self):
        super().__init__()
        from transformers import Dinov2Config, Dinov2ForImageClassification

        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = Dinov2Config(**sizes, image_size=42, patch_size=14, num_labels=5, initializer_range=0.3)
        self.inner = Dinov2ForImageClassification(config)

    def forward(self, pixels):
        return self.inner(pixels).logits.softmax(dim=1)


@pytest.mark.parametrize("baseline", [curves.mean_colour, curves.blurred])
def test_areas_are_those_of_quantus(baseline, monkeypatch):
    """Quantus has deletion ("pixel flipping") without its first point; insertion is its deletion of the empty picture."""
    quantus = pytest.importorskip("quantus", reason="quantus is not installed")
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)  # Quantus 0.6.0 still calls it; gone from NumPy 2.4
    model = Classes().eval()
    generator = torch.Generator().manual_seed(5)
    picture = torch.randn(3, 42, 42, generator=generator)
    saliency = torch.rand(42, 42, generator=generator)
    empty, label, steps = baseline(picture), 3, 21
    fractions = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    ours = curves.curves(lambda k: model(k)[:, label], picture, empty, {"map": saliency}, fractions)["map"]

    def flipped(start, end):
        def take(arr, indices, **_):
            taken = arr.copy()
            np.put_along_axis(taken, indices, np.take_along_axis(end.numpy().reshape(1, -1), indices, 1), 1)
            return taken

        # Each pixel is three features of equal rank to Quantus, one a channel.
        settings = {"features_in_step": 3 * 42 * 42 // steps, "perturb_func": take, "normalise": False}
        metrics = [
            quantus.PixelFlipping(**settings, return_auc_per_sample=a, disable_warnings=True) for a in (False, True)
        ]
        given = {"x_batch": start[None].numpy(), "y_batch": np.array([label]), "a_batch": saliency[None, None].numpy()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [
                np.array(m(model=model, **given, softmax=False, device="cpu", channel_first=True)[0]) for m in metrics
            ]

    assert float(ours.deletion.max() - ours.deletion.min()) > 0.01, "a flat curve would prove nothing"
    for mine, (curve, auc) in (
        (ours.deletion, flipped(picture, empty)),
        (ours.insertion, flipped(empty, picture)),
    ):
        np.testing.assert_allclose(mine[1:].numpy(), curve, atol=1e-6)
        # theirs: unit steps and no first point
        assert curves.area(mine[1:], fractions[1:]) == pytest.approx(float(auc) / steps, abs=1e-6)


# -- sanity check ---------------------------------------------------------------------------------------------------------


def tiny_backbone():
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 56}
    config = Dinov2Config(**sizes, patch_size=14, attn_implementation="eager", initializer_range=0.5)
    return Backbone(Dinov2Model(config), "cpu", 112)


def weights(backbone):
    return {name: value.clone() for name, value in backbone._model.state_dict().items()}


def changed_of(before, backbone):
    return {name for name, value in backbone._model.state_dict().items() if not torch.equal(value, before[name])}


def test_weights_become_random_from_the_last_layer_to_the_first():
    backbone = tiny_backbone()
    before = weights(backbone)
    state = torch.random.get_rng_state()
    seen = [changed_of(before, changed) for changed in sanity.cascade(backbone, 0)]
    assert len(seen) == 4
    for less, more in pairwise(seen):
        assert less < more
    assert all("layer.2." in name or "layernorm" in name for name in seen[0])
    assert not any("embeddings" in name for name in seen[2])
    assert any("embeddings" in name for name in seen[3])
    matrices = {name for name, value in before.items() if value.ndim > 1 and value.std() > 0}  # mask_token is zero
    assert matrices <= seen[3]
    assert matrices <= changed_of(before, sanity.all_at_once(backbone, 9))
    assert not changed_of(before, backbone), "the trained one stays as it is"
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_video_model_forgets_everything_too():
    from framelane.bench.motion import load_model

    backbone = load_model()
    before = weights(backbone)
    changed = sanity.all_at_once(backbone, 0)
    assert {name for name, value in before.items() if value.ndim > 1} <= changed_of(before, changed)


def test_a_map_that_ignores_the_weights_fails_and_one_that_reads_them_passes():
    backbone = tiny_backbone()
    generator = torch.Generator().manual_seed(2)
    pictures = [torch.randn(3, 112, 112, generator=generator) for _ in range(2)]

    def maps(changed, index):
        picture = pictures[index]
        token = changed.embed(picture[None])[0]
        return {"edges": sanity.edges(picture, (8, 8)), "weights": token.outer(token.flip(0))}

    found = sanity.correlations(backbone, maps, 2)
    assert found["edges"] == pytest.approx([1.0] * 5)
    assert not sanity.passes(found["edges"])
    assert sanity.passes(found["weights"])
    assert not sanity.passes([0.1, 0.1, -0.9, 0.2]), "an inverted map is still the old one"


def test_the_edge_detector_finds_an_edge():
    picture = torch.zeros(3, 32, 32)
    picture[:, :, 17:] = 1
    assert sanity.edges(picture, (4, 4)).argmax(dim=1).tolist() == [2] * 4
    volume = picture[:, None].repeat(1, 6, 1, 1)
    assert sanity.edges(volume, (3, 4, 4)).shape == (3, 4, 4)


# -- the benchmark --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    return faithfulness.measure(scenes=1, clips=1, steps=2)


def test_every_map_has_its_areas_and_its_correlations(tiny):
    from framelane.processors.attention.methods import method_names

    columns = {f"{kind}, {baseline}" for kind in faithfulness.KINDS for baseline in faithfulness.BASELINES}
    for found in tiny["models"].values():
        controls = {faithfulness.BOX, faithfulness.CENTRE, faithfulness.RANDOM}
        assert set(found["auc"]) == {*method_names(), *controls}
        assert all(set(areas) == columns for areas in found["auc"].values())
        assert all(-1 <= value <= 1 for areas in found["auc"].values() for value in areas.values())
        assert set(found["sanity"]) == {*method_names(), faithfulness.EDGES}
        assert found["sanity"][faithfulness.EDGES] == pytest.approx([1.0] * len(found["sanity"]["gmar"]))
        assert found["empty"].keys() == set(faithfulness.BASELINES)
    assert "no classes" in tiny["models"]["dinov2_vits14"]["score"]


def test_the_planted_box_covers_the_cells_it_should():
    found = faithfulness.covered(np.array([[0, 0, 24, 12], [12, 24, 48, 48.0]]), (2, 4, 4), (48, 48))
    assert found[0].tolist() == [[1, 1, 0, 0], [0] * 4, [0] * 4, [0] * 4]
    assert found[1].sum() == 6
    assert found[1][2:, 1:].sum() == 6


def test_the_verdict_is_as_found():
    even = {"insertion, blur": 0.5, "deletion, blur": 0.5}
    found = {
        "auc": {
            "gmar": {"insertion, blur": 0.6, "deletion, blur": 0.4},
            "rollout": {"insertion, blur": 0.6, "deletion, blur": 0.55},
            faithfulness.RANDOM: even,
        },
        "sanity": {"gmar": [0.9, 0.1, 0.2], "rollout": [0.9, 0.8, 0.7], faithfulness.EDGES: [1.0, 1.0, 1.0]},
    }
    first, second = faithfulness.sentences("m", found)
    assert "rollout (deletion, blur)" in first
    assert "gmar" not in first
    assert "FAILED by rollout;" in second
    assert "1.00" in second


def test_both_forms_are_printed_and_only_attention_has_it(tiny, monkeypatch, capsys):
    monkeypatch.setattr("framelane.bench.faithfulness.measure", lambda: tiny)
    bench.run("attention", as_json=True, faithfulness=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["bench"] == "attention --faithfulness"
    assert printed["models"] == json.loads(json.dumps(tiny["models"]))
    bench.run("attention", as_json=False, faithfulness=True)
    shown = capsys.readouterr().out
    assert "planted box" in shown
    assert "FAILS" in shown, "the edge detector at least"
    with pytest.raises(UsageError, match="belongs to the benchmark attention, not to engine"):
        bench.run("engine", as_json=False, faithfulness=True)
