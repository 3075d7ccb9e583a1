"""What a notebook asks of its host: Colab and Kaggle are stand-ins that raise what the real ones raise."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from framelane.errors import FramelaneError, UsageError
from framelane.notebook import host
from framelane.notebook.drive import Drive
from framelane.notebook.folders import folders

HOSTS = Path(__file__).parents[1] / "support" / "hosts"
OURS = ("google", "google.colab", "kaggle_secrets")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Only the stand-ins are importable as hosts' modules, each test has fresh ones, and Drive lies in a folder."""
    for name in list(sys.modules):
        if name in OURS or name.startswith("google.colab"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(HOSTS))
    for name in ("COLAB_RELEASE_TAG", "COLAB_GPU", "KAGGLE_KERNEL_RUN_TYPE", "FRAMELANE_LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANGUAGE", "en")
    monkeypatch.setattr(host, "POINT", tmp_path / "content" / "drive")
    monkeypatch.setattr(host, "_drives", {})
    yield tmp_path
    for name in [name for name in sys.modules if name in OURS or name.startswith("google.colab")]:
        del sys.modules[name]


@pytest.fixture
def colab(place, monkeypatch):
    """A Colab that does what it is told; returns how to tell it, and what it was asked."""
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260819")

    def tell(**wishes):
        monkeypatch.setenv("COLAB_STANDIN", json.dumps({"store": str(place / "store"), **wishes}))
        from google.colab import _standin

        return _standin.calls

    tell()
    return tell


@pytest.fixture
def kaggle(place, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setenv("KAGGLE_USER_SECRETS_TOKEN", "a token")
    monkeypatch.setenv("KAGGLE_STANDIN", json.dumps({"secrets": {"HOOK": "https://example.org/k"}}))


def test_each_host_is_known_by_its_own_marks(place, monkeypatch):
    assert host.detect().name == "local"
    assert host.detect({"COLAB_GPU": "0"}).name == "colab"
    assert host.detect({"COLAB_RELEASE_TAG": "x", "KAGGLE_KERNEL_RUN_TYPE": "Batch"}).name == "kaggle", "Colab's image"
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(HOSTS)])
    for name in [name for name in sys.modules if name == "google" or name.startswith("google.colab")]:
        del sys.modules[name]  # an undo would bring the stand-ins back for the tests that follow
    assert host.detect({"COLAB_RELEASE_TAG": "a variable that somebody set"}).name == "local"


# -- Drive ---------------------------------------------------------------------------------------------------------------


def test_drive_is_mounted_once_and_says_what_to_click(colab, place):
    said, calls = [], colab()
    home = host.mount(said.append)
    assert home == place / "content" / "drive" / "MyDrive"
    assert home.is_dir()
    assert "press Continue" in said[0]
    assert host.mount(said.append) == home
    assert [call[0] for call in calls] == ["mount"]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("credentials", "tick every box"),
        ("policy", "organisation does not allow"),
        ("unsupported", "folder button"),
        ("slow", "top folder"),
        ("failed", "could not be mounted"),
    ],
)
def test_what_drive_refuses_is_a_sentence(colab, outcome, words):
    calls = colab(mount=[outcome])
    with pytest.raises(FramelaneError, match=words):
        host.mount(lambda _: None)
    forced = [call[2] for call in calls]
    assert forced == ([False, True] if outcome in ("failed", "slow") else [False]), (
        "tried again, once, where that may help"
    )


def test_a_mount_that_fails_once_is_mended_by_force(colab):
    calls = colab(mount=["failed", "ok"])
    assert host.mount(lambda _: None).is_dir()
    assert [call[2] for call in calls] == [False, True]


def test_files_at_the_mount_point_are_named(colab, place):
    (place / "content" / "drive").mkdir(parents=True)
    (place / "content" / "drive" / "result.mp4").touch()
    with pytest.raises(FramelaneError, match="holds files that were written before"):
        host.mount(lambda _: None)


class Look:
    """Lists a folder, or fails as FUSE does where Drive's process has died."""

    def __init__(self, *failures):
        self.failures = list(failures)

    def __call__(self, folder):
        if self.failures and (number := self.failures.pop(0)):
            raise OSError(number, os.strerror(number))
        return os.listdir(folder)


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.EIO])
def test_a_drive_that_dies_is_mounted_again_once(colab, place, number):
    from google.colab import drive

    calls, said, slept = colab(), [], []
    look = Look()
    mine = Drive(place / "drive", look, sleep=slept.append)
    mine.mount(drive, said.append)
    look.failures = [number]
    assert mine.mount(drive, said.append).is_dir()
    look.failures = [number]
    with pytest.raises(FramelaneError, match="though it was mounted again"):
        mine.mount(drive, said.append)
    assert [call[2] for call in calls] == [False, True]
    assert sum("mounted again" in line for line in said) == 1
    assert not slept


def test_a_fresh_mount_is_waited_for(colab, place):
    from google.colab import drive

    calls, slept = colab(), []
    mine = Drive(place / "drive", Look(errno.ENOENT, errno.ENOENT, errno.ENOENT), sleep=slept.append)
    assert mine.mount(drive, lambda _: None).is_dir()
    assert len(slept) == 2
    assert len(calls) == 1


