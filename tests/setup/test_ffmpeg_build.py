"""The FFmpeg that the installer builds: recipes and keys as values, archives with a small real tree, the build for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from colab_setup import ffmpeg, ffmpeg_cache, ffmpeg_check, ffmpeg_recipe, ffmpeg_source
from colab_setup import tune as setup_tune
from colab_setup.ffmpeg_recipe import BuildError, Parts, Target

from framelane.gpu import find_gpu
from framelane.video import ffmpeg as used

T4 = Target("ubuntu22.04", "jammy", "x86_64", "580.82.07")
VERSION = "7:4.4.2-0ubuntu0.22.04.1"
SYSTEM = shutil.which("ffmpeg")


# -- recipes and keys ----------------------------------------------------------------------------------------------------


def test_a_key_is_one_file_name_that_changes_with_system_driver_version_and_codecs():
    key = ffmpeg_recipe.key(T4, VERSION, Parts())
    assert key.startswith("ubuntu22.04-x86_64-driver580.82.07-ffmpeg4.4.2.0ubuntu0.22.04.1-")
    assert Path(key).name == key
    others = [
        ffmpeg_recipe.key(Target("ubuntu24.04", "noble", "x86_64", "580.82.07"), VERSION, Parts()),
        ffmpeg_recipe.key(Target("ubuntu22.04", "jammy", "x86_64", "550.54.15"), VERSION, Parts()),
        ffmpeg_recipe.key(Target("ubuntu22.04", "jammy", "x86_64", None), VERSION, Parts()),
        ffmpeg_recipe.key(T4, "7:4.4.2-0ubuntu0.22.04.2", Parts()),
        ffmpeg_recipe.key(T4, VERSION, Parts(nvenc=False)),
        ffmpeg_recipe.key(T4, VERSION, Parts(x264=False)),
    ]
    assert len({key, *others}) == 7
    pattern = ffmpeg_recipe.key_pattern(T4)
    assert pattern.fullmatch(key)[1] == "4.4.2.0ubuntu0.22.04.1"
    assert [bool(pattern.fullmatch(other)) for other in others] == [False, False, False, True, True, True]
    assert not pattern.fullmatch(f"../{key}")


def test_only_the_codecs_wanted_are_configured():
    options = ffmpeg_recipe.configure_options(Parts())
    assert options[:2] == ["--disable-everything", "--disable-autodetect"]
    assert "--disable-network" in options
    named = {option.split("=")[0]: option.split("=")[1].split(",") for option in options if "=" in option}
    assert set(named["--enable-decoder"]) >= {"h264", "hevc", "h264_cuvid", "hevc_cuvid", "rawvideo"}
    assert set(named["--enable-encoder"]) >= {"h264_nvenc", "hevc_nvenc", "libx264"}
    assert set(named["--enable-muxer"]) >= {"nut", "mp4", "mov", "matroska"}
    assert set(named["--enable-protocol"]) == {"file", "pipe"}
    assert not [option for option in options if "scale_cuda" in option or "nonfree" in option or "npp" in option]
    without = ffmpeg_recipe.configure_options(Parts(nvenc=False, x264=False, assembler=False))
    assert "--disable-nvenc" in without
    assert "--disable-x86asm" in without
    assert not [option for option in without if "h264_nvenc" in option or "x264" in option or "gpl" in option]
    command = ffmpeg_recipe.configure_command(Path("/w/source"), Parts())
    assert command[0] == "/w/source/configure"
    assert any("-rpath,/usr/lib64-nvidia" in part for part in command)


@pytest.mark.parametrize(
    ("headers", "driver", "nvenc", "said"),
    [
        ("11.1.5.2", "580.82.07", True, "470.57.02 or newer"),
        ("11.1.5.2", "470.57.02", True, "470.57.02 or newer"),
        ("12.2.72.0", "550.54.14", True, "550.54.14"),
        ("12.2.72.0", "550.54.13", False, "too new"),
        ("12.1.14.0", "525.147.05", False, "530.41.03 or newer"),
        ("13.0.19.0", "565.57.01", False, "570.0"),
        ("13.1.15.0", "580.82.07", True, "trial encode will tell"),
        ("11.1.5.2", None, True, "no driver"),
    ],
)
def test_headers_must_fit_the_driver(headers, driver, nvenc, said):
    fit = ffmpeg_recipe.fit(headers, driver)
    assert fit.nvenc is nvenc
    assert said in fit.sentence


def test_the_table_of_drivers_rises_with_the_interface():
    table = ffmpeg_recipe.OLDEST_DRIVER
    drivers = [ffmpeg_recipe.version_numbers(table[version]) for version in sorted(table)]
    assert drivers == sorted(drivers)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build  (root@x)", "580.82.07"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86  Wed\n", "570.86"),
        ("", None),
    ],
)
def test_the_drivers_version_is_read(text, version):
    assert ffmpeg_recipe.driver_version(text) == version


def test_this_machine_is_read_from_its_files(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=ubuntu\nVERSION_ID="22.04"\nVERSION_CODENAME=jammy\n')
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82.07  x\n"
    )
    found = ffmpeg_recipe.detect_target(tmp_path)
    assert (found.system, found.codename, found.driver) == ("ubuntu22.04", "jammy", "580.82.07")


def test_a_package_file_points_into_the_folder_where_it_was_unpacked():
    pc = "prefix=/usr\nexec_prefix=${prefix}\nlibdir=/usr/lib/x\nLibs: -L/usr/lib/x -lx264 \n"
    pc += "Cflags: -I/usr/include -I${prefix}/usr\n"
    moved = ffmpeg_recipe.relocated(pc, Path("/w/root"))
    assert moved.splitlines() == [
        "prefix=/w/root/usr", "exec_prefix=${prefix}", "libdir=/w/root/usr/lib/x", "Libs: -L/w/root/usr/lib/x -lx264 ",
        "Cflags: -I/w/root/usr/include -I${prefix}/usr",
    ]  # fmt: skip


def test_progress_counts_the_compilers_steps():
    dry = 'printf "CC\\t%s\\n" a.o; gcc -c a.c\nmkdir x\nprintf "LD\\t%s\\n" b; ld b\n'
    assert ffmpeg_recipe.steps_in(dry) == 2
    lines = ["CC\tlibavcodec/h264dec.o", "X86ASM\tlibswscale/x86/scale.o", "src/a.c:3: warning: x", "make: done"]
    assert [ffmpeg_recipe.is_step(line) for line in lines] == [True, True, False, False]
    assert [ffmpeg_recipe.percent(*each) for each in ((0, 0), (1, 4), (4, 4))] == [0, 25, 99]


def test_the_builds_environment_takes_no_flags_of_the_users():
    base = {"PATH": "/bin", "CFLAGS": "-Werror", "MAKEFLAGS": "-n", "HOME": "/root"}
    made = ffmpeg_recipe.build_environment(base, Path("/w/root"), Path("/w/pc"))
    assert made == {"PATH": "/w/root/usr/bin:/bin", "HOME": "/root", "PKG_CONFIG_LIBDIR": "/w/pc", "LC_ALL": "C"}


# -- the distribution's archives -----------------------------------------------------------------------------------------

JAMMY = """# See http://help.ubuntu.com
deb http://archive.ubuntu.com/ubuntu/ jammy main restricted
# deb-src http://archive.ubuntu.com/ubuntu/ jammy main restricted
deb [arch=amd64 signed-by=/k.gpg] http://archive.ubuntu.com/ubuntu/ jammy-updates universe # the community's
deb http://security.ubuntu.com/ubuntu/ jammy-security multiverse
deb https://cloud.r-project.org/bin/linux/ubuntu jammy-cran40/
deb https://ppa.launchpadcontent.net/deadsnakes/ppa/ubuntu/ jammy main
deb https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2204/x86_64 /
"""
BOOKWORM = """Types: deb
# a remark
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://example.org/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://deb.nodesource.com/node_20.x
Suites: nodistro
Components: main
"""


def test_only_the_distributions_own_archives_are_asked_for_sources():
    assert ffmpeg_source.one_line_sources(JAMMY, "jammy", ["deb-src"]).splitlines() == [
        "deb-src http://archive.ubuntu.com/ubuntu/ jammy main",
        "deb-src [arch=amd64 signed-by=/k.gpg] http://archive.ubuntu.com/ubuntu/ jammy-updates universe",
    ]
    made = ffmpeg_source.stanza_sources(BOOKWORM, "bookworm", ["deb", "deb-src"])
    assert made.splitlines() == [
        "Types: deb deb-src", "Suites: bookworm bookworm-updates", "Components: main",
        "URIs: http://deb.debian.org/debian", "Signed-By:", " -----BEGIN PGP PUBLIC KEY BLOCK-----", " .",
        " -----END PGP PUBLIC KEY BLOCK-----",
    ]  # fmt: skip


def test_apts_own_configuration_lies_in_the_folder_alone(tmp_path):
    etc = tmp_path / "etc"
    (etc / "sources.list.d").mkdir(parents=True)
    (etc / "sources.list").write_text(JAMMY)
    ffmpeg_source.write_own_sources(tmp_path / "own", "jammy", ["deb-src"], etc)
    assert (tmp_path / "own" / "sources.list").read_text().count("deb-src ") == 2
    places = [value for value in ffmpeg_source.own_options(tmp_path / "own")[1::2] if value.startswith("Dir::")]
    assert len(places) == 4
    assert all(str(tmp_path / "own") in value for value in places)
    with pytest.raises(BuildError, match="name no archive of its release noble"):
        ffmpeg_source.write_own_sources(tmp_path / "other", "noble", ["deb-src"], etc)


# -- trying the program --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("[h264_nvenc @ 0x5] Cannot load libcuda.so.1\n[h264_nvenc @ 0x5] Nvenc unloaded\n", "no usable NVIDIA driver"),
        ("[h264_nvenc @ 0x5] Cannot load libnvidia-encode.so.1\n", "NVIDIA_DRIVER_CAPABILITIES"),
        (
            "Driver does not support the required nvenc API version. Required: 12.1 Found: 11.1\n"
            "The minimum required Nvidia driver for nvenc is 530.41.03 or newer\n",
            "too old for this FFmpeg (it knows interface 11.1, 12.1 is needed). Driver 530.41.03 or newer",
        ),
        ("[h264_nvenc @ 0x5] OpenEncodeSessionEx failed: out of memory (10): (no details)\n", "too many are open"),
        ("[h264_nvenc @ 0x5] OpenEncodeSessionEx failed: unsupported device (2): (no details)\n", "no such engine"),
        ("[h264_nvenc @ 0x5] No capable devices found\n", "no engine that takes the test clip"),
        ("[h264_nvenc @ 0x5] Something new.\nConversion failed!\n", "Something new."),
    ],
)
def test_a_refusal_names_its_cause(log, cause):
    sentence = ffmpeg_check.refusal(log, "NVENC, the card's encoder")
    assert cause in sentence
    assert "\n" not in sentence


def test_wrong_pictures_are_found_out():
    frames = ffmpeg_check.pictures()
    assert ffmpeg_check.differs(frames, frames) == ""
    assert "4 came back" in ffmpeg_check.differs(frames[: len(frames) * 4 // 5], frames)
    assert "wrong" in ffmpeg_check.differs(frames[320 * 192 * 3 // 2 :] + frames[: 320 * 192 * 3 // 2], frames[::-1])


@pytest.mark.skipif(SYSTEM is None, reason="no ffmpeg program is on PATH")
def test_a_packaged_program_is_tried_for_real():
    found = ffmpeg_check.check(Path(str(SYSTEM)))
    assert found.version
    assert found.software.ok, found.software.sentence
    if "h264_nvenc" in found.lists and find_gpu()[0] is None:
        assert not found.nvenc.ok
        assert "no usable NVIDIA driver" in found.nvenc.sentence
        assert "no usable NVIDIA driver" in found.nvdec.sentence


def test_a_program_that_does_not_run_is_an_answer(tmp_path):
    assert "does not run" in ffmpeg_check.check(tmp_path / "ffmpeg").software.sentence
    (tmp_path / "ffmpeg").write_bytes(b"\x7fELF")
    (tmp_path / "ffmpeg").chmod(0o755)
    assert not ffmpeg_check.check(tmp_path / "ffmpeg").software.ok


# -- archives ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A cache folder of its own, and no package lists that would call an archive old."""
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FRAMELANE_FFMPEG", raising=False)
    monkeypatch.setattr(ffmpeg_source, "candidate_version", lambda: None)
    return tmp_path


