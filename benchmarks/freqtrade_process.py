"""Freqtrade's own download in a process that has loaded everything before: run by the interpreter that freqtrade is installed
for, so nothing of ours is imported here.

The first argument is the base URL of an archive, or empty; the others are those of `freqtrade download-data`. It says `ready`,
then runs once for every time range that it reads, one a line, and answers with the seconds that it took.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence


def main(archive_url: str, arguments: Sequence[str]) -> None:
    from freqtrade.commands import Arguments
    from freqtrade.configuration import TimeRange, setup_utils_configuration
    from freqtrade.data.history import refresh_backtest_ohlcv_data
    from freqtrade.enums import RunMode
    from freqtrade.resolvers.exchange_resolver import ExchangeResolver

    if archive_url:
        _read_archive_at(archive_url)
    answers, sys.stdout = sys.stdout, sys.stderr
    config = setup_utils_configuration(Arguments(list(arguments)).get_parsed_arg(), RunMode.UTIL_EXCHANGE)
    logging.disable(logging.INFO)
    exchange = ExchangeResolver.load_exchange(config, validate=False)
    exchange.get_markets(tradable_only=True, active_only=True)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        missing = refresh_backtest_ohlcv_data(
            exchange,
            pairs=config["pairs"],
            timeframes=config["timeframes"],
            datadir=config["datadir"],
            timerange=TimeRange.parse_timerange(line.strip()),
            data_format=config["dataformat_ohlcv"],
            trading_mode="spot",
        )
        took = time.perf_counter() - began
        if missing:
            raise SystemExit(f"not available: {missing}")
        print(took, file=answers, flush=True)


def _read_archive_at(base_url: str) -> None:
    """Its archive's address is no setting of it, only part of the one function that spells its files."""
    from freqtrade.exchange import binance_public_data

    spelled = binance_public_data.binance_vision_ohlcv_zip_url

    def elsewhere(*file: object) -> str:
        return spelled(*file).replace("https://data.binance.vision", base_url)

    binance_public_data.binance_vision_ohlcv_zip_url = elsewhere


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
