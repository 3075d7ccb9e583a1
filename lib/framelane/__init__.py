"""framelane: turn a folder of videos into finished results inside one GPU session.

>>> import framelane
>>> result = framelane.process_video("in.mp4", "attention", output="out.mp4", progress=print)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from framelane.errors import Cancelled, FramelaneError, UsageError

if TYPE_CHECKING:
    from framelane.jobs.batch import process_folder
    from framelane.jobs.state import BatchResult, JobState
    from framelane.preparation import Prepared, PrepareOptions, prepare
    from framelane.run import Result, process_video

try:
    __version__ = version("framelane")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "BatchResult", "Cancelled", "FramelaneError", "JobState", "PrepareOptions", "Prepared", "Result", "UsageError",
    "__version__", "prepare", "process_folder", "process_video",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Importing the engine takes its time; `import framelane` must not.
    if name in ("process_video", "Result"):
        from framelane import run

        return getattr(run, name)
    if name in ("prepare", "PrepareOptions", "Prepared"):
        from framelane import preparation

        return getattr(preparation, name)
    if name == "process_folder":
        from framelane.jobs import batch

        return batch.process_folder
    if name in ("BatchResult", "JobState"):
        from framelane.jobs import state

        return getattr(state, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
