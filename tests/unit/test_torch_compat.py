"""torchvision beside a torch that it was not made for. Each case has its own process: an import cannot be undone."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

LIKE_THE_REAL_ONE = """
import torch
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: None)
"""
SOUND = """
import torch
_library = torch.library.Library("torchvision", "DEF")
_library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_library.impl("nms", lambda dets, scores, iou_threshold: torch.tensor([42]), "CPU")
"""
ENSURE = """
import json, sys
from framelane.errors import FramelaneError
from framelane.models import torch_compat
try:
    print(json.dumps({"declared": torch_compat.ensure_torchvision()}))
except FramelaneError as error:
    print(json.dumps({"sentence": str(error)}))
"""


def python(code, path=None):
    """Run code in a new process; the last line it prints is JSON."""
    env = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def fake(tmp_path):
    """A torchvision that shadows the installed one: real files on the path, with metadata of their own."""

    def make(init, requires):
        package, info = tmp_path / "torchvision", tmp_path / "torchvision-0.5.0.dist-info"
        package.mkdir()
        info.mkdir()
        (package / "__init__.py").write_text(init)
        lines = ["Metadata-Version: 2.1", "Name: torchvision", "Version: 0.5.0", f"Requires-Dist: {requires}"]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        return tmp_path

    return make


def installed_torch():
    return python("import json; from importlib import metadata; print(json.dumps(metadata.version('torch')))")


def test_importing_the_room_imports_no_heavy_package():
    heavy = python("""
        import json, sys
        import framelane.models.torch_compat, framelane.models.store, framelane.models.onnx
        import framelane.processors.attention.backbone, framelane.processors.attention.methods
        heavy = ("torch", "torchvision", "transformers", "onnx", "onnxruntime")
        print(json.dumps([name for name in heavy if name in sys.modules]))
    """)
    assert heavy == []


def test_transformers_and_torchvision_work_after_it():
    plain = python("""
        import json
        try:
            import torchvision
            print(json.dumps("works"))
        except RuntimeError as error:
            print(json.dumps(str(error)))
    """)
    after = python("""
        import json
        from framelane.models.torch_compat import _libraries, ensure_torchvision
        declared = ensure_torchvision()
        kept = list(_libraries)
        again = ensure_torchvision()
        from transformers import Dinov2Model
        import torch, torchvision
        boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
        scores = torch.tensor([0.5, 0.9, 0.3])
        with torch.autocast("cpu", torch.bfloat16):
            half = torchvision.ops.nms(boxes, scores, 0.5).tolist()
        batched = torchvision.ops.batched_nms(boxes, scores, torch.tensor([0, 1, 0]), 0.5).tolist()
        aligned = torchvision.ops.roi_align(torch.ones(1, 1, 40, 40), [boxes], 2).mean().item()
        print(json.dumps({
            "declared": declared, "again": again, "same": kept == _libraries, "model": Dinov2Model.__name__,
            "nms": torchvision.ops.nms(boxes, scores, 0.5).tolist(), "half": half, "batched": batched,
            "aligned": aligned,
        }))
    """)
    assert after["declared"] is after["again"] is (plain != "works")
    assert after["same"]
    assert after["model"] == "Dinov2Model"
    assert (after["nms"], after["half"], after["batched"]) == ([1, 2], [1, 2], [1, 0, 2])
    assert after["aligned"] == pytest.approx(1)


def test_an_operator_without_a_kernel_says_so():
    said = python("""
        import json
        from framelane.models.torch_compat import ensure_torchvision
        declared = ensure_torchvision()
        import torch, torchvision
        try:
            torchvision.ops.roi_pool(torch.ones(1, 1, 8, 8), [torch.tensor([[0.0, 0, 4, 4]])], 2)
            print(json.dumps([declared, ""]))
        except Exception as error:
            print(json.dumps([declared, str(error)]))
    """)
    assert (said[0] and "torchvision::roi_pool needs the compiled library" in said[1]) or said == [False, ""]


def test_versions_that_do_not_belong_together_are_a_sentence_with_both(fake):
    answer = python(ENSURE, fake(LIKE_THE_REAL_ONE, "torch (==1.4.0)"))
    assert "torchvision 0.5.0 needs torch==1.4.0" in answer["sentence"]
    assert f"torch {installed_torch()} is installed" in answer["sentence"]
    assert "install the torchvision that was made for torch" in answer["sentence"]


def test_the_same_failure_with_fitting_versions_is_declared_away(fake):
    version = installed_torch().partition("+")[0]
    path = fake(LIKE_THE_REAL_ONE, f"torch (=={version})")
    (path / "torchvision" / "extension.py").write_text("_has_ops = lambda: False\n")
    (path / "torchvision" / "__init__.py").write_text("from . import extension\n" + LIKE_THE_REAL_ONE)
    assert python(ENSURE, path) == {"declared": True}


@pytest.mark.parametrize("requires", ["torch", "torch (==1.4.0)"])
def test_a_pair_that_works_is_left_untouched(fake, requires):
    answer = python(
        """
        import json, sys
        import torchvision
        from framelane.models import torch_compat
        declared = torch_compat.ensure_torchvision()
        import torch
        boxes = torch.zeros(1, 4)
        print(json.dumps({
            "declared": declared, "libraries": len(torch_compat._libraries),
            "same": sys.modules["torchvision"] is torchvision,
            "nms": torch.ops.torchvision.nms(boxes, boxes[:, 0], 0.5).tolist(),
            "others": hasattr(torch.ops.torchvision, "roi_align"),
        }))
        """,
        fake(SOUND, requires),
    )
    assert answer == {"declared": False, "libraries": 0, "same": True, "nms": [42], "others": False}


def test_another_failure_is_a_sentence_and_declares_nothing(fake):
    answer = python(ENSURE, fake("raise ImportError('libsomething.so: cannot open')", "torch"))
    assert "torchvision 0.5.0 cannot be imported" in answer["sentence"]
    assert "libsomething.so" in answer["sentence"]


def reference_nms(boxes, scores, limit):
    """Greedy suppression written from its definition, a pair at a time."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept = []
    for i in order:
        suppressed = False
        for j in kept:
            width = max(0.0, min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0]))
            height = max(0.0, min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1]))
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (boxes[i], boxes[j])]
            union = sum(areas) - width * height
            suppressed |= union > 0 and width * height / union > limit
        if not suppressed:
            kept.append(i)
    return kept


def test_nms_equals_a_brute_force_reference():
    import numpy as np
    import torch

    from framelane.models.torch_compat import nms

    rng = np.random.default_rng(1)
    dropped = 0
    for count in (0, 1, 2, 30, 80):
        corner = rng.integers(0, 60, (count, 2))
        boxes = np.concatenate([corner, corner + rng.integers(0, 40, (count, 2))], axis=1).astype(np.float64)
        scores = rng.integers(0, 20, count) / 20
        for limit in (0.0, 0.3, 0.7, 1.0):
            kept = nms(torch.from_numpy(boxes), torch.from_numpy(scores), limit)
            assert kept.dtype == torch.int64
            assert kept.tolist() == reference_nms(boxes.tolist(), scores.tolist(), limit)
            dropped += count - len(kept)
    assert dropped > 50
