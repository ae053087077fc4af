"""Reading ahead: the next pages are fetched while the last ones are written, by one thread or by several. Nothing about bars is
known here."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Part = TypeVar("Part")


def prefetched(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The same items in the same order, at most `depth` of them fetched ahead by one thread of its own.

    An error of `items` is raised here after the items before it. Leaving early stops the thread at its next item.
    """
    ready: queue.Queue[tuple[bool, object]] = queue.Queue(maxsize=depth)
    abandoned = threading.Event()

    def offer(entry: tuple[bool, object]) -> bool:
        while not abandoned.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for item in items:
                if not offer((True, item)):
                    return
            offer((False, None))
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the consumer and is raised there
            offer((False, error))

    reader = threading.Thread(target=read, name="prefetch", daemon=True)
    reader.start()
    try:
        while True:
            is_item, value = ready.get()
            if is_item:
                yield value  # type: ignore[misc]
            elif value is None:
                return
            else:
                raise value  # type: ignore[misc]
    finally:
        abandoned.set()
        reader.join(timeout=60)


def fetched_together(parts: Sequence[Part], fetch: Callable[[Part], Iterable[Item]], threads: int) -> Iterator[Item]:
    """The items of every part in the order of `parts`, of which `threads` are fetched at a time and as many more kept ahead.

    An error of a part is raised here after all items before it. Leaving early stops each thread at its next item.
    """
    abandoned = threading.Event()

    def read(part: Part) -> tuple[list[Item], Exception | None]:
        items: list[Item] = []
        try:
            for item in fetch(part):
                items.append(item)
                if abandoned.is_set():
                    break
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the consumer and is raised there
            return items, error
        return items, None

    left, ahead = iter(parts), deque[Future[tuple[list[Item], Exception | None]]]()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    try:
        ahead.extend(pool.submit(read, part) for part in islice(left, 2 * threads))
        while ahead:
            items, error = ahead.popleft().result()
            yield from items
            if error is not None:
                raise error
            ahead.extend(pool.submit(read, part) for part in islice(left, 1))
    finally:
        abandoned.set()
        pool.shutdown(wait=True, cancel_futures=True)


def batches(
    items: Iterable[Item], size: int, weigh: Callable[[Item], int] = lambda _: 0, heavy: int = 1
) -> Iterator[list[Item]]:
    """Lists of up to `size` consecutive items, or fewer as soon as together they weigh `heavy`. An error of `items` is raised
    after the items before it were given out."""
    batch: list[Item] = []
    weight = 0
    try:
        for item in items:
            batch.append(item)
            weight += weigh(item)
            if len(batch) == size or weight >= heavy:
                yield batch
                batch, weight = [], 0
    except Exception:  # whatever it is, what came before it is good and must not be lost
        if batch:
            yield batch
        raise
    if batch:
        yield batch
