"""The finder against insightface's own FaceAnalysis, on a pack of random weights with the real inputs and outputs.

Random weights find a few dozen things in any picture. That is plumbing only: nothing here says how well faces are found.
"""

from __future__ import annotations

import zipfile

import cv2
import numpy as np
import pytest
import torch

from framelane.errors import FramelaneError, UsageError
from framelane.perception.faces import insight
from framelane.perception.faces.base import Face
from framelane.perception.faces.insight import InsightFinder, Pack
from support.facepack import write_pack

pytest.importorskip("insightface", reason="insightface is not installed; it is the peer of this test")
THRESHOLD = 0.5


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("packs") / "buffalo_l")


@pytest.fixture(scope="module")
def finder(archive):
    return InsightFinder(Pack(archive), threshold=THRESHOLD)


@pytest.fixture(scope="module")
def picture():
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed; it brings the picture")
    return cv2.resize(data.astronaut(), (900, 700), interpolation=cv2.INTER_AREA)


def planar(picture):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(picture, 2, 0)))


@pytest.mark.parametrize("tall", [False, True])
def test_boxes_points_identity_and_age_are_those_of_face_analysis(archive, finder, picture, tall):
    from insightface.app import FaceAnalysis

    picture = np.ascontiguousarray(np.rot90(picture)) if tall else picture
    analysis = FaceAnalysis(name=str(archive.with_suffix("")), providers=["CPUExecutionProvider"])
    analysis.prepare(ctx_id=-1, det_size=(640, 640), det_thresh=THRESHOLD)
    theirs = analysis.get(np.ascontiguousarray(picture[..., ::-1]))
    (ours,) = finder.find(planar(picture)[None])
    assert len(theirs) >= 10
    # A frame resized on the device differs from OpenCV's by a grey level here and there, so scores do a little too.
    pairs = [(min(ours, key=lambda mine: np.abs(mine.box - face.bbox).max()), face) for face in theirs]
    close = [(mine, face) for mine, face in pairs if np.abs(mine.box - face.bbox).max() < 1]
    assert len(close) >= 0.9 * max(len(theirs), len(ours))
    for mine, face in close:
        assert np.abs(mine.points - face.kps).max() < 1
        assert abs(mine.score - float(face.det_score)) < 0.02
    # Identity and age of the very same faces.
    same = [Face(face.bbox, float(face.det_score), face.kps) for face in theirs]
    for mine, face in zip(finder.identify(planar(picture), same), theirs, strict=True):
        assert np.linalg.norm(mine.embedding) == pytest.approx(1, abs=1e-5)
        assert float(mine.embedding @ face.normed_embedding) > 0.999
        assert abs(mine.age - face.age) <= 1  # theirs is rounded


def test_frames_do_not_depend_on_each_other_and_the_largest_face_is_first(finder, picture):
    frames = torch.stack([planar(picture), planar(picture[::-1].copy()), planar(picture)])
    one, other, again = finder.find(frames)
    alone = finder.find(frames[:1])[0]
    assert len(one) == len(again) == len(alone) > 0
    for a, b, c in zip(one, again, alone, strict=True):
        for name in ("box", "points", "embedding"):
            assert np.array_equal(getattr(a, name), getattr(b, name))
            assert np.array_equal(getattr(a, name), getattr(c, name))
    assert [face.size for face in one] == sorted((face.size for face in one), reverse=True)
    assert len(other) != len(one) or not np.array_equal(other[0].box, one[0].box)


def test_a_frame_without_faces_is_an_empty_list(archive):
    finder = InsightFinder(Pack(archive), threshold=0.95)
    assert finder.find(torch.zeros((2, 3, 90, 160), dtype=torch.uint8)) == [[], []]


def test_a_pack_without_the_age_network_tells_no_age(tmp_path, archive, picture):
    small = tmp_path / "small.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(small, "w") as target:
        for name in (insight.DETECTOR, insight.RECOGNISER):
            target.writestr(f"buffalo_l/{name}", source.read(name))
    found = InsightFinder(Pack(small))
    assert found.tells_who
    assert not found.tells_age
    assert all(face.age is None for face in found.find(planar(picture)[None])[0])


def test_what_is_no_pack_is_a_sentence(tmp_path):
    broken, empty = tmp_path / "broken.zip", tmp_path / "empty.zip"
    broken.write_bytes(b"PK and then nothing")
    zipfile.ZipFile(empty, "w").close()
    with pytest.raises(FramelaneError, match="cannot be read"):
        Pack(broken)
    with pytest.raises(FramelaneError, match=r"holds no det_10g\.onnx and no w600k_r50\.onnx"):
        Pack(empty)


def test_without_accepted_terms_nothing_is_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=r"non-commercial.*fetch buffalo_l --accept-licence"):
        InsightFinder.open(device="cpu", threads=1, threshold=0.5, warn=print, degrade=print)
