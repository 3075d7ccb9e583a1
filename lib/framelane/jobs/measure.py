"""Measuring what a job costs, by running the real pipeline on the head of a clip."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framelane.engine.events import Event
from framelane.errors import Cancelled, FramelaneError
from framelane.jobs.figures import Observation, observe
from framelane.run import load_settings, process_video
from framelane.settings import Loaded, flatten
from framelane.video.clip import open_container, probe, video_stream

HEAD_S = 5.0  # of the clip
LIMIT_S = 90.0  # of wall time, after the models are loaded
Run = Callable[..., Any]
_PATIENCE = 5  # times that limit, where not one frame is done
_PASSED_ON = ("progress", "warning", "degraded", "paused", "resumed")  # the others speak of a file that nobody will see


def measure(
    clip: str | Path,
    processor: str,
    loaded: Loaded,
    *,
    head_s: float = HEAD_S,
    limit_s: float = LIMIT_S,
    listener: Callable[[Event], None] = lambda _: None,
    cancel: threading.Event | None = None,
    run: Run = process_video,
) -> Observation:
    """Process the first seconds of a clip in a temporary folder, to see what it costs.

    Args:
        clip: the input video.
        processor: its name.
        loaded: the settings that the jobs will have.
        head_s: seconds of the clip that are taken; a shorter clip is taken whole.
        limit_s: wall seconds after which it is enough; five times that where not one frame is done.
        listener: takes a ``measuring`` event and what the job says of progress and shortcomings, in this thread.
        cancel: set it to stop.
        run: processes the head; called as :func:`framelane.process_video` is.

    Raises:
        FramelaneError: the clip cannot be processed; the text says why.
        Cancelled: it was cancelled.
    """
    with tempfile.TemporaryDirectory(prefix="framelane-measure-") as folder:
        head = cut_head(Path(clip), Path(folder), head_s)
        watch = _Watch(listener, limit_s, cancel)
        listener(Event(event="measuring", message=f"measuring on the first seconds of {Path(clip).name}"))
        settings = {**_given(loaded), "engine.min_free_mb": 0, "engine.preview_s": 0, "output.overwrite": False}
        try:
            run(
                head, processor, output=Path(folder) / "head-result.mp4", overrides=settings, progress=watch,
                cancel=watch.enough,
            )  # fmt: skip
        except Cancelled:
            if not watch.late:
                raise
        seen = observe(watch.trace, probe(head), loaded, fresh=True, head=True)
    if seen is None:
        raise FramelaneError(
            f"Nothing of {clip} was finished within {_PATIENCE * limit_s:.0f} s, so what it will take cannot be told."
        )
    return seen


def _given(loaded: Loaded) -> dict[str, Any]:
    """What has to be given so that a job has these settings: all of them would count as the user's own."""
    wanted = loaded.settings
    without = flatten(load_settings(wanted.mode, wanted.profile, None, {}).settings.model_dump())
    differing = {key: value for key, value in flatten(wanted.model_dump()).items() if value != without[key]}
    return {**differing, "mode": wanted.mode, "profile": wanted.profile}


class _Watch:
    """Notes when events came, and ends the measuring when it takes too long or somebody cancels it."""

    def __init__(self, listener: Callable[[Event], None], limit_s: float, cancel: threading.Event | None) -> None:
        self.listener, self.limit_s, self.cancel = listener, limit_s, cancel
        self.trace: list[tuple[float, Event]] = []
        self.enough = threading.Event()
        self.late = self.some = False
        self.began = time.monotonic()
        self.opened: float | None = None
        self.rests_since: float | None = None

    def __call__(self, event: Event) -> None:
        now = time.monotonic() - self.began
        if event["event"] != "preview":
            self.trace.append((now, event))
        if event["event"] == "start":
            self.opened = now
        self.some = self.some or event.get("frame", 0) > 0
        if "pause" in event:
            self._rest(bool(event["pause"]), now)
        if (
            self.opened is not None
            and self.rests_since is None
            and now - self.opened > self.limit_s * (1 if self.some else _PATIENCE)
        ):
            self.late = True
        if self.late or (self.cancel is not None and self.cancel.is_set()):
            self.enough.set()
        if event["event"] in _PASSED_ON:
            self.listener(event)

    def _rest(self, begins: bool, now: float) -> None:
        """A pause is no time that measuring took."""
        if begins:
            self.rests_since = now if self.rests_since is None else self.rests_since
        elif self.rests_since is not None:
            self.opened = None if self.opened is None else self.opened + now - self.rests_since
            self.rests_since = None


def cut_head(clip: Path, folder: Path, seconds: float) -> Path:
    """The first seconds of a clip as a file of its own, its packets unchanged; or the clip, where it is shorter.

    Args:
        clip: the input video.
        folder: where the file is put.
        seconds: as much as is wanted; up to twice as much where no key frame comes sooner.

    """
    import av

    path = folder / "head.mkv"
    try:
        with open_container(clip) as source, av.open(str(path), "w", format="matroska") as target:
            stream = video_stream(source, clip)
            copy = target.add_stream_from_template(stream)
            if _copy_packets(source, stream, target, copy, seconds):
                return clip
        probe(path)
    except (av.error.FFmpegError, OSError, ValueError, FramelaneError):
        return clip  # some codecs do not go into Matroska: then the time limit ends the measuring
    return path


def _copy_packets(source: Any, stream: Any, target: Any, copy: Any, seconds: float) -> bool:
    """Copy packets until ``seconds`` have gone; returns whether that was all of them."""
    first = None
    for packet in source.demux(stream):
        if packet.dts is None:
            continue
        first = packet.dts if first is None else first
        gone = float((packet.dts - first) * stream.time_base)  # before mux(), which changes the packet's ticks
        if (packet.is_keyframe and gone >= seconds) or gone >= 2 * seconds:
            return False
        packet.stream = copy
        target.mux(packet)
    return True
