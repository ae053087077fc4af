"""A window of time in which a venue counts calls, as everyone who counts with it has to see it."""

from __future__ import annotations

from dataclasses import dataclass

from cryptai_pipelines.market.errors import BadInput

_CLOCK_MARGIN_S = 0.5
_FLIGHT_S = 2.0


@dataclass(frozen=True)
class RateWindow:
    """Fixed windows of `length_s` whole seconds of the clock, from the epoch on. `BadInput` for another length."""

    length_s: int = 60

    def __post_init__(self) -> None:
        if self.length_s != int(self.length_s) or self.length_s < 1:
            raise BadInput(f"a rate window of {self.length_s!r} s is not accepted; expected a whole number of seconds from 1")

    @property
    def margin_s(self) -> float:
        """How much later than the clock says a window is taken to begin: that much may the venue's clock lag behind."""
        return _CLOCK_MARGIN_S

    @property
    def late_s(self) -> float:
        """The end of a window, in seconds, in which a call counts in the next window, too: it may arrive there."""
        return self.margin_s + min(_FLIGHT_S, self.length_s / 4)
