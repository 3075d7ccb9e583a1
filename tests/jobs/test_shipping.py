"""Segments outlive the machine: shipped as they close, brought back on another, and what is resumed is equal."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import framelane
import support.processors  # noqa: F401  registers the averager
from framelane.engine.checkpoint import Record, WorkFolder
from framelane.engine.events import Event
from framelane.errors import Cancelled, FramelaneError
from framelane.jobs.files import LOCAL, DriveGone
from framelane.jobs.ledger import Ledger
from framelane.jobs.shipping import Shipper
from framelane.video.writer import SegmentInfo
from support.clips import STREET
from support.drive import Drive, parts_in
from support.read import frame_hashes

ID = "a" * 64
SETTINGS = {
    "engine.segment_seconds": 1.0, "engine.min_free_mb": 0, "gif.enabled": False, "output.preset": "ultrafast",
    "hardware.threads": 1,
}  # fmt: skip
IDENTITY = {"clip": "x", "settings": 5}


def process(output, listener=lambda event: None, cancel=None, **more):
    return framelane.process_video(
        STREET, "averager", output=output, overrides=SETTINGS | more, progress=listener, cancel=cancel
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The job that nothing disturbs."""
    result = process(tmp_path_factory.mktemp("whole") / "out.mp4")
    return frame_hashes(result.output_path), result.report["metrics"]


def session(folder, drive_folder, files, until=None, flush=True):
    """One session on one machine: restore, process, ship; the machine's disk is gone when ``until`` segments are done.

    Returns:
        The number of segments brought back, the events, and the result if it came to that.
    """
    folder.mkdir()
    output, stop, events = folder / "out.mp4", threading.Event(), []
    shipper = Shipper(WorkFolder(output).path, drive_folder, ID, files)
    brought = shipper.restore()

    def listen(event):
        events.append(event)
        shipper.listen(event)
        if event["event"] == "segment" and until is not None and event["index"] + 1 >= until:
            stop.set()

    result = None
    try:
        with shipper:
            result = process(output, listen, stop)
    except Cancelled:
        pass
    else:
        shipper.forget()
    assert shipper.problem is None
    return brought, events, result


# -- with real segments -------------------------------------------------------------------------------------------------


def test_a_job_goes_on_on_machine_after_machine_to_equal_frames(tmp_path, whole):
    drive = tmp_path / "drive"
    brought, _, result = session(tmp_path / "a", drive, LOCAL, until=3)
    assert (brought, result) == (0, None)
    first = sorted((tmp_path / "a" / ".out.mp4.framelane").glob("segment-*[0-9]"))
    shipped = drive / ".framelane" / "segments" / ID
    for segment in first:
        for name in ("video.nut", "rows.jsonl", "record.json"):
            assert (shipped / segment.name / name).read_bytes() == (segment / name).read_bytes()
    shutil.rmtree(tmp_path / "a")
    brought, events, result = session(tmp_path / "b", drive, LOCAL, until=len(first) + 2)
    assert brought == len(first) >= 3
    start = next(event for event in events if event["event"] == "start")
    assert start["resumed_at_frame"] == sum(
        json.loads((shipped / segment.name / "record.json").read_text())["info"]["frames"] for segment in first
    )
    shutil.rmtree(tmp_path / "b")
    brought, events, result = session(tmp_path / "c", drive, LOCAL)
    assert brought >= len(first) + 2
    assert (frame_hashes(result.output_path), result.report["metrics"]) == whole
    assert not shipped.exists()
    assert parts_in(drive) == []


@pytest.mark.parametrize("seed", range(3))
def test_the_same_on_a_drive_that_fails(tmp_path, whole, seed):
    """No fault lasts longer than the patience, so every machine ends with all its segments shipped."""
    drive = tmp_path / "drive"
    done = 0
    for number in range(4):
        files = Drive(seed * 10 + number, 0.06, most=2)
        last = number == 3
        brought, _, result = session(tmp_path / str(number), drive, files, until=None if last else done + 2)
        assert brought == done
        if not last:
            work = tmp_path / str(number) / ".out.mp4.framelane"
            done = len(list(work.glob("segment-*[0-9]/record.json")))
            shutil.rmtree(work)
    assert (frame_hashes(result.output_path), result.report["metrics"]) == whole
    assert not (drive / ".framelane" / "segments" / ID).exists()
    assert parts_in(drive) == []


