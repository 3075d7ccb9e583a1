"""GIFs stay under their cap, loop forever, keep time, stand upright, and report how they were found."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from framelane.errors import FramelaneError, UsageError
from framelane.resources import data_path
from framelane.video import gif_search
from framelane.video.gif import make_gif
from framelane.video.gif_search import Shape

STREET = data_path("assets", "clips", "street.mp4")
WALKER = data_path("assets", "clips", "walker.mp4")
ASKED = {"max_bytes": 10_000_000, "seconds": 8.0, "start": 0.0, "width": 640, "fps": 15.0}
CORNERS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220), "white": (235, 235, 235)}


def write_clip(path: Path, pictures, times=None, rate=10, codec="libx264", size_ratio=None) -> Path:
    """Encode uint8 (H, W, 3) pictures at the given times (seconds) as nearly lossless video."""
    pictures = list(pictures)
    times = times if times is not None else [i / rate for i in range(len(pictures))]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "1"})
        height, width, _ = pictures[0].shape
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if size_ratio:
            stream.codec_context.sample_aspect_ratio = size_ratio
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn_header(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write the display matrix (a, b, c, d) into the MP4's track header, as a camera held sideways does."""
    a, b, c, d = matrix
    rows = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = b"".join(int(v).to_bytes(4, "big", signed=True) for v in rows)
    path.write_bytes(bytes(data))


def four_corners(height=96, width=160) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    picture[:h, :w], picture[:h, w:] = CORNERS["red"], CORNERS["green"]
    picture[h:, :w], picture[h:, w:] = CORNERS["blue"], CORNERS["white"]
    return picture


def noise(count, height=64, width=96, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count))


