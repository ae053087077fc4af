"""What a write changed. Remembering changes between runs is the business of `state`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """Rows that were new and rows whose values became others, and the open times (epoch ms) between which they all lie, both
    inclusive; None when nothing changed."""

    new: int = 0
    restated: int = 0
    first_ts: int | None = None
    last_ts: int | None = None

    @property
    def rows(self) -> int:
        """New and restated rows together."""
        return self.new + self.restated

    def __bool__(self) -> bool:
        return self.rows > 0

    def __add__(self, other: Change) -> Change:
        """Both changes as one."""
        if not other or not self:
            return self if not other else other
        first, last = min(self.first_ts, other.first_ts), max(self.last_ts, other.last_ts)  # type: ignore[type-var]
        return Change(self.new + other.new, self.restated + other.restated, first, last)