def test_a_drive_that_dies_leaves_the_job_alone_and_says_so(tmp_path, whole):
    said, files = [], Drive(dies_after=60)
    output = tmp_path / "out.mp4"
    shipper = Shipper(WorkFolder(output).path, tmp_path / "drive", ID, files, warn=said.append)
    with shipper.start():
        result = process(output, shipper.listen)
    assert frame_hashes(result.output_path) == whole[0]
    shipper.close()
    assert all("only on this machine" in sentence and "does not answer" in sentence for sentence in said)
    with pytest.raises(DriveGone):
        shipper.forget()
    with pytest.raises(DriveGone):
        Shipper(WorkFolder(output).path, tmp_path / "drive", ID, files).restore()


def test_other_settings_start_anew_and_replace_what_was_shipped_only_when_they_have_something(tmp_path):
    drive = tmp_path / "drive"
    session(tmp_path / "a", drive, LOCAL, until=3)
    shipped = drive / ".framelane" / "segments" / ID
    old = (shipped / "job.json").read_bytes()
    output = tmp_path / "b" / "out.mp4"
    shipper = Shipper(WorkFolder(output).path, drive, ID)
    assert shipper.restore() >= 3
    stop, events = threading.Event(), []

    def listen(event):
        events.append(event)
        if event["event"] == "start":
            shipper.ship_closed()  # the folder was cleared, and there is nothing new yet
            assert (shipped / "job.json").read_bytes() == old
            assert (shipped / "segment-000002" / "record.json").exists()
        if event["event"] == "segment":
            stop.set()

    with pytest.raises(Cancelled):
        process(output, listen, stop, **{"output.quality": 40})
    assert any("output.quality" in event.get("message", "") for event in events if event["event"] == "warning")
    count = shipper.ship_closed()
    assert (shipped / "job.json").read_bytes() != old
    assert len(list(shipped.glob("segment-*/record.json"))) == count >= 1


# -- with made-up segments ----------------------------------------------------------------------------------------------


def segment(work, index, seed=0, size=400):
    """A finished segment as the engine's own work folder makes it."""
    folder = work.begin(index)
    rng = random.Random(seed * 1000 + index)
    (folder / "video.nut").write_bytes(rng.randbytes(size + index))
    (folder / "rows.jsonl").write_text("".join(f'{{"frame": {rng.random()}}}\n' for _ in range(index % 3)))
    info = SegmentInfo(frames=10, first_pts=index * 10, last_pts=index * 10 + 9)
    return work.finish(index, Record(info=info, state={"seed": seed}))


def machine(folder, count=0, seed=0, identity=IDENTITY):
    folder.mkdir(parents=True)
    work = WorkFolder(folder / "out.mp4")
    work.open(identity)
    for index in range(count):
        segment(work, index, seed)
    work.release()
    return work


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob("segment-??????/*") if path.is_file()}


def prefix(full, count):
    return {path: data for path, data in full.items() if int(path.parts[0][8:]) < count}


