"""`cryptai sync` beside `freqtrade download-data`, from the same replay venue over Binance's protocol, for the same bars of one
series.

- first download: `FIRST` one-minute bars into an empty store; ours are validated bars, with the proof of every answer.
  Once page by page over the REST API, and once as ours goes by default, out of the archive that the same venue publishes and
  then over REST. For this the peer's function is given the venue's archive too; its command knows Binance's own only, and goes
  page by page.
- top-up: `NEW` bars more on top of a history of `LONG`, which both sides were given before: ours through the store's own doors,
  the peer's as the file that it writes itself.

Each is measured twice. The command is the whole process that a person starts, with the time that both take to load. The work is
what a process does that runs already: ours as a tick of the daemon does it (`data_steps`, walked), the peer's the function
that its command calls, with the exchange loaded. Ours writes to an embedded server that runs already, as it does under `up`.

Each side keeps its other defaults; of freqtrade only the addresses, the time range and where bars come from are set. Both hold
the same bars afterwards, which is asserted.

`run()` gives rows of name, ours_s, peer_s, ratio (peer / ours), goal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.bench_archive import read_plainly
from benchmarks.bench_ingest import SERIES
from benchmarks.servers import administer, embedded_server, fresh_database
from benchmarks.venue_process import Venue, random_walk, record, venue_process
from cryptai_pipelines.market.bars import WIRE_DTYPES, index_ms
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.sources.archive_layout import days, plan
from cryptai_pipelines.storage import market_data
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.embedded import EmbeddedServer

FIRST, LONG, NEW = 1_000_000, 5_000_000, 60
TOP_UPS = 3
FIRST_GOAL, TOP_UP_GOAL = 5.0, 20.0
_MINUTE_MS = Timeframe.M1.ms
_AFTER_CLOSE_MS = 30_000
# What the venue has of a long history: a top-up asks for the end of it only.
_RECENT = 20_000
_COMMAND = "from cryptai_pipelines.cli.main import run; run()"
_PRICES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Sides:
    """Where both sides keep what they have, and the venue that both ask."""

    venue: Venue
    database: Database
    folder: Path
    home: Path
    """Where freqtrade's command stands, resolved."""

    archived: bool = False
    """Whether what the venue has archived is read from its files."""

    def settings(self) -> Settings:
        """Ours."""
        home, archive = self.folder / "home", self.venue.url if self.archived else "off"
        urls = {"database_url": self.database.url, "binance_url": self.venue.url, "archive_url": archive}
        return Settings(_env_file=None, home=home, **urls)

    def ours(self) -> float:
        """Seconds of our command."""
        environment = {
            "CRYPTAI_HOME": str(self.folder / "home"),
            "CRYPTAI_DATABASE_URL": self.database.url,
            "CRYPTAI_BINANCE_URL": self.venue.url,
            "CRYPTAI_ARCHIVE_URL": self.venue.url if self.archived else "off",
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        }
        return _timed([sys.executable, "-c", _COMMAND, "sync", SERIES.symbol, "--timeframe", "1m", "--json"], environment)

    def peers(self, within: Interval) -> float:
        """Seconds of the peer's command."""
        return _timed([str(self.home / "freqtrade"), *self.arguments(within)], {})

    def arguments(self, within: Interval, *, archived: bool = False) -> list[str]:
        """Of the peer's command."""
        config = self.folder / "freqtrade.json"
        config.write_text(json.dumps(_peer_config(self.venue.url, archived)))
        (self.folder / "user").mkdir(exist_ok=True)
        where = ["--userdir", str(self.folder / "user"), "--datadir", str(self.folder / "data")]
        what = ["--pairs", "BTC/USDT", "--timeframes", "1m", "--timerange", _peer_range(within)]
        return ["download-data", "--config", str(config), *where, *what]

    @property
    def file(self) -> Path:
        """The peer's bars."""
        return self.folder / "data" / "BTC_USDT-1m.feather"

    def assert_same(self, within: Interval) -> None:
        """Both have every bar of the span, with equal values."""
        theirs = pd.read_feather(self.file).set_index("date")
        mine = market_data.read(self.database, SERIES, *within)
        theirs = theirs[(index_ms(theirs.index) >= within.start_ms) & (index_ms(theirs.index) < within.end_ms)]
        assert len(mine) == len(theirs) == (within.end_ms - within.start_ms) // _MINUTE_MS, (len(mine), len(theirs))
        for name in _PRICES:
            np.testing.assert_array_equal(mine[name].to_numpy(), theirs[name].to_numpy())


def run() -> list[dict[str, object]]:
    """The rows of the benchmark: a first download once, a top-up the best of `TOP_UPS`, ours first."""
    with tempfile.TemporaryDirectory(prefix="cryptai-bench-") as scratch, embedded_server() as server:
        return [*_first_download(server, Path(scratch) / "first"), *_top_up(server, Path(scratch) / "long")]