def grey(level, height=48, width=64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def frames_of(path: Path) -> list[tuple[np.ndarray, float]]:
    """(picture, delay in seconds) of every GIF frame, as Pillow shows them."""
    with Image.open(path) as image:
        shown = []
        for index in range(image.n_frames):
            image.seek(index)
            shown.append((np.asarray(image.convert("RGB")), image.info["duration"] / 1000))
        return shown


def loops_forever(path: Path) -> bool:
    data = path.read_bytes()
    at = data.find(b"NETSCAPE2.0")
    with Image.open(path) as image:
        return at > 0 and data[at + 11 : at + 16] == b"\x03\x01\x00\x00\x00" and image.info.get("loop") == 0


@pytest.mark.parametrize("cap", [1_500_000, 400_000, 90_000, 20_000])
def test_the_cap_is_kept_and_used(tmp_path, cap):
    heard = []
    result = make_gif(WALKER, tmp_path / "a.gif", **{**ASKED, "max_bytes": cap, "seconds": 2.0}, notify=heard.append)
    assert result.bytes == (tmp_path / "a.gif").stat().st_size <= cap
    assert result.bytes >= 0.5 * cap
    assert loops_forever(result.path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]
    assert heard == result.tries
    assert 1 < len(result.tries) <= 8


def test_the_report_of_the_search_is_complete(tmp_path):
    result = make_gif(WALKER, tmp_path / "a.gif", **{**ASKED, "max_bytes": 300_000, "seconds": 2.0})
    keys = {"fps", "width", "height", "colours", "seconds", "bytes", "estimated", "fits"}
    assert all(set(entry) == keys for entry in result.tries)
    first = result.tries[0]
    assert (first["width"], first["colours"], first["fits"]) == (640, 256, False)
    final = [t for t in result.tries if t["fits"] and t["bytes"] == result.bytes]
    assert len(final) == 1
    made = (result.width, result.height, result.colours, round(result.fps, 3), round(result.seconds, 3))
    assert tuple(final[0][k] for k in ("width", "height", "colours", "fps", "seconds")) == made
    shown = frames_of(result.path)
    assert shown[0][0].shape == (result.height, result.width, 3)
    assert len(shown) == pytest.approx(result.fps * result.seconds, abs=1)


def test_the_best_shape_is_kept_where_it_fits(tmp_path):
    result = make_gif(STREET, tmp_path / "a.gif", **{**ASKED, "seconds": 1.0, "width": 320})
    assert (result.width, result.height, result.colours, result.fps) == (320, 240, 256, pytest.approx(10))
    assert len(result.tries) == 1
    assert result.notes == []


@pytest.mark.parametrize(("seconds", "start", "fps"), [(3.0, 1.0, 15.0), (1.05, 0.33, 7.0), (2.5, 0.0, 2.0)])
def test_it_lasts_as_long_as_the_stretch(tmp_path, seconds, start, fps):
    result = make_gif(
        WALKER, tmp_path / "a.gif", **{**ASKED, "seconds": seconds, "start": start, "width": 200, "fps": fps}
    )
    assert sum(delay for _, delay in frames_of(result.path)) == pytest.approx(seconds, rel=0.05)
    assert result.seconds == pytest.approx(seconds, rel=0.05)
    assert result.fps <= fps + 0.01


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda p: np.swapaxes(p, 0, 1)),
        ((0, -1, -1, 0), lambda p: np.swapaxes(np.rot90(p, 2), 0, 1)),
    ],
)
def test_a_turned_clip_is_upright_and_keeps_its_colours(tmp_path, matrix, upright):
    video = write_clip(tmp_path / "v.mp4", [four_corners()] * 4)
    turn_header(video, matrix)
    result = make_gif(video, tmp_path / "a.gif", **ASKED)
    expected = upright(four_corners())
    picture, _ = frames_of(result.path)[0]
    assert picture.shape == expected.shape
    height, width, _ = expected.shape
    for y, x in [(h, w) for h in (height // 4, 3 * height // 4) for w in (width // 4, 3 * width // 4)]:
        assert np.abs(picture[y, x].astype(int) - expected[y, x]).max() <= 12


def test_pixels_that_are_not_square(tmp_path):
    video = write_clip(tmp_path / "v.mp4", [four_corners(96, 72)] * 3, size_ratio=Fraction(2, 1))
    result = make_gif(video, tmp_path / "a.gif", **ASKED)
    assert (result.width, result.height) == (144, 96)


def test_frames_of_a_variable_rate_keep_their_times(tmp_path):
    times = [0.0, 0.1, 0.2, 1.2, 1.3, 2.6]
    levels = [20, 60, 100, 140, 180, 220]
    video = write_clip(tmp_path / "v.mp4", [grey(level) for level in levels], [*times])
    result = make_gif(video, tmp_path / "a.gif", **{**ASKED, "fps": 20.0, "seconds": 2.6})
    now, seen = 0.0, {}
    for picture, delay in frames_of(result.path):
        level = min(levels, key=lambda v: abs(v - float(picture.mean())))
        seen.setdefault(level, now)
        now += delay
    assert now == pytest.approx(2.6, rel=0.05)
    assert [seen[level] for level in levels[:5]] == pytest.approx(times[:5], abs=0.02)


def test_the_stretch_begins_where_asked(tmp_path):
    video = write_clip(tmp_path / "v.mp4", [grey(10 + 8 * i) for i in range(30)])
    result = make_gif(video, tmp_path / "a.gif", **{**ASKED, "start": 1.5, "seconds": 0.5})
    levels = [round((float(p.mean()) - 10) / 8) for p, _ in frames_of(result.path)]
    assert levels == [15, 16, 17, 18, 19]


def test_a_start_past_the_end_is_a_note(tmp_path):
    video = write_clip(tmp_path / "v.mp4", [grey(10 + 20 * i) for i in range(5)])
    result = make_gif(video, tmp_path / "a.gif", **{**ASKED, "start": 9.0})
    assert result.seconds == pytest.approx(0.5)
    assert "0 s" in result.notes[0]
    assert "9 s" in result.notes[0]
    assert frames_of(result.path)[0][0].mean() == pytest.approx(10, abs=4)


@pytest.mark.parametrize(("height", "width", "count"), [(64, 96, 1), (33, 47, 5), (16, 16, 3)])
def test_clips_of_any_size_and_length(tmp_path, height, width, count):
    video = write_clip(tmp_path / "v.mp4", noise(count, height, width))
    result = make_gif(video, tmp_path / "a.gif", **ASKED)
    assert (result.width, result.height) == (width, height)
    assert loops_forever(result.path)
    assert len(frames_of(result.path)) == count


def test_a_long_stretch_ends_with_the_clip(tmp_path):
    video = write_clip(tmp_path / "v.mp4", [grey(30 + 20 * i) for i in range(7)])
    result = make_gif(video, tmp_path / "a.gif", **{**ASKED, "seconds": 60.0})
    assert sum(delay for _, delay in frames_of(result.path)) == pytest.approx(0.7, rel=0.05)


def test_a_raw_stream_without_timestamps(tmp_path):
    video = write_clip(tmp_path / "v.h264", [grey(30 + 20 * i) for i in range(10)], rate=25)
    result = make_gif(video, tmp_path / "a.gif", **ASKED)
    assert len(frames_of(result.path)) >= 2


def test_the_last_resort_is_shorter_and_says_so(tmp_path):
    video = write_clip(tmp_path / "v.mp4", noise(20, 180, 240))
    result = make_gif(video, tmp_path / "a.gif", **{**ASKED, "max_bytes": 60_000})
    assert result.bytes <= 60_000
    assert result.seconds < 2.0
    assert any("stay below its size cap" in note for note in result.notes)


def test_a_cap_that_nothing_fits_is_a_sentence_and_leaves_nothing(tmp_path):
    with pytest.raises(FramelaneError, match=r"fits into 50 bytes.*gif\.max_mb"):
        make_gif(STREET, tmp_path / "a.gif", **{**ASKED, "max_bytes": 50, "seconds": 0.3})
    assert list(tmp_path.iterdir()) == []


def test_what_notify_raises_stops_the_search_and_keeps_the_old_file(tmp_path):
    old = tmp_path / "a.gif"
    old.write_bytes(b"old")

    def stop(entry):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_gif(STREET, old, **{**ASKED, "seconds": 0.5, "width": 100}, notify=stop)
    assert old.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_errors_are_sentences(tmp_path):
    with pytest.raises(FramelaneError, match="could not be made"):
        make_gif(STREET, tmp_path / "nowhere" / "a.gif", **{**ASKED, "seconds": 0.3, "width": 100})
    with pytest.raises(UsageError, match="above zero"):
        make_gif(STREET, tmp_path / "a.gif", **{**ASKED, "width": 0})
    with pytest.raises(UsageError, match="does not exist"):
        make_gif(tmp_path / "none.mp4", tmp_path / "a.gif", **ASKED)


def test_prediction_is_exact_for_what_was_measured_and_falls_with_every_knob():
    best = Shape(1, 640, 256, 8.0)
    assert gif_search.predicted(1000.0, best, best) == 1000.0
    for smaller in (Shape(2, 640, 256, 8.0), Shape(1, 600, 256, 8.0), Shape(1, 640, 128, 8.0), Shape(1, 640, 256, 7.0)):
        assert gif_search.predicted(1000.0, best, smaller) < 1000.0


def test_the_next_shape_is_the_gentlest_that_should_fit():
    best = Shape(1, 640, 256, 8.0)
    found = gif_search.next_shape(best, 15.0, 1_000_000, best, 400_000)
    assert gif_search.predicted(1_000_000, best, found) <= 400_000
    assert 0 < gif_search.loss(found, best) < gif_search.loss(gif_search.floor_shape(best, 15.0), best)
    assert gif_search.next_shape(best, 15.0, 1_000_000, best, 100) is None
