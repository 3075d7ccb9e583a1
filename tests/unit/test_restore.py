"""GFPGAN on patches: parity of the two packages, and what becomes of a patch. Weights are random, of the real class."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from framelane.errors import FramelaneError, UsageError
from framelane.perception.faces import crops
from framelane.perception.faces.base import Face
from framelane.processors.base import Context
from framelane.processors.faceswap import align, restore
from framelane.processors.faceswap.restore import Network, Restorer
from framelane.processors.faceswap.swapper import Patch, Refused, Source, Wish
from framelane.settings import load

POINTS = np.array([[170, 120], [230, 122], [200, 150], [178, 185], [224, 186]], np.float32)
SOURCE = Source("somebody", (), ())
# gfpgan's own dependency does not build on every Python, and is wanted here alone: it goes into a folder of its own.
PEERS = ["gfpgan==1.3.8", "facexlib==0.3.0", "basicsr==1.4.2", "addict", "lmdb", "yapf", "future"]
PARITY = """
import sys
from pathlib import Path
import torch
from framelane.models.torch_compat import ensure_torchvision
from framelane.processors.faceswap import restore
ensure_torchvision()
from spandrel.architectures.GFPGAN import GFPGAN
torch.set_num_threads(1)
torch.manual_seed(0)
small, path = sys.argv[1] == "small", Path(sys.argv[2])
size = dict(out_size=64, channel_multiplier=1, narrow=0.25) if small else dict(out_size=512, channel_multiplier=2, narrow=1)
model = GFPGAN(num_style_feat=512, decoder_load_path=None, fix_decoder=False, num_mlp=8, input_is_latent=True,
               different_w=True, sft_half=True, **size)
if small:
    with torch.no_grad():  # a fresh network hardly looks at its noise
        for name, value in model.named_parameters():
            if name.endswith("weight") and value.numel() == 1:
                value.fill_(0.5)
    weights = model.state_dict()
    from torchvision.transforms import functional
    sys.modules["torchvision.transforms.functional_tensor"] = functional
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean
    other = GFPGANv1Clean(num_style_feat=512, decoder_load_path=None, fix_decoder=False, num_mlp=8,
                          input_is_latent=True, different_w=True, sft_half=True, **size)
    other.load_state_dict(weights, strict=True)
    runs = [restore._runner(m.eval()) for m in (model, other)]
else:
    torch.save({"params_ema": model.state_dict()}, path)
    runs = [restore.load(path, "cpu", package).run for package in ("spandrel", "gfpgan")]
x = torch.rand(2 if small else 1, 3, size["out_size"], size["out_size"]) * 2 - 1
with torch.inference_mode():
    a, b = (run(x) for run in runs)
    again = runs[0](x)
print(float((a - b).abs().max()), float((a - again).abs().max()), float(a.std()))
"""


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", folder]
    done = subprocess.run([*command, *PEERS], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("gfpgan's package does not install on this Python or without a registry; spandrel stands alone")
    return folder


def parity(peers, kind, path):
    found = os.environ.get("PYTHONPATH")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [found, str(peers)])), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PARITY, kind, path], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [float(word) for word in done.stdout.split()[-3:]]


def test_spandrel_and_gfpgan_give_the_same_and_the_same_again(peers, tmp_path):
    difference, again, spread = parity(peers, "small", tmp_path / "w.pth")
    assert spread > 0.05
    assert difference <= 1e-4
    assert again == 0


@pytest.mark.slow
def test_spandrel_and_gfpgan_give_the_same_from_one_file_of_the_real_size(peers, tmp_path):
    difference, again, spread = parity(peers, "large", tmp_path / "w.pth")
    assert spread > 0.05
    assert difference <= 1e-4
    assert again == 0


# -- patches ------------------------------------------------------------------------------------------------------------


def planted(run, device="cpu"):
    return Network(run, "planted", device)


def face(size=150, points=POINTS):
    centre = points.mean(0)
    return Face(np.array([*(centre - size / 2), *(centre + size / 2)], np.float32), 0.9, points)


@pytest.fixture
def frames():
    rows, columns = np.mgrid[:320, :400]
    waves = np.stack([127 + 90 * np.sin(columns / 23 + c) * np.cos(rows / 31 - c) for c in range(3)])
    return torch.from_numpy(waves.astype(np.uint8))[None].repeat(2, 1, 1, 1)


def patch_for(frames, matrix_points=POINTS, shift=20):
    """What a swapper might have made: the frame's own pixels, lighter."""
    matrix = crops.similarity(matrix_points, crops.template(128))
    crop = crops.cut(frames, [0], [matrix], 128)[0] + shift
    return align.patch(crop, matrix, 400, 320, face())


