"""`venue_limits`: what all processes together have asked of a venue, and until when it wants silence.

One row per venue. Each method is one short statement that commits by itself, on the database's clock; who has to wait does so
outside. A database that cannot be reached raises: who cannot be counted does not call.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptai_pipelines.market.rate_window import RateWindow
from cryptai_pipelines.storage.database import Database

# The windows of the row and of the statement: the row may be in a later one, when the statement had to wait for its lock.
_SUM = """CASE WHEN EXCLUDED.window_start <= known.window_start THEN known.used
               WHEN EXCLUDED.window_start = known.window_start + make_interval(secs => %(length_s)s) THEN known.used_late
               ELSE 0 END"""
_MOMENT = "WITH moment AS MATERIALIZED (SELECT extract(epoch FROM clock_timestamp())::float8 - %(shift_s)s AS now)"
_WINDOW = "to_timestamp(floor(now / %(length_s)s) * %(length_s)s)"
_LATE = "CASE WHEN EXCLUDED.window_start > known.window_start THEN 0 ELSE known.used_late END"
_AT_THE_END = "CASE WHEN now - floor(now / %(length_s)s) * %(length_s)s >= %(length_s)s - %(end_s)s THEN"

# A reservation that is lost because the server dies within the second after it is no harm, and not worth a flush to the disk.
_RESERVE = f"""
{_MOMENT}
INSERT INTO venue_limits AS known (venue, window_start, used, used_late)
SELECT %(venue)s, {_WINDOW}, %(weight)s, {_AT_THE_END} %(weight)s ELSE 0 END FROM moment
ON CONFLICT (venue) DO UPDATE SET
    window_start = GREATEST(known.window_start, EXCLUDED.window_start),
    used = {_SUM} + EXCLUDED.used,
    used_late = {_LATE} + CASE WHEN EXCLUDED.window_start < known.window_start THEN 0 ELSE EXCLUDED.used_late END
WHERE {_SUM} = 0 OR {_SUM} + EXCLUDED.used <= %(most)s
RETURNING used, set_config('synchronous_commit', 'off', true)
"""
_WINDOW_ENDS_IN = f"{_MOMENT} SELECT (floor(now / %(length_s)s) + 1) * %(length_s)s - now FROM moment"
_OBSERVE = f"""
{_MOMENT}
INSERT INTO venue_limits AS known (venue, window_start, used, used_late)
SELECT %(venue)s, {_WINDOW}, %(used)s, {_AT_THE_END} %(used)s ELSE 0 END FROM moment
ON CONFLICT (venue) DO UPDATE SET
    window_start = EXCLUDED.window_start,
    used = GREATEST({_SUM}, EXCLUDED.used),
    used_late = GREATEST({_LATE}, EXCLUDED.used_late)
WHERE EXCLUDED.window_start >= known.window_start
  AND (EXCLUDED.used > {_SUM} OR EXCLUDED.used_late > {_LATE})
RETURNING set_config('synchronous_commit', 'off', true)
"""
_CLOSE = """
INSERT INTO venue_limits AS known (venue, window_start, used, used_late, closed_until)
VALUES (%(venue)s, 'epoch', 0, 0, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (venue) DO UPDATE SET closed_until = GREATEST(known.closed_until, EXCLUDED.closed_until)
RETURNING closed_until
"""
_CLOSED_FOR = "SELECT extract(epoch FROM closed_until - clock_timestamp())::float8 FROM venue_limits WHERE venue = %(venue)s"


@dataclass
class SharedLedger:
    """The row of one venue, for every process on the database; what `sources` counts with.

    `DatabaseUnavailable`, in one line, when it cannot be reached."""

    database: Database
    venue: str
    _known: int = field(default=0, init=False)

    def reserve(self, weight: int, most: float, window: RateWindow) -> float:
        """0 when `weight` was reserved: the window's sum stays within `most`, or was 0. Else the seconds to its end."""
        values = self._in_window(window, window.margin_s) | {"weight": weight, "most": most, "end_s": window.late_s}
        rows = self.database.rows(_RESERVE, values)
        if rows:
            self._known = rows[0][0]
            return 0.0
        return float(self.database.rows(_WINDOW_ENDS_IN, values)[0][0])

    def observe(self, used: int, age_s: float, window: RateWindow) -> None:
        """The venue counted `used` in the window of a call sent `age_s` ago; only ever raises the sum."""
        # Every call is reserved before it is sent, so the venue knows more than this only when others call it, too.
        if used > self._known:
            values = self._in_window(window, window.margin_s + age_s) | {"used": used, "end_s": window.margin_s}
            self.database.rows(_OBSERVE, values)

    def close_for(self, seconds: float) -> None:
        """Nobody calls for `seconds` from now, or longer if that was already so."""
        self.database.rows(_CLOSE, {"venue": self.venue, "seconds": seconds})

    def closed_for(self) -> float:
        """Seconds for which nobody may call; 0 when calls are allowed."""
        rows = self.database.rows(_CLOSED_FOR, {"venue": self.venue})
        return max(rows[0][0] or 0.0, 0.0) if rows else 0.0

    def _in_window(self, window: RateWindow, shift_s: float) -> dict[str, str | float]:
        return {"venue": self.venue, "length_s": window.length_s, "shift_s": shift_s}
