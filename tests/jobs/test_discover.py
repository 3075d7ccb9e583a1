"""Finding clips: by probing, in bad folders too, and names for what is made of them."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framelane.errors import FramelaneError, UsageError
from framelane.jobs import discover
from framelane.jobs.discover import Found, find_clips, nothing_found, one_clip, ordered
from framelane.jobs.naming import output_names
from framelane.jobs.plan_view import shown
from framelane.jobs.sniff import Look, look, looks_like_a_clip
from support.clips import STREET, WALKER, ffmpeg, needs_ffmpeg, synthetic
from support.traces import clip

not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


def put(source, *where):
    """A copy of a real clip, with the folders it needs."""
    target = Path(*where)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return target


def names(discovery):
    return [str(found.relative) for found in discovery.found]


def reasons(discovery):
    return {str(skipped.relative): skipped.reason for skipped in discovery.skipped}


def test_clips_are_found_below_by_their_content(tmp_path):
    put(WALKER, tmp_path, "b.mp4")
    put(STREET, tmp_path, "deep", "er", "no suffix")
    put(STREET, tmp_path, "a.txt")
    (tmp_path / "notes.mp4.txt").write_text("no clip")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    found = find_clips(tmp_path)
    assert names(found) == ["a.txt", "b.mp4", "deep/er/no suffix"]
    assert [str(f.output) for f in found.found] == ["a.mp4", "b.mp4", "deep/er/no suffix.mp4"]
    assert found.found[1].clip.display_size == (960, 540)
    assert found.found[1].size == WALKER.stat().st_size
    assert (found.skipped, found.others) == ([], 2)


def test_an_empty_folder_is_told_in_a_sentence(tmp_path):
    found = find_clips(tmp_path)
    assert (found.found, found.skipped) == ([], [])
    assert nothing_found(tmp_path, found) == f"There is no clip in {tmp_path} (0 other files)."


@pytest.mark.parametrize("what", ["missing", "file"])
def test_no_folder_is_wrong_usage(tmp_path, what):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=what):
        find_clips(tmp_path / what)


def test_five_clips_among_ten_thousand_files(tmp_path, monkeypatch):
    """No file that is no clip may be opened with FFmpeg: that is what makes ten thousand of them take minutes."""
    kinds = {
        "txt": b"words " * 20,
        "jpg": b"\xff\xd8\xff\xe0" + bytes(60),
        "bin": bytes(range(64)),
        "wav": b"RIFF....WAVE",
    }
    for index in range(9995):
        suffix, content = list(kinds.items())[index % len(kinds)]
        (tmp_path / f"{index:05d}.{suffix}").write_bytes(content)
    for index in range(5):
        put(WALKER, tmp_path, f"{index * 1999:05d}-clip.mp4")
    opened = []
    real = discover.probe
    monkeypatch.setattr(discover, "probe", lambda path: opened.append(path) or real(path))
    found = find_clips(tmp_path)
    assert len(found.found) == 5
    assert len(opened) == 5
    assert found.others == 9995


@pytest.mark.parametrize(
    "name",
    ["with spaces  two", "quo'te\"s`$(x)", "new\nline", "emoji 🎬🇩🇪", "x" * 246, "ü" * 123, "-o", "a:b", "%d", "*?[a]"],
)
def test_names_of_all_kinds(tmp_path, name):
    source = put(WALKER, tmp_path, f"{name}.mp4")
    [found] = find_clips(tmp_path, tmp_path / "out").found
    assert found.path == source
    made = tmp_path / "out" / found.output
    made.parent.mkdir()
    for beside in (made, made.with_suffix(".report.json"), made.parent / f".{made.name}.framelane"):
        beside.write_text("the file system takes the names of the output and of what stands beside it")
    assert "\n" not in shown(found.relative)


def test_names_that_are_no_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    shutil.copy(os.fsencode(WALKER), raw)
    [found] = find_clips(tmp_path).found
    assert os.fsencode(found.path) == raw
    assert os.fsencode(found.output) == b"caf\xe9.mp4"
    assert shown(found.relative) == "caf\\xe9.mp4"


def test_links_never_loop_nor_leave_the_folder(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "outside"
    put(WALKER, inside, "sub", "a.mp4")
    put(STREET, outside, "b.mp4")
    (inside / "loop").symlink_to(inside)
    (inside / "sub" / "up").symlink_to("..")
    (inside / "again.mp4").symlink_to(inside / "sub" / "a.mp4")
    (inside / "self").symlink_to("self")
    (inside / "nowhere.mp4").symlink_to("gone.mp4")
    (inside / "away").symlink_to(outside)
    (inside / "away.mp4").symlink_to(outside / "b.mp4")
    found = find_clips(inside)
    assert names(found) == ["sub/a.mp4"]
    assert set(reasons(found)) == {"self", "nowhere.mp4", "away", "away.mp4"}
    assert "out of the folder" in reasons(found)["away.mp4"]


def test_a_folder_that_is_itself_a_link_is_fine(tmp_path):
    put(WALKER, tmp_path, "real", "a.mp4")
    (tmp_path / "link").symlink_to("real")
    assert names(find_clips(tmp_path / "link")) == ["a.mp4"]


def test_pipes_sockets_and_devices_are_never_opened_for_reading(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe")
    place = os.getcwd()
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)
        try:
            server.bind("socket.mp4")
        finally:
            os.chdir(place)
        put(WALKER, tmp_path, "a.mp4")
        found = find_clips(tmp_path)
    assert names(found) == ["a.mp4"]
    assert "pipe" in reasons(found)["pipe.mp4"]
    assert set(reasons(found)) == {"pipe.mp4", "socket.mp4"}


def test_a_clip_that_vanishes_between_listing_and_probing(tmp_path, monkeypatch):
    put(WALKER, tmp_path, "a.mp4")
    put(WALKER, tmp_path, "b.mp4")
    put(WALKER, tmp_path, "c.mp4")
    real_look, real_probe = discover.look, discover.probe

    def look(path):
        if path.name == "a.mp4":
            path.unlink()
        return real_look(path)

    def probe(path):
        if path.name == "b.mp4":
            path.unlink()
        return real_probe(path)

    monkeypatch.setattr(discover, "look", look)
    monkeypatch.setattr(discover, "probe", probe)
    found = find_clips(tmp_path)
    assert names(found) == ["c.mp4"]
    assert reasons(found) == dict.fromkeys(["a.mp4", "b.mp4"], "It vanished while the folder was searched.")


def test_broken_clips_are_skipped_with_the_reason(tmp_path):
    whole = WALKER.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 20])
    (tmp_path / "empty.mov").write_bytes(b"")
    (tmp_path / "text.mkv").write_text("no video at all")
    put(WALKER, tmp_path, "good.mp4")
    found = find_clips(tmp_path)
    assert names(found) == ["good.mp4"]
    assert set(reasons(found)) == {"cut.mp4", "empty.mov", "text.mkv"}
    assert "0 bytes" in reasons(found)["empty.mov"]


@not_as_root
def test_what_cannot_be_read_is_skipped(tmp_path):
    put(WALKER, tmp_path, "closed", "a.mp4").parent.chmod(0)
    put(WALKER, tmp_path, "b.mp4").chmod(0)
    put(WALKER, tmp_path, "c.mp4")
    try:
        found = find_clips(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert names(found) == ["c.mp4"]
    assert set(reasons(found)) == {"closed", "b.mp4"}


def test_a_folder_and_a_file_that_fail_with_an_input_output_error_are_skipped(tmp_path, monkeypatch):
    """The errors of a Drive that is half there; they also stand for missing rights where the tests run as root."""
    put(WALKER, tmp_path, "bad folder", "a.mp4")
    put(WALKER, tmp_path, "bad.mp4")
    put(WALKER, tmp_path, "good.mp4")
    scandir, opened = os.scandir, os.open

    def failing(real, word):
        def call(path, *rest):
            if str(path).endswith(word):
                raise OSError(5, "Input/output error")
            return real(path, *rest)

        return call

    monkeypatch.setattr(os, "scandir", failing(scandir, "bad folder"))
    monkeypatch.setattr(os, "open", failing(opened, "bad.mp4"))
    found = find_clips(tmp_path)
    assert names(found) == ["good.mp4"]
    assert reasons(found) == {
        "bad folder": "The folder cannot be read: Input/output error.",
        "bad.mp4": "It cannot be read: Input/output error.",
    }


def test_hidden_things_outputs_and_earlier_batches_are_not_searched(tmp_path):
    for where in (".hidden/a.mp4", ".b.mp4", "out/c.mp4", "earlier/d.mp4", "kept/e.mp4"):
        put(WALKER, tmp_path, where)
    (tmp_path / "earlier" / ".framelane" / "records").mkdir(parents=True)
    found = find_clips(tmp_path, tmp_path / "out")
    assert names(found) == ["kept/e.mp4"]
    assert list(reasons(found)) == ["earlier"]
    assert names(find_clips(tmp_path / "earlier")) == ["d.mp4"]


@pytest.mark.parametrize("out", [".", "..", "../.."])
def test_results_among_the_clips_are_refused(tmp_path, out):
    put(WALKER, tmp_path, "x", "a.mp4")
    with pytest.raises(UsageError, match="output folder"):
        find_clips(tmp_path / "x", tmp_path / "x" / out)


def test_include_and_exclude(tmp_path):
    for where in ("a.mp4", "B.MP4", "trip/c.mp4", "trip/old/d.mp4", "e.bin"):
        put(WALKER, tmp_path, where)

    def found(**patterns):
        return names(find_clips(tmp_path, **patterns))

    assert found(include=["*.mp4"]) == ["B.MP4", "a.mp4", "trip/c.mp4", "trip/old/d.mp4"]
    assert found(include=["trip/*"], exclude=["old"]) == ["trip/c.mp4"]
    assert found(exclude=["trip", "e.*"]) == ["B.MP4", "a.mp4"]
    assert found(include=["nothing"]) == []


def test_a_pattern_from_the_folder_on_is_for_no_namesake_below(tmp_path):
    for where in ("a.mp4", "trip/a.mp4", "trip/[x].mp4", "trip/old/a.mp4"):
        put(WALKER, tmp_path, where)

    def found(**patterns):
        return names(find_clips(tmp_path, **patterns))

    assert found(include=["a.mp4"]) == ["a.mp4", "trip/a.mp4", "trip/old/a.mp4"]
    assert found(include=["/a.mp4"]) == found(include=["/A.MP4"]) == ["a.mp4"]
    assert found(include=["/*.mp4"]) == ["a.mp4"]
    assert found(include=["/trip/*"]) == ["trip/[x].mp4", "trip/a.mp4"]
    assert found(include=["/trip/[[]x].mp4"]) == ["trip/[x].mp4"]
    assert found(exclude=["/*/a.mp4"]) == ["a.mp4", "trip/[x].mp4", "trip/old/a.mp4"]


def test_names_do_not_depend_on_what_is_left_out(tmp_path):
    put(WALKER, tmp_path, "a.mp4")
    put(WALKER, tmp_path, "a.mov")
    [found] = find_clips(tmp_path, exclude=["*.mov"]).found
    assert str(found.output) == "a.mp4.mp4"


def test_a_sidecar_is_the_clips_own(tmp_path):
    for name in ("a.mp4", "b.mp4", "b.mov", "c.mp4"):
        put(WALKER, tmp_path, name)
    for name in ("a.yaml", "b.mov.yaml", "b.yml", "c.txt"):
        (tmp_path / name).write_text("")
    found = {f.relative.name: f.settings and f.settings.name for f in find_clips(tmp_path).found}
    assert found == {"a.mp4": "a.yaml", "b.mov": "b.mov.yaml", "b.mp4": "b.yml", "c.mp4": None}


@needs_ffmpeg
def test_a_moving_gif_is_a_clip_and_a_still_one_is_not(tmp_path):
    synthetic(tmp_path / "moving.gif", seconds=1, rate="5", size="64x48", audio=False)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=5:duration=1", "-frames:v", "1", tmp_path / "still.gif")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "sound.ogg")
    found = find_clips(tmp_path)
    assert names(found) == ["moving.gif"]
    assert found.found[0].clip.expected_frames == 5
    assert (found.skipped, found.others) == ([], 2)


@needs_ffmpeg
def test_a_duration_that_no_header_says_is_measured(tmp_path):
    made = synthetic(tmp_path / "made.mkv", "-c:v", "libx264", seconds=3, size="64x48", audio=False)
    ffmpeg("-i", made, "-c", "copy", "-f", "matroska", "-live", "1", tmp_path / "live.mkv")
    made.unlink()
    [found] = find_clips(tmp_path).found
    assert found.clip.duration == pytest.approx(3, abs=0.05)
    assert found.clip.frames == 75


@needs_ffmpeg
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "libx264"), ("mov", "libx264"), ("mkv", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4"), ("ts", "libx264"),
     ("m2ts", "libx264"), ("mpg", "mpeg2video"), ("flv", "flv"), ("wmv", "wmv2"), ("ogv", "libtheora"),
     ("mxf", "mpeg2video"), ("nut", "mpeg4")],
)  # fmt: skip
def test_containers_are_known_by_their_head(tmp_path, suffix, codec):
    made = tmp_path / f"made.{suffix}"
    synthetic(made, "-c:v", codec, seconds=1, size="64x48", audio=False)
    assert looks_like_a_clip(made.read_bytes()[:4096])


def test_a_single_clip_is_a_folder_of_one(tmp_path):
    [found] = one_clip(WALKER, tmp_path / "mine.mkv").found
    assert (found.relative.name, str(found.output)) == ("walker.mp4", "mine.mkv")
    (tmp_path / "no.mp4").write_text("x")
    with pytest.raises(FramelaneError, match=r"no\.mp4 cannot be opened"):
        one_clip(tmp_path / "no.mp4")


def test_order():
    def made(name, seconds, modified):
        return Found(Path(name), PurePosixPath(name), clip(frames=seconds * 30), PurePosixPath(name), None, 1, modified)

    clips = [made("b", 10, 3.0), made("a", 0, 2.0), made("c", 5, 1.0), made("d", 5, 4.0)]
    assert [f.path.name for f in ordered(clips, "name")] == ["a", "b", "c", "d"]
    assert [f.path.name for f in ordered(clips, "shortest")] == ["c", "d", "b", "a"]
    assert [f.path.name for f in ordered(clips, "oldest")] == ["c", "a", "b", "d"]
    with pytest.raises(UsageError, match="shortest, name, oldest"):
        ordered(clips, "longest")


def test_outputs_that_would_be_the_same_keep_their_suffix():
    clips = [PurePosixPath(name) for name in ("a.avi", "a.mp4", "b.mp4", "sub/a.mp4", "a.avi.mkv")]
    assert [str(output) for output in output_names(clips).values()] == [
        "a.avi.mp4", "a.mp4.mp4", "b.mp4", "sub/a.mp4", "a.avi.mkv.mp4",
    ]  # fmt: skip


NAME = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=150)
NAMES = st.lists(NAME.filter(lambda name: name not in (".", "..")), unique=True, max_size=20)
CLASHING = st.lists(st.from_regex(r"[ab]{1,2}(\.(mp4|avi|mkv)){0,3}", fullmatch=True), unique=True, max_size=20)


@given(NAMES | CLASHING)
def test_no_two_outputs_are_the_same_and_all_names_fit(clips):
    outputs = output_names([PurePosixPath(name) for name in clips])
    assert len(set(outputs.values())) == len(clips)
    for output in outputs.values():
        assert len(os.fsencode(f".{output.name}.framelane")) <= 255
        assert len(os.fsencode(f"{output.stem}.report.json.part")) <= 255


def test_looking_at_a_pipe_does_not_wait(tmp_path):
    """Opened as a file, a pipe that nobody writes to would wait until the test's time is over."""
    os.mkfifo(tmp_path / "pipe")
    assert look(tmp_path / "pipe") is Look.NO_FILE
