"""Project Aria recordings (VRS) as clips, through the optional package ``projectaria-tools``.

A VRS file is no video: it holds many sensors' records, cameras as single JPEG or raw pictures. One camera's pictures are
coded into an ordinary clip with their own capture times; everything else of framelane then works on that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from framelane.errors import FramelaneError, UsageError, chain

CAMERA = "camera-rgb"
_TICKS = 1_000_000  # of a second: capture times are in nanoseconds, and MP4 counts in 32 bits
_TURNED = -1  # quarter turns: Aria's cameras are mounted a quarter turn to the left


def is_recording(path: Path) -> bool:
    """Whether a path is named like a VRS recording."""
    return path.suffix.lower() == ".vrs"


@contextmanager
def as_clip(path: Path, beside: Path) -> Iterator[Path]:
    """The path itself, or for a recording a clip made of it, which is removed at the end.

    Args:
        path: any input.
        beside: the output; the clip is made in its folder.
    """
    if not is_recording(path):
        yield path
        return
    provider = _opened(path)  # first: what cannot be read leaves no folder behind
    beside.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside.parent, prefix=".aria-") as folder:
        clip = Path(folder) / f"{path.stem}.mkv"
        _convert(provider, path, clip, CAMERA)
        yield clip


def convert(path: Path, clip: Path, camera: str = CAMERA) -> int:
    """Code one camera of a recording into a clip, upright, nearly without loss.

    Args:
        path: the ``.vrs`` file.
        clip: the ``.mkv`` or ``.mp4`` to write.
        camera: the stream's label.

    Returns:
        How many pictures there were.

    Raises:
        UsageError: the package is not installed, the file is no recording, or it has no such camera.
        FramelaneError: a picture cannot be read or written.
    """
    return _convert(_opened(path), path, clip, camera)


def _convert(provider: Any, path: Path, clip: Path, camera: str) -> int:
    import av

    stream_id = provider.get_stream_id_from_label(camera)
    if stream_id is None:
        labels = sorted(str(provider.get_label_from_stream_id(each)) for each in provider.get_all_streams())
        raise UsageError(f"The recording {path} has no stream {camera!r}; it has {', '.join(labels)}.")
    count = first = 0
    try:
        with av.open(str(clip), "w") as target:
            stream: Any = target.add_stream("libx264", rate=30, options={"crf": "12", "preset": "veryfast"})
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, _TICKS)
            for time_ns, picture in _pictures(provider, stream_id):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                if not count:
                    first, (stream.height, stream.width) = time_ns, picture.shape[:2]
                frame.pts, frame.time_base = (time_ns - first) * _TICKS // 1_000_000_000, Fraction(1, _TICKS)
                target.mux(stream.encode(frame))
                count += 1
            target.mux(stream.encode(None))
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise FramelaneError(f"The recording {path} cannot be made into a clip ({chain(error)}).") from error
    if not count:
        raise FramelaneError(f"The recording {path} has no pictures of {camera!r}.")
    return count


def _pictures(provider: Any, stream_id: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Capture time in nanoseconds and RGB ``(H, W, 3)``, upright, sides even, in order."""
    for index in range(provider.get_num_data(stream_id)):
        image, record = provider.get_image_data_by_index(stream_id, index)
        picture = np.asarray(image.to_numpy_array())
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, axis=2)
        picture = np.rot90(picture, _TURNED)
        height, width = (side - side % 2 for side in picture.shape[:2])
        yield int(record.capture_timestamp_ns), np.ascontiguousarray(picture[:height, :width, :3], np.uint8)


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
    provider = data_provider.create_vrs_data_provider(str(path))
    if provider is None:
        raise UsageError(f"{path} is no Project Aria recording, or it is damaged: projectaria-tools cannot open it.")
    return provider
