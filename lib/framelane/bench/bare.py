"""What the machine does by itself, outside the pipeline: decoding on the CPU, and copies to the card."""

from __future__ import annotations

import time
from pathlib import Path


def decode_fps(clip: Path, threads: int) -> float:
    """Frames per second of decoding alone.

    Args:
        clip: the file.
        threads: of the CPU's decoder.
    """
    from framelane.video.clip import open_container

    with open_container(clip) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        begun = time.perf_counter()
        frames = sum(1 for _ in container.decode(stream))
        return frames / (time.perf_counter() - begun)


def upload_fps(pinned: bool, device: str, size: tuple[int, int] = (1080, 1920), frames: int = 60) -> float:
    """Frames per second of copying NV12 frames from host memory to a device.

    Args:
        pinned: whether the host memory is page-locked; only where there is a card.
        device: ``"cuda"``, or ``"cpu"`` in tests.
        size: (height, width) in pixels.
        frames: how many.
    """
    import torch

    height, width = size
    host = torch.zeros((height * 3 // 2, width), dtype=torch.uint8, pin_memory=pinned)
    target = torch.empty_like(host, device=device)
    target.copy_(host, non_blocking=pinned)  # the first copy opens the device
    _settle(device)
    begun = time.perf_counter()
    for _ in range(frames):
        target.copy_(host, non_blocking=pinned)
    _settle(device)
    return frames / (time.perf_counter() - begun)


def _settle(device: str) -> None:
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
