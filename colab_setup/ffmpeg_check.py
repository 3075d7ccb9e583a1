"""Does an FFmpeg program work? Found by encoding and decoding a few pictures, never by the names that it lists."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_WIDTH, _HEIGHT, _FRAMES = 320, 192, 5  # NVENC refuses pictures narrower than about 145 pixels
_LARGEST_ERROR = 12.0  # mean grey levels; a wrong picture is off by 60 and more
_TIMEOUT = 60
NO_DRIVER = "no usable NVIDIA driver is on this machine"


@dataclass(frozen=True)
class Trial:
    """What came of trying one thing: whether it worked, and a sentence."""

    ok: bool
    sentence: str


@dataclass(frozen=True)
class Check:
    """What an FFmpeg program can do on this machine.

    Attributes:
        version: as the program says it; "" where it does not run.
        lists: which of NVIDIA's codecs it was built with, such as ``h264_nvenc``.
        software: decoding, and x264 where it was built in, on the CPU.
        nvenc: the encoder of the card.
        nvdec: the decoder of the card.
    """

    version: str
    lists: tuple[str, ...]
    software: Trial
    nvenc: Trial
    nvdec: Trial


def check(program: Path) -> Check:
    """Run the program and try what it is for. A refusal is an answer, never an exception."""
    said, code = run([str(program), "-hide_banner", "-version"])
    found = re.search(r"ffmpeg version (\S+)", said)
    if code != 0 or found is None:
        broken = Trial(False, f"The program {program} does not run: {last_line(said) or 'it printed nothing'}.")
        return Check("", (), broken, broken, broken)
    encoders, _ = run([str(program), "-hide_banner", "-encoders"])
    decoders, _ = run([str(program), "-hide_banner", "-decoders"])
    listed = nvidia_codecs(encoders + decoders)
    frames = pictures()
    software, sample = _software(program, frames, "libx264" in encoders)
    nvenc, encoded = _nvenc(program, frames, listed)
    nvdec = _nvdec(program, frames, listed, sample or encoded)
    if NO_DRIVER in nvenc.sentence and not nvdec.ok:  # FFmpeg misses the decoder's library first, which hides the cause
        nvdec = Trial(False, f"NVDEC, the card's decoder, cannot be used: {NO_DRIVER}.")
    return Check(found[1], listed, software, nvenc, nvdec)


def nvidia_codecs(listing: str) -> tuple[str, ...]:
    """NVIDIA's codecs in the output of ``-encoders`` and ``-decoders``, in alphabetical order."""
    return tuple(sorted(set(re.findall(r"^ \S{6} (\w+_(?:nvenc|cuvid))\b", listing, re.MULTILINE))))


