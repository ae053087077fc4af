"""A bounded pool of connections of any kind, for many threads. What a connection is, and how it is opened, is passed in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

C = TypeVar("C")


class Pool(Generic[C]):
    """At most `size` open connections; a thread that needs one more waits until one is given back.

    `is_usable` is asked of each idle connection before it is lent, and so should cost next to nothing; `is_alive` of one in
    whose use something failed.
    """

    def __init__(
        self, open_one: Callable[[], C], size: int, is_usable: Callable[[C], bool], is_alive: Callable[[C], bool]
    ) -> None:
        self._open = open_one
        self._is_usable = is_usable
        self._is_alive = is_alive
        self._slots = threading.BoundedSemaphore(size)
        self._guard = threading.Lock()
        self._idle: list[C] = []
        self._generation = 0

    @contextmanager
    def borrow(self) -> Iterator[C]:
        """A connection for the time of the block. One that cannot be used is replaced; one that broke is not kept."""
        with self._slots:
            connection = self._take()
            generation = self._generation
            try:
                yield connection
            except BaseException:
                if self._is_alive(connection):
                    self._give_back(connection, generation)
                else:
                    _close(connection)
                raise
            self._give_back(connection, generation)

    def close(self) -> None:
        """Close what is idle, and what is in use as soon as it is given back."""
        with self._guard:
            idle, self._idle = self._idle, []
            self._generation += 1
        for connection in idle:
            _close(connection)

    def _take(self) -> C:
        while True:
            with self._guard:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._open()
            if self._is_usable(connection):
                return connection
            _close(connection)

    def _give_back(self, connection: C, generation: int) -> None:
        with self._guard:
            if generation == self._generation:
                self._idle.append(connection)
                return
        _close(connection)


def _close(connection: object) -> None:
    try:
        connection.close()  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001
        # A broken connection may fail to close in the driver's own ways; there is nothing left to lose by it.
        pass