def tree(builds: Path, script: str | None = None) -> Path:
    """A build whose program is the system's, behind a script: small, and it really runs."""
    build = builds / ffmpeg_recipe.key(T4, VERSION, Parts())
    program = build / "bin" / "ffmpeg"
    program.parent.mkdir(parents=True)
    program.write_text(script or f'#!/bin/sh\nexec {SYSTEM} "$@"\n')
    program.chmod(0o755)
    (build / "built.json").write_text("{}")
    return build


needs_ffmpeg = pytest.mark.skipif(SYSTEM is None, reason="no ffmpeg program is on PATH")


def ensure(drive: Path, said: list[str] | None = None) -> ffmpeg.Outcome:
    return ffmpeg.ensure(
        archive_folder=drive, offline=True, target=T4, say=said.append if said is not None else lambda _: None
    )


@needs_ffmpeg
def test_a_build_is_kept_as_an_archive_and_restored_where_it_is_missing(machine):
    drive, build = machine / "drive", tree(ffmpeg.builds_dir())
    assert ensure(drive).how == "there"
    archive = drive / f"{build.name}.tar.xz"
    assert sorted(path.name for path in drive.iterdir()) == [archive.name, f"{archive.name}.sha256"]
    digest, name = archive.with_name(f"{archive.name}.sha256").read_text().split()
    assert (digest, name) == (ffmpeg_cache.sha256(archive), archive.name)
    shutil.rmtree(ffmpeg.builds_dir())
    found = ensure(drive)
    assert (found.how, found.key) == ("restored", build.name)
    assert found.program == build / "bin" / "ffmpeg"
    assert os.access(found.program, os.X_OK)
    assert used.ffmpeg_program() == found.program
    assert not list(ffmpeg.builds_dir().glob(".*")), "nothing is left over"


