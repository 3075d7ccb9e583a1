"""What is looked at before a job starts: the device, the output and the disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from framelane import hardware, report
from framelane.errors import FramelaneError, UsageError
from framelane.schema import Settings
from framelane.sections.hardware import HardwareSettings
from framelane.video.writer import EXTENSIONS


def choose_device(settings: Settings, degrade: Callable[[str], None]) -> str:
    """``"cuda"`` or ``"cpu"``; falling back is said aloud, or is an error with ``output.require_gpu``.

    Raises:
        FramelaneError: a GPU is required and there is none that works.
    """
    wanted, required = settings.hardware.device, settings.output.require_gpu
    if wanted == "cpu" and not required:
        return "cpu"
    reason = hardware.cuda_problem()
    if reason is None:
        import torch

        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_share(settings.hardware, total))
        return "cuda"
    if required:
        raise FramelaneError(f"A GPU is required (--require-gpu), but none can be used: {reason}")
    if wanted == "cuda":
        degrade(f"Models run on the CPU instead of the GPU: {reason}")
    return "cpu"


def memory_share(wanted: HardwareSettings, total: int) -> float:
    """The share (0 to 1) of a GPU's memory that may be used: the smaller of the share and the absolute limit.

    Args:
        wanted: ``gpu_memory_limit`` and ``gpu_memory_gb``.
        total: bytes of the GPU.
    """
    if not wanted.gpu_memory_gb:
        return wanted.gpu_memory_limit
    return min(wanted.gpu_memory_limit, wanted.gpu_memory_gb * (1 << 30) / total)


def check_output(
    output: Path, clip: Path, *, gif: bool, overwrite: bool, sheet: bool = False, exports: tuple[str, ...] = ()
) -> None:
    """Refuse an output that cannot or must not be written, or whose GIF or report would replace another's file.

    Raises:
        UsageError: an unknown container, a folder, the input itself, somebody else's file, or not writable.
    """
    if output.is_dir():
        raise UsageError(f"The output {output} is a folder; name a file in it, for example {output / 'out.mp4'}.")
    if output.suffix.lower() not in EXTENSIONS:
        raise UsageError(f"The output {output} must end in {', '.join(EXTENSIONS)}.")
    beside = [report.report_path(output), *([report.gif_path(output)] if gif else [])]
    beside += [report.sheet_path(output)] if sheet else []
    beside += [report.export_path(output, suffix) for suffix in exports]
    for path in (output, *beside):
        if path.exists() and path.samefile(clip):
            what = "is the input itself" if path == output else f"would replace the input {clip} by its preview"
            raise UsageError(f"The output {output} {what}; choose another name.")
        if path.exists() and not overwrite and path not in report.made_by_us(output):
            made = "was not made by framelane" if path == output else f"is not of an earlier {output.name}"
            raise UsageError(f"{path} exists and {made}; choose another name, or add --set output.overwrite=true.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise UsageError(f"The output folder {output.parent} is not writable ({error.strerror}).") from error


def check_disk(output: Path, clip: Path, min_free_mb: int) -> None:
    """Refuse to start where the disk is nearly full.

    Raises:
        FramelaneError: less is free than ``min_free_mb`` plus the clip's own size.
    """
    needed = min_free_mb * 1_000_000 + clip.stat().st_size
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise FramelaneError(
            f"Only {free / 1e6:.1f} MB are free in {output.parent}; this job wants at least {needed / 1e6:.1f} MB (the "
            "clip's size plus engine.min_free_mb). Free some space, or choose another output folder."
        )
