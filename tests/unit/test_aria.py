"""Project Aria recordings. No real one ships with any package: those read here are written by ``support.aria``, and opened
by the real projectaria-tools. Where that is not installed, what it reads is not tested."""

from __future__ import annotations

import io
import sys
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from framelane.errors import Cancelled, FramelaneError, UsageError
from framelane.preparation import PrepareOptions, prepare
from framelane.video.aria import as_clip, convert, is_recording
from framelane.video.clip import fingerprint, probe
from framelane.video.colour import to_rgb
from support import aria
from support.aria import Picture

RED, BLUE, GREEN, GREY, WHITE = (220, 30, 30), (30, 30, 220), (20, 200, 20), (60, 60, 60), (255, 255, 255)
SIZE = (96, 128)  # upright, width and height
START = 3_600_000_000_000
TIMES = [START + index * 33_333_333 + index % 4 * 211_003 for index in range(24)]
OPTIONS = PrepareOptions(height=0, preset="ultrafast", quality=4, min_free_mb=0)


@pytest.fixture
def package():
    """projectaria-tools itself."""
    return pytest.importorskip("projectaria_tools", reason="projectaria-tools is not installed (the extra aria)")


def scene(index, size=SIZE):
    """What the camera saw: red above, blue below, green on the left, and a white square that moves to the right."""
    width, height = size
    picture = np.full((height, width, 3), GREY, np.uint8)
    picture[: height // 4], picture[-height // 4 :], picture[:, : width // 8] = RED, BLUE, GREEN
    left, top = width // 8 + 3 * index, height // 2
    picture[top : top + 12, left : left + 12] = WHITE
    return picture


def jpeg(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def turned(picture):
    """As the first glasses store it: a quarter turn to the left."""
    return np.ascontiguousarray(np.rot90(picture))


def taken(times=TIMES, size=SIZE, code=lambda picture: jpeg(turned(picture))):
    return [Picture(time_ns, code(scene(index, size))) for index, time_ns in enumerate(times)]


def hevc():
    """As Aria Gen 2 stores it: upright, coded frames that need those before them, a key frame every tenth."""
    coder = av.CodecContext.create("libx265", "w")
    (coder.width, coder.height), coder.pix_fmt, coder.time_base, coder.framerate = SIZE, "yuv420p", Fraction(1, 30), 30
    settings = "log-level=none:keyint=10:min-keyint=10:scenecut=0:bframes=0:repeat-headers=1"
    coder.options = {"x265-params": settings, "crf": "10"}
    coded = []
    for index in range(len(TIMES)):
        frame = av.VideoFrame.from_ndarray(scene(index), format="rgb24")
        frame.pts = index
        coded += coder.encode(frame)
    coded += coder.encode(None)
    return [Picture(t, bytes(coded[i]), TIMES[i - i % 10], i % 10) for i, t in enumerate(TIMES)]


def written(path, kind="first glasses"):
    """A recording of that kind."""
    across = SIZE[::-1]
    if kind == "first glasses":
        return aria.write(path, taken(), across)
    if kind == "raw":
        return aria.write(path, taken(code=lambda p: turned(p).tobytes()), across, image="raw")
    if kind == "grey":
        pictures = taken(code=lambda p: turned(p)[..., 1].tobytes())
        return aria.write(path, pictures, across, image="raw", pixels=aria.GREY8)
    codec = "video/codec=H.265"
    return aria.write(path, hevc(), SIZE, device=aria.GEN2, image=codec, pixels=aria.YUV420)


def shown(path):
    """Times in nanoseconds from the first, and RGB ``(H, W, 3)`` as framelane reads the clip's colours."""
    clip, times, pictures = probe(path), [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            rgb = np.empty((3, frame.height, frame.width), np.uint8)
            to_rgb(frame, clip.colour, rgb)
            times.append(round(frame.pts * frame.time_base * 1_000_000_000))
            pictures.append(rgb.transpose(1, 2, 0).astype(int))
    return times, pictures


def assert_the_scene(pictures, colours=(RED, BLUE, GREEN)):
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        places = ((height // 8, width // 2), (height - height // 8, width // 2), (height // 2, width // 16))
        for (y, x), colour in zip(places, colours, strict=True):
            assert np.abs(picture[y, x] - colour).max() <= 8, (index, y, x, picture[y, x])
        bright = (picture[height // 2 + 6].min(axis=-1) > 200).nonzero()[0]
        assert abs(bright.mean() - (width // 8 + 3 * index + 5.5)) < 1.5, "the picture of another moment"


@pytest.mark.parametrize("kind", ["first glasses", "raw", "grey", "second glasses"])
def test_every_picture_upright_at_its_own_time(tmp_path, package, kind):
    made = convert(written(tmp_path / "a.vrs", kind), tmp_path / "a.mp4")
    times, pictures = shown(tmp_path / "a.mp4")
    assert (made.frames, made.left_out, len(times)) == (len(TIMES), 0, len(TIMES))
    assert np.abs(np.array(times) - np.array(TIMES) + START).max() <= 1000, "a microsecond is the clip's tick"
    assert pictures[0].shape == (*SIZE[::-1], 3)
    assert_the_scene(pictures, [(c[1],) * 3 for c in (RED, BLUE, GREEN)] if kind == "grey" else (RED, BLUE, GREEN))


def test_prepare_makes_a_clip_of_a_recording(tmp_path, package):
    events, recording = [], written(tmp_path / "a.vrs")
    made = prepare(recording, tmp_path / "o.mp4", options=OPTIONS, progress=events.append)
    times, pictures = shown(tmp_path / "o.mp4")
    assert np.abs(np.array(times) - np.array(TIMES) + START).max() <= 1000
    assert_the_scene(pictures)
    assert made.report["clip"] == str(recording), "the report names what was given, not what is gone"
    assert made.report["warnings"] == []
    assert [event["event"] for event in events][:2] == ["converting", "start"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.vrs", "o.mp4", "o.report.json"], (
        "nothing half-made is left"
    )


def test_colours_of_a_high_picture_are_read_as_they_were_coded(tmp_path, package):
    """A clip of 720 lines that says nothing of its colours is read as BT.709, a lower one as BT.601."""
    aria.write(tmp_path / "a.vrs", taken(TIMES[:3], (96, 720)), (720, 96))
    convert(tmp_path / "a.vrs", tmp_path / "a.mp4")
    assert_the_scene(shown(tmp_path / "a.mp4")[1])


def test_the_same_recording_makes_the_same_clip(tmp_path, package):
    """Else an interrupted preparation would begin anew: the clip it went on with is gone."""
    written(tmp_path / "a.vrs")
    prints = []
    for _ in range(2):
        with as_clip(tmp_path / "a.vrs", tmp_path / "o.mp4") as made:
            prints.append(fingerprint(made.path))
    assert prints[0] == prints[1]


def test_pictures_that_cannot_be_shown_are_left_out_and_counted(tmp_path, package):
    pictures = taken()
    pictures[3] = Picture(TIMES[3], b"no JPEG" * 40)
    pictures[7] = Picture(TIMES[7], b"")
    pictures[9] = Picture(TIMES[8], pictures[9].content)  # the same moment twice
    aria.write(tmp_path / "a.vrs", pictures, SIZE[::-1])
    made = prepare(tmp_path / "a.vrs", tmp_path / "o.mp4", options=OPTIONS)
    kept = [time_ns - START for index, time_ns in enumerate(TIMES) if index not in (3, 7, 9)]
    assert np.abs(np.array(shown(tmp_path / "o.mp4")[0]) - kept).max() <= 1000
    assert [text[:36] for text in made.report["warnings"]] == ["3 of the recording's pictures are le"]


def test_a_recording_without_the_camera_tells_what_it_has(tmp_path, package):
    aria.write(tmp_path / "a.vrs", taken(), SIZE[::-1], stream=aria.SLAM_CAMERA)
    with pytest.raises(UsageError, match=r"no pictures of 'camera-rgb'; it has camera-slam-left"):
        convert(tmp_path / "a.vrs", tmp_path / "a.mp4")
    aria.write(tmp_path / "b.vrs", [], SIZE[::-1])
    with pytest.raises(UsageError, match=r"it has no data"):
        convert(tmp_path / "b.vrs", tmp_path / "b.mp4")


def test_a_recording_of_which_no_picture_can_be_read_fails(tmp_path, package):
    aria.write(tmp_path / "a.vrs", [Picture(t, b"no JPEG") for t in TIMES[:3]], SIZE[::-1])
    with pytest.raises(FramelaneError, match=r"None of the 3 pictures"):
        convert(tmp_path / "a.vrs", tmp_path / "a.mp4")


@pytest.mark.parametrize("size", [79, 100, 500])
def test_what_is_cut_off_in_its_head_is_refused(tmp_path, package, size):
    whole = written(tmp_path / "a.vrs").read_bytes()
    (tmp_path / "a.vrs").write_bytes(whole[:size])
    with pytest.raises(UsageError, match=r"or it is damaged"):
        prepare(tmp_path / "a.vrs", tmp_path / "out" / "o.mp4")
    assert not (tmp_path / "out").exists()


def test_a_recording_that_was_interrupted_gives_what_it_has(tmp_path, package):
    whole = written(tmp_path / "a.vrs").read_bytes()
    (tmp_path / "a.vrs").write_bytes(whole[: len(whole) // 2])
    made = convert(tmp_path / "a.vrs", tmp_path / "a.mp4")
    assert 5 < made.frames < len(TIMES)
    assert_the_scene(shown(tmp_path / "a.mp4")[1])


def test_somebody_elses_file_is_refused_before_anything_is_converted(tmp_path, package):
    written(tmp_path / "a.vrs")
    (tmp_path / "o.mp4").write_bytes(b"mine")
    events = []
    with pytest.raises(UsageError, match=r"was not made by framelane"):
        prepare(tmp_path / "a.vrs", tmp_path / "o.mp4", options=OPTIONS, progress=events.append)
    assert [event["event"] for event in events] == ["failed"]


def test_the_conversion_can_be_cancelled(tmp_path, package):
    cancel = threading.Event()
    listener = lambda event: cancel.set() if event["event"] == "converting" else None  # noqa: E731
    with pytest.raises(Cancelled, match=r"while a clip was made of"):
        prepare(written(tmp_path / "a.vrs"), tmp_path / "o.mp4", options=OPTIONS, progress=listener, cancel=cancel)
    assert [p.name for p in tmp_path.iterdir()] == ["a.vrs"]


def test_without_the_package_a_recording_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.vrs").write_bytes(b"any")
    monkeypatch.setitem(sys.modules, "projectaria_tools", None)
    monkeypatch.setitem(sys.modules, "projectaria_tools.core", None)
    with pytest.raises(UsageError, match=r"pip install 'framelane\[aria\]'"):
        prepare(tmp_path / "a.vrs", tmp_path / "out" / "a.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.vrs"]


def test_what_is_no_recording_is_refused_by_the_real_package(tmp_path, package):
    (tmp_path / "a.vrs").write_bytes(b"no recording" * 100)
    with pytest.raises(UsageError, match=r"is no Project Aria recording"):
        convert(tmp_path / "a.vrs", tmp_path / "a.mp4")


def test_other_clips_pass_as_they_are(tmp_path):
    clip = tmp_path / "a.mp4"
    with as_clip(clip, tmp_path / "b.mp4") as same:
        assert (same.path, same.left_out) == (clip, 0)
    assert is_recording(tmp_path / "A.VRS")


def test_a_recording_that_is_given_as_a_clip_names_the_command(tmp_path):
    (tmp_path / "a.vrs").write_bytes(b"any")
    with pytest.raises(UsageError, match=r"framelane prepare \S*a\.vrs -o a\.mp4"):
        probe(tmp_path / "a.vrs")
