"""What ``framelane bench video`` measures, each in a process of its own: a stage alone, or the whole job.

A stage takes whole frame batches of a real clip where a job has them: on the host for the CPU's rungs, in device memory for
the GPU's. Its clock starts after one warm-up batch.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from framelane.bench.engines import Engines

_BATCH = 4
_HELD = 32  # frames kept in memory to encode from, so that decoding is not measured


def decode(clip: str, rung: str, threads: str) -> dict[str, Any]:
    """Frames per second of framelane's reader on a rung, as far as frames in the rung's own memory."""
    batches = _reader(clip, rung, threads).batches(_BATCH)
    next(batches)
    return _timed(lambda: sum(len(batch) for batch in batches), rung)


def convert(clip: str, rung: str, threads: str) -> dict[str, Any]:
    """To RGB and back to the encoder's planes, as a job does to every frame that is drawn on."""
    held, tags = _held(clip, rung, threads)
    return _over(held, _on_device(held[0], tags) if rung != "cpu" else _on_host(tags), rung)


def resize(clip: str, rung: str, threads: str) -> dict[str, Any]:
    """Planes made half as wide and half as high, no RGB in between."""
    from framelane.video import colour
    from framelane.video.convert import resize as on_device

    held, tags = _held(clip, rung, threads)
    size = (held[0].width // 4 * 2, held[0].height // 4 * 2)

    def one(frame: Any) -> Any:
        return on_device(frame, size) if rung != "cpu" else colour.resized(frame, size, tags)

    return _over(held, one, rung)


def encode(clip: str, rung: str, threads: str) -> dict[str, Any]:
    """Framelane's writer on a rung, from frames in memory, the closed file included; default quality and presets."""
    from framelane.video.clip import probe
    from framelane.video.frames import FrameBatch, Layout
    from framelane.video.writer import open_writer

    made = probe(Path(clip))
    held, _ = _held(clip, rung, threads)
    layout = Layout(made.width, made.height, made.time_base, 0, made.colour)
    tick = round(1 / (made.rate * made.time_base))
    total = max(made.expected_frames, _HELD)

    def run() -> int:
        with tempfile.TemporaryDirectory(prefix="framelane-") as folder:
            writer = open_writer(Path(folder) / "encoded.nut", _spec(made, rung, int(threads)))
            frames = itertools.islice(itertools.cycle(held), total)
            for start, batch in zip(range(0, total, _BATCH), _pieces(frames), strict=False):
                times = tuple(tick * (start + k) for k in range(len(batch)))
                writer.write(FrameBatch(batch, times, (tick,) * len(batch), start, layout))
            writer.close()
        return total

    return _timed(run, rung)


def whole(clip: str, processor: str, decoder: str, encoder: str, threads: str) -> dict[str, Any]:
    """A whole job: probing, choosing, decoding, processing, encoding, checkpoints, joining, verifying, syncing."""
    import torch

    import framelane.bench.processors  # noqa: F401  registers them
    from framelane.processors.base import names
    from framelane.run import process_video
    from framelane.video.copies import COPIES

    names()  # imports the processors that are built in
    on_card = (decoder, encoder) != ("cpu", "cpu")
    overrides = {
        "gif.enabled": False, "output.overwrite": True, "hardware.threads": int(threads), "engine.segment_seconds": 2,
        "hardware.decoder": decoder, "hardware.encoder": encoder,
    }  # fmt: skip
    segments: list[int] = []

    def heard(event: Any) -> None:
        if on_card and event["event"] == "segment":
            segments.append(int(torch.cuda.memory_stats()["segment.all.allocated"]))

    with tempfile.TemporaryDirectory(prefix="framelane-") as folder, Engines() as engines:
        COPIES.reset()
        started, used = time.perf_counter(), time.process_time()
        result = process_video(
            clip, processor, output=Path(folder) / "out.mp4", profile="auto" if on_card else "cpu", overrides=overrides,
            progress=heard,
        )  # fmt: skip
        found = _figures(result.report["frames"], started, used)
    counted = COPIES.counted()
    return {
        **found, "busy": engines.busy(), "stage_ms": result.report["stage_ms"],
        "decoder": result.report["decoder"], "encoder": result.report["encoder"],
        "copies": {way: round(counted[way] / found["frames"], 3) for way in ("uploads", "downloads")},
        # cudaMalloc calls of torch's allocator from the end of the first segment to that of the last.
        "malloc_after_warm_up": segments[-1] - segments[0] if segments else None,
    }  # fmt: skip


def _reader(clip: str, rung: str, threads: str) -> Any:
    from framelane.video.clip import probe
    from framelane.video.decoders import rung_named
    from framelane.video.reader import open_reader

    device = "cpu" if rung == "cpu" else "cuda"
    return open_reader(probe(Path(clip)), int(threads), rung=rung_named(rung), device=device)


def _held(clip: str, rung: str, threads: str) -> tuple[list[Any], Any]:
    """The first frames, on the host or (any GPU's rung) uploaded; and the clip's colour tags."""
    from framelane.video.transfer import upload

    reader = _reader(clip, "cpu", threads)
    frames = [frame for batch in itertools.islice(reader.batches(_BATCH), _HELD // _BATCH) for frame in batch.planes]
    if rung != "cpu":
        frames = [upload(frame, "cuda") for frame in frames]
        for frame in frames:
            frame.host = None
    return frames, reader.clip.colour


def _on_host(tags: Any) -> Callable[[Any], Any]:
    import numpy as np

    from framelane.video import colour

    def one(frame: Any) -> Any:
        rgb = np.empty((3, frame.height, frame.width), np.uint8)
        colour.to_rgb(frame, tags, rgb)
        return colour.from_rgb(rgb, tags, "yuv420p")

    return one


def _on_device(first: Any, tags: Any) -> Callable[[Any], Any]:
    import torch

    from framelane.video.convert import from_rgb, to_rgb

    out = torch.empty((3, first.height, first.width), dtype=torch.uint8, device=first.device)
    return lambda surface: from_rgb(to_rgb(surface, tags, out), tags)


def _over(held: list[Any], one: Callable[[Any], Any], rung: str) -> dict[str, Any]:
    """One thing done to every frame held, several times over."""
    for frame in held[:_BATCH]:
        one(frame)

    def run() -> int:
        for _ in range(4):
            for frame in held:
                one(frame)
        return 4 * len(held)

    return _timed(run, rung)


def _timed(run: Callable[[], int], rung: str) -> dict[str, Any]:
    """Frames and seconds of a function that returns the frames it did; the card's queue is waited for."""
    with Engines() as engines:
        started, used = time.perf_counter(), time.process_time()
        frames = run()
        if rung != "cpu" and "torch" in sys.modules:
            sys.modules["torch"].cuda.synchronize()
        found = _figures(frames, started, used)
    return {**found, "busy": engines.busy()}


def _figures(frames: int, started: float, used: float) -> dict[str, Any]:
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    return {"frames": frames, "seconds": seconds, "cpu_s": cpu, "fps": round(frames / seconds, 2)}


def _pieces(frames: Iterator[Any]) -> Iterator[tuple[Any, ...]]:
    while piece := tuple(itertools.islice(frames, _BATCH)):
        yield piece


def _spec(clip: Any, rung: str, threads: int) -> Any:
    """As a job would encode a clip that is drawn on."""
    from framelane.settings import load
    from framelane.video.codecs import CPU_ENCODERS, GPU_ENCODERS
    from framelane.video.encoders.choice import EncoderChoice, spec_of
    from framelane.video.ffmpeg import ffmpeg_program

    name = (CPU_ENCODERS if rung == "cpu" else GPU_ENCODERS)["h264"]
    choice = EncoderChoice(rung, name, program=str(ffmpeg_program() or "") if rung == "ffmpeg" else "")
    device = "cpu" if rung == "cpu" else "cuda"
    return spec_of(clip, load().settings, choice, threads=threads, touches=True, device=device)[0]
