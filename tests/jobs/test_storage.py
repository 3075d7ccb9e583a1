"""Copies to and from storage that fails: whole under their name, or a sentence and the local file untouched."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framelane.errors import FramelaneError
from framelane.jobs.files import LOCAL, DriveGone, Files, files_for
from framelane.jobs.mounts import mount_of
from framelane.jobs.owner import Owner, tag_is_dead
from framelane.jobs.parts import Sweeper, part_of, put
from framelane.jobs.storage import is_mounted_remote, ship, stage_in
from support.drive import FAULTS, Drive, parts_in

TESTS = Path(__file__).parents[1]


def blob(seed, size):
    return random.Random(seed).randbytes(size)


def tried(action):
    """What ``action`` gives, and what it says where the Drive is gone."""
    try:
        return action(), None
    except DriveGone as error:
        return None, str(error)


# -- ship ---------------------------------------------------------------------------------------------------------------


def test_a_result_arrives_equal_and_leaves_no_part(tmp_path):
    local = tmp_path / "local.mp4"
    local.write_bytes(blob(1, 3_000_001))
    target = tmp_path / "out" / "sub dir" / "é 'x'.mp4"
    content = ship(local, target)
    assert target.read_bytes() == local.read_bytes()
    assert (content.size, content.sha256) == (3_000_001, hashlib.sha256(local.read_bytes()).hexdigest())
    assert parts_in(tmp_path) == []


def test_an_empty_file_and_the_longest_name_are_shipped(tmp_path):
    local = tmp_path / "rows"
    local.write_bytes(b"")
    target = tmp_path / "out" / ("n" * 251 + ".mp4")
    ship(local, target)
    assert target.read_bytes() == b""


def test_what_is_there_already_and_equal_is_not_copied_again(tmp_path):
    local, target = tmp_path / "a", tmp_path / "out" / "a"
    local.write_bytes(b"same")
    ship(local, target)
    before = target.stat()
    ship(local, target)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    local.write_bytes(b"else")
    ship(local, target)
    assert target.read_bytes() == b"else"


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([0.02, 0.1, 0.3, 0.6]),
    faults=st.sets(st.sampled_from(FAULTS), min_size=1).map(sorted),
    size=st.sampled_from([0, 1, 17, 70_000, 2_200_000]),
    old=st.sampled_from([None, 5, 70_000]),
)
def test_any_sequence_of_faults_ends_equal_or_in_a_sentence(seed, rate, faults, size, old):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        local, target = folder / "local.mp4", folder / "drive" / "sub" / "x.mp4"
        local.write_bytes(blob(seed, size))
        if old is not None:
            target.parent.mkdir(parents=True)
            target.write_bytes(blob(seed + 1, old))
        drive = Drive(seed, rate, tuple(faults))
        content, sentence = tried(lambda: ship(local, target, drive))
        if sentence:
            assert str(local.parent) in sentence
            assert "run the same command" in sentence
        else:
            assert target.read_bytes() == local.read_bytes()
            assert content.size == size
            assert parts_in(folder) == []
        assert local.read_bytes() == blob(seed, size)
        drive.heal()
        ship(local, target, drive)
        assert target.read_bytes() == local.read_bytes()
        assert parts_in(folder) == []


def test_an_older_result_gives_way_only_to_a_whole_new_one(tmp_path):
    """Copies that are cut without a word: nothing but the whole file is ever renamed over what is there."""
    local, target = tmp_path / "local", tmp_path / "drive" / "x.mp4"
    local.write_bytes(blob(4, 40_000))
    renamed = []

    class Watched(Drive):
        def rename(self, source, target):
            renamed.append(source.read_bytes())
            super().rename(source, target)

    for seed in range(30):
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"older")
        tried(lambda: ship(local, target, Watched(seed, 0.5, ("cut", "short", "lost"))))  # noqa: B023
    assert len(renamed) >= 10
    assert set(renamed) == {local.read_bytes()}


def test_faults_that_pass_are_waited_out(tmp_path):
    """Never more than two faults in a row: with seven waits every file arrives."""
    local = tmp_path / "local"
    local.write_bytes(blob(3, 40_000))
    ended = 0
    for seed in range(40):
        drive = Drive(seed, 0.08, most=2)
        ended += ship(local, tmp_path / f"drive/{seed}", drive).size == 40_000
        assert drive.calls > 0
    assert ended == 40


def test_a_drive_that_stays_away_says_where_the_result_is(tmp_path):
    local = tmp_path / "local.mp4"
    local.write_bytes(b"result")
    drive = Drive(dies_after=6)
    with pytest.raises(DriveGone) as failed:
        ship(local, tmp_path / "drive" / "x.mp4", drive)
    assert f"What was made is safe in {local.parent}." in str(failed.value)
    assert "does not answer" in str(failed.value)
    assert "Mount it again" in str(failed.value)
    assert drive.slept == sum(drive.waits)
    assert failed.value.exit_code == 1


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "is full"), (errno.EDQUOT, "is full"), (errno.EROFS, "could not be written")]
)
def test_errors_that_waiting_does_not_cure_are_said_at_once(tmp_path, number, word):
    class Broken(Files):
        def sync(self, file):
            raise OSError(number, os.strerror(number))

        def sleep(self, seconds):
            raise AssertionError("waited for nothing")

    local = tmp_path / "local.mp4"
    local.write_bytes(b"result")
    with pytest.raises(FramelaneError, match=word) as failed:
        ship(local, tmp_path / "drive" / "x.mp4", Broken())
    assert str(local.parent) in str(failed.value)
    assert parts_in(tmp_path) == [], "a full storage is not filled further with what is worth nothing"


def test_a_full_disk_for_real(small_disk, tmp_path):
    local = tmp_path / "local.mp4"
    local.write_bytes(blob(5, 3_000_000))
    with pytest.raises(FramelaneError, match="is full"):
        ship(local, small_disk / "sub" / "x.mp4")
    assert parts_in(small_disk) == []
    assert not (small_disk / "sub" / "x.mp4").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of one MB, where this machine lets us mount one."""
    point = tmp_path / "small"
    point.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(point)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    yield point
    subprocess.run(["umount", str(point)], check=True)


