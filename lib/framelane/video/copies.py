"""How many whole frames crossed between host and device: counted where it happens, not assumed."""

from __future__ import annotations

import threading
from typing import Literal

Way = Literal["upload", "download"]


class Copies:
    """Counts copies of whole frames between host and device memory; any thread may note one.

    Thumbnails, checksums and drawn labels, which are small, are not whole frames and not counted. A surface on the
    device "cpu" counts like one on a card, so that a test sees what a card would do.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def note(self, way: Way, nbytes: int) -> None:
        """Count one frame.

        Args:
            way: ``"upload"`` (host to device) or ``"download"``.
            nbytes: its size.
        """
        with self._lock:
            self._frames[way] += 1
            self._bytes[way] += nbytes

    def counted(self) -> dict[str, int]:
        """Since the last reset: ``uploads``, ``downloads``, ``upload_bytes`` and ``download_bytes``."""
        with self._lock:
            return {
                "uploads": self._frames["upload"],
                "downloads": self._frames["download"],
                "upload_bytes": self._bytes["upload"],
                "download_bytes": self._bytes["download"],
            }

    def reset(self) -> None:
        """Begin at 0."""
        with self._lock:
            self._frames: dict[str, int] = {"upload": 0, "download": 0}
            self._bytes: dict[str, int] = {"upload": 0, "download": 0}


COPIES = Copies()
"""The process's own counter."""
