"""Reading ahead changes when things happen and nothing else."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.orchestration.chain.prefetch import batches, fetched_together, prefetched


def failing_after(items):
    yield from items
    raise ValueError("the venue went away")


@given(st.lists(st.integers()), st.integers(1, 4), st.integers(1, 5))
def test_items_arrive_once_and_in_order(items, depth, size):
    assert [item for batch in batches(prefetched(items, depth), size) for item in batch] == items


@given(st.lists(st.integers()), st.integers(1, 4), st.integers(1, 5))
def test_what_came_before_an_error_is_not_lost(items, depth, size):
    received = []
    with pytest.raises(ValueError, match="went away"):
        for batch in batches(prefetched(failing_after(items), depth), size):
            received += batch
    assert received == items


def test_leaving_early_ends_the_reading_thread():
    reading = prefetched(iter(int, 1), depth=2)
    next(reading)
    reading.close()
    assert [thread.name for thread in threading.enumerate() if thread.name == "prefetch"] == []


@given(st.lists(st.integers()), st.integers(1, 6))
def test_batches_are_full_but_for_the_last(items, size):
    lengths = [len(batch) for batch in batches(items, size)]
    assert all(length == size for length in lengths[:-1])
    assert all(1 <= length <= size for length in lengths[-1:])


@given(st.lists(st.integers(0, 9)), st.integers(1, 6), st.integers(1, 20))
def test_a_heavy_batch_ends_early(items, size, heavy):
    found = list(batches(items, size, lambda item: item, heavy))
    assert [item for batch in found for item in batch] == items
    for place, batch in enumerate(found):
        assert len(batch) <= size and sum(batch[:-1]) < heavy
        assert len(batch) == size or sum(batch) >= heavy or place == len(found) - 1


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=12), st.integers(1, 4))
def test_parts_that_are_fetched_together_arrive_once_and_in_order(parts, threads):
    assert list(fetched_together(parts, iter, threads)) == [item for part in parts for item in part]


@given(st.lists(st.lists(st.integers(), max_size=4), min_size=1, max_size=12), st.integers(1, 4), st.data())
def test_what_came_before_the_error_of_a_part_is_not_lost(parts, threads, data):
    bad = data.draw(st.integers(0, len(parts) - 1))
    received = []
    with pytest.raises(ValueError, match="went away"):
        for item in fetched_together(
            range(len(parts)), lambda place: (failing_after if place == bad else iter)(parts[place]), threads
        ):
            received.append(item)
    assert received == [item for part in parts[: bad + 1] for item in part]


def test_parts_are_fetched_at_the_same_time_and_only_so_many_ahead():
    together, begun = threading.Barrier(3, timeout=30), []

    def fetch(part):
        begun.append(part)
        if part < 3:
            together.wait()
        yield part

    reading = fetched_together(range(100), fetch, 3)
    assert next(reading) == 0
    reading.close()
    assert len(begun) <= 6


def test_leaving_parts_early_ends_their_threads():
    reading = fetched_together([iter([1]), iter(int, 1), iter(int, 1)], iter, 3)
    assert next(reading) == 1
    reading.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")] == []