def pictures() -> bytes:
    """Five 320x192 frames in I420: a grey ramp with a bright bar that moves by 16 pixels a frame."""
    ramp = bytes(30 + 170 * x // (_WIDTH - 1) for x in range(_WIDTH))
    chroma = bytes([128]) * (_WIDTH * _HEIGHT // 2)
    frames = []
    for index in range(_FRAMES):
        left = 16 * index
        row = ramp[:left] + bytes([235]) * 32 + ramp[left + 32 :]
        frames.append(row * _HEIGHT + chroma)
    return b"".join(frames)


def _software(program: Path, frames: bytes, x264: bool) -> tuple[Trial, bytes]:
    """Encode with x264, or where that is missing carry the pictures raw, and decode them back."""
    name = "libx264" if x264 else "rawvideo"
    encoded, said, code = _encode(program, name, frames)
    if code != 0 or not encoded:
        return Trial(False, f"{name} failed on a small test clip: {last_line(said)}."), b""
    decoded, said, code = _decode(program, encoded, "")
    wrong = differs(decoded, frames) if code == 0 else f"decoding failed: {last_line(said)}"
    if wrong:
        return Trial(False, f"{name} ran, but {wrong}."), b""
    sentence = f"{_FRAMES} pictures came back right from {name}."
    return Trial(True, sentence), encoded if x264 else b""


def _nvenc(program: Path, frames: bytes, listed: Sequence[str]) -> tuple[Trial, bytes]:
    if "h264_nvenc" not in listed:
        return Trial(False, "h264_nvenc is not built in."), b""
    encoded, said, code = _encode(program, "h264_nvenc", frames)
    if code != 0 or not encoded:
        return Trial(False, refusal(said, "NVENC, the card's encoder")), b""
    decoded, said, code = _decode(program, encoded, "")
    wrong = differs(decoded, frames) if code == 0 else f"its stream cannot be decoded: {last_line(said)}"
    if wrong:
        return Trial(False, f"NVENC ran, but {wrong}."), b""
    return Trial(True, f"h264_nvenc encoded {_FRAMES} pictures that came back right."), encoded


def _nvdec(program: Path, frames: bytes, listed: Sequence[str], sample: bytes) -> Trial:
    if "h264_cuvid" not in listed:
        return Trial(False, "h264_cuvid is not built in.")
    if not sample:
        return Trial(False, "NVDEC was not tried: there is no encoder here that could make a test clip for it.")
    decoded, said, code = _decode(program, sample, "h264_cuvid")
    if code != 0 or not decoded:
        return Trial(False, refusal(said, "NVDEC, the card's decoder"))
    wrong = differs(decoded, frames)
    if wrong:
        return Trial(False, f"NVDEC ran, but {wrong}.")
    return Trial(True, f"h264_cuvid decoded {_FRAMES} pictures to the right ones.")


def encode_command(program: Path, encoder: str) -> list[str]:
    """Raw pictures on stdin to a NUT stream on stdout."""
    size = f"{_WIDTH}x{_HEIGHT}"
    head = [str(program), "-hide_banner", "-nostdin", "-loglevel", "verbose"]
    source = ["-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", size, "-framerate", "25", "-i", "pipe:0"]
    return [*head, *source, "-c:v", encoder, "-f", "nut", "pipe:1"]


def decode_command(program: Path, decoder: str) -> list[str]:
    """A NUT stream on stdin to raw pictures on stdout."""
    head = [str(program), "-hide_banner", "-nostdin", "-loglevel", "verbose"]
    named = ["-c:v", decoder] if decoder else []
    return [*head, *named, "-i", "pipe:0", "-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"]


def _encode(program: Path, encoder: str, frames: bytes) -> tuple[bytes, str, int]:
    return _pipe(encode_command(program, encoder), frames)


def _decode(program: Path, stream: bytes, decoder: str) -> tuple[bytes, str, int]:
    return _pipe(decode_command(program, decoder), stream)


def differs(decoded: bytes, frames: bytes) -> str:
    """What is wrong with decoded pictures, for the end of a sentence; "" where nothing is."""
    size = _WIDTH * _HEIGHT * 3 // 2
    if len(decoded) != len(frames):
        return f"{len(frames) // size} pictures went in and {len(decoded) / size:.3g} came back"
    sampled = range(0, len(frames), 7)  # prime to the row's length: every column is looked at
    error = sum(abs(decoded[i] - frames[i]) for i in sampled) / len(sampled)
    return f"the pictures came back wrong (by {error:.0f} of 255 grey levels)" if error > _LARGEST_ERROR else ""


def refusal(said: str, engine: str) -> str:
    """Why NVIDIA's codecs refused, as a sentence, from FFmpeg's log (libavcodec/nvenc.c, cuviddec.c)."""
    version = re.search(r"Required: (\S+) Found: (\S+)", said)
    needed = re.search(r"minimum required Nvidia driver for nvenc is (\S+)", said)
    if version or (needed and "libcuda" not in said):
        found = f" (it knows interface {version[2]}, {version[1]} is needed)" if version else ""
        newer = f" Driver {needed[1]} or newer is needed." if needed else ""
        return f"{engine}, cannot be used: the driver is too old for this FFmpeg{found}.{newer}"
    causes = (
        (
            r"Cannot load libcuda|CUDA_ERROR_NO_DEVICE|no CUDA-capable device",
            "no usable NVIDIA driver is on this machine",
        ),
        (r"Cannot load (libnvidia-encode|libnvcuvid)", _MISSING_LIBRARY),
        (r"OpenEncodeSessionEx failed: (unsupported device|no encode device)", "this card has no such engine"),
        (r"No capable devices found|no NVENC capable", "this card has no engine that takes the test clip"),
        (
            r"OpenEncodeSessionEx failed: (out of memory|incompatible client key)",
            "the driver refused a session: too many are open, or the card's memory is full",
        ),
    )
    for pattern, cause in causes:
        if re.search(pattern, said, re.IGNORECASE):
            return f"{engine}, cannot be used: {cause}."
    return f"{engine}, cannot be used: {last_line(said) or 'FFmpeg said nothing'}."


_MISSING_LIBRARY = (
    "the driver's video library is missing; a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
)
_IDLE = re.compile(
    r"conversion failed|nothing was (written|encoded)|statistics:|unloaded|^\s*(input|output) stream #|total:|"
    r"^(stream mapping|video:|frame=|\[out#|error (initializing|while opening))",
    re.IGNORECASE,
)


def last_line(said: str) -> str:
    """The last line that says something, without FFmpeg's tag and the full stop."""
    lines = [re.sub(r"^\[[^\]]*\]\s*", "", line).strip() for line in said.splitlines()]
    telling = [line for line in lines if line and not _IDLE.search(line)]
    return telling[-1].rstrip(".") if telling else ""


def run(command: Sequence[str]) -> tuple[str, int]:
    """What a command printed, and its exit code; 127 where it cannot be started."""
    made, said, code = _pipe(command, b"")
    return made.decode(errors="replace") + said, code


def _pipe(command: Sequence[str], data: bytes) -> tuple[bytes, str, int]:
    try:
        done = subprocess.run(list(command), input=data, capture_output=True, check=False, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        return b"", f"it did not end within {_TIMEOUT} seconds", 124
    except OSError as error:
        return b"", str(error.strerror or error), 127
    return done.stdout, done.stderr.decode(errors="replace"), done.returncode
