"""A bounded queue between two stages that can be closed by its writer and aborted by anyone."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Aborted(Exception):
    """The other side is gone; unwinds a stage without being an error of its own."""


class Channel(Generic[T]):
    """Bounded, one writer, one reader.

    Args:
        capacity: items that may wait, at least 1.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._closed = self._aborted = False

    def put(self, item: T) -> None:
        """Add an item; waits while the channel is full.

        Raises:
            Aborted: :meth:`abort` was called.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or len(self._items) < self._capacity)
            if self._aborted:
                raise Aborted
            self._items.append(item)
            self._changed.notify_all()

    def resize(self, capacity: int) -> None:
        """Let another number of items wait; those beyond it that wait already stay."""
        with self._changed:
            self._capacity = capacity
            self._changed.notify_all()

    def close(self) -> None:
        """Say that nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Wake both sides with :class:`Aborted` and drop what waits."""
        with self._changed:
            self._aborted = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._aborted or self._closed or self._items)
                if self._aborted:
                    raise Aborted
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
            del item  # a frame batch must not live on here while the next one is awaited
