"""Reading ahead changes when things happen and nothing else."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.orchestration.chain.prefetch import batches, prefetched


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
