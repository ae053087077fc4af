"""Freqtrade's backtest in a process of its own: run by the interpreter that freqtrade is installed for, so nothing of ours is
imported here.

The arguments are a folder with `config.json`, `strategies/` and `data/`, and how often. It prints one JSON object: the seconds
of each run (indicators, signals, trades and statistics; reading the bars is not counted) and the trades of the last one.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path


def main(folder: Path, repeats: int) -> None:
    from freqtrade.commands import Arguments
    from freqtrade.configuration import setup_utils_configuration
    from freqtrade.enums import RunMode
    from freqtrade.optimize.backtesting import Backtesting
    from freqtrade.optimize.optimize_reports import generate_backtest_stats

    answers, sys.stdout = sys.stdout, sys.stderr
    where = ["--config", str(folder / "config.json"), "--userdir", str(folder), "--datadir", str(folder / "data")]
    arguments = ["backtesting", *where, "--strategy", "Planted", "--cache", "none", "--export", "none"]
    config = setup_utils_configuration(Arguments(arguments).get_parsed_arg(), RunMode.BACKTEST)
    logging.disable(logging.WARNING)
    backtesting = Backtesting(config)
    data, timerange = backtesting.load_bt_data()
    seconds = []
    for _ in range(repeats):
        backtesting.all_bt_content.clear()
        began = time.perf_counter()
        first, last = backtesting.backtest_one_strategy(backtesting.strategylist[0], data, timerange)
        generate_backtest_stats(data, backtesting.all_bt_content, min_date=first, max_date=last)
        seconds.append(time.perf_counter() - began)
    results = backtesting.all_bt_content["Planted"]["results"]
    trades = [
        {
            "entry_ms": int(row.open_date.timestamp() * 1000),
            "exit_ms": int(row.close_date.timestamp() * 1000),
            "entry_price": float(row.open_rate),
            "exit_price": float(row.close_rate),
            "reason": str(row.exit_reason),
        }
        for row in results.itertuples()
    ]
    print(json.dumps({"seconds": seconds, "trades": trades}), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
