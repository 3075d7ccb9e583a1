"""Face swap from the clip to the file: real faces, the embedded models, the command line's own way."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

import framelane
from framelane.errors import Cancelled, FramelaneError, UsageError
from support.face_clips import moved, nodding, portrait, write
from support.faces import astronaut, hopper
from support.read import frame_hashes, frame_times, probe, rgb_frames

CONSENT = "Ada Example, signed release of 2026"
QUICK = {
    "engine.min_free_mb": 0,
    "gif.enabled": False,
    "output.preset": "ultrafast",
    "hardware.threads": 1,
    "hardware.batch_size": 4,
    "faceswap.consent": CONSENT,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    portrait(folder / "hopper.png", hopper())
    portrait(folder / "astronaut.png", astronaut())
    nodding(folder / "nodding.mp4", seconds=1.2)
    nodding(folder / "short.mp4", seconds=0.6)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _state(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMELANE_STATE", str(tmp_path_factory.mktemp("state")))
        yield


def run(place, clip, output, **more):
    settings = {**QUICK, "faceswap.source": str(place / "hopper.png"), **more}
    return framelane.process_video(clip, "faceswap", output=output, overrides=settings)


def seen(result):
    """Rows of all frames, from the report's figures."""
    return result.report["metrics"]


SEGMENTS = {"engine.segment_seconds": 0.4}


@pytest.fixture(scope="module")
def whole(place):
    """The nodding astronaut, swapped without an interruption."""
    return run(place, place / "nodding.mp4", place / "whole.mp4", **SEGMENTS)


def test_every_frame_of_a_moving_face_is_swapped_and_labelled(place, whole):
    figures = seen(whole)
    assert figures["frames"] == 30
    assert figures["swapped"] == figures["found"] == 1.0
    assert figures["left_alone"] == {}
    assert [track["frames"] for track in figures["tracks"]] == [30]
    assert whole.report["provenance"]["label_seen_on_frames"] == 30
    assert frame_times(whole.output_path) == frame_times(place / "nodding.mp4")
    before, after = rgb_frames(place / "nodding.mp4"), rgb_frames(whole.output_path)
    middle = (slice(130, 200), slice(120, 200))
    changed = [np.abs(a[middle].astype(float) - b[middle]).mean() for a, b in zip(before, after, strict=True)]
    assert min(changed) > 5
    corner = (slice(0, 60), slice(0, 60))
    kept = [np.abs(a[corner].astype(float) - b[corner]).mean() for a, b in zip(before, after, strict=True)]
    assert max(kept) < 2


def test_frames_and_figures_do_not_depend_on_the_batch_size(place, tmp_path):
    """Encoded in one segment: where segments end does depend on it."""
    two = [run(place, place / "short.mp4", tmp_path / f"{n}.mp4", **{"hardware.batch_size": n}) for n in (3, 8)]
    assert frame_hashes(two[0].output_path) == frame_hashes(two[1].output_path)
    assert seen(two[0]) == seen(two[1])


def test_an_interrupted_job_ends_in_the_same_frames_and_figures(place, tmp_path, whole):
    cancel, segments = threading.Event(), []

    def stop(event):
        if event["event"] == "segment":
            segments.append(event)
            cancel.set()

    wanted = {**QUICK, "faceswap.source": str(place / "hopper.png"), **SEGMENTS}
    output = tmp_path / "broken.mp4"
    with pytest.raises(Cancelled):
        framelane.process_video(
            place / "nodding.mp4", "faceswap", output=output, overrides=wanted, progress=stop, cancel=cancel
        )
    assert segments
    assert not output.exists()
    again = run(place, place / "nodding.mp4", output, **SEGMENTS)
    assert again.report["resumed_at_frame"] > 0
    assert frame_hashes(output) == frame_hashes(whole.output_path)
    assert json.dumps(seen(again)) == json.dumps(seen(whole))


def test_without_consent_nothing_begins(place, tmp_path):
    with pytest.raises(UsageError, match="consent"):
        run(place, place / "nodding.mp4", tmp_path / "out.mp4", **{"faceswap.consent": None})
    assert list(tmp_path.glob("out*")) == []


# -- odd clips -------------------------------------------------------------------------------------------------------


