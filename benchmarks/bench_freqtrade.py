"""One TP/SL backtest over 1,000,000 one-minute bars beside freqtrade's, on the same bars and entries.

Its backtest is called as its command calls it, with a strategy that is given the entries, in a process that has loaded
everything; reading the bars is counted on neither side. It asks a venue for the rules of its market, which is the local replay:
no network is needed. Fees are 0 on both sides: freqtrade takes a target of 15 % after fees, ours is one of the price, and with
fees the two would sell at other prices.

The same bars of entry and exit are asserted, and prices to the tick of the market, to which freqtrade rounds its stops.

`run()` gives rows of name, ours_s, peer_s, ratio, goal; the ratio is peer over ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.bench_backtest import best_of
from benchmarks.venue_process import random_walk, record, venue_process
from cryptai_pipelines.backtest import simulate
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.timeframe import Timeframe

BARS = 1_000_000
REPEATS, PEER_REPEATS = 5, 1
TAKE_PROFIT, STOP_LOSS, CAPITAL = 0.15, 0.08, 10_000.0
TICK = 0.01

_STRATEGY = """
    import pandas as pd
    from freqtrade.strategy import IStrategy

    ASKED = pd.read_feather(r"{asked}")["enter"].to_numpy()


    class Planted(IStrategy):
        INTERFACE_VERSION = 3
        timeframe = "1m"
        minimal_roi = {{"0": {take_profit}}}
        stoploss = -{stop_loss}
        use_exit_signal = False
        startup_candle_count = 0

        def populate_indicators(self, dataframe, metadata):
            return dataframe

        def populate_entry_trend(self, dataframe, metadata):
            dataframe["enter_long"] = ASKED[: len(dataframe)]
            return dataframe

        def populate_exit_trend(self, dataframe, metadata):
            return dataframe
"""


def run() -> list[dict[str, Any]]:
    """The row of the benchmark."""
    bars = random_walk(BARS, Timeframe.M1)
    entries = pd.Series(np.random.default_rng(7).random(BARS) < 0.01, index=bars.index)

    def ours() -> pd.DataFrame:
        return simulate(bars, entries, TAKE_PROFIT, STOP_LOSS, 0.0, 0.0, CAPITAL).trades

    trades = ours()
    told = _theirs(bars, entries)
    assert_same(trades, told["trades"])
    ours_s, peer_s = best_of(ours, REPEATS), min(told["seconds"])
    name = f"backtest, {BARS:,} simulated 1m bars, {len(trades):,} trades / freqtrade"
    return [{"name": name, "ours_s": ours_s, "peer_s": peer_s, "ratio": peer_s / ours_s, "goal": ""}]


def assert_same(ours: pd.DataFrame, theirs: list[dict[str, Any]]) -> None:
    """The same bars of entry and exit, and prices to the tick. What is open at the end freqtrade sells at the last open."""
    assert len(ours) == len(theirs), (len(ours), len(theirs))
    peer = pd.DataFrame(theirs)
    closed = (ours["exit_reason"] != "end").to_numpy()
    np.testing.assert_array_equal(index_ms(pd.DatetimeIndex(ours["entry_ts"])), peer["entry_ms"])
    np.testing.assert_array_equal(index_ms(pd.DatetimeIndex(ours["exit_ts"]))[closed], peer["exit_ms"][closed])
    np.testing.assert_allclose(ours["entry_price"], peer["entry_price"], rtol=0, atol=TICK)
    np.testing.assert_allclose(ours["exit_price"][closed], peer["exit_price"][closed], rtol=0, atol=TICK)


def _theirs(bars: pd.DataFrame, entries: pd.Series) -> dict[str, Any]:
    command = Path(sys.executable).parent / "freqtrade"
    if not command.exists():
        raise FileNotFoundError(f"{command}: freqtrade is not installed; it comes with the extra `bench`")
    with tempfile.TemporaryDirectory(prefix="cryptai-bench-") as scratch:
        folder = Path(scratch)
        record(bars.iloc[-1_000:], folder, ["BTCUSDT"], Timeframe.M1)
        with venue_process(folder, int(index_ms(bars.index)[-1]) + Timeframe.M1.ms) as venue:
            _write(folder, bars, entries, venue.url)
            script = Path(__file__).with_name("freqtrade_backtest.py")
            python = command.resolve().parent / "python"
            ended = subprocess.run(
                [str(python), str(script), str(folder), str(PEER_REPEATS)], capture_output=True, text=True, check=False
            )
    if ended.returncode:
        raise RuntimeError(f"freqtrade ended with {ended.returncode}: {ended.stderr.strip().splitlines()[-1:]}")
    return json.loads(ended.stdout)


def _write(folder: Path, bars: pd.DataFrame, entries: pd.Series, venue_url: str) -> None:
    (folder / "data").mkdir()
    (folder / "strategies").mkdir()
    columns = ["open", "high", "low", "close", "volume"]
    bars[columns].reset_index(names="date").to_feather(folder / "data" / "BTC_USDT-1m.feather")
    entries.astype("int64").rename("enter").reset_index(drop=True).to_frame().to_feather(folder / "asked.feather")
    values = {"asked": folder / "asked.feather", "take_profit": TAKE_PROFIT, "stop_loss": STOP_LOSS}
    (folder / "strategies" / "planted.py").write_text(dedent(_STRATEGY).format(**values))
    (folder / "config.json").write_text(json.dumps(_config(venue_url)))


def _config(venue_url: str) -> dict[str, object]:
    urls = {"api": {"public": f"{venue_url}/api/v3", "private": f"{venue_url}/api/v3"}}
    return {
        "stake_currency": "USDT",
        "stake_amount": "unlimited",
        "tradable_balance_ratio": 1.0,
        "dry_run_wallet": CAPITAL,
        "max_open_trades": 1,
        "dry_run": True,
        "fee": 0.0,
        "trading_mode": "spot",
        "exchange": {
            "name": "binance",
            "pair_whitelist": ["BTC/USDT"],
            "ccxt_config": {"urls": urls, "options": {"fetchMarkets": {"types": ["spot"]}}},
        },
        "entry_pricing": {"price_side": "same", "use_order_book": False},
        "exit_pricing": {"price_side": "same", "use_order_book": False},
        "pairlists": [{"method": "StaticPairList"}],
    }


if __name__ == "__main__":
    for line in run():
        print(line)
