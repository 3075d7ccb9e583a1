"""What is built and for which machine: command lines, keys and the driver that headers need, as pure functions.

Standard library only: the installer runs before any of its dependencies are there.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class BuildError(Exception):
    """The FFmpeg could not be had; the text is one or more sentences that say why and what to do."""


DECODERS = ("h264", "hevc", "h264_cuvid", "hevc_cuvid", "rawvideo", "wrapped_avframe")
ENCODERS = ("rawvideo", "wrapped_avframe")
NVENC_ENCODERS = ("h264_nvenc", "hevc_nvenc")
HWACCELS = ("h264_nvdec", "hevc_nvdec")
DEMUXERS = ("nut", "mov", "matroska", "rawvideo", "h264", "hevc")
MUXERS = ("nut", "mp4", "mov", "matroska", "rawvideo", "null", "h264", "hevc")
PARSERS = ("h264", "hevc")
BSFS = ("h264_mp4toannexb", "hevc_mp4toannexb", "extract_extradata", "null")
PROTOCOLS = ("file", "pipe")
FILTERS = ("scale", "format", "null", "crop", "pad", "fps", "setpts", "trim", "hwupload", "hwupload_cuda", "hwdownload")

# Colab and some hosts keep the driver's libraries where the loader does not look (colabtools#3588); a program that knows
# the folders itself needs no LD_LIBRARY_PATH.
DRIVER_FOLDERS = ("/usr/lib64-nvidia", "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib")

# The oldest Linux driver for each version of the NVENC interface: FFmpeg, libavcodec/nvenc.c,
# nvenc_print_driver_requirement (5.1 up to 11.1; 7.0 up to 12.2), and for 13.0 the README of nv-codec-headers 13.0.19.
# A program that was compiled with newer headers than the driver knows refuses NVENC altogether; it does not step down.
OLDEST_DRIVER = {
    (8, 1): "390.25", (8, 2): "396.24", (9, 0): "418.30", (9, 1): "435.21", (10, 0): "445.87", (11, 0): "455.28",
    (11, 1): "470.57.02", (12, 0): "520.56.06", (12, 1): "530.41.03", (12, 2): "550.54.14", (13, 0): "570.0",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """The machine that a build is for.

    Attributes:
        system: such as ``"debian12"``.
        codename: the release's name in package archives, such as ``"bookworm"``.
        arch: such as ``"x86_64"``.
        driver: of NVIDIA, such as ``"580.82.07"``; None where there is none.
    """

    system: str
    codename: str
    arch: str
    driver: str | None


def detect_target(root: Path = Path("/")) -> Target:
    """This machine, from ``/etc/os-release`` and ``/proc/driver/nvidia/version``.

    Args:
        root: where those are looked for.
    """
    release = _os_release(root)
    return Target(
        system=f"{release.get('ID', 'unknown')}{release.get('VERSION_ID', '')}",
        codename=release.get("VERSION_CODENAME", ""),
        arch=platform.machine(),
        driver=driver_version(_text(root / "proc/driver/nvidia/version")) or _loaded_driver(),
    )


def _loaded_driver() -> str | None:
    """The driver's version as its management library says, where /proc hides it (in some containers)."""
    import ctypes

    for name in ("libnvidia-ml.so.1", *(f"{folder}/libnvidia-ml.so.1" for folder in DRIVER_FOLDERS)):
        try:
            nvml = ctypes.CDLL(name)
            text = ctypes.create_string_buffer(96)
            if nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(text, 96) == 0:
                nvml.nvmlShutdown()
                return text.value.decode()
        except (OSError, AttributeError):
            continue
    return None


def driver_version(text: str) -> str | None:
    """The version in the text of ``/proc/driver/nvidia/version``; None where it holds none."""
    found = re.search(r"NVRM version:.*?\s(\d{3,}\.\d+(?:\.\d+)?)\s", text)
    return found[1] if found else None


def _os_release(root: Path) -> dict[str, str]:
    lines = _text(root / "etc/os-release").splitlines()
    return {key: value.strip().strip('"') for key, sign, value in (line.partition("=") for line in lines) if sign}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True)
class Fit:
    """Whether packaged headers suit a driver.

    Attributes:
        nvenc: whether to build NVENC in.
        sentence: what was found, for people.
    """

    nvenc: bool
    sentence: str


def fit(headers: str, driver: str | None) -> Fit:
    """Whether headers of a version suit the driver.

    Args:
        headers: version of ``ffnvcodec``, such as ``"12.1.14.0"``.
        driver: None where the machine has none: nothing is ruled out then.
    """
    numbers = version_numbers(headers)
    needed = OLDEST_DRIVER.get((numbers[0], numbers[1])) if len(numbers) > 1 else None
    if driver is None:
        return Fit(True, f"Headers {headers} (driver {needed or 'unknown'} or newer); this machine has no driver.")
    if needed is None:
        return Fit(True, f"Headers {headers} are not in the table of drivers; the trial encode will tell.")
    if version_numbers(driver) >= version_numbers(needed):
        return Fit(True, f"Headers {headers} need driver {needed} or newer; this machine has {driver}.")
    return Fit(
        False,
        f"The packaged headers {headers} are too new for this machine: NVENC would need driver {needed} or newer, and "
        f"{driver} is here. Only decoding (NVDEC) is built in; with a newer driver, run the build again.",
    )


