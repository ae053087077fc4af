"""Our engine beside the other engines that are installed, over the stored bars of every series. What is equal and what explains
a difference is judged in `backtest.parity`."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest import peer_backtesting, peer_vectorbt, simulate
from cryptai_pipelines.backtest.parity import Parity, Terms, compare, shared_bars
from cryptai_pipelines.backtest.report import replace_file
from cryptai_pipelines.market.bars import OHLCV
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Progress, ignore_progress
from cryptai_pipelines.storage import coverage, market_data
from cryptai_pipelines.storage.database import Database

PEERS: tuple[ModuleType, ...] = (peer_vectorbt, peer_backtesting)
MOST_BARS = 20_000
"""The newest bars of a series that are compared: a peer takes seconds per million of them, and there may be many series."""

FILE_COLUMNS = ("series", "peer", "levels", "entry_ts", "reason", "ours", "peers")
_ONE_BAR_IN = 20
_CAPITAL = 1e15  # beside it one unit, the least that backtesting.py buys, is less than 1e-9 of a position
_HOUSE = "15 % / 8 %"


@dataclass(frozen=True)
class Compared:
    """One series against one peer. `levels`: the target and stop of both sides, in words."""

    series: Series
    peer: str
    levels: str
    parity: Parity


@dataclass(frozen=True)
class EngineParity:
    """`compared`: by series, peer and levels. `absent`: the peers that are not installed."""

    compared: tuple[Compared, ...]
    absent: tuple[str, ...]


def compare_engines(database: Database, fee_rate: float, on_progress: OnProgress = ignore_progress) -> EngineParity:
    """Every stored series against every installed peer, with entries at about one bar in twenty, always the same ones of a
    series: once with the levels of the house, which seldom meet in one bar, and once with levels so near that gaps beyond them,
    bars that hold both, and levels touched at entry are common."""
    compared, absent = list[Compared](), dict[str, None]()
    all_series = coverage.covered_series(database)
    for number, series in enumerate(all_series):
        bars, entries = _inputs(database, series)
        on_progress(Progress("engine_parity", series, number, len(all_series), len(bars)))
        for levels, terms in _terms(bars, fee_rate):
            ours = simulate(bars, entries, **terms._asdict()).trades
            for peer in PEERS:
                try:
                    theirs = peer.trades(bars, entries, terms)
                except ImportError:
                    absent[peer.NAME] = None
                    continue
                compared.append(Compared(series, peer.NAME, levels, compare(bars, entries, ours, theirs, terms, peer.HABITS)))
    return EngineParity(tuple(compared), tuple(absent))


def _inputs(database: Database, series: Series) -> tuple[pd.DataFrame, pd.Series]:
    span = market_data.span(database, series)
    end = 0 if span is None else span.end_ms + series.timeframe.ms
    start = market_data.window_start(database, series, end, MOST_BARS)
    bars = market_data.read(database, series, start, end, columns=(*OHLCV, "is_filled"))
    drawn = np.random.default_rng(zlib.crc32(series.key.encode())).random(len(bars)) * _ONE_BAR_IN < 1
    return shared_bars(bars, pd.Series(drawn, index=bars.index))


def _terms(bars: pd.DataFrame, fee_rate: float) -> Iterator[tuple[str, Terms]]:
    if len(bars) < 2:
        return
    yield _HOUSE, Terms(0.15, 0.08, fee_rate, _CAPITAL)
    usual = float(((bars["high"] - bars["low"]) / bars["open"]).median()) or 0.01
    near = Terms(min(2 * usual, 0.5), min(usual, 0.5), fee_rate, _CAPITAL)
    yield f"{100 * near.take_profit:.2g} % / {100 * near.stop_loss:.2g} %", near


def write_differences(found: EngineParity, path: Path) -> None:
    """Every trade that differs as a row of a CSV file, with the exits of both sides and the reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FILE_COLUMNS)
    for one in found.compared:
        for difference in one.parity.differences:
            entered = format_time(int(difference.entry_ts.timestamp() * 1000))
            writer.writerow(
                (one.series.key, one.peer, one.levels, entered, difference.reason, difference.ours, difference.peers)
            )
    replace_file(path, text.getvalue().encode())