def _first_download(server: EmbeddedServer, folder: Path) -> list[dict[str, object]]:
    bars = random_walk(FIRST + 1, Timeframe.M1)
    within = Interval(int(index_ms(bars.index)[0]), int(index_ms(bars.index)[-1]))
    name = f"first download of {FIRST:,} 1m bars"
    rows = []
    for archived, how in ((False, f"{name} over REST"), (True, f"{name}, the archive first")):
        with _sides(server, folder / f"command_{archived}", bars, within.end_ms, archived) as sides:
            command = sides.ours(), sides.peers(within)
            sides.assert_same(within)
        with _sides(server, folder / f"work_{archived}", bars, within.end_ms, archived) as sides:
            with _our_worker(sides) as ours, _peer_worker(sides, within) as peers:
                work = ours(), peers(within)
            sides.assert_same(within)
        rows += _rows(how, command, work, FIRST_GOAL)
    return rows


def _top_up(server: EmbeddedServer, folder: Path) -> list[dict[str, object]]:
    bars = random_walk(LONG + 2 * TOP_UPS * NEW + 1, Timeframe.M1)
    # As the venue writes them, so that no bar of the overlap is another one than it was.
    bars["volume"] = bars["volume"].round(5)
    opens = index_ms(bars.index)
    first, end = int(opens[0]), int(opens[LONG])
    commands, works = [], []
    with _sides(server, folder, bars.iloc[-_RECENT:], end) as sides:
        seed(sides, bars.iloc[:LONG], Interval(first, end))

        def grow() -> Interval:
            nonlocal end
            end += NEW * _MINUTE_MS
            sides.venue.set_time(end + _AFTER_CLOSE_MS)
            return Interval(first, end)

        for _ in range(TOP_UPS):
            within = grow()
            commands.append((sides.ours(), sides.peers(within)))
        with _our_worker(sides) as ours, _peer_worker(sides, within) as peers:
            for _ in range(TOP_UPS):
                within = grow()
                works.append((ours(), peers(within)))
        sides.assert_same(Interval(end - _RECENT // 2 * _MINUTE_MS, end))
    best = [(min(ours for ours, _ in each), min(peers for _, peers in each)) for each in (commands, works)]
    return _rows(f"top-up of {LONG:,} 1m bars by {NEW}", *best, TOP_UP_GOAL)


@contextmanager
def _sides(server: EmbeddedServer, folder: Path, bars: pd.DataFrame, end_ms: int, archived: bool = False) -> Iterator[Sides]:
    """Both sides with empty stores and a venue that has `bars` and whose clock says that those before `end_ms` are closed.
    `archived`: it has packed them into the files of its archive, too."""
    record(bars, folder, [SERIES.symbol.replace("-", "")], Timeframe.M1)
    # A link to it may stand beside an interpreter that does not know it.
    command = Path(sys.executable).parent / "freqtrade"
    if not command.exists():
        raise FileNotFoundError(f"{command}: freqtrade is not installed; it comes with the extra `bench`")
    with (
        venue_process(folder, end_ms + _AFTER_CLOSE_MS) as venue,
        fresh_database(server, f"download_{folder.name.lower()}") as database,
    ):
        if archived:
            _pack(venue, Interval(int(index_ms(bars.index)[0]), end_ms))
        yield Sides(venue, database, folder, command.resolve().parent, archived)


def _pack(venue: Venue, within: Interval) -> None:
    """Have the venue make the files that either side is going to ask for."""
    monthly = plan(SERIES.symbol, SERIES.timeframe, within, within.end_ms)
    daily = days(SERIES.symbol, SERIES.timeframe, within, within.end_ms, "spot")
    read_plainly(venue.url, [*monthly, *daily])


def seed(sides: Sides, bars: pd.DataFrame, within: Interval) -> None:
    """Give both sides `bars`, which fill `within`, as if they had fetched them."""
    from cryptai_pipelines.orchestration.chain import validated_bars
    from cryptai_pipelines.orchestration.chain.receive import receive_pages
    from cryptai_pipelines.orchestration.chain.steps import holding

    with holding(sides.database, "binance", sides.settings(), "seed")(SERIES) as lease:
        receive_pages(sides.database, lease, "binance", "rest", _pages(bars), run_id="seed")
        validated_bars.bring_up_to_date(sides.database, lease)
    administer(sides.database.url, "VACUUM (ANALYZE)")
    sides.file.parent.mkdir()
    table = bars[list(_PRICES)].reset_index(names="date")
    table.to_feather(sides.file, compression_level=9, compression="lz4")


def _pages(bars: pd.DataFrame, size: int = 25_000) -> Iterator[Page]:
    for start in range(0, len(bars), size):
        part = bars.iloc[start : start + size]
        ts = index_ms(part.index)
        values = {**part, "ts": ts, "close_ts": ts + _MINUTE_MS - 1, "unused": np.zeros(len(ts))}
        rows = {name: np.asarray(values[name], dtype) for name, dtype in WIRE_DTYPES.items()}
        end = int(ts[-1]) + _MINUTE_MS
        yield Page(rows, Interval(int(ts[0]), end), "seed:", "0" * 64, end)


@contextmanager
def _our_worker(sides: Sides) -> Iterator[Callable[[], float]]:
    """Brings the series up to date in a process that has brought up another one before; seconds."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_work, args=(sides.settings(), there), daemon=True)
    process.start()
    there.close()

    def bring_up_to_date() -> float:
        here.send(True)
        return here.recv()

    here.recv()
    try:
        yield bring_up_to_date
    finally:
        here.close()
        process.join()


def _work(settings: Settings, pipe: Connection) -> None:
    from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
    from cryptai_pipelines.orchestration.chain.walk import walk
    from cryptai_pipelines.orchestration.listings import know_listing
    from cryptai_pipelines.orchestration.store import open_archive, open_store, open_venue
    from cryptai_pipelines.quality import schemas

    with open_store(settings) as store:
        venue = open_venue(settings, database=store.database)
        know_listing(store.database, venue, [SERIES.symbol])
        venue.server_time()
        schemas.check_raw(next(_pages(random_walk(10, Timeframe.M1))).rows)
        pipe.send(True)
        while _asked(pipe):
            began = time.perf_counter()
            archive = open_archive(settings, store.database)
            steps = data_steps(store.database, venue, settings, "bench", archive=archive)
            hold = holding(store.database, venue.name, settings, "bench")
            (result,) = walk([SERIES], steps, hold, settings.fetch_threads)
            assert result.error is None, result.error
            pipe.send(time.perf_counter() - began)


def _asked(pipe: Connection) -> bool:
    try:
        return pipe.recv()
    except EOFError:
        return False


@contextmanager
def _peer_worker(sides: Sides, within: Interval) -> Iterator[Callable[[Interval], float]]:
    """The peer's download in a process that has loaded its exchange; seconds."""
    script = Path(__file__).with_name("freqtrade_process.py")
    archive = sides.venue.url if sides.archived else ""
    command = [str(sides.home / "python"), str(script), archive, *sides.arguments(within, archived=sides.archived)]
    with open(sides.folder / "freqtrade.log", "w+") as log:
        process = subprocess.Popen(
            command, env=_environment({}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )

        def answer() -> str:
            line = process.stdout.readline()  # type: ignore[union-attr]
            if not line:
                log.seek(0)
                raise RuntimeError(f"freqtrade ended with {process.wait()}: {log.read().strip()[-500:]}")
            return line

        def download(span: Interval) -> float:
            print(_peer_range(span), file=process.stdin, flush=True)
            return float(answer())

        try:
            answer()
            yield download
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            process.wait()


def _rows(name: str, command: tuple[float, float], work: tuple[float, float], goal: float) -> list[dict[str, object]]:
    return [
        _row(f"{name}, the work itself: data steps / refresh_backtest_ohlcv_data", *work, f">= {goal:g}"),
        _row(f"{name}, the whole command: cryptai sync / freqtrade download-data", *command, f">= {goal:g}"),
    ]


def _row(name: str, ours_s: float, peer_s: float, goal: str) -> dict[str, object]:
    return {"name": name, "ours_s": ours_s, "peer_s": peer_s, "ratio": peer_s / ours_s, "goal": goal}


def _timed(command: Sequence[str], settings: dict[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, env=_environment(settings), capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return seconds


def _environment(settings: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CRYPTAI_", "DAGSTER_", "PYTHON"))}
    return inherited | settings


def _peer_range(within: Interval) -> str:
    # It drops the last bar that it was given, which is the forming one if it is asked for.
    return f"{within.start_ms}-{within.end_ms + _MINUTE_MS}"


def _peer_config(venue_url: str, archived: bool) -> dict[str, object]:
    urls = {"api": {"public": f"{venue_url}/api/v3", "private": f"{venue_url}/api/v3"}}
    return {
        "stake_currency": "USDT",
        "stake_amount": 100,
        "dry_run": True,
        "trading_mode": "spot",
        "exchange": {
            "name": "binance",
            "pair_whitelist": ["BTC/USDT"],
            "only_from_ccxt": not archived,
            "ccxt_config": {"urls": urls, "options": {"fetchMarkets": {"types": ["spot"]}}},
        },
        "entry_pricing": {"price_side": "same", "use_order_book": False},
        "exit_pricing": {"price_side": "same", "use_order_book": False},
        "pairlists": [{"method": "StaticPairList"}],
    }


if __name__ == "__main__":
    for line in run():
        print(line)