def test_a_clip_without_a_face_is_passed_on_labelled(place, tmp_path):
    frames = [np.full((240, 320, 3), 60 + i, np.uint8) for i in range(10)]
    result = run(place, write(tmp_path / "empty.mp4", frames), tmp_path / "out.mp4")
    assert (seen(result)["found"], seen(result)["swapped"]) == (0, 0)
    assert result.report["provenance"]["label_seen_on_frames"] == 10


def test_a_tiny_face_is_left_alone_and_said_so(place, tmp_path):
    head = astronaut()[0:260, 90:350]
    frames = [moved(head, (320, 240), x=100 + i, y=120, angle=0, scale=0.2) for i in range(10)]
    clip = write(tmp_path / "tiny.mp4", frames)
    result = run(place, clip, tmp_path / "out.mp4", **{"faceswap.min_face_px": 64})
    assert seen(result)["swapped"] == 0
    assert seen(result)["left_alone"] == {"too small": 10}


def test_six_faces_are_all_swapped(place, tmp_path):
    head = astronaut()[0:260, 90:350]

    def frame(i):
        tiles = [moved(head, (200, 200), x=100 + 2 * i, y=100, angle=4 * k, scale=0.75) for k in range(6)]
        return np.concatenate([np.concatenate(tiles[:3], axis=1), np.concatenate(tiles[3:], axis=1)])

    clip = write(tmp_path / "six.mp4", [frame(i) for i in range(6)])
    result = run(place, clip, tmp_path / "out.mp4")
    assert seen(result)["faces_swapped"] == 36
    largest = run(place, clip, tmp_path / "one.mp4", **{"faceswap.select": "largest"})
    assert seen(largest)["faces_swapped"] == 6
    assert len(seen(largest)["tracks"]) == 1


def test_a_face_cut_by_the_border_ends_in_a_result(place, tmp_path):
    head = astronaut()[0:260, 90:350]
    frames = [moved(head, (320, 240), x=-10 + 8 * i, y=60, angle=0, scale=1) for i in range(16)]
    result = run(place, write(tmp_path / "cut.mp4", frames), tmp_path / "out.mp4")
    assert seen(result)["frames"] == 16
    assert seen(result)["swapped"] > 0.5


def test_a_poster_on_the_wall_is_not_the_largest(place, tmp_path):
    poster = moved(astronaut()[0:260, 90:350], (160, 240), x=80, y=70, angle=0, scale=0.5)
    frames = [
        np.concatenate([poster, moved(hopper(), (300, 240), x=150 + i, y=150, angle=0, scale=0.5)], axis=1)
        for i in range(10)
    ]
    clip = write(tmp_path / "poster.mp4", frames)
    result = run(place, clip, tmp_path / "out.mp4", **{"faceswap.select": "largest", "output.quality": 8})
    assert seen(result)["faces_swapped"] == 10
    before, after = rgb_frames(clip)[5].astype(float), rgb_frames(tmp_path / "out.mp4")[5]
    assert np.abs(after[:160, :160] - before[:160, :160]).mean() < 1.5
    many = run(place, clip, tmp_path / "many.mp4")
    assert seen(many)["faces_swapped"] == 20