def restored(folder, drive, files=LOCAL):
    """What an empty machine gets: (segments that the engine accepts, the tree of files)."""
    work = WorkFolder(folder / "out.mp4")
    folder.mkdir(parents=True)
    brought = Shipper(work.path, drive, ID, files).restore()
    segments = work.open(IDENTITY)
    work.release()
    assert work.changed == []
    assert len(segments) == brought
    return brought, {path: data for path, data in tree(work.path).items() if path.name != "files.json"}


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32), count=st.integers(0, 5), rate=st.sampled_from([0.05, 0.2, 0.5]),
    dies_after=st.none() | st.integers(1, 250),
)  # fmt: skip
def test_whatever_the_drive_does_a_fresh_machine_gets_an_exact_prefix(seed, count, rate, dies_after):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = machine(folder / "a", count)
        full = tree(work.path)
        files = Drive(seed, rate, dies_after=dies_after)
        shipper = Shipper(work.path, folder / "drive", ID, files)
        shipped = 0
        for _ in range(3):
            try:
                shipped = shipper.ship_closed()
            except DriveGone:
                continue
        assert tree(work.path) == full, "nothing local is touched"
        files.heal()
        brought, got = restored(folder / "b", folder / "drive", files)
        assert shipped <= brought <= count
        assert got == prefix(full, brought)
        # And from a Drive that fails while it is read: the same, or a sentence; never anything else.
        again = Drive(seed + 1, rate)
        try:
            brought, got = restored(folder / "c", folder / "drive", again)
        except DriveGone:
            got = tree(WorkFolder(folder / "c" / "out.mp4").path)
        assert got.items() <= full.items()
        # The machine goes on: in the end everything is there, and nothing else.
        assert shipper.ship_closed() == count
        assert restored(folder / "d", folder / "drive", files) == (count, full)
        Ledger(folder / "drive", files).sweep()
        assert parts_in(folder) == []


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_the_drive_has_lost_or_cut_shortens_what_comes_back(data):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = machine(folder / "a", 4)
        full = tree(work.path)
        Shipper(work.path, folder / "drive", ID).ship_closed()
        shipped = folder / "drive" / ".framelane" / "segments" / ID
        paths = sorted(path for path in shipped.rglob("*") if path.is_file() and path.name != "job.json")
        before = {path: path.read_bytes() for path in paths}
        hurt = data.draw(st.sets(st.sampled_from(paths), min_size=1, max_size=3))
        for path in hurt:
            damage(path, data.draw(st.sampled_from(["gone", "cut", "empty", "flipped", "grown"])))
        changed = [path for path in paths if not path.exists() or path.read_bytes() != before[path]]
        brought, got = restored(folder / "b", folder / "drive", Drive())
        assert brought == min((int(path.parent.name[8:]) for path in changed), default=4)
        assert got == prefix(full, brought)
        # Whoever goes on from there repairs what can be told by its size; the rest is found out only when it is read.
        assert Shipper(work.path, folder / "drive", ID).ship_closed() == 4
        silent = any(path.exists() and path.read_bytes() != before[path] for path in paths)
        assert silent or restored(folder / "c", folder / "drive", Drive()) == (4, full)


def damage(path, how):
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        flipped = bytes([data[0] ^ 255]) + data[1:] if data else b""
        path.write_bytes({"cut": data[:-1], "empty": b"", "flipped": flipped, "grown": data + b"x"}[how])


@pytest.mark.parametrize("missing", ["video.nut", "rows.jsonl", "files.json", "record.json"])
def test_a_segment_counts_only_with_all_its_files(tmp_path, missing):
    work = machine(tmp_path / "a", 3)
    Shipper(work.path, tmp_path / "drive", ID).ship_closed()
    (tmp_path / "drive" / ".framelane" / "segments" / ID / "segment-000001" / missing).unlink()
    assert restored(tmp_path / "b", tmp_path / "drive")[0] == 1


def test_the_record_comes_last_and_segments_come_in_order(tmp_path):
    """Seen from the storage: the order in which names appear."""
    order = []

    class Watched(Drive):
        def rename(self, source, target):
            order.append(f"{target.parent.name}/{target.name}".removeprefix(f"{ID}/"))
            super().rename(source, target)

    work = machine(tmp_path / "a", 2)
    Shipper(work.path, tmp_path / "drive", ID, Watched()).ship_closed()
    names = ("video.nut", "rows.jsonl", "files.json", "record.json")
    assert order == ["job.json", *(f"segment-00000{index}/{name}" for index in (0, 1) for name in names)]


def test_nothing_is_shipped_twice(tmp_path):
    work = machine(tmp_path / "a", 3)
    Shipper(work.path, tmp_path / "drive", ID).ship_closed()
    shipped = tmp_path / "drive" / ".framelane" / "segments" / ID
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in shipped.rglob("*") if path.is_file()}
    assert Shipper(work.path, tmp_path / "drive", ID).ship_closed() == 3
    assert before == {
        path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in shipped.rglob("*") if path.is_file()
    }


def test_two_courses_of_one_job_are_never_mixed(tmp_path):
    """Another machine could not see segments 1 to 3 and made them anew, cut in other places."""
    a, b = machine(tmp_path / "a", 4, seed=1), machine(tmp_path / "b")
    drive = tmp_path / "drive"
    Shipper(a.path, drive, ID).ship_closed()
    hidden = tmp_path / "hidden"
    shipped = drive / ".framelane" / "segments" / ID
    (shipped / "segment-000001").rename(hidden)
    assert Shipper(b.path, drive, ID).restore() == 1
    b.open(IDENTITY)
    segment(b, 1, seed=2)
    assert Shipper(b.path, drive, ID).ship_closed() == 2
    assert sorted(path.name for path in shipped.iterdir()) == ["job.json", "segment-000000", "segment-000001"]
    # The storage brings the old ones up again: 2 and 3 follow a segment 1 that is not this one.
    Shipper(a.path, tmp_path / "other", ID).ship_closed()
    for name in ("segment-000002", "segment-000003"):
        shutil.copytree(tmp_path / "other" / ".framelane" / "segments" / ID / name, shipped / name)
    brought, got = restored(tmp_path / "c", drive)
    assert brought == 2
    assert got == tree(b.path)


