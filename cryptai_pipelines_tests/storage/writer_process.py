"""Another process that writes a series, for tests that kill or pause it: `URL SYMBOL TIMEFRAME MODE LEASE_SECONDS`.

It says `ready` when it is where `MODE` wants it, waits for a line, goes on, and says how that ended.
"""

from __future__ import annotations

import sys

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import parse_timeframe
from cryptai_pipelines.storage import copy_rows, market_data, sync_log
from cryptai_pipelines.storage.database import Cursor, Database, DatabaseUnavailable
from cryptai_pipelines.storage.leases import LeaseLost, check_lease, take_series
from cryptai_pipelines_tests.storage.bars_examples import bar_rows, opens


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _write(cursor: Cursor, series: Series, mode: str) -> None:
    if mode == "copying":
        stream = copy_rows.binary_rows

        def stalled(fields: list, rows: int):  # noqa: ANN202
            for number, piece in enumerate(stream(fields, rows)):
                if number == 2:
                    _wait()
                yield piece

        copy_rows.binary_rows = stalled
    market_data.upsert(cursor, series, bar_rows(opens(40_000 if mode == "copying" else 50)), "binance", "rest")
    if mode == "uncommitted":
        _wait()


def main() -> None:
    url, symbol, timeframe, mode, lease_s = sys.argv[1:]
    db, series = Database(url), Series(symbol, parse_timeframe(timeframe))
    with take_series(db, "binance", series, "writer", float(lease_s)) as lease:
        sync_log.start_sync(db, lease)
        if mode in ("hold", "write on input"):
            _wait()
        try:
            with db.transaction() as cursor:
                check_lease(cursor, lease)
                _write(cursor, series, mode)
            print("written")
        except (LeaseLost, DatabaseUnavailable) as error:
            print(type(error).__name__)


if __name__ == "__main__":
    main()