def test_a_network_that_changes_nothing_changes_hardly_a_grey_level(frames):
    patch = patch_for(frames)
    restorer = Restorer(planted(lambda x: x), strength=1)
    (found,) = restorer.restore(frames, [Wish(0, face(), SOURCE)], [patch])
    assert (found.left, found.top) == (patch.left, patch.top)
    assert torch.equal(found.alpha, patch.alpha)
    solid = patch.alpha[0] > 0.99
    assert float((found.rgb - patch.rgb)[:, solid].abs().max()) < 1.5


def test_a_network_that_adds_detail_adds_its_share_of_it_and_keeps_the_colour(frames):
    checks = 0.2 * (2 * (torch.arange(512)[:, None] // 16 + torch.arange(512) // 16).remainder(2) - 1.0)
    patch = patch_for(frames)
    wish = [Wish(0, face(), SOURCE)]
    results = {
        strength: Restorer(planted(lambda x: x + checks + 0.1), strength=strength).restore(frames, wish, [patch])[0]
        for strength in (0.0, 0.5, 1.0)
    }
    assert results[0.0] is patch
    half, whole = (results[s].rgb - patch.rgb for s in (0.5, 1.0))
    solid = patch.alpha[0] > 0.99
    assert torch.allclose(2 * half, whole, atol=1e-3)
    assert float(whole[:, solid].std()) > 10
    assert abs(float(whole[:, solid].mean())) < 2


def test_it_sees_the_swapped_face_within_its_surroundings(frames):
    """The crop is the frame with the patch on it: outside the patch the frame's own pixels."""
    seen = []
    patch = patch_for(frames, shift=30)

    def run(x):
        seen.append(x.clone())
        return x

    Restorer(planted(run)).restore(frames, [Wish(1, face(), SOURCE)], [patch])
    expected = align.paste(frames, [1], [patch])
    crop = crops.cut(expected, [1], [crops.similarity(POINTS, crops.FFHQ)], 512)
    assert float(((seen[0] + 1) * 127.5 - crop).abs().max()) < 1.01


def test_small_faces_refusals_and_faces_outside_stay_and_the_rest_does_not_depend_on_them(frames):
    patch = patch_for(frames)
    away = Patch(0, 0, torch.zeros(3, 0, 0), torch.zeros(1, 0, 0))
    wishes = [Wish(0, face(size), SOURCE) for size in (60, 150, 150, 150)]
    answers = [patch, Refused("turned too far"), away, patch]
    restorer = Restorer(planted(lambda x: x * 0.9), min_px=96, chunk=4)
    found = restorer.restore(frames, wishes, answers)
    assert found[:3] == answers[:3]
    (alone,) = restorer.restore(frames, wishes[3:], answers[3:])
    assert torch.equal(found[3].rgb, alone.rgb)


def test_what_is_no_gfpgan_is_a_sentence_and_no_code_of_it_is_run(tmp_path):
    other, broken, code = tmp_path / "other.pth", tmp_path / "broken.pth", tmp_path / "code.pth"
    torch.save({"params_ema": {"conv.weight": torch.zeros(3)}}, other)
    broken.write_bytes(b"nothing")
    torch.save(_Code(), code)
    with pytest.raises(FramelaneError, match=r"no GFPGAN v1\.3 or v1\.4"):
        restore.load(other, "cpu")
    for path in (broken, code):
        with pytest.raises(FramelaneError, match="cannot be opened"):
            restore.load(path, "cpu")
    assert not Path("was-run").exists()


class _Code:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def test_without_its_weights_and_offline_it_says_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    context = Context(load(overrides={"faceswap.restore": "gfpgan"}).settings, "cpu", 1)
    with pytest.raises(FramelaneError, match="fetch gfpgan_v14") as caught:
        Restorer.open(context)
    assert not isinstance(caught.value, UsageError)
