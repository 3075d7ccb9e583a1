"""What FFmpeg says while it refuses: PyAV throws it away by default, and the reason stands nowhere else."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

WARNING = 24  # AV_LOG_WARNING, in libavutil/log.h
VERBOSE = 40  # the loader of FFmpeg's NVIDIA libraries says here what is missing
_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def ffmpeg_log(level: int = WARNING) -> Iterator[list[str]]:
    """What FFmpeg's libraries say in this thread, a line each; complete after the ``with``.

    The level is one setting of PyAV for the whole process, so one thread listens at a time. While it does, FFmpeg's threads
    take the interpreter's lock to speak, so it is kept to openings that may fail; what other threads say meanwhile goes
    nowhere.

    Args:
        level: of ``av.logging``: :data:`WARNING`, or :data:`VERBOSE` where a cause is said at that level only.
    """
    from av import logging as av_logging

    lines: list[str] = []
    with _one_at_a_time, _quiet(logging.getLogger("libav")):
        before, skips = av_logging.get_level(), av_logging.get_skip_repeated()
        av_logging.set_skip_repeated(False)  # also over several captures
        av_logging.set_level(level)
        try:
            with av_logging.Capture() as caught:
                try:
                    yield lines
                finally:
                    lines[:] = [message.strip() for _, _, message in caught]
        finally:
            av_logging.set_level(before)
            av_logging.set_skip_repeated(skips)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    propagates, nowhere = logger.propagate, logging.NullHandler()
    logger.addHandler(nowhere)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagates
        logger.removeHandler(nowhere)
