"""The Python API: :func:`process_video`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from framelane import hardware, tuned
from framelane import settings as settings_module
from framelane.engine.events import Event
from framelane.engine.rungs import Held
from framelane.errors import Cancelled, FramelaneError, UsageError
from framelane.job import Job, Result
from framelane.settings import Loaded

__all__ = ["Result", "load_settings", "process_video"]


def process_video(
    clip: str | Path,
    processor: str,
    *,
    output: str | Path,
    mode: str | None = None,
    profile: str | None = None,
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Callable[[Event], None] | None = None,
    cancel: threading.Event | None = None,
    held: Held | None = None,
    pause: threading.Event | None = None,
    restart: bool = False,
    **settings: Any,
) -> Result:
    """Process one clip. A job that was interrupted goes on where its last finished segment ended.

    Args:
        clip: the input video.
        processor: for example ``"attention"``.
        output: the file to make: ``.mp4``, ``.mov`` or ``.mkv``.
        mode: ``"fast"``, ``"balanced"`` or ``"quality"``.
        profile: what the hardware allows; None or ``"auto"`` looks at the machine.
        config: a YAML file of settings.
        overrides: dotted keys, as in ``{"attention.method": "rollout"}``.
        progress: called with every event, in this thread; ``print`` shows sentences.
        cancel: set it to stop; finished segments are kept.
        held: ``report["guard"]["held"]`` of the clip before on this machine: the guard begins where it ended there.
        pause: set while the work is to wait; it goes on when it is cleared.
        restart: replace the finished result of another clip or processor, where one stands at ``output``.
        **settings: sections as dicts, as in ``attention={"method": "rollout"}``.

    Returns:
        Where the results lie, and the report.

    Raises:
        UsageError: something given is wrong; nothing was started.
        FramelaneError: the job failed; its text says why.
        Cancelled: it was cancelled, or Ctrl-C came; calling again goes on.
    """
    listener = progress or (lambda _: None)
    loaded = load_settings(mode, profile, config, {**settings_module.flatten(settings), **(overrides or {})})
    begun = False

    def emit(event: Event) -> None:
        nonlocal begun
        begun = True
        listener(event)

    stop = cancel or threading.Event()
    job = Job(Path(clip), processor, Path(output), loaded, emit, stop, held, pause=pause, restart=restart)
    if (own := tuned.read()).broken:
        job.notes.warn(own.ignored)
    try:
        return job.run()
    except KeyboardInterrupt as interrupt:
        error = Cancelled("Cancelled; finished segments are kept, and the same command goes on from there.")
        listener(Event(event="cancelled", message=str(error)))
        raise error from interrupt
    except FramelaneError as error:
        if begun or not isinstance(error, UsageError):
            kind = "cancelled" if isinstance(error, Cancelled) else "failed"
            listener(Event(event=kind, message=str(error)))
        raise


def load_settings(
    mode: str | None, profile: str | None, config: str | Path | None, overrides: Mapping[str, Any]
) -> Loaded:
    """Merged settings for this machine; the profile is detected where it is not named.

    Raises:
        UsageError: an unknown key or a value out of range.
    """
    detected, _ = hardware.detected_profile()
    return settings_module.load(
        mode=mode,
        profile=profile,
        config=Path(config) if config else None,
        overrides=overrides,
        detected_profile=detected,
        machine=tuned.read().layer,
    )
