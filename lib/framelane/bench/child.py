"""One measurement in a process of its own: ``python -m framelane.bench.child TASK …`` prints one JSON object.

The clock starts when everything is imported and stops when the output is complete.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Task = Callable[..., dict[str, Any]]


def pipeline(processor: str, clip: str, output: str, threads: str) -> dict[str, Any]:
    """The real path, :func:`framelane.run.process_video`, without the GIF."""
    import torch  # noqa: F401  the first frame's RGB would import it

    import framelane.bench.processors  # noqa: F401  registers them
    from framelane.processors.base import names
    from framelane.run import process_video

    names()  # imports the processors that are built in
    started, used = time.perf_counter(), time.process_time()
    overrides = {"gif.enabled": False, "output.overwrite": True, "hardware.threads": int(threads)}
    result = process_video(clip, processor, output=output, profile="cpu", overrides=overrides)
    found = _since(started, used, result.report["frames"])
    return {**found, "stage_ms": result.report["stage_ms"]}


def _since(started: float, used: float, frames: int) -> dict[str, Any]:
    """Seconds on the clock and of the CPU since then."""
    return {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - used, "frames": frames}


def pyav(clip: str, output: str, threads: str) -> dict[str, Any]:
    """What a first script with PyAV does: one loop, every frame through packed RGB and back; no audio."""
    import av

    started, used = time.perf_counter(), time.process_time()
    frames = 0
    with av.open(clip) as source, av.open(output, "w") as target:
        stream = source.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", int(threads)
        out = target.add_stream("libx264", rate=stream.average_rate, options={"preset": "medium", "crf": "20"})
        out.width, out.height, out.pix_fmt = stream.width, stream.height, "yuv420p"
        out.codec_context.thread_count = int(threads)
        for frame in source.decode(stream):
            target.mux(out.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")))
            frames += 1
        target.mux(out.encode(None))
    return _since(started, used, frames)


def cv2_loop(clip: str, output: str, _threads: str) -> dict[str, Any]:
    """What a first script with OpenCV does: read, write; no audio. H.264 where the build has it, else MPEG-4."""
    import cv2

    started, used = time.perf_counter(), time.process_time()
    source = cv2.VideoCapture(clip)
    size = int(source.get(cv2.CAP_PROP_FRAME_WIDTH)), int(source.get(cv2.CAP_PROP_FRAME_HEIGHT))
    for codec in ("avc1", "mp4v"):
        target = cv2.VideoWriter(output, cv2.VideoWriter.fourcc(*codec), source.get(cv2.CAP_PROP_FPS), size)
        if target.isOpened():
            break
    frames = 0
    while True:
        more, frame = source.read()
        if not more:
            break
        target.write(frame)
        frames += 1
    target.release()
    return {**_since(started, used, frames), "codec": codec}


def stages(frames: str) -> dict[str, Any]:
    """Three sleeping stages, and the slowest of them alone; see :mod:`framelane.bench.stages`."""
    from framelane.bench.stages import pipelined, slowest_alone

    with tempfile.TemporaryDirectory() as folder:
        return {"seconds": pipelined(Path(folder), int(frames)), "alone": slowest_alone(int(frames))}


def video(part: str, *arguments: str) -> dict[str, Any]:
    """A part of :mod:`framelane.bench.video_parts`, by name."""
    from framelane.bench import video_parts

    parts = (video_parts.decode, video_parts.convert, video_parts.resize, video_parts.encode, video_parts.whole)
    found: dict[str, Any] = {task.__name__: task for task in parts}[part](*arguments)
    return found


TASKS: dict[str, Task] = {
    "pipeline": pipeline,
    "pyav": pyav,
    "cv2": cv2_loop,
    "stages": stages,
    "video": video,
}


def peak_mb() -> float:
    """The most memory this process ever held, in MB (10^6 bytes), children excluded.

    From ``/proc`` where there is one: the figure of ``getrusage`` survives ``exec``, so that a small child of a large
    parent would report the parent's.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError, ValueError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main(arguments: list[str]) -> None:
    """Do the task that is named first with the rest as its arguments, and print what it found."""
    found = TASKS[arguments[0]](*arguments[1:])
    print(json.dumps({**found, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main(sys.argv[1:])
