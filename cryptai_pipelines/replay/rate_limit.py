"""The request-weight budget of a venue: what a request costs is in `endpoints`; here is what happens when it runs out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

_LONGEST_BAN_S = 3 * 24 * 3600


@dataclass(frozen=True)
class Limits:
    """`weight_per_minute` is the budget of a window of `window_s` seconds, a minute at the real venue; after
    `refusals_before_ban` answers 429 in one window the next is a ban of `first_ban_s` seconds, which doubles with every further
    ban up to three days."""

    weight_per_minute: int = 6000
    refusals_before_ban: int = 10
    first_ban_s: int = 120
    window_s: int = 60


class Verdict(NamedTuple):
    """`status` is 200, 429 or 418; `used` the weight of this window; `retry_after_s` whole seconds, 0 when admitted."""

    status: int
    used: int
    retry_after_s: int


@dataclass
class WeightBudget:
    """Weight used by all clients (they share one address) in the current window of real time."""

    limits: Limits
    window: int = -1
    used: int = 0
    refusals: int = 0
    bans: int = 0
    banned_until_s: float = field(default=0.0)

    def charge(self, weight: int, now_s: float) -> Verdict:
        """Count a request of `weight` at `now_s` (real time in seconds, any origin) and judge it."""
        if now_s < self.banned_until_s:
            return Verdict(418, self.used, _whole(self.banned_until_s - now_s))
        window = int(now_s // self.limits.window_s)
        if window != self.window:
            self.window, self.used, self.refusals = window, 0, 0
        self.used += weight
        if self.used <= self.limits.weight_per_minute:
            return Verdict(200, self.used, 0)
        self.refusals += 1
        if self.refusals > self.limits.refusals_before_ban:
            ban_s = min(self.limits.first_ban_s * 2**self.bans, _LONGEST_BAN_S)
            self.bans, self.banned_until_s = self.bans + 1, now_s + ban_s
            return Verdict(418, self.used, ban_s)
        return Verdict(429, self.used, _whole((window + 1) * self.limits.window_s - now_s))


def _whole(seconds: float) -> int:
    return max(1, int(-(-seconds // 1)))
