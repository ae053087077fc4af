"""What every walk over a span of time must give, whatever the venue is asked like: pages that tile the span."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page


def assert_tiles(found: Sequence[Page], within: Interval) -> None:
    """What the pages settle is `within`, without a hole or an overlap, and each has its bars in it, ascending."""
    cursor = within.start_ms
    for page in found:
        assert page.asked.start_ms == cursor < page.asked.end_ms
        opens = page.rows["ts"]
        assert (np.diff(opens) > 0).all()
        assert ((page.asked.start_ms <= opens) & (opens < page.asked.end_ms)).all()
        cursor = page.asked.end_ms
    assert cursor == within.end_ms