def version_numbers(text: str) -> tuple[int, ...]:
    """``"550.54.14"`` to ``(550, 54, 14)``, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


@dataclass(frozen=True)
class Parts:
    """What goes into a build beside the codecs that always do.

    Attributes:
        nvenc: NVIDIA's encoders.
        x264: libx264, linked into the program.
        assembler: whether ``nasm`` is there.
    """

    nvenc: bool = True
    x264: bool = True
    assembler: bool = True


def configure_options(parts: Parts) -> list[str]:
    """The options of FFmpeg's ``configure``, without paths."""
    encoders = (*ENCODERS, *(NVENC_ENCODERS if parts.nvenc else ()), *(("libx264",) if parts.x264 else ()))
    wanted = {
        "decoder": DECODERS, "encoder": encoders, "hwaccel": HWACCELS, "demuxer": DEMUXERS, "muxer": MUXERS,
        "parser": PARSERS, "bsf": BSFS, "protocol": PROTOCOLS, "filter": FILTERS,
    }  # fmt: skip
    return [
        *(f"--disable-{what}" for what in ("everything", "autodetect", "doc", "debug", "network", "ffplay")),
        "--disable-avdevice",
        *(f"--enable-{what}" for what in ("ffnvcodec", "cuda", "nvdec", "cuvid")),
        "--enable-nvenc" if parts.nvenc else "--disable-nvenc",
        *(("--enable-gpl", "--enable-libx264") if parts.x264 else ()),
        *(() if parts.assembler else ("--disable-x86asm",)),
        *(f"--enable-{what}={','.join(names)}" for what, names in wanted.items()),
    ]


def configure_command(source: Path, parts: Parts) -> list[str]:
    """The whole command line; ``pkg-config`` links static libraries, so that the program needs only the C library."""
    return [
        str(source / "configure"),
        "--pkg-config-flags=--static",
        f"--extra-ldflags=-Wl,-rpath,{':'.join(DRIVER_FOLDERS)}",
        *configure_options(parts),
    ]


def build_environment(base: Mapping[str, str], tools: Path, pkgconfig: Path) -> dict[str, str]:
    """The environment of ``configure`` and ``make``.

    Args:
        base: the environment to start from.
        tools: the folder of unpacked packages, whose ``usr/bin`` may hold ``nasm``.
        pkgconfig: the only folder in which libraries are looked for.
    """
    path = f"{tools / 'usr/bin'}:{base.get('PATH', '/usr/bin:/bin')}"
    dropped = ("CFLAGS", "LDFLAGS", "MAKEFLAGS", "MFLAGS", "PKG_CONFIG_PATH")
    kept = {key: value for key, value in base.items() if key not in dropped}
    return {**kept, "PATH": path, "PKG_CONFIG_LIBDIR": str(pkgconfig), "LC_ALL": "C"}


def recipe_digest(parts: Parts) -> str:
    """Eight hex digits that change with the codecs and options."""
    return hashlib.sha256(json.dumps(configure_options(parts)).encode()).hexdigest()[:8]


def key(target: Target, version: str, parts: Parts) -> str:
    """The name of a build: system, architecture, driver, version of the source package, codecs. One folder's name."""
    return f"{_prefix(target)}-ffmpeg{plain(version)}-{recipe_digest(parts)}"


def key_pattern(target: Target) -> re.Pattern[str]:
    """What the keys of this machine look like, whatever the version; the first group is the version.

    A build without the assembler or without x264 is taken as well: what could be had then is likely what can be had now.
    """
    combinations = [
        Parts(nvenc, x264, assembler)
        for nvenc in (True, False)
        for x264 in (True, False)
        for assembler in (True, False)
    ]
    digests = "|".join(recipe_digest(parts) for parts in combinations)
    return re.compile(rf"{re.escape(_prefix(target))}-ffmpeg([0-9A-Za-z._+~]+)-(?:{digests})")


def _prefix(target: Target) -> str:
    return f"{plain(target.system)}-{plain(target.arch)}-driver{plain(target.driver or 'none')}"


def plain(text: str) -> str:
    """Text as part of a file's name: a version's epoch goes, and what is no letter, digit or one of ``._+~`` is ``.``."""
    return re.sub(r"[^0-9A-Za-z._+~]", ".", re.sub(r"^\d+:", "", text))


def relocated(pc: str, root: Path) -> str:
    """A ``.pc`` file of a package that was unpacked below ``root`` instead of ``/``."""
    return re.sub(r"(^|[=\s]|-[LI])/usr(?=/|\s|$)", lambda found: f"{found[1]}{root}/usr", pc, flags=re.MULTILINE)


def percent(done: int, total: int) -> int:
    """Share of the compiler's steps, 0 to 99: 100 is said once the program was run."""
    return min(99, 100 * done // total) if total else 0


def steps_in(dry_run: str) -> int:
    """How many steps ``make -n`` announces; each prints one line when it runs."""
    return len(re.findall(r'^printf "', dry_run, re.MULTILINE))


def is_step(line: str) -> bool:
    """Whether a line of ``make`` is such a step's: a tool in capitals, a tab, a file."""
    return re.match(r"[A-Z0-9]+\t\S", line) is not None


def in_words(names: Sequence[str]) -> str:
    """``["a", "b", "c"]`` to ``"a, b and c"``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
