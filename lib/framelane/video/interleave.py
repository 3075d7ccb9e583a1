"""Packets of several tracks, written in the order in which a player needs them; nothing waits in memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DuePacket:
    """A packet with the time it is due, for interleaving."""

    due: float
    packet: Any

    def __lt__(self, other: DuePacket) -> bool:
        return self.due < other.due


def mux_all(target: Any, tracks: Iterable[Iterator[DuePacket]], notes: list[str]) -> None:
    """Write the packets of several tracks; damaged audio packets that the container refuses are left out and counted.

    Args:
        target: the open container; its tracks are there.
        tracks: the packets of each, or of several, in the order in which they are due.
        notes: takes a sentence where packets were left out.
    """
    import av

    refused = 0
    for item in heapq.merge(*tracks):
        try:
            target.mux(item.packet)
        except (av.error.InvalidDataError, av.error.ArgumentError):
            if item.packet.stream.type != "audio":
                raise
            refused += 1
    if refused:
        notes.append(f"{refused} damaged audio packets were left out.")
