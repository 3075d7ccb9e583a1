"""Small pictures of a result, made by a process of their own: a short clip that loops, and moments before and after.

``python -m framelane.notebook.shots RESULT ORIGINAL FOLDER LABEL`` writes ``loop.mp4``, ``before_N.jpg``, ``after_N.jpg``
and at last ``done.json``, which says what there is. The kernel starts it, and decodes nothing itself. Where a label must be
said of every picture of a result, it stands on these, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError
from framelane.resources import cache_dir

MOMENTS = 5
LOOP_BYTES, PICTURE_BYTES = 600_000, 60_000
"""The most that a looping clip, and one picture, may have."""
_LOOP_S, _LOOP_FPS, _LOOP_WIDE, _WIDE = 4.0, 12, 360, 640
_LOOP_QUALITIES = (28, 34, 40, 46)
_QUALITIES = (82, 70, 55, 40, 25, 10)
_PATIENCE_S = 60.0
_DONE = "done.json"


def shots_of(
    output: Path, original: Path | None, says: str = "", wait: Callable[[], object] = lambda: time.sleep(0.05)
) -> Path | None:
    """The folder with a result's pictures, made now where they are not there yet; None where they cannot be made.

    Args:
        output: the result.
        original: its clip, where that is still there.
        says: what must be said of every picture of the result.
        wait: is called again and again until they are made.
    """
    try:
        state = output.stat()
    except OSError:
        return None
    if original is not None and not original.exists():
        original = None
    key = f"{output.absolute()}\0{state.st_size}\0{state.st_mtime_ns}\0{original or ''}\0{says}"
    folder = cache_dir() / "shots" / hashlib.sha256(os.fsencode(key)).hexdigest()[:32]
    if (folder / _DONE).exists():
        return folder
    command = [sys.executable, "-m", "framelane.notebook.shots", str(output), str(original or ""), str(folder), says]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    end = time.monotonic() + _PATIENCE_S
    with subprocess.Popen(command, **quiet) as child:  # type: ignore[call-overload]
        try:
            while child.poll() is None and time.monotonic() < end:
                wait()
        finally:
            if child.poll() is None:
                child.kill()
    return folder if (folder / _DONE).exists() else None


def main(arguments: list[str]) -> int:
    """What the process does."""
    output, original, folder, says = Path(arguments[0]), arguments[1], Path(arguments[2]), arguments[3]
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Any] = {"loop": False, "after": 0, "before": 0}
    made["loop"] = _tried(lambda: make_loop(output, folder / "loop.mp4", says))
    length = _length(output)
    moments = [length * (2 * index + 1) / (2 * MOMENTS) for index in range(MOMENTS)]
    made["after"] = _tried(lambda: _pictures(output, moments, folder, "after", says)) or 0
    if original and made["after"]:
        made["before"] = _tried(lambda: _pictures(Path(original), moments, folder, "before")) or 0
    part = folder / f"{_DONE}.part"
    part.write_text(json.dumps({**made, "moments": [round(moment, 2) for moment in moments]}))
    part.replace(folder / _DONE)
    return 0


def _tried(make: Callable[[], Any]) -> Any:
    """A result without its pictures is still a result."""
    import av

    try:
        return make()
    except (FramelaneError, av.error.FFmpegError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return None


def make_loop(video: Path, path: Path, says: str = "", most: int = LOOP_BYTES) -> bool:
    """A few seconds from the middle of a video, small and without sound, as an H.264 MP4 that any browser plays.

    Args:
        video: the result.
        path: to be written.
        says: as in :func:`shots_of`.
        most: bytes; where no quality gets below, there is none.
    """
    length = _length(video)
    begin = max(0.0, (length - _LOOP_S) / 2)
    images = [_said(image, says) for image in _frames(video, begin, min(length, begin + _LOOP_S), _LOOP_FPS)]
    for quality in _LOOP_QUALITIES if images else ():
        _encode(images, path, quality)
        if path.stat().st_size <= most:
            return True
        path.unlink()
    return False


def _frames(video: Path, begin: float, end: float, fps: int) -> Iterator[Any]:
    """Small PIL images of even sides, as displayed, about so many a second."""
    from framelane.video.clip import open_container, video_stream

    with open_container(video) as container:
        stream = video_stream(container, video)
        first = float((stream.start_time or 0) * stream.time_base)
        container.seek(int((begin + first) / stream.time_base), stream=stream)
        wanted = begin
        for frame in container.decode(stream):
            at = (frame.time or 0.0) - first
            if at >= end:
                return
            if at >= wanted - 1e-6:
                wanted = max(wanted + 1 / fps, at)
                yield _shown(frame, stream.sample_aspect_ratio, _LOOP_WIDE, even=True)


def _shown(frame: Any, aspect: Any, longest: int, *, even: bool = False) -> Any:
    """A frame as displayed: turned, its pixels made square, its longer side at most so long."""
    image = frame.to_image()
    pixel = float(aspect or 1)
    if turned := round(frame.rotation / 90) % 4:
        image = image.rotate(90 * turned, expand=True)
        pixel = 1 / pixel if turned % 2 else pixel
    scale = min(longest / (image.width * pixel), longest / image.height, 1.0)
    sides = [max(2, round(side * scale)) for side in (image.width * pixel, image.height)]
    return image.resize(tuple(side - side % 2 for side in sides) if even else tuple(sides))


def _said(image: Any, says: str) -> Any:
    """A picture of a result, with what must be said of it."""
    if not says:
        return image
    import numpy as np
    from PIL import Image

    from framelane.engine.preview import labelled

    return Image.fromarray(labelled(np.asarray(image), says))


def _encode(images: list[Any], path: Path, quality: int) -> None:
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream(
            "libx264", rate=_LOOP_FPS, options={"crf": str(quality), "preset": "veryfast"}
        )
        stream.width, stream.height = images[0].size
        stream.pix_fmt = "yuv420p"
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = index, Fraction(1, _LOOP_FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _pictures(video: Path, moments: list[float], folder: Path, name: str, says: str = "") -> int:
    """Pictures of a video at some moments; returns how many, which is all of them or none."""
    from framelane.video.clip import open_container, video_stream

    images = []
    with open_container(video) as container:
        stream = video_stream(container, video)
        first = stream.start_time or 0
        for moment in moments:
            wanted = first + int(moment / stream.time_base)
            container.seek(wanted, stream=stream)
            found = None
            for frame in container.decode(stream):
                if found is not None and frame.pts is not None and frame.pts > wanted:
                    break
                found = frame
            if found is None:
                return 0
            images.append(_said(_shown(found, stream.sample_aspect_ratio, _WIDE), says))
    for index, image in enumerate(images):
        _save(image, folder / f"{name}_{index}.jpg")
    return len(images)


def _save(image: Any, path: Path) -> None:
    for quality in _QUALITIES:
        image.save(path, "JPEG", quality=quality, optimize=True)
        if path.stat().st_size <= PICTURE_BYTES:
            return


def _length(video: Path) -> float:
    """Seconds of its picture."""
    from framelane.video.clip import open_container, video_stream

    with open_container(video) as container:
        stream = video_stream(container, video)
        if stream.duration:
            return float(stream.duration * stream.time_base)
        return float(container.duration or 0) / 1e6


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
