"""Which encoders and decoders work here: found by encoding and decoding a few frames, never by asking a name.

FFmpeg lists ``h264_nvenc`` on machines without a GPU, so a list of names proves nothing.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from framelane.errors import FramelaneError, chain

CPU_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
GPU_ENCODERS = {"h264": "h264_nvenc", "hevc": "hevc_nvenc"}
ENCODERS = (*CPU_ENCODERS.values(), *GPU_ENCODERS.values())
DECODERS = ("cpu", "cuda")

_FRAMES = 5
_HEIGHT, _WIDTH = 192, 320  # NVENC refuses pictures narrower than about 145 pixels
_LARGEST_ERROR = 12.0  # mean grey levels; a wrong picture is off by 60 and more


@dataclass(frozen=True)
class Probe:
    """What came of trying an encoder or decoder.

    Attributes:
        name: FFmpeg's name of the encoder, or ``"cpu"``/``"cuda"`` for a decoder.
        ok: True where frames went through and came back right.
        reason: one sentence saying what worked, or why it did not.
    """

    name: str
    ok: bool
    reason: str


def _pattern(index: int, height: int = _HEIGHT, width: int = _WIDTH) -> np.ndarray:
    """Grey ramp with a bright bar that moves by 16 pixels a frame; uint8 (H, W, 3)."""
    ramp = np.linspace(30, 200, width, dtype=np.float32).astype(np.uint8)
    picture = np.broadcast_to(ramp[None, :, None], (height, width, 3)).copy()
    left = (16 * index) % (width - 32)
    picture[:, left : left + 32] = 235
    return picture


def _encode(name: str, frames: list[Any]) -> bytes:
    """Encode frames (``av.VideoFrame``) to an MP4 in memory."""
    import av

    buffer = io.BytesIO()
    # x265 writes to stderr by itself unless told not to.
    options = {"x265-params": "log-level=none"} if name == "libx265" else {}
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream(name, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        for frame in [*frames, None]:
            container.mux(stream.encode(frame))
    return buffer.getvalue()


def made_clip() -> bytes:
    """A small H.264 clip as an MP4: what probes of decoders decode."""
    return _encode(CPU_ENCODERS["h264"], _make_frames(_FRAMES))


def _decode(data: bytes, hwaccel: Any = None) -> list[np.ndarray]:
    """Decode an MP4 in memory to uint8 arrays (H, W, 3)."""
    import av

    with av.open(io.BytesIO(data), hwaccel=hwaccel) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _make_frames(count: int, height: int = _HEIGHT, width: int = _WIDTH) -> list[Any]:
    import av

    return [av.VideoFrame.from_ndarray(_pattern(i, height, width), format="rgb24") for i in range(count)]


def _differs(decoded: list[np.ndarray]) -> str | None:
    """A sentence where the decoded pictures are not those of :func:`_pattern`, else None."""
    if len(decoded) != _FRAMES:
        return f"{_FRAMES} frames went in and {len(decoded)} came back."
    error = max(float(np.abs(_pattern(i).astype(np.int16) - picture).mean()) for i, picture in enumerate(decoded))
    return None if error <= _LARGEST_ERROR else f"The pictures came back wrong (by {error:.0f} of 255 grey levels)."


def _refusal(name: str, error: Exception) -> str:
    """Why FFmpeg refused, for a person. NVIDIA's codecs report a missing driver as "operation not permitted"."""
    from av.error import PermissionError as AvPermissionError

    nvidia = name == "cuda" or name.endswith("_nvenc")
    engine = "NVENC, the GPU's video encoder" if name.endswith("_nvenc") else "NVDEC, the GPU's video decoder"
    if nvidia and isinstance(error, AvPermissionError):
        return f"{engine}, cannot be reached: no usable NVIDIA driver was found on this machine."
    if nvidia:
        return (
            f"{engine}, did not accept a small test clip: the GPU may lack it, the driver may be too old, or a "
            f"container may need NVIDIA_DRIVER_CAPABILITIES=compute,utility,video ({chain(error)})."
        )
    return f"FFmpeg's {name} failed on a small test clip ({chain(error)})."


@cache
def probe_encoder(name: str) -> Probe:
    """Encode five 320x192 frames in memory and decode them back; the answer is kept for this process.

    Args:
        name: FFmpeg's name, such as one of :data:`ENCODERS`.

    Returns:
        The outcome; a refusal is an answer, never an exception.
    """
    import av

    if name not in av.codecs_available:
        return Probe(name, False, f"The FFmpeg inside PyAV was built without the encoder {name!r}.")
    try:
        wrong = _differs(_decode(_encode(name, _make_frames(_FRAMES))))
    except Exception as error:  # whatever a codec throws is its answer to the probe
        return Probe(name, False, _refusal(name, error))
    if wrong:
        return Probe(name, False, f"The encoder {name} ran, but {wrong[0].lower()}{wrong[1:]}")
    return Probe(name, True, f"Encoded {_FRAMES} test frames that decode to the same pictures.")


@cache
def probe_decoder(name: Literal["cpu", "cuda"]) -> Probe:
    """Decode a tiny H.264 clip made in memory; the answer is kept for this process.

    Args:
        name: ``"cpu"`` for FFmpeg's own decoder, ``"cuda"`` for NVDEC without software fallback.

    Returns:
        The outcome; a refusal is an answer, never an exception.
    """
    from av.codec.hwaccel import HWAccel

    try:
        hwaccel = HWAccel("cuda", allow_software_fallback=False) if name == "cuda" else None
        wrong = _differs(_decode(_encode(CPU_ENCODERS["h264"], _make_frames(_FRAMES)), hwaccel))
    except Exception as error:  # whatever a codec throws is its answer to the probe
        return Probe(name, False, _refusal(name, error))
    if wrong:
        return Probe(name, False, f"The decoder ran, but {wrong[0].lower()}{wrong[1:]}")
    return Probe(name, True, f"Decoded {_FRAMES} test frames to the right pictures.")


def encode_fps(name: str, *, frames: int = 40, size: tuple[int, int] = (360, 640)) -> float:
    """Frames per second that an encoder reaches with its default preset on a moving test pattern.

    A rough figure to compare encoders of one machine with each other: real pictures are harder.

    Args:
        name: an encoder for which :func:`probe_encoder` is ok.
        frames: frames encoded.
        size: (height, width) in pixels.

    Raises:
        FramelaneError: the encoder does not work here.
    """
    probe = probe_encoder(name)
    if not probe.ok:
        raise FramelaneError(probe.reason)
    pictures = _make_frames(frames, *size)
    begun = time.perf_counter()
    _encode(name, pictures)
    return frames / (time.perf_counter() - begun)