def test_a_local_file_that_is_gone_is_said(tmp_path):
    with pytest.raises(FramelaneError, match="is gone"):
        ship(tmp_path / "nothing", tmp_path / "out" / "x")


# -- a mount that vanishes ----------------------------------------------------------------------------------------------


def table(path, *mounts):
    lines = ["/dev/sda / ext4 rw 0 0", *(f"{kind} {str(point).replace(' ', chr(92) + '040')} {kind} rw 0 0"
                                         for point, kind in mounts)]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return path


def test_nothing_is_written_below_a_mount_point_that_lost_its_mount(tmp_path):
    """An unmounted Drive leaves an empty local folder: results written there would die with the machine."""
    point = tmp_path / "my drive"
    point.mkdir()
    mounts = table(tmp_path / "mounts", (point, "fuse.drive"))
    files = Files(point / "out", waits=(), table=mounts)
    local = tmp_path / "local"
    local.write_bytes(b"x")
    ship(local, point / "out" / "a", files)
    table(mounts)
    with pytest.raises(DriveGone, match="no longer mounted"):
        ship(local, point / "out" / "b", files)
    assert not (point / "out" / "b").exists()
    with pytest.raises(DriveGone):
        files.read(point / "out" / "never there")
    table(mounts, (point, "fuse.drive"))
    ship(local, point / "out" / "b", files)


