"""The levels of a position and the exits that they cause: where stop, target and partial exit stand, how they move, and which
of them a bar reaches. Part of the kernel: plain functions over records, see `kernel`. Prices of fills are in `fills`."""

from __future__ import annotations

import math

import numpy as np

# Of records.ExitReason; numba reads them as constants.
TAKE_PROFIT, STOP_LOSS, TRAILING_STOP, BREAK_EVEN, TIME_STOP, SIGNAL = 1, 2, 4, 5, 6, 7


def is_beyond(side: int, price: float, level: float) -> bool:
    """Has `price` come to `level` in the direction of gain of a position of `side`? With -side: in that of loss."""
    return price >= level if side > 0 else price <= level


def on_tick(price: float, tick: float, fill_side: int) -> float:
    """`price` on the grid of `tick`, made worse for who buys (`fill_side` 1: up) or sells (-1: down) there; without a tick as
    it is. A price that is on the grid but for rounding errors stays there."""
    if tick == 0.0 or not math.isfinite(price):
        return price
    steps = price / tick
    nearest = np.rint(steps)
    if abs(steps - nearest) > 1e-9 * max(1.0, abs(nearest)):
        nearest = math.ceil(steps) if fill_side > 0 else math.floor(steps)
    # One over a decimal tick is whole, and a division by it gives the float that the decimal price is read as.
    per_unit = np.rint(1.0 / tick)
    if per_unit >= 1.0 and abs(per_unit * tick - 1.0) < 1e-12:
        return nearest / per_unit
    return nearest * tick


def set_levels(position: np.void, p: np.void, rule: np.void, price: float) -> bool:
    """Stop, target and partial exit of a position asked for and entered at the market `price`: of each level and the share in
    `p` the nearer. False when a level stands on the wrong side of the price."""
    side = position["asked"]
    stop = price * (1.0 - side * p["stop_loss"])
    target = price * (1.0 + side * p["take_profit"])
    level = position["asked_stop"]
    if not math.isnan(level):
        if is_beyond(side, level, price):
            return False
        if is_beyond(side, level, stop):
            stop = level
    level = position["asked_target"]
    if not math.isnan(level):
        if is_beyond(-side, level, price):
            return False
        if is_beyond(-side, level, target):
            target = level
    position["stop"] = on_tick(stop, rule["tick"], -side)
    position["target"] = on_tick(target, rule["tick"], -side)
    position["stop_reason"] = STOP_LOSS
    if rule["tick"] > 0.0 and is_beyond(-side, position["target"], price):
        return False
    if p["trailing_stop"] > 0.0:
        tighten(position, price * (1.0 - side * p["trailing_stop"]), rule["tick"], side, TRAILING_STOP)
    partial = on_tick(price * (1.0 + side * p["partial_at"]), rule["tick"], -side)
    if p["partial_take_profit"] == 0.0 or is_beyond(side, partial, position["target"]):
        partial = math.inf * side
    position["partial"] = partial
    return True


def tighten(position: np.void, level: float, tick: float, side: int, reason: int) -> None:
    """Move the stop to `level` if that is nearer to the price than where it stands."""
    level = on_tick(level, tick, -side)
    if level != position["stop"] and is_beyond(side, level, position["stop"]):
        position["stop"] = level
        position["stop_reason"] = reason


def move_stop(position: np.void, p: np.void, rule: np.void) -> None:
    """Break-even and trailing stop after a completed bar; they count from the next bar on."""
    side, entry = position["side"], position["entry_market"]
    best = position["highest"] if side > 0 else position["lowest"]
    if p["break_even_at"] > 0.0 and is_beyond(side, best, entry * (1.0 + side * p["break_even_at"])):
        tighten(position, entry, rule["tick"], side, BREAK_EVEN)
    if p["trailing_stop"] > 0.0:
        tighten(position, best * (1.0 - side * p["trailing_stop"]), rule["tick"], side, TRAILING_STOP)


def reason_at_open(position: np.void, open_: float) -> int:
    """Why the whole position is closed at this open; 0 when it is not. Orders that rest at the venue go first."""
    side = position["side"]
    if is_beyond(-side, open_, position["stop"]):
        return position["stop_reason"]
    if is_beyond(side, open_, position["target"]):
        return TAKE_PROFIT
    return position["leaving"]


def exits_within(position: np.void, high: float, low: float, target_first: bool) -> tuple[bool, int, bool]:
    """(partial exit taken, reason of the final exit or 0, ambiguous) within one bar, by its extremes.

    Ambiguous is a bar that reaches something to gain and either the stop too, or possibly only before a limit order opened the
    position inside it. It counts as no gain, or in the optimistic book (`target_first`) as the gain first.
    """
    side = position["side"]
    best, worst = (high, low) if side > 0 else (low, high)
    stopped = is_beyond(-side, worst, position["stop"])
    reached = is_beyond(side, best, position["target"])
    partly = is_beyond(side, best, position["partial"])
    ambiguous = (reached or partly) and (stopped or position["inside"] == 1)
    if ambiguous and not target_first:
        return False, position["stop_reason"] if stopped else 0, True
    if reached:
        return partly, TAKE_PROFIT, ambiguous
    return partly, position["stop_reason"] if stopped else 0, ambiguous


def exits_by_finer_bars(
    position: np.void, high: float, low: float, finer: np.ndarray, target_first: bool, partly: bool, reason: int
) -> tuple[bool, int, bool]:
    """`exits_within` of an ambiguous bar, told by the finer bars it is made of (rows open, high, low): they say what came
    first, fills stay at the levels. A finer bar that is ambiguous itself is judged as a bar would be. Finer bars that do not
    reach what the bar reached contradict it and tell nothing: then it stays as it was judged, `partly` and `reason`."""
    side, partial, inside = position["side"], position["partial"], position["inside"]
    stopped = is_beyond(-side, low if side > 0 else high, position["stop"])
    taken, cause, ambiguous, opened = False, 0, False, inside == 0
    for i in range(finer.shape[1]):
        # What the bar itself does not reach cannot be reached within it.
        finer_high, finer_low = min(finer[1, i], high), max(finer[2, i], low)
        position["inside"] = 0
        if not opened:
            if not is_beyond(-side, finer_low if side > 0 else finer_high, position["entry_market"]):
                continue
            opened = True
            position["inside"] = 0 if is_beyond(-side, finer[0, i], position["entry_market"]) else 1
        halved, cause, doubtful = exits_within(position, finer_high, finer_low, target_first)
        ambiguous = ambiguous or doubtful
        if halved:
            taken = True
            position["partial"] = math.inf * side
        if cause != 0:
            break
    position["partial"], position["inside"] = partial, inside
    if not opened or (stopped and cause == 0):
        return partly, reason, True
    return taken, cause, ambiguous
