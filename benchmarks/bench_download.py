"""`cryptai sync` beside `freqtrade download-data`, both as the command a person types, from the same replay venue over
Binance's protocol, for the same bars of one series.

- first download: `FIRST` one-minute bars into an empty store; ours are validated bars, with the proof of every answer.
- top-up: `NEW` bars more on top of a history of `LONG`.

Each side keeps its defaults (of freqtrade only the address of the venue, the time range and that bars come from the exchange's
API and not from the public archive are set). Ours writes to an embedded server that runs already, as it does under `up`. The
peer's files and our tables hold the same bars afterwards, which is asserted.

`run()` gives rows of name, ours_s, peer_s, ratio (peer / ours), goal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.servers import embedded_server, fresh_database
from benchmarks.venue_process import Venue, random_walk, record, venue_process
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import market_data
from cryptai_pipelines.storage.database import Database

FIRST, LONG, NEW = 200_000, 2_000_000, 60
FIRST_GOAL, TOP_UP_GOAL = 5.0, 20.0
SERIES = Series("BTC-USDT", Timeframe.M1)
_MINUTE_MS = Timeframe.M1.ms
_AFTER_CLOSE_MS = 30_000
_COMMAND = "from cryptai_pipelines.cli.main import run; run()"


@dataclass(frozen=True)
class Sides:
    """Where both sides keep what they have, and the venue that both ask."""

    venue: Venue
    database: Database
    folder: Path

    def ours(self) -> float:
        """Seconds of our command."""
        settings = {
            "CRYPTAI_HOME": str(self.folder / "home"),
            "CRYPTAI_DATABASE_URL": self.database.url,
            "CRYPTAI_BINANCE_URL": self.venue.url,
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        }
        return _timed([sys.executable, "-c", _COMMAND, "sync", SERIES.symbol, "--timeframe", "1m", "--json"], settings)

    def peers(self, first_ms: int, end_ms: int) -> float:
        """Seconds of the peer's command for `[first_ms, end_ms)`."""
        config = self.folder / "freqtrade.json"
        config.write_text(json.dumps(_peer_config(self.venue.url)))
        command = [str(Path(sys.executable).parent / "freqtrade"), "download-data", "--config", str(config)]
        where = ["--userdir", str(self.folder / "user"), "--datadir", str(self.folder / "data")]
        # It drops the last bar that it was given, which is the forming one if it is asked for.
        what = ["--pairs", "BTC/USDT", "--timeframes", "1m", "--timerange", f"{first_ms}-{end_ms + _MINUTE_MS}"]
        (self.folder / "user").mkdir(exist_ok=True)
        return _timed([*command, *where, *what], {})

    def assert_same(self, first_ms: int, end_ms: int) -> None:
        """Both have every bar of the span, with equal values."""
        theirs = pd.read_feather(self.folder / "data" / "BTC_USDT-1m.feather").set_index("date")
        mine = market_data.read(self.database, SERIES, first_ms, end_ms)
        theirs = theirs[(index_ms(theirs.index) >= first_ms) & (index_ms(theirs.index) < end_ms)]
        assert len(mine) == len(theirs) == (end_ms - first_ms) // _MINUTE_MS, (len(mine), len(theirs))
        for name in ("open", "high", "low", "close", "volume"):
            np.testing.assert_array_equal(mine[name].to_numpy(), theirs[name].to_numpy())


def run() -> list[dict[str, object]]:
    """The rows of the benchmark; each command once, ours first."""
    bars = random_walk(LONG + NEW + 1, Timeframe.M1)
    opens = index_ms(bars.index)
    rows = []
    with tempfile.TemporaryDirectory(prefix="cryptai-bench-") as scratch, embedded_server() as server:
        for name, count, goal in (("first download of", FIRST, FIRST_GOAL), ("top-up of", LONG, TOP_UP_GOAL)):
            folder = Path(scratch) / str(count)
            record(bars.iloc[: count + NEW + 1], folder, ["BTCUSDT"], Timeframe.M1)
            first, end = int(opens[0]), int(opens[count - 1]) + _MINUTE_MS
            with venue_process(folder, end + _AFTER_CLOSE_MS) as venue, fresh_database(server, f"download_{count}") as database:
                sides = Sides(venue, database, folder)
                ours, peers = sides.ours(), sides.peers(first, end)
                sides.assert_same(first, end)
                told = f"{name} {count:,} 1m bars"
                if count == LONG:
                    end += NEW * _MINUTE_MS
                    venue.set_time(end + _AFTER_CLOSE_MS)
                    ours, peers = sides.ours(), sides.peers(first, end)
                    sides.assert_same(first, end)
                    told = f"{name} {count:,} 1m bars by {NEW}"
                rows.append(_row(f"{told}: cryptai sync / freqtrade download-data", ours, peers, f">= {goal:g}"))
    return rows


def _row(name: str, ours_s: float, peer_s: float, goal: str) -> dict[str, object]:
    return {"name": name, "ours_s": ours_s, "peer_s": peer_s, "ratio": peer_s / ours_s, "goal": goal}


def _timed(command: list[str], settings: dict[str, str]) -> float:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CRYPTAI_", "DAGSTER_", "PYTHON"))}
    began = time.perf_counter()
    done = subprocess.run(command, env=inherited | settings, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return seconds


def _peer_config(venue_url: str) -> dict[str, object]:
    urls = {"api": {"public": f"{venue_url}/api/v3", "private": f"{venue_url}/api/v3"}}
    return {
        "stake_currency": "USDT",
        "stake_amount": 100,
        "dry_run": True,
        "trading_mode": "spot",
        "exchange": {
            "name": "binance",
            "pair_whitelist": ["BTC/USDT"],
            "only_from_ccxt": True,
            "ccxt_config": {"urls": urls, "options": {"fetchMarkets": {"types": ["spot"]}}},
        },
        "entry_pricing": {"price_side": "same", "use_order_book": False},
        "exit_pricing": {"price_side": "same", "use_order_book": False},
        "pairlists": [{"method": "StaticPairList"}],
    }


if __name__ == "__main__":
    for line in run():
        print(line)