def test_remote_storage_is_told_by_its_file_system(tmp_path):
    kinds = {
        "fuse.drive": True, "fuse": True, "fuse.sshfs": True, "nfs4": True, "cifs": True, "9p": True, "drvfs": True,
        "ext4": False, "tmpfs": False, "fuseblk": False, "overlay": False,
    }  # fmt: skip
    for kind, remote in kinds.items():
        mounts = table(tmp_path / "mounts", (tmp_path / "a b", kind))
        assert is_mounted_remote(tmp_path / "a b" / "not there yet" / "x", mounts) is remote, kind
        assert not is_mounted_remote(tmp_path / "a bc", mounts)
    # Several mounts on one point: the last one is seen. A sandbox's root is its own disk whatever its driver.
    mounts = table(tmp_path / "mounts", (tmp_path, "nfs"), (tmp_path, "ext4"), (tmp_path / "in", "fuse.rclone"))
    assert mount_of(tmp_path / "x", mounts) == (str(tmp_path), "ext4")
    assert is_mounted_remote(tmp_path / "in" / "x", mounts)
    mounts.write_text("none / 9p rw 0 0\n")
    assert not is_mounted_remote(tmp_path, mounts)


def test_this_machines_own_table_of_mounts_is_read(tmp_path):
    assert not is_mounted_remote(tmp_path)
    assert mount_of(Path("/proc/self"))[1] == "proc"
    assert files_for(tmp_path) is LOCAL


# -- parts --------------------------------------------------------------------------------------------------------------

_SHIP = """
import sys, time
from pathlib import Path
from framelane.jobs.files import Files
from framelane.jobs.storage import ship
class Slow(Files):
    def rename(self, source, target):
        print("copied", flush=True)
        time.sleep(600)
ship(Path(sys.argv[1]), Path(sys.argv[2]), Slow())
"""


def killed_in_the_copy(local, target):
    """A real process that is killed between the copy and the rename; returns the part that it left."""
    job = subprocess.Popen(
        [sys.executable, "-c", _SHIP, str(local), str(target)], cwd=TESTS, stdout=subprocess.PIPE, text=True
    )
    assert job.stdout.readline() == "copied\n"
    (part,) = parts_in(target.parent)
    swept = Sweeper(target.parent, LOCAL, 0.0).sweep()
    assert (swept, part.exists()) == (0, True), "a live process's part was swept"
    job.send_signal(signal.SIGKILL)
    return job, part


def test_a_killed_copys_part_goes_with_the_next_run(tmp_path):
    local, target = tmp_path / "local", tmp_path / "out" / "x.mp4"
    local.write_bytes(b"result")
    job, part = killed_in_the_copy(local, target)
    while Sweeper(tmp_path / "out", LOCAL, 1e9).sweep() == 0:  # it may not be dead yet; buried it is not
        time.sleep(0.01)
    assert not part.exists()
    job.wait()
    job, part = killed_in_the_copy(local, target)
    job.wait()
    ship(local, target)  # the next run on the same target needs no sweep
    assert parts_in(tmp_path) == []
    assert target.read_bytes() == b"result"


def test_another_machines_part_goes_only_when_it_stands_still(tmp_path):
    now = [1000.0]
    part = tmp_path / "sub" / f".framelane-{'0' * 16}-{'ab' * 5}-17-99.part"
    part.parent.mkdir()
    part.write_bytes(b"1")
    mine = tmp_path / "notes.part"
    mine.write_bytes(b"the user's own")
    sweeper = Sweeper(tmp_path, LOCAL, 60.0, lambda: now[0])
    assert sweeper.sweep() == 0
    now[0] += 59
    assert sweeper.sweep() == 0
    part.write_bytes(b"12")
    now[0] += 59
    assert sweeper.sweep() == 0, "it grew meanwhile"
    now[0] += 60
    assert sweeper.sweep() == 1
    assert parts_in(tmp_path) == [mine]


def test_this_processs_own_parts_go_unless_they_are_at_work(tmp_path):
    sweeper = Sweeper(tmp_path, LOCAL, 1e9)
    with part_of(tmp_path / "x.mp4") as part:
        part.write_bytes(b"half")
        assert sweeper.sweep() == 0
    assert sweeper.sweep() == 1
    assert parts_in(tmp_path) == []