def test_drive_is_flushed_once_and_never_mounted_again(colab, place):
    calls, said = colab(), []
    (host.mount(said.append) / "result.mp4").write_bytes(b"x")
    assert host.flush(said.append)
    assert not host.flush(said.append)
    assert (place / "store" / "result.mp4").read_bytes() == b"x"
    with pytest.raises(FramelaneError, match="Restart session"):
        host.mount(said.append)
    assert [call[0] for call in calls] == ["mount", "flush"]


def test_a_flush_that_fails_says_where_to_look(colab):
    colab(flush="failed")
    host.mount(lambda _: None)
    with pytest.raises(FramelaneError, match=r"drive\.google\.com"):
        host.flush(lambda _: None)


def test_nothing_mounted_is_nothing_to_flush(colab):
    assert not host.flush(lambda _: None)
    assert colab() == []


def test_other_hosts_have_no_drive(kaggle):
    with pytest.raises(UsageError, match="Add input"):
        host.mount(lambda _: None)
    with pytest.raises(UsageError, match="only be mounted on Colab"):
        host.mount(lambda _: None, host.Host("local", "", Path(), Path()))
    assert not host.flush(lambda _: None)


# -- clips ---------------------------------------------------------------------------------------------------------------


def test_an_upload_lands_in_the_folder_and_replaces_nothing(colab, place):
    (place / "mine.mp4").write_bytes(b"new")
    colab(uploads=[str(place / "mine.mp4")])
    folder, here = place / "clips", Path.cwd()
    assert [path.name for path in host.upload(folder)] == ["mine.mp4"]
    assert [path.name for path in host.upload(folder)] == ["mine (1).mp4"]
    assert (folder / "mine (1).mp4").read_bytes() == b"new"
    colab(uploads=[])
    with pytest.raises(UsageError, match="Nothing was uploaded"):
        host.upload(folder)
    colab(uploads="gone")
    with pytest.raises(FramelaneError, match="did not hand the files over"):
        host.upload(folder)
    assert Path.cwd() == here


def test_the_tree_shows_a_floor_at_a_time(place):
    folder = place / "a"
    for name in ("b", "A", ".hidden", "línea\n2", "z \U0001f3ac"):
        (folder / name).mkdir(parents=True)
    for name in ("one.MP4", "two.mov", "notes.txt", ".part.mp4"):
        (folder / name).touch()
    (folder / "loop").symlink_to(folder / "loop")
    seen = folders(folder)
    assert [path.name for path in seen.folders] == ["A", "b", "línea\n2", "z \U0001f3ac"]
    assert (seen.clips, seen.left_out, seen.problem) == (2, 0, "")
    assert "cannot be read (No such file" in folders(place / "none").problem
    for index in range(520):
        (place / "many" / f"{index:03d}").mkdir(parents=True)
    many = folders(place / "many")
    assert (len(many.folders), many.left_out) == (500, 20)


def test_the_tree_begins_where_there_is_something(colab, place):
    assert host.roots() == []
    home = host.mount(lambda _: None)
    assert host.roots() == [home, place / "content"]
    assert host.roots(host.Host("local", "", place, place)) == [place, Path.home()]


# -- secrets, language ---------------------------------------------------------------------------------------------------


def test_secrets_of_colab(colab):
    colab(secrets={"HOOK": {"payload": "https://example.org/c"}, "SHUT": {"payload": "s3cret", "access": False}})
    assert host.secret("HOOK", environment={"HOOK": "the environment's is the weaker one"}) == "https://example.org/c"
    assert host.secret("OTHER", environment={"OTHER": "x"}) == "x"
    with pytest.raises(UsageError, match="There is no secret OTHER"):
        host.secret("OTHER", environment={})
    with pytest.raises(UsageError, match="may not read the secret SHUT") as shut:
        host.secret("SHUT", environment={})
    assert "s3cret" not in str(shut.value)
    colab(secrets="timeout")
    with pytest.raises(UsageError, match="in time"):
        host.secret("HOOK", environment={})


def test_secrets_of_kaggle(kaggle, monkeypatch):
    assert host.secret("HOOK") == "https://example.org/k"
    with pytest.raises(UsageError, match="Add-ons, Secrets"):
        host.secret("OTHER", environment={})
    with pytest.raises(UsageError, match="needs a name"):
        host.secret("", environment={})
    monkeypatch.setenv("KAGGLE_STANDIN", '{"offline": true}')
    with pytest.raises(UsageError, match="Switch Internet on"):
        host.secret("HOOK", environment={})
    monkeypatch.delenv("KAGGLE_USER_SECRETS_TOKEN")
    with pytest.raises(UsageError, match="restart the session"):
        host.secret("HOOK", environment={})


def test_secrets_of_ones_own_machine(place):
    assert host.secret("HOOK", environment={"HOOK": "x"}) == "x"
    with pytest.raises(UsageError, match="no environment variable HOOK"):
        host.secret("HOOK", environment={})


def test_the_readers_language(colab):
    english = {"LANG": "en_GB.UTF-8"}
    calls = colab(language="es-MX")
    assert host.language(environment=english) == "es"
    assert calls[-1][2] == pytest.approx(5), "nobody may be looking"
    assert host.language(environment={**english, "FRAMELANE_LANG": "en"}) == "en"
    colab(language="fr")
    assert host.language(environment={"LANG": "es_ES"}) == "en"
    for silent in (None, "error"):
        colab(language=silent)
        assert host.language(environment={"LANG": "es_ES"}) == "es"
    assert host.language(host.Host("local", "", Path(), Path()), {"LANG": "es_ES"}) == "es"
