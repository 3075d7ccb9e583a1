"""Opened models that outlive a job, so that the jobs of a batch find theirs loaded.

Only a worker keeps models, from :func:`keep` on; elsewhere every :func:`kept` opens anew. What is kept must
have no state of its own but its weights. One model a slot: another one takes its place, and the old one goes first, so
that both need not fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from framelane.memory import free_memory

T = TypeVar("T")
_slots: dict[str, tuple[Hashable, Any]] | None = None
_opened: list[str] = []


@contextmanager
def keeping() -> Iterator[None]:
    """Keep opened models while the block lasts."""
    global _slots  # noqa: PLW0603
    keep()
    try:
        yield
    finally:
        _slots = None
        free_memory()


def keep() -> None:
    """Keep opened models from now on, until the process ends."""
    global _slots  # noqa: PLW0603  one process, one set of models
    if _slots is None:
        _slots = {}


def kept(slot: str, key: Hashable, opened: Callable[[], T]) -> T:
    """The model that is kept under ``key``, or what ``opened`` gives.

    Args:
        slot: what it is for, as in ``"backbone"``.
        key: everything it is opened with: weights, device, precision.
        opened: opens it.
    """
    if _slots is None:
        return opened()
    if slot in _slots:
        if _slots[slot][0] == key:
            return _slots[slot][1]  # type: ignore[no-any-return]
        del _slots[slot]
        free_memory()
    model = opened()
    _opened.append(slot)
    _slots[slot] = (key, model)
    return model


def forget() -> None:
    """Let go of what is kept: memory ran out."""
    if _slots:
        _slots.clear()
        free_memory()


def opened_since() -> tuple[str, ...]:
    """The slots of the models that were opened and kept since this was last asked."""
    found = tuple(_opened)
    _opened.clear()
    return found
