"""The stored side of a search: what was known of it when it began, and what becomes known. What is searched is the affair of
`sweep` and `walk_forward`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cryptai_pipelines.backtest.search import Found
from cryptai_pipelines.storage import sweeps
from cryptai_pipelines.storage.database import Database

_SECONDS_UNWRITTEN = 1.0

OnPoints = Callable[[int, int], None]
"""Told how many points are finished, and of how many."""


class SweepLog:
    """One search while it runs. Points are written every second or so: no more than that is lost when the process is killed.
    `id`: of the stored search. `known`: results by key that were there when it began."""

    def __init__(self, database: Database, sweep_id: int, points: int, on_points: OnPoints) -> None:
        self.id = sweep_id
        self.known = sweeps.read_results(database, sweep_id)
        self._database, self._points, self._on_points = database, points, on_points
        self._unwritten: dict[int, list[Found]] = {}
        self._written_at = time.monotonic()
        self._evaluated = 0
        on_points(len(self.known), points)

    def add(self, fold: int, found: Sequence[Found]) -> None:
        """Note points that became known."""
        self._unwritten.setdefault(fold, []).extend(found)
        self._evaluated += len(found)
        if time.monotonic() - self._written_at > _SECONDS_UNWRITTEN:
            self.write()
        self._on_points(len(self.known) + self._evaluated, self._points)

    def write(self) -> None:
        """Write what is not written yet, in one transaction."""
        with self._database.transaction() as cursor:
            for fold, found in self._unwritten.items():
                sweeps.save_points(cursor, self.id, fold, [sweeps.PointRow(*one) for one in found])
        self._unwritten = {}
        self._written_at = time.monotonic()

    def finish(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Store what came out, and give it back with what is known of the search itself before it."""
        points = len(self.known) + self._evaluated
        whole = {"sweep_id": self.id, "points": points, "points_resumed": len(self.known), **told}
        with self._database.transaction() as cursor:
            sweeps.finish_sweep(cursor, self.id, whole)
        return whole


@contextmanager
def logged(database: Database, sweep: sweeps.Sweep, *, resume: bool, on_points: OnPoints) -> Iterator[SweepLog]:
    """The log of a search, which goes on from the stored points or, without `resume`, begins anew. What was found is written
    however the block ends."""
    with database.transaction() as cursor:
        sweep_id = sweeps.begin_sweep(cursor, sweep)
        if not resume:
            sweeps.forget_points(cursor, sweep_id)
    log = SweepLog(database, sweep_id, sweep.points, on_points)
    try:
        yield log
    finally:
        log.write()
