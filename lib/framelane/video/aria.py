"""Project Aria recordings (VRS) as clips, through the optional package ``projectaria-tools``.

A VRS file is no video: it holds many sensors' records, cameras as single pictures. One camera's pictures are coded into an
ordinary clip with their own capture times; everything else of framelane then works on that.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from framelane.errors import Cancelled, FramelaneError, UsageError, chain
from framelane.video.colour import BT709, LIMITED, ColourTags, from_rgb

CAMERA = "camera-rgb"
_TICKS = 1_000_000  # of a second: capture times are in nanoseconds, and MP4 counts in 32 bits
_TURNED = -1  # quarter turns: the cameras of the first glasses are mounted a quarter turn to the left
_UPRIGHT = "oatmeal"  # the tag device_type of Aria Gen 2, whose pictures are upright
_COLOUR = ColourTags(matrix=BT709, range=LIMITED)  # said in the clip: what says nothing is read in two ways


@dataclass(frozen=True)
class Converted:
    """What a clip was made of.

    Attributes:
        path: the clip; what was no recording, as it was.
        frames: pictures in it.
        left_out: pictures that cannot be decoded, or are not later than the one before.
    """

    path: Path
    frames: int = 0
    left_out: int = 0


def is_recording(path: Path) -> bool:
    """Whether a path is named like a VRS recording."""
    return path.suffix.lower() == ".vrs"


@contextmanager
def as_clip(
    path: Path, beside: Path, check: Callable[[], None] = lambda: None, cancel: threading.Event | None = None
) -> Iterator[Converted]:
    """The path itself, or for a recording a clip made of it, which is removed at the end.

    Args:
        path: any input.
        beside: the output; the clip is made in its folder.
        check: called before a clip is made, which may take long, and after the recording was opened: what cannot be read
            leaves nothing behind. It raises to refuse.
        cancel: set it to stop.
    """
    provider = _opened(path) if is_recording(path) else None
    check()
    if provider is None:
        yield Converted(path)
        return
    beside.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside.parent, prefix=".aria-") as folder:
        # MP4: Matroska would round the times to milliseconds, and no two of its files are the same to a resume.
        yield _convert(provider, path, Path(folder) / f"{path.stem}.mp4", CAMERA, cancel or threading.Event())


def convert(path: Path, clip: Path, camera: str = CAMERA) -> Converted:
    """Code one camera of a recording into a clip, upright, nearly without loss.

    Args:
        path: the ``.vrs`` file.
        clip: the ``.mp4`` or ``.mkv`` to write; MP4 keeps the times to a microsecond, Matroska to a millisecond.
        camera: the stream's label.

    Raises:
        UsageError: the package is not installed, the file is no recording, or it has no such camera.
        FramelaneError: no picture can be read, or the clip cannot be written.
    """
    return _convert(_opened(path), path, clip, camera, threading.Event())


def _convert(provider: Any, path: Path, clip: Path, camera: str, cancel: threading.Event) -> Converted:
    import av

    pictures = _Pictures(provider, _stream(provider, path, camera))
    first: int | None = None
    try:
        with av.open(str(clip), "w") as target:
            stream: Any = target.add_stream("libx264", rate=30, options={"crf": "12", "preset": "veryfast"})
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, _TICKS)
            stream.codec_context.colorspace, stream.codec_context.color_range = _COLOUR.matrix, _COLOUR.range
            for time_ns, picture in pictures:
                if cancel.is_set():
                    raise Cancelled(f"Cancelled while a clip was made of {path}; nothing of it is kept.")
                if first is None:
                    first, (stream.height, stream.width) = time_ns, picture.shape[:2]
                frame = from_rgb(picture.transpose(2, 0, 1), _COLOUR, "yuv420p")
                frame.pts, frame.time_base = (time_ns - first) * _TICKS // 1_000_000_000, Fraction(1, _TICKS)
                target.mux(stream.encode(frame))
            target.mux(stream.encode(None))
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise FramelaneError(f"The recording {path} cannot be made into a clip ({chain(error)}).") from error
    if first is None:
        raise FramelaneError(f"None of the {pictures.left_out} pictures of {camera!r} in {path} can be read.")
    return Converted(clip, pictures.count, pictures.left_out)


def _stream(provider: Any, path: Path, camera: str) -> Any:
    """The camera's stream; that a label is known to projectaria-tools does not say that the recording has it."""
    present = [each for each in provider.get_all_streams() if provider.get_num_data(each)]
    found = provider.get_stream_id_from_label(camera)
    if found in present:
        return found
    labels = sorted(str(provider.get_label_from_stream_id(each) or each) for each in present)
    raise UsageError(f"The recording {path} has no pictures of {camera!r}; it has {', '.join(labels) or 'no data'}.")


class _Pictures:
    """Capture time in nanoseconds and RGB ``(H, W, 3)``, upright, sides even, in order of time.

    Attributes:
        count: pictures that were given.
        left_out: pictures that cannot be decoded, or are not later than the one before.
    """

    def __init__(self, provider: Any, stream_id: Any) -> None:
        self.provider, self.stream_id = provider, stream_id
        self.upright = str(provider.get_file_tags().get("device_type", "")).lower() == _UPRIGHT
        self.count = self.left_out = 0

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        latest = None
        for index in range(self.provider.get_num_data(self.stream_id)):
            image, record = self.provider.get_image_data_by_index(self.stream_id, index)
            time_ns, pixels = int(record.capture_timestamp_ns), _pixels(image)
            # A microsecond is the clip's tick: nearer pictures would share one.
            if pixels is None or (latest is not None and time_ns < latest + 1_000_000_000 // _TICKS):
                self.left_out += 1
                continue
            latest = time_ns
            self.count += 1
            picture = pixels if self.upright else np.rot90(pixels, _TURNED)
            height, width = (side - side % 2 for side in picture.shape[:2])
            yield time_ns, np.ascontiguousarray(picture[:height, :width, :3], np.uint8)


def _pixels(image: Any) -> np.ndarray | None:
    """``(H, W, 3)``, or None for a picture that was lost or cannot be decoded."""
    if not image.is_valid():
        return None
    try:
        pixels = np.asarray(image.to_numpy_array())
    except RuntimeError:  # std::bad_optional_access: the bytes are no JPEG
        return None
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    try:
        from projectaria_tools.core import data_provider
    except ImportError as error:
        raise UsageError(
            f"{path} is a Project Aria recording; to read it, install projectaria-tools: pip install 'framelane[aria]' "
            f"({chain(error)})."
        ) from error
    try:
        provider = data_provider.create_vrs_data_provider(str(path))
    except RuntimeError:  # what begins like a recording and was cut off
        provider = None
    if provider is None:
        raise UsageError(f"{path} is no Project Aria recording, or it is damaged: projectaria-tools cannot open it.")
    return provider