def test_put_keeps_all_or_nothing(tmp_path):
    path = tmp_path / "records" / "a.json"
    for seed in range(60):
        drive, data = Drive(seed, 0.3), f"content {seed}".encode()
        try:
            put(path, data, drive)
        except DriveGone:
            continue
        assert path.read_bytes() == data
        assert parts_in(tmp_path) == []


def test_put_leaves_no_part_on_a_full_disk(small_disk):
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
    with pytest.raises(OSError, match="No space left"):
        put(small_disk / "index.html", bytes(100_000), LOCAL)
    assert parts_in(small_disk) == []


# -- owners -------------------------------------------------------------------------------------------------------------


def test_only_what_is_known_to_be_dead_is_dead():
    me = Owner.here()
    assert not me.known_dead()
    assert tag_is_dead(me.tag) is False
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    other = Owner(me.host, me.boot, me.namespace, child.pid, stat[19])
    assert not other.known_dead()
    reused = Owner(me.host, me.boot, me.namespace, child.pid, "1")
    assert reused.known_dead(), "another process with the same number"
    child.kill()
    while not other.known_dead():  # not waited for: a zombie
        time.sleep(0.01)
    assert Path(f"/proc/{child.pid}").exists()
    child.wait()
    assert other.known_dead()
    assert tag_is_dead(other.tag) is True
    for elsewhere in (
        Owner("elsewhere", me.boot, me.namespace, child.pid, stat[19]),
        Owner(me.host, "another boot", me.namespace, child.pid, stat[19]),
        Owner(me.host, me.boot, "pid:[1]", child.pid, stat[19]),
    ):
        assert not elsewhere.known_dead()
        assert tag_is_dead(elsewhere.tag) is None
    assert Owner.from_json(me.to_json()) == me
    assert Owner.from_json({"host": "x"}) is None
    assert Owner.from_json([1]) is None


# -- stage in -----------------------------------------------------------------------------------------------------------


def test_a_local_clip_is_not_copied(tmp_path):
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"clip")
    assert stage_in(clip, tmp_path / "stage") == clip


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([0.05, 0.3, 0.7]),
    faults=st.sets(st.sampled_from(["before", "after", "early", "slow"]), min_size=1).map(sorted),
    size=st.sampled_from([1, 70_000, 2_200_000]),
)
def test_a_clip_is_staged_whole_or_not_at_all(seed, rate, faults, size):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "drive" / "a clip.mp4"
        clip.parent.mkdir()
        clip.write_bytes(blob(seed, size))
        drive = Drive(seed, rate, tuple(faults))
        local, sentence = tried(lambda: stage_in(clip, folder / "stage", drive))
        if sentence:
            assert str(clip.parent) in sentence
        else:
            assert local.read_bytes() == clip.read_bytes()
            assert local.name == clip.name
        drive.heal()
        assert stage_in(clip, folder / "stage", drive).read_bytes() == clip.read_bytes()
        assert os.listdir(folder / "stage") == ["a clip.mp4"]


def test_a_staged_clip_is_used_again_and_a_changed_one_is_not(tmp_path):
    clip = tmp_path / "drive" / "a.mp4"
    clip.parent.mkdir()
    clip.write_bytes(blob(1, 5000))
    first = stage_in(clip, tmp_path / "stage", Drive())
    made = first.stat().st_ino
    assert stage_in(clip, tmp_path / "stage", Drive()).stat().st_ino == made
    clip.write_bytes(blob(2, 5000))
    assert stage_in(clip, tmp_path / "stage", Drive()).read_bytes() == clip.read_bytes()


def test_a_clip_that_is_gone_is_said(tmp_path):
    with pytest.raises(FramelaneError, match="no longer there"):
        stage_in(tmp_path / "drive" / "a.mp4", tmp_path / "stage", Drive())
