"""A simulated market: any number of symbols, all timeframes, any moment, from a seed. Everything it shows is labelled.

A week's open and close come from a bridge over dyadic spans, so any week is reached in a fixed number of steps, and every
shorter bar is cut out of the longer one around it (`bar_tree`). A window therefore costs time in proportion to its length,
and timeframes agree exactly, because each is a cut of the next. Wild and calm spells come from two places: a regime drawn
per quarter, and the temper drawn per bar at every level of the cut, which makes a cascade.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.replay.bar_tree import Bars, Traded, cut, flatten, join, take
from cryptai_pipelines.replay.counter_noise import BELL_DEVIATION, bell, derive_key, mix, uniform
from cryptai_pipelines.replay.forming import partial_bar
from cryptai_pipelines.replay.perpetual import PerpetualVenue
from cryptai_pipelines.replay.spread import SpreadVenue
from cryptai_pipelines.replay.venue import UNIT, VENUE_COLUMNS, Instrument, ReplayVenue, Window

LISTED_MS = 1_483_315_200_000
"""Monday 2017-01-02: the first bar of every simulated symbol."""

_WEEKS = 8192  # weeks from the first Monday of 1970 that the bridge spans: to the year 2126
_WEEK_HOURS = 168
_SCALE = 1 << 20  # fixed-point one of base-2 logarithms of price
_WEEKLY_DEVIATION = 0.09  # of log2 price, in a normal regime: about 6 % a week
_LONGEST_SPAN = 256  # weeks; beyond it the price is drawn back to its base
_REGIME_WEEKS = 13
_REGIMES = np.array([8, 16, 16, 32], dtype=np.int64)  # sixteenths of the normal deviation: calm, normal, normal, wild

_MAJORS = (("BTC", 40_000.0, 2.0e9), ("ETH", 2_500.0, 1.2e9), ("BNB", 400.0, 2.0e8), ("SOL", 120.0, 3.0e8))
_NAMED = "XRP ADA DOGE AVAX DOT LINK LTC TRX ATOM UNI ETC XLM NEAR FIL APT ARB OP INJ SUI AAVE".split()


@dataclass(frozen=True)
class Asset:
    """A simulated symbol: its key, base price and weekly turnover in quote."""

    instrument: Instrument
    key: int
    base_price: float
    weekly_quote: float


@dataclass(frozen=True)
class SimulatedVenue:
    """A `ReplayVenue` whose bars are computed when they are asked for."""

    assets: Mapping[str, Asset]
    clock: Clock
    simulated: bool = True

    @cached_property
    def instruments(self) -> Mapping[str, Instrument]:
        """Every simulated symbol, each against USDT."""
        return {symbol: asset.instrument for symbol, asset in self.assets.items()}

    @cached_property
    def second(self) -> ReplayVenue | None:
        """The same symbols at another exchange."""
        return SpreadVenue(self)

    @cached_property
    def futures(self) -> ReplayVenue | None:
        """Perpetual contracts on the same symbols."""
        return PerpetualVenue(self)

    def bars(self, symbol: str, timeframe: Timeframe, window: Window, now_ms: int) -> Columns:
        """See `ReplayVenue.bars`. Prices and amounts are fixed point (`venue.UNIT`), so that sums are exact."""
        asset = self.assets[symbol]
        first, stop = _selected(timeframe, window, now_ms)
        if first >= stop:
            return {name: np.empty(0, "int64") for name in VENUE_COLUMNS}
        columns = _columns(asset, timeframe, first, window_bars(asset, timeframe, first, stop))
        if (stop * timeframe.ms + Timeframe.W1.anchor_ms) > now_ms:
            forming = _forming(asset, timeframe, stop - 1, now_ms)
            columns = {name: np.concatenate((values[:-1], forming[name])) for name, values in columns.items()}
        return columns

    def ticker_timeframes(self, symbol: str) -> tuple[Timeframe, ...]:
        """See `ReplayVenue.ticker_timeframes`: the minutes, from which all else follows."""
        return (Timeframe.M1,)


def open_simulated(seed: int, symbols: int, clock: Clock) -> SimulatedVenue:
    """A simulated market of `symbols` symbols (1 to 10,000). Equal seeds give equal markets on every machine, and a symbol
    does not depend on how many others there are. `BadInput` for a number of symbols out of range."""
    if not 1 <= symbols <= 10_000:
        raise BadInput(f"{symbols} simulated symbols are not accepted; 1 to 10000 are")
    assets = (_asset(seed, number) for number in range(symbols))
    return SimulatedVenue({asset.instrument.symbol: asset for asset in assets}, clock)


def window_bars(asset: Asset, timeframe: Timeframe, first: int, stop: int) -> Bars:
    """The finished bars numbered `first` to `stop` (exclusive) on the grid that starts on the first Monday of 1970."""
    if timeframe is Timeframe.W1:
        return _weeks(asset, np.arange(first, stop))
    longer = TIMEFRAMES[TIMEFRAMES.index(timeframe) + 1]
    parts = longer.ms // timeframe.ms
    outer_first, outer_stop = first // parts, -(-stop // parts)
    if longer is Timeframe.H1:
        outer = _hours(asset, outer_first, outer_stop)
    else:
        outer = window_bars(asset, longer, outer_first, outer_stop)
    key = derive_key(asset.key, timeframe.code)
    inner = flatten(cut(outer, np.arange(outer_first, outer_stop), parts, timeframe.ms // Timeframe.M1.ms, key))
    return take(inner, slice(first - outer_first * parts, stop - outer_first * parts))


def _hours(asset: Asset, first: int, stop: int) -> Bars:
    """Hours as of `window_bars`, out of whole weeks that are remembered: neighbouring windows of minutes share them."""
    start, end = first // _WEEK_HOURS, -(-stop // _WEEK_HOURS)
    weeks = join([_week_hours(asset, week) for week in range(start, end)])
    return take(weeks, slice(first - start * _WEEK_HOURS, stop - start * _WEEK_HOURS))


@lru_cache(maxsize=2048)
def _week_hours(asset: Asset, week: int) -> Bars:
    return window_bars(asset, Timeframe.H1, week * _WEEK_HOURS, (week + 1) * _WEEK_HOURS)


def _selected(timeframe: Timeframe, window: Window, now_ms: int) -> tuple[int, int]:
    """The numbers of the bars that a window selects, without laying out the grid."""
    anchor, length = Timeframe.W1.anchor_ms, timeframe.ms
    last = now_ms if window.end_ms is None else min(window.end_ms, now_ms)
    listed = (LISTED_MS - anchor) // length
    stop = min((last - anchor) // length + 1, _WEEKS * Timeframe.W1.ms // length)
    if window.start_ms is None:
        return max(listed, stop - window.limit), stop
    first = max(listed, -(-(window.start_ms - anchor) // length))
    return first, min(stop, first + window.limit)


def _asset(seed: int, number: int) -> Asset:
    key_of = {0: "BTC", 1: "ETH", 2: "BNB", 3: "SOL"}
    base = key_of.get(number) or (_NAMED[number - 4] if number < 4 + len(_NAMED) else f"SIM{number:04d}")
    key = derive_key("cryptai-simulated-1", seed, base)
    if number < len(_MAJORS):
        _, price, turnover = _MAJORS[number]
    else:
        bits = mix(derive_key(key, "listing"), np.zeros(1, np.int64))
        price = (50 + int(uniform(bits, 0)[0]) % 450) / (1, 10, 100)[int(uniform(bits, 1)[0]) % 3]
        turnover = 2.0e7 * (1 + int(uniform(bits, 2)[0]) % 10)
    tick_places = next(places for places in range(2, 8) if price * 10**places >= 300_000)
    instrument = Instrument(f"{base}USDT", base, "USDT", tick_places, min(5, 8 - tick_places))
    return Asset(instrument, key, price, turnover)


def _weeks(asset: Asset, week: np.ndarray) -> Bars:
    """Whole weeks: open and close from the bridge, extremes and amounts drawn by the regime of the quarter."""
    ticks = asset.base_price * 10**asset.instrument.tick_places
    bounds = _ticks(_log_price(asset, np.append(week, week[-1] + 1)), ticks)
    opened, closed = bounds[:-1], bounds[1:]
    regime = _regime(asset, week)
    wicks = mix(derive_key(asset.key, "week wicks"), week)
    top, bottom = np.maximum(opened, closed), np.minimum(opened, closed)
    high = top + 1 + top * (400 + uniform(wicks, 0) // 16) // (1 << 16) * regime // 16
    low = bottom - 1 - bottom * (400 + uniform(wicks, 1) // 16) // (1 << 16) * regime // 16
    bits = mix(derive_key(asset.key, "week amounts"), week)
    busy = (24 + regime) * (32_768 + uniform(bits, 0)) // (40 * 16)
    lots_per_quote = 10**asset.instrument.lot_places * 10**asset.instrument.tick_places
    lots = (asset.weekly_quote * lots_per_quote * (busy / 4096) / ((high + low) // 2)).astype(np.int64)
    bought = lots * (28_000 + uniform(bits, 1) // 8) // (1 << 16)
    middle = low + (high - low) * (24_576 + uniform(bits, 2) // 4) // (1 << 16)
    sides = [Traded(side, side * price) for side, price in ((bought, middle), (lots - bought, middle))]
    trades = 20_160 + (asset.weekly_quote * (busy / 4096) / 400.0) * np.ones(len(week))
    return Bars(opened, high, low, closed, trades.astype(np.int64), *sides)


def _regime(asset: Asset, week: np.ndarray) -> np.ndarray:
    return _REGIMES[uniform(mix(derive_key(asset.key, "regime"), week // _REGIME_WEEKS), 0) % len(_REGIMES)]


def _log_price(asset: Asset, week: np.ndarray) -> np.ndarray:
    """Base-2 logarithm of price over base price (int64, `_SCALE`) at the opening of each week, by midpoint displacement."""
    low, high = np.zeros_like(week), np.full_like(week, _WEEKS)
    at_low, at_high = np.zeros_like(week), np.zeros_like(week)
    span = _WEEKS
    while span > 1:
        middle = (low + high) // 2
        deviation = 0 if span > _LONGEST_SPAN else int(_WEEKLY_DEVIATION * _SCALE * math.isqrt(span * 2**20) / 2**11)
        regime = _regime(asset, middle) if span <= _REGIME_WEEKS else 16
        noise = bell(mix(derive_key(asset.key, "bridge", span), middle)) * deviation // BELL_DEVIATION * regime // 16
        at_middle = (at_low + at_high) // 2 + noise
        upper = week >= middle
        low, at_low = np.where(upper, middle, low), np.where(upper, at_middle, at_low)
        high, at_high = np.where(upper, high, middle), np.where(upper, at_high, at_middle)
        span //= 2
    return at_low


def _ticks(log_price: np.ndarray, base_ticks: float) -> np.ndarray:
    """Base ticks times 2 to the power of a fixed-point logarithm, within a factor of 16. Only operations whose result IEEE
    754 fixes are used (the power is a Taylor polynomial), so that every machine gives the same ticks."""
    clipped = np.clip(log_price, -4 * _SCALE, 4 * _SCALE)
    whole, part = clipped // _SCALE, (clipped % _SCALE) / _SCALE
    power, term = np.ones(len(part)), np.ones(len(part))
    for order in range(1, 16):
        term = term * part * 0.6931471805599453 / order
        power = power + term
    return np.maximum(np.floor(np.ldexp(base_ticks * power, whole)), 64.0).astype(np.int64)


def _columns(asset: Asset, timeframe: Timeframe, first: int, bars: Bars) -> Columns:
    """Venue columns in fixed point of the bars numbered from `first`."""
    price = UNIT // 10**asset.instrument.tick_places
    lot = UNIT // 10**asset.instrument.lot_places
    quote = UNIT // 10 ** (asset.instrument.tick_places + asset.instrument.lot_places)
    numbers = np.arange(first, first + len(bars.open), dtype=np.int64)
    return {
        "ts": numbers * timeframe.ms + Timeframe.W1.anchor_ms,
        "open": bars.open * price,
        "high": bars.high * price,
        "low": bars.low * price,
        "close": bars.close * price,
        "volume": (bars.bought.lots + bars.sold.lots) * lot,
        "quote_volume": (bars.bought.quote + bars.sold.quote) * quote,
        "trades": bars.trades,
        "taker_buy_base": bars.bought.lots * lot,
        "taker_buy_quote": bars.bought.quote * quote,
    }


def _forming(asset: Asset, timeframe: Timeframe, number: int, now_ms: int) -> Columns:
    """One row: the bar as known at `now_ms`, the sum of the finished shorter bars in it and of the forming minute.

    The finished ones are taken as long as possible (days, then hours, ...), which is the same sum with fewer bars.
    """
    opened = number * timeframe.ms + Timeframe.W1.anchor_ms
    pieces = []
    start = opened
    for shorter in reversed(TIMEFRAMES[: TIMEFRAMES.index(timeframe)]):
        end = shorter.floor(now_ms)
        if end > start:
            first = (start - Timeframe.W1.anchor_ms) // shorter.ms
            stop = (end - Timeframe.W1.anchor_ms) // shorter.ms
            pieces.append(_columns(asset, shorter, first, window_bars(asset, shorter, first, stop)))
            start = end
    minute = (start - Timeframe.W1.anchor_ms) // Timeframe.M1.ms
    pieces.append(_forming_minute(asset, minute, now_ms - start))
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in VENUE_COLUMNS}
    row = {name: values.sum(keepdims=True) for name, values in joined.items()}
    row["ts"] = np.array([opened])
    row["open"], row["close"] = joined["open"][:1], joined["close"][-1:]
    row["high"], row["low"] = joined["high"].max(keepdims=True), joined["low"].min(keepdims=True)
    return row


def _forming_minute(asset: Asset, minute: int, elapsed_ms: int) -> Columns:
    final = _columns(asset, Timeframe.M1, minute, window_bars(asset, Timeframe.M1, minute, minute + 1))
    values = {name: column[0] for name, column in final.items()}
    values |= partial_bar(values, elapsed_ms, Timeframe.M1.ms, asset.instrument.tick_places)
    return {name: np.array([values[name]], dtype=np.int64) for name in VENUE_COLUMNS}