@pytest.mark.parametrize("degrees", [90])
def test_a_phone_video_stored_on_its_side_is_swapped_upright_and_stays_so(place, tmp_path, degrees):
    import av

    with av.open(str(place / "nodding.mp4")) as source:
        frames = [np.rot90(frame.to_ndarray(format="rgb24"), -degrees // 90) for frame in source.decode(video=0)][:10]
    write(tmp_path / "plain.mp4", frames)
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(tmp_path / "phone.mp4"), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        track.set_display_rotation(degrees)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = track
                target.mux(packet)
    result = run(place, tmp_path / "phone.mp4", tmp_path / "out.mp4")
    assert seen(result)["swapped"] == 1.0
    turned = [
        probe(path)["streams"][0]["side_data_list"][0]["rotation"]
        for path in (tmp_path / "phone.mp4", result.output_path)
    ]
    assert turned[0] == turned[1]


def test_a_source_that_was_replaced_under_its_name_begins_anew(place, tmp_path):
    """Finished segments of the old face must not stand beside segments of the new one."""
    source = portrait(tmp_path / "source.png", hopper())
    cancel = threading.Event()
    wanted = {**QUICK, "faceswap.source": str(source), "engine.segment_seconds": 0.4}

    def stop(event):
        if event["event"] == "segment":
            cancel.set()

    with pytest.raises(Cancelled):
        framelane.process_video(
            place / "nodding.mp4",
            "faceswap",
            output=tmp_path / "out.mp4",
            overrides=wanted,
            progress=stop,
            cancel=cancel,
        )
    portrait(source, np.ascontiguousarray(hopper()[:, ::-1]))
    result = framelane.process_video(place / "nodding.mp4", "faceswap", output=tmp_path / "out.mp4", overrides=wanted)
    assert result.report["resumed_at_frame"] == 0
    assert any("faceswap.source" in sentence for sentence in result.report["warnings"])


def test_the_ten_worst_frames_stand_beside_the_output_and_say_what_they_are(place, tmp_path, whole):
    import c2pa
    from PIL import Image

    worst = seen(whole)["worst_frames"]
    assert 0 < len(worst) <= 10
    assert whole.report["sheet"]["frames"] == len(worst)
    sheet = place / "whole.worst.jpg"
    with Image.open(sheet) as picture:
        assert b"compositeWithTrainedAlgorithmicMedia" in picture.info["xmp"]
    with sheet.open("rb") as stream, c2pa.Reader("image/jpeg", stream) as reader:
        assert reader.get_validation_state() in ("Valid", "Trusted")
    (tmp_path / "mine.worst.jpg").write_bytes(b"of the user's own")
    with pytest.raises(UsageError, match=r"mine\.worst\.jpg"):
        run(place, place / "nodding.mp4", tmp_path / "mine.mp4")


def test_uneven_timestamps_are_kept(place, tmp_path):
    head = astronaut()[0:260, 90:350]
    frames = [moved(head, (320, 320), x=150 + 2 * i, y=160, angle=i, scale=1) for i in range(20)]
    times, gaps = [0], (20, 50, 33, 90, 40)
    for i in range(19):
        times.append(times[-1] + gaps[i % 5])
    clip = write(tmp_path / "vfr.mp4", frames, times=times)
    result = run(place, clip, tmp_path / "out.mp4")
    assert frame_times(tmp_path / "out.mp4") == pytest.approx(frame_times(clip), abs=1e-3)
    assert seen(result)["swapped"] == 1.0


def test_a_reference_at_a_moment_and_pairs_replace_whom_they_name(place, tmp_path):
    import cv2

    woman = astronaut()[0:260, 90:350]
    man = cv2.resize(hopper(), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)

    def frame(i):
        left = moved(woman, (260, 300), x=130 + 2 * i, y=160, angle=i, scale=0.9)
        return np.concatenate([left, moved(man, (260, 300), x=130, y=150 + i, angle=-i, scale=0.9)], axis=1)

    clip = write(tmp_path / "two.mp4", [frame(i) for i in range(10)])
    one = run(
        place,
        clip,
        tmp_path / "one.mp4",
        **{"faceswap.select": "reference", "faceswap.reference": "0.2#0", "output.quality": 8},
    )
    assert seen(one)["told_apart_by"] == "appearance"
    assert any("told apart" in sentence for sentence in one.report["degradations"])
    assert seen(one)["faces_swapped"] == 10
    after, before = rgb_frames(tmp_path / "one.mp4")[5], rgb_frames(clip)[5]
    changed = np.abs(after.astype(float) - before).max(axis=2)
    halves = [np.percentile(changed[80:200, x + 70 : x + 190], 95) for x in (0, 260)]
    assert halves[0] > 3 * halves[1], halves

    pairs = [
        {"source": str(place / "hopper.png"), "target": str(place / "astronaut.png")},
        {"source": str(place / "astronaut.png"), "target": "0.2#1"},
    ]
    both = run(place, clip, tmp_path / "both.mp4", **{"faceswap.source": None, "faceswap.pairs": pairs})
    assert {track["source"]: track["frames"] for track in seen(both)["tracks"]} == {
        "hopper.png": 10, "astronaut.png": 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"faceswap.source": None}, "faceswap.source is missing"),
        ({"faceswap.source": "nowhere.png"}, "nowhere.png"),
        ({"faceswap.select": "reference"}, "needs faceswap.reference"),
        ({"faceswap.select": "reference", "faceswap.reference": "0.1#7"}, r"shows 1 face\(s\)"),
    ],
)
def test_what_does_not_fit_is_a_sentence(place, tmp_path, settings, said):
    with pytest.raises(FramelaneError, match=said):
        run(place, place / "nodding.mp4", tmp_path / "out.mp4", **settings)
    assert list(tmp_path.glob("out*")) == []
