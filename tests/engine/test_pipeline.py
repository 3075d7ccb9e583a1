"""Errors, cancelling, memory and side-by-side work of the pipeline."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import framelane
import support.processors
from framelane.engine.channel import Aborted, Channel
from framelane.errors import FramelaneError, OutOfMemory
from framelane.memory import is_out_of_memory
from framelane.processors.base import OutputSpec, Processor
from support.clips import STREET, WALKER, needs_ffmpeg, synthetic
from support.read import frame_hashes

FAST = {"gif.enabled": False, "output.preset": "ultrafast", "engine.segment_seconds": 1, "engine.min_free_mb": 0}


def run(tmp_path, processor, clip=STREET, **more):
    return framelane.process_video(clip, processor, output=tmp_path / "out.mp4", overrides=FAST, **more)


class _Failing(support.processors.Copy):
    where = ""

    def infer(self, batch):
        if self.where == "infer" and batch.first_index >= 40:
            raise RuntimeError("infer broke")

    def commit(self, batch, inferred):
        if self.where == "commit" and batch.first_index >= 40:
            raise RuntimeError("commit broke")
        return (
            [batch.replace(planes=[object()] * len(batch))]
            if self.where == "encode" and batch.first_index >= 40
            else [batch]
        )


@pytest.mark.parametrize("where", ["infer", "commit", "encode"])
def test_an_error_in_a_stage_ends_the_job_with_its_own_message(tmp_path, where):
    type(f"Fail{where}", (_Failing,), {"name": f"fail_{where}", "where": where})
    started = time.monotonic()
    with pytest.raises((RuntimeError, AttributeError), match="broke" if where != "encode" else "format"):
        run(tmp_path, f"fail_{where}")
    assert time.monotonic() - started < 20
    assert threading.active_count() < 5, "a stage still runs"
    assert not (tmp_path / "out.mp4").exists()


def test_an_error_in_decoding_ends_the_job(tmp_path, monkeypatch):
    from framelane.video.reader import Reader

    def broken(self, *arguments):
        yield from ()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Reader, "_frames", broken)
    with pytest.raises(OSError, match="Input/output"):
        run(tmp_path, "copy")


def test_an_error_in_the_listener_ends_the_job(tmp_path):
    def listener(event):
        if event["event"] == "segment":
            raise KeyError("listener broke")

    with pytest.raises(KeyError, match="listener broke"):
        run(tmp_path, "copy", progress=listener)


class Hungry(support.processors.Averager):
    """Runs out of memory as a GPU does, whenever it is given more than ``room`` frames."""

    name = "hungry"
    room = 3
    calls: list[tuple[int, int]]

    def open(self, clip, context):
        type(self).calls = []
        return super().open(clip, context)

    def infer(self, batch):
        self.calls.append((batch.first_index, len(batch)))
        if len(batch) > self.room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().infer(batch)


def test_out_of_memory_halves_the_batch_and_repeats_the_same_frames(tmp_path):
    events, eight = [], {**FAST, "hardware.batch_size": 8}
    result = framelane.process_video(
        STREET,
        "hungry",
        output=tmp_path / "out.mp4",
        overrides=eight,
        progress=events.append,
    )
    assert Hungry.calls[:3] == [(0, 8), (0, 4), (0, 2)], "the same frames again, in smaller pieces"
    assert all(size <= 2 for _, size in Hungry.calls[2:])
    assert result.report["metrics"]["frames"] == list(range(120))
    assert [e["batch_size"] for e in events if e["event"] == "degraded"] == [4, 2]
    assert len(result.report["degradations"]) == 2
    plain = framelane.process_video(STREET, "averager", output=tmp_path / "plain.mp4", overrides=eight)
    assert frame_hashes(result.output_path) == frame_hashes(plain.output_path)


def test_out_of_memory_with_one_frame_is_a_sentence(tmp_path):
    class Starving(Hungry):
        name = "starving"
        room = 0

    with pytest.raises(OutOfMemory, match="even with a single frame"):
        run(tmp_path, "starving")


class OutOfMemoryError(RuntimeError):
    """Named as torch's and CuPy's are."""


# The texts are those of the libraries themselves, as their issue trackers quote them.
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OutOfMemoryError("whatever it says"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 14.75 GiB total capacity)"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY"), True),
        (RuntimeError("cudaErrorMemoryAllocation"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1"), True),
        (RuntimeError("[enforce fail] not enough memory: you tried to allocate 1 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"), True),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), True),
        (RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 1"), True),
        (RuntimeError("BFCArena::AllocateRawInternal Available memory of 16 is smaller than requested bytes of 32"), True),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size)"), True),
        (RuntimeError("[ONNXRuntimeError] : 1 : FAIL : bad allocation"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("[virtualMemoryBuffer.cpp::145] Error Code 2: OutOfMemory (no further information)"), True),
        (RuntimeError("[TRT] Cuda Error in nvinfer1::internal::DefaultAllocator::allocate: 2 (out of memory)"), True),
        (RuntimeError("Requested amount of GPU memory (4294967296 bytes) could not be allocated. There may not be enough "
                      "free memory for allocation to succeed."), True),
        (RuntimeError("OpenEncodeSessionEx failed: out of memory (10): (no details)"), True),
        (RuntimeError("NV_ENC_ERR_OUT_OF_MEMORY"), True),
        (RuntimeError("OpenCV(4.10.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 1 bytes"), True),
        (RuntimeError("shape mismatch"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("OpenEncodeSessionEx failed: unsupported device (2)"), False),
        (OSError(28, "No space left on device"), False),
        (ValueError("the memory format must be channels_last"), False),
        (KeyboardInterrupt("out of memory"), False),
    ],
)  # fmt: skip
def test_texts_of_running_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_stages_work_side_by_side(tmp_path):
    """While one stage is in the middle of its work, the others are too: seen by overlapping intervals, not by the clock."""
    busy: dict[str, list[tuple[float, float]]] = {"process": [], "encode": []}

    class Slow(support.processors.Copy):
        name = "slow_stage"

        def infer(self, batch):
            begin = time.monotonic()
            time.sleep(0.02)
            busy["process"].append((begin, time.monotonic()))

    from framelane.video import writer

    original = writer.SegmentWriter.write

    def write(self, batch):
        begin = time.monotonic()
        time.sleep(0.02)
        original(self, batch)
        busy["encode"].append((begin, time.monotonic()))

    writer.SegmentWriter.write, kept = write, writer.SegmentWriter.write
    try:
        run(tmp_path, "slow_stage")
    finally:
        writer.SegmentWriter.write = kept
    overlaps = sum(a < d and c < b for a, b in busy["process"] for c, d in busy["encode"])
    assert overlaps >= 8


def test_channels_are_bounded_and_abort_wakes_both_sides():
    channel: Channel[int] = Channel(2)
    channel.put(1)
    channel.put(2)
    state = []

    def writer():
        try:
            channel.put(3)
        except Aborted:
            state.append("woken")

    thread = threading.Thread(target=writer)
    thread.start()
    time.sleep(0.05)
    assert thread.is_alive(), "a third item fitted into a channel of two"
    channel.abort()
    thread.join(2)
    assert state == ["woken"]
    with pytest.raises(Aborted):
        next(iter(channel))


@needs_ffmpeg
def test_memory_is_flat_in_the_clips_length(tmp_path):
    """Peak memory of 8 s and of 80 s of the same content; the bench has the real 10 s and 100 s."""
    short = synthetic(tmp_path / "short.mp4", "-c:v", "libx264", "-g", "30", "-c:a", "aac", seconds=8)
    long = tmp_path / "long.mp4"
    from support.clips import ffmpeg

    ffmpeg("-stream_loop", "9", "-i", short, "-c", "copy", long)
    peaks = [_peak(clip, tmp_path) for clip in (short, long)]
    assert peaks[1] < peaks[0] * 1.10, peaks


def _peak(clip, folder):
    output = str(folder / f"{clip.stem}-out.mp4")
    code = f"""
        import resource, support.processors, framelane
        framelane.process_video({str(clip)!r}, "repaint", output={output!r}, overrides={FAST!r})
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tests, capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


def test_a_processor_with_nothing_to_say_still_reports(tmp_path):
    result = run(tmp_path, "copy", clip=WALKER)
    for key in ("clip", "output", "frames", "seconds", "avg_fps", "stage_ms", "device", "decoder", "encoder", "profile",
                "mode", "settings", "models", "degradations", "warnings", "metrics"):  # fmt: skip
        assert key in result.report
    assert result.report["frames"] == 150
    assert result.report_path.exists()


def test_registering_needs_a_name():
    class Nameless(Processor):
        def open(self, clip, context):
            return OutputSpec()

        def infer(self, batch):
            return None

        def commit(self, batch, inferred):
            return []

    from framelane.processors.base import names

    assert "" not in names()


def test_zero_frames_is_a_sentence(tmp_path, monkeypatch):
    from framelane.video.reader import Reader

    monkeypatch.setattr(Reader, "_frames", lambda *a: iter(()))
    with pytest.raises(FramelaneError, match="No frame of"):
        run(tmp_path, "copy")
