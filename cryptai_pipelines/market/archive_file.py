"""What is known of one file of an archive: the record that crosses the border between the archive's source and the store."""

from __future__ import annotations

from dataclasses import dataclass

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series

STATUSES = ("loaded", "quarantined", "absent", "restated")
"""loaded: verified and read. quarantined: it was there and is not believed, nothing of it was read. absent: not (yet) in the
archive. restated: it was loaded, and the archive has replaced it since; it is to be loaded again."""


@dataclass(frozen=True)
class ArchiveFile:
    """One file's latest fate. Times are epoch milliseconds, hashes 64 hex digits in lower case; None where there is none.

    `expected_sha256` is what the archive's `.CHECKSUM` says, `received_sha256` that of the bytes that came (for a restated
    file: of those that were loaded). `row_count` is that of the file, whatever part of it was asked for. `attempts` and
    `first_tried_at_ms` are counted by the store and ignored when a file is recorded.
    """

    source: str
    path: str
    series: Series
    period: Interval
    status: str
    tried_at_ms: int
    expected_sha256: str | None = None
    received_sha256: str | None = None
    row_count: int | None = None
    error: str | None = None
    attempts: int = 1
    first_tried_at_ms: int | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise BadArgument(f"status {self.status!r} of {self.path} is not known; accepted: {' '.join(STATUSES)}")