def test_local_segments_stay_and_are_added_to(tmp_path):
    """The first machine comes back after another has gone further: it loses nothing of either."""
    drive = tmp_path / "drive"
    a = machine(tmp_path / "a", 2)
    b = machine(tmp_path / "b", 5)
    Shipper(b.path, drive, ID).ship_closed()
    assert Shipper(a.path, drive, ID).restore() == 3
    assert tree(a.path) == tree(b.path)
    assert Shipper(a.path, drive, ID).restore() == 0
    c = machine(tmp_path / "c", 2, seed=9)
    before = tree(c.path)
    assert Shipper(c.path, drive, ID).restore() == 0
    assert tree(c.path) == before, "of another course: what is here stays"
    d = machine(tmp_path / "d", 2, identity={"clip": "y"})
    before = tree(d.path)
    assert Shipper(d.path, drive, ID).restore() == 0
    assert tree(d.path) == before, "of other settings"


def test_a_record_of_another_version_is_not_restored(tmp_path):
    work = machine(tmp_path / "a", 1)
    record = work.path / "segment-000000" / "record.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "new_field": 1}))
    Shipper(work.path, tmp_path / "drive", ID).ship_closed()
    assert restored(tmp_path / "b", tmp_path / "drive")[0] == 0


def test_a_damaged_local_segment_is_not_shipped(tmp_path):
    work = machine(tmp_path / "a", 3)
    video = work.path / "segment-000001" / "video.nut"
    video.write_bytes(video.read_bytes()[:-1])
    assert Shipper(work.path, tmp_path / "drive", ID).ship_closed() == 1


def test_closing_does_not_wait_for_a_drive_that_is_gone(tmp_path):
    """The thread is in the middle of its patience; it must be gone before the job's results are shipped."""
    work = machine(tmp_path / "a", 2)
    files, waiting = Drive(dies_after=10, waits=(1e9,)), threading.Event()
    files.sleep = lambda seconds: waiting.set()
    shipper = Shipper(work.path, tmp_path / "drive", ID, files).start()
    assert waiting.wait(60)
    shipper.close()
    assert shipper._thread is None
    assert not any(thread.name == "shipper" for thread in threading.enumerate())


def test_waking_never_waits_and_bursts_are_caught_up(tmp_path):
    work = machine(tmp_path / "a")
    shipper = Shipper(work.path, tmp_path / "drive", ID)

    def cancelled():
        with shipper:
            for index in range(20):
                segment(work, index, size=10)
                shipper.listen(Event(event="segment", index=index))
                shipper.listen(Event(event="progress"))
            raise Cancelled("session over")

    with pytest.raises(Cancelled):
        cancelled()
    assert restored(tmp_path / "b", tmp_path / "drive")[0] == 20


def test_a_work_folder_that_was_sealed_meanwhile_is_no_problem(tmp_path):
    work = machine(tmp_path / "a", 3)
    said = []
    shipper = Shipper(work.path, tmp_path / "drive", ID, warn=said.append)
    work.open(IDENTITY)
    work.remove()
    shipper.start()
    shipper.wake()
    shipper.close(flush=True)
    assert said == []


def test_a_local_disk_that_cannot_be_written_is_said(tmp_path):
    work = machine(tmp_path / "a", 1)
    Shipper(work.path, tmp_path / "drive", ID).ship_closed()
    blocked = tmp_path / "b"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(FramelaneError, match="could not be written"):
        Shipper(blocked / "w", tmp_path / "drive", ID).restore()


def test_records_hold_what_the_engine_writes():
    """The made-up segments above are of the engine's own record; its fields are all that a restore relies on."""
    assert {field.name for field in dataclasses.fields(Record)} >= {"info", "last", "state", "after", "size"}
