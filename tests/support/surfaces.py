"""Clips decoded to surfaces, as a hardware decoder gives them, on a machine without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from framelane.video import convert
from framelane.video.clip import Clip
from framelane.video.frames import FrameBatch
from framelane.video.reader import Reader, open_reader
from framelane.video.surface import Surface

Move = Callable[[Surface], Surface]


def decoded(frame, move: Move = lambda surface: surface) -> Surface:
    """A host frame as a surface that knows nothing of the host frame."""
    return move(replace(convert.upload(frame, "cpu"), host=None))


def decode_to_surfaces(monkeypatch) -> list[int]:
    """From here on every reader gives surfaces on the device "cpu"; the list grows by one number a frame."""
    real, given = Reader._frames, []

    def frames(self, *where):
        for frame in real(self, *where):
            given.append(len(given))
            yield decoded(frame)

    monkeypatch.setattr(Reader, "_frames", frames)
    return given


def batches(clip: Clip, count: int, size: int, history: int, move: Move | None = None) -> list[FrameBatch]:
    """The first batches of a clip, as decoded; with ``move``, as surfaces that it was applied to.

    Args:
        clip: the input.
        count: how many batches.
        size: frames per batch.
        history: frames before each batch.
        move: takes a surface of the device "cpu" elsewhere.
    """
    found = list(islice(open_reader(clip).batches(size, None, history), count))
    if move is None:
        return found
    known: dict[int, Surface] = {}

    def moved(frame):
        if frame is None:
            return None
        return known.setdefault(id(frame), decoded(frame, move))

    return [
        replace(
            batch,
            planes=tuple(map(moved, batch.planes)),
            before=moved(batch.before),
            earlier=tuple(map(moved, batch.earlier)),
            _pixels=None,
        )
        for batch in found
    ]
