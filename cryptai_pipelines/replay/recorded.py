"""A venue that serves recorded bars. Reading the files is in `recordings`, the partial forming bar in `forming`.

A timeframe that was not recorded is made of a shorter recorded one. What was not recorded at all is served as Binance
serves what it does not have: 0 for quote volume, trades and taker amounts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cryptai_pipelines.market.bars import OHLCV, Columns, bars_frame
from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.resampling import resample
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.replay.forming import as_known_at
from cryptai_pipelines.replay.recordings import Recordings, find_recordings, read_recording
from cryptai_pipelines.replay.venue import VENUE_COLUMNS, Instrument, ReplayVenue, Window, select, split_symbol

_CACHED_ROWS = 8_000_000
_SAMPLE_ROWS = 500
_SPOT, _SECOND, _FUTURES = "binance", "coinbase", "binanceusdm"


@dataclass
class RecordedVenue:
    """A `ReplayVenue` over recorded files. Series are read when first asked for; the least recently used are dropped when
    more than `cached_rows` rows are held."""

    recordings: Recordings
    clock: Clock
    cached_rows: int = _CACHED_ROWS
    simulated: bool = False
    second: ReplayVenue | None = None
    futures: ReplayVenue | None = None
    _series: OrderedDict[tuple[str, Timeframe], Columns] = field(default_factory=OrderedDict)
    _instruments: dict[str, Instrument] = field(default_factory=dict)

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Every recorded symbol. Price and amount steps are those that the recorded values show."""
        if not self._instruments:
            self._instruments.update({symbol: self._instrument(symbol) for symbol in self.recordings})
        return self._instruments

    def bars(self, symbol: str, timeframe: Timeframe, window: Window, now_ms: int) -> Columns:
        """See `ReplayVenue.bars`; no rows when neither the timeframe nor a shorter one was recorded."""
        source = self._source(symbol, timeframe)
        if source is None:
            return {name: np.empty(0, "int64") for name in VENUE_COLUMNS}
        series = self._load(symbol, timeframe)
        rows = select(series["ts"], window, now_ms)
        found = {name: values[rows] for name, values in series.items()}
        if source is timeframe:
            return as_known_at(found, timeframe, now_ms, self.instruments[symbol].tick_places)
        return self._with_forming(found, symbol, source, timeframe, now_ms)

    def ticker_timeframes(self, symbol: str) -> tuple[Timeframe, ...]:
        """See `ReplayVenue.ticker_timeframes`."""
        return tuple(t for t in TIMEFRAMES if t in self.recordings[symbol] and t.ms <= Timeframe.D1.ms)

    def _with_forming(self, found: Columns, symbol: str, source: Timeframe, timeframe: Timeframe, now_ms: int) -> Columns:
        """`found` with its last bar, when it has not ended, made of what the shorter bars show at `now_ms`."""
        if not len(found["ts"]) or found["ts"][-1] + timeframe.ms <= now_ms:
            return found
        opened = int(found["ts"][-1])
        parts = self.bars(symbol, source, Window(opened, now_ms, timeframe.ms // source.ms + 1), now_ms)
        forming = _resampled(parts, source, timeframe)
        return {name: np.concatenate((values[:-1], forming[name])) for name, values in found.items()}

    def _source(self, symbol: str, timeframe: Timeframe) -> Timeframe | None:
        """The timeframe itself when recorded, else the shorter one whose recording spans the most time, the shortest of
        equals; None when there is none."""
        recorded = self.recordings[symbol]
        if timeframe in recorded:
            return timeframe
        shorter = [t for t in TIMEFRAMES if t in recorded and t.ms < timeframe.ms]
        return max(shorter, key=lambda t: self._span_ms(symbol, t), default=None)

    def _span_ms(self, symbol: str, timeframe: Timeframe) -> int:
        ts = self._load(symbol, timeframe)["ts"]
        return int(ts[-1] + timeframe.ms - ts[0]) if len(ts) else 0

    def _load(self, symbol: str, timeframe: Timeframe) -> Columns:
        key = (symbol, timeframe)
        if key in self._series:
            self._series.move_to_end(key)
            return self._series[key]
        path = self.recordings[symbol].get(timeframe)
        if path is not None:
            series = read_recording(path)
        else:
            source = self._source(symbol, timeframe)
            assert source is not None
            series = _resampled(self._load(symbol, source), source, timeframe)
        self._series[key] = series
        held = sum(len(columns["ts"]) for columns in self._series.values())
        while held > self.cached_rows and len(self._series) > 1:
            held -= len(self._series.popitem(last=False)[1]["ts"])
        return series

    def _instrument(self, symbol: str) -> Instrument:
        base, quote = split_symbol(symbol)
        longest = max(self.recordings[symbol], key=lambda timeframe: timeframe.ms)
        series = self._load(symbol, longest)
        prices = np.concatenate([series[name][-_SAMPLE_ROWS:] for name in OHLCV[:4]])
        return Instrument(symbol, base, quote, _places(prices), _places(series["volume"][-_SAMPLE_ROWS:]))


def open_recorded(folder: Path, clock: Clock) -> RecordedVenue:
    """The recorded venue under `folder/binance`, telling the time by `clock`; with what is under `folder/coinbase` and
    `folder/binanceusdm`, where those exist, as its second market and its futures.

    `CryptaiError` in one line when the folder holds no recordings, a file is corrupt, or a symbol cannot be split into base
    and quote. Files are checked by their headers here, and read whole when they are first needed.
    """
    beside = {name: _opened(folder, clock, name) for name in (_SECOND, _FUTURES) if (folder / name).is_dir()}
    return replace(_opened(folder, clock, _SPOT), second=beside.get(_SECOND), futures=beside.get(_FUTURES))


def _opened(folder: Path, clock: Clock, venue: str) -> RecordedVenue:
    recordings = find_recordings(folder, venue)
    for symbol, series in recordings.items():
        try:
            split_symbol(symbol)
        except BadInput as error:
            raise CryptaiError(f"recorded bars {next(iter(series.values()))}: {error}") from None
    return RecordedVenue(recordings, clock)


def _resampled(series: Columns, source: Timeframe, target: Timeframe) -> Columns:
    frame = resample(bars_frame(series), source, target)
    columns: Columns = {"ts": frame.index.as_unit("ms").asi8}
    for name in frame.columns:
        columns[name] = frame[name].to_numpy().astype("int64" if name == "trades" else "float64")
    return columns


def _places(values: np.ndarray) -> int:
    """Decimals (0 to 8) that are enough to write every value."""
    for places in range(8):
        if np.array_equal(np.round(values, places), values):
            return places
    return 8