@needs_ffmpeg
@pytest.mark.parametrize("damage", ["flipped", "truncated", "no digest", "another's digest"])
def test_a_damaged_archive_is_said_and_not_used(machine, damage):
    drive, build = machine / "drive", tree(ffmpeg.builds_dir())
    archive = ffmpeg_cache.store(build, drive)
    note = archive.with_name(f"{archive.name}.sha256")
    data = archive.read_bytes()
    if damage == "flipped":
        archive.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    elif damage == "truncated":
        archive.write_bytes(data[: len(data) // 2])  # with the digest that half a file has
        note.write_text(f"{ffmpeg_cache.sha256(archive)}  {archive.name}\n")
    elif damage == "no digest":
        note.unlink()
    else:
        note.write_text(f"{'0' * 64}  {archive.name}\n")
    shutil.rmtree(build)
    said: list[str] = []
    with pytest.raises(BuildError, match="No FFmpeg with NVENC is here yet"):
        ensure(drive, said)
    assert "A new one is built" in said[0]
    assert not build.exists()
    assert not list(ffmpeg.builds_dir().glob(".*"))


@needs_ffmpeg
def test_an_archive_whose_program_does_not_run_here_is_not_used(machine):
    build = tree(ffmpeg.builds_dir(), "#!/bin/sh\necho 'libm.so.6: version GLIBC_2.99 not found' >&2\nexit 1\n")
    ffmpeg_cache.store(build, machine / "drive")
    shutil.rmtree(build)
    said: list[str] = []
    with pytest.raises(BuildError):
        ensure(machine / "drive", said)
    assert "GLIBC_2.99" in said[0]
    assert used.self_built() is None


def test_an_archive_cannot_write_outside_its_folder(machine):
    drive, name = machine / "drive", ffmpeg_recipe.key(T4, VERSION, Parts())
    drive.mkdir()
    archive = drive / f"{name}.tar.xz"
    (machine / "evil").write_text("evil")
    with tarfile.open(archive, "w:xz") as packed:
        packed.add(machine / "evil", "../../outside")
    archive.with_name(f"{archive.name}.sha256").write_text(f"{ffmpeg_cache.sha256(archive)}  {archive.name}\n")
    with pytest.raises(BuildError, match="cannot be unpacked"):
        ffmpeg_cache.restore(archive, machine / "cache" / "ffmpeg")
    assert not (machine / "cache" / "outside").exists()
    assert not (machine / "outside").exists()


@needs_ffmpeg
def test_an_archive_of_an_older_source_package_is_built_anew(machine, monkeypatch):
    build = tree(ffmpeg.builds_dir())
    ffmpeg_cache.store(build, machine / "drive")
    shutil.rmtree(build)
    monkeypatch.setattr(ffmpeg_source, "candidate_version", lambda: "7:4.4.2-0ubuntu0.22.04.3")
    said: list[str] = []
    with pytest.raises(BuildError):
        ensure(machine / "drive", said)
    assert "older source package" in said[0]
    monkeypatch.setattr(ffmpeg_source, "candidate_version", lambda: VERSION)
    assert ensure(machine / "drive").how == "restored"


@needs_ffmpeg
def test_a_full_or_broken_folder_costs_the_archive_and_not_the_build(machine):
    build = tree(ffmpeg.builds_dir())
    (build / "filling").write_bytes(os.urandom(2 << 20))  # does not compress
    small = machine / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        found = ensure(small)
        assert found.how == "there"
        assert "no space is left" in found.notes[0]
        assert list(small.iterdir()) == [], "nothing half written"
    finally:
        subprocess.run(["umount", str(small)], check=False)
    (machine / "file").write_text("")
    assert "cannot be kept" in ensure(machine / "file" / "drive").notes[0]


def test_what_a_build_needs_is_said_before_anything_is_downloaded(machine, monkeypatch):
    monkeypatch.setenv("PATH", str(machine / "empty"))
    with pytest.raises(BuildError, match="no apt"):
        ffmpeg.ensure(target=T4, say=lambda _: None)
    tools = machine / "tools"
    tools.mkdir()
    for name in ("apt-get", "dpkg-deb", "make"):
        (tools / name).write_text("#!/bin/sh\nexit 9\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(BuildError, match="apt-get install gcc pkg-config"):
        ffmpeg.ensure(target=T4, say=lambda _: None)
    monkeypatch.setattr(ffmpeg, "NEEDED_MB", 1 << 40)
    for name in ("gcc", "pkg-config"):
        (tools / name).symlink_to(tools / "make")
    with pytest.raises(BuildError, match="must be free"):
        ffmpeg.ensure(target=T4, say=lambda _: None)


def test_a_command_that_fails_is_a_sentence_with_the_log(machine, monkeypatch, capsys):
    """apt itself, refusing: the folder with the sources names an archive that does not exist."""
    if not shutil.which("apt-get"):
        pytest.skip("no apt here")

    def nowhere(folder: Path, codename: str, types: list[str]) -> None:
        for each in ("parts", "lists/partial", "cache/archives/partial"):
            (folder / each).mkdir(parents=True)
        (folder / "sources.list").write_text(f"deb-src [trusted=yes] file:{machine / 'nowhere'} jammy main\n")

    monkeypatch.setattr(ffmpeg_source, "write_own_sources", nowhere)
    assert ffmpeg.main(["--rebuild"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("framelane: apt-get failed: ")
    assert "build.log" in said
    assert (ffmpeg.builds_dir() / "build.log").read_text().startswith("$ apt-get")
    assert not list(ffmpeg.builds_dir().glob(".*"))


def test_the_library_looks_where_the_installer_builds(monkeypatch, tmp_path):
    for variable, value in (
        ("FRAMELANE_CACHE", str(tmp_path)),
        ("XDG_CACHE_HOME", str(tmp_path / "x")),
        ("HOME", "/h"),
    ):
        for each in ("FRAMELANE_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(each, raising=False)
        monkeypatch.setenv(variable, value)
        assert ffmpeg.builds_dir() == used.builds_dir()


def test_tuning_is_called_in_a_process_of_its_own():
    assert setup_tune.command(["--seconds", "5"])[1:] == ["-m", "framelane.cli", "tune", "--seconds", "5"]
    assert setup_tune.main(["--seconds", "no"]) == 2


@pytest.mark.slow
@pytest.mark.timeout(3600)  # two busy cores take long
@pytest.mark.skipif(not shutil.which("apt-get"), reason="no apt here")
def test_an_ffmpeg_is_built_kept_and_restored_for_real(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FRAMELANE_FFMPEG", raising=False)
    said: list[str] = []
    built = ffmpeg.ensure(archive_folder=tmp_path / "drive", say=said.append)
    assert built.how == "built"
    assert {"h264_nvenc", "hevc_nvenc", "h264_cuvid", "hevc_cuvid"} <= set(built.check.lists)
    assert built.check.software.ok
    percents = [line for line in said if "%" in line]
    assert len(percents) > 5
    about = json.loads((built.program.parents[1] / "built.json").read_text())
    assert about["headers"]
    linked = subprocess.run(["ldd", built.program], capture_output=True, text=True, check=True).stdout
    assert "x264" not in linked, "it runs where x264 is not installed"
    if find_gpu()[0] is None:
        assert "no usable NVIDIA driver" in built.check.nvenc.sentence
    assert ffmpeg.ensure(archive_folder=tmp_path / "drive", say=said.append).how == "there"
    shutil.rmtree(tmp_path / "cache")
    again = ffmpeg.ensure(archive_folder=tmp_path / "drive", offline=True, say=said.append)
    assert (again.how, again.key) == ("restored", built.key)
    assert used.ffmpeg_program() == again.program
