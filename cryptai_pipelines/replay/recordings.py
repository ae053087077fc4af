"""Reading recorded bars from files laid out `<folder>/<venue>/<SYMBOL>_<timeframe>.parquet` or `.csv`. Serving them is in
`recorded`; judging them is nobody's business here: rows are kept as they were recorded, off-grid and repeated ones too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from cryptai_pipelines.market.bars import BAR_COLUMNS, OHLCV, Columns
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.timeframe import Timeframe, parse_timeframe
from cryptai_pipelines.replay.venue import VENUE_COLUMNS

_NAME = re.compile(r"([A-Z0-9]{3,40})_(1m|5m|15m|30m|1h|4h|1d|1w)\.(parquet|csv)")
_LAYOUT = "expected <folder>/<venue>/<SYMBOL>_<timeframe>.parquet or .csv, such as binance/BTCUSDT_1h.parquet"
_MICROSECONDS_FROM = 10**14
_FILLED, _SIMULATED = "is_filled", "simulated"
"""What `cryptai bars --to` says of each bar."""

Recordings = dict[str, dict[Timeframe, Path]]
"""Files by venue symbol and timeframe."""


def find_recordings(folder: Path, venue: str) -> Recordings:
    """The recordings of `venue` under `folder`, headers checked; other files there are left alone.

    `CryptaiError` names the folder when there are none, and the file when one is unreadable, lacks a column, or exists in
    both formats.
    """
    home = folder / venue
    if not home.is_dir():
        raise CryptaiError(f"recorded data folder {str(home)!r} does not exist; {_LAYOUT}")
    found: Recordings = {}
    for path in sorted(home.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match:
            series = found.setdefault(match[1], {})
            timeframe = parse_timeframe(match[2])
            if timeframe in series:
                raise CryptaiError(f"{path} and {series[timeframe].name} record the same series; keep one of them")
            _check_header(path)
            series[timeframe] = path
    if not found:
        raise CryptaiError(f"no recorded bars in {str(home)!r}; {_LAYOUT}")
    return found


def read_given_bars(path: Path) -> tuple[Columns, int]:
    """`read_recording` of a file that was not found by `find_recordings`, and that may hold a market that is made up: its
    header is checked first. With the columns comes how many filled rows were left out."""
    _check_header(path)
    return _given(_read_table(path, [*VENUE_COLUMNS, _FILLED]), path)


def read_recording(path: Path) -> Columns:
    """The venue columns of one file, ascending by `ts` (stable, so repeated open times keep their order). Rows that the file
    says are filled (`is_filled`) are left out, as no source has given them.

    Parquet `ts` is a timestamp or epoch milliseconds; CSV `ts` is ISO 8601 (UTC unless it says otherwise) or epoch
    milliseconds or microseconds. `CryptaiError` names the file when it is corrupt, a price or volume is not a number, all rows
    are filled, or the file says that its market is made up.
    """
    table = _read_table(path, [*VENUE_COLUMNS, _FILLED, _SIMULATED])
    if any(_flags(table, _SIMULATED)):
        raise CryptaiError(f"{path} holds simulated bars; accepted: bars of a real market")
    return _given(table, path)[0]


def _given(table: Any, path: Path) -> tuple[Columns, int]:
    given = [not filled for filled in _flags(table, _FILLED)]
    if given and not any(given):
        raise CryptaiError(f"{path} holds no bars but {len(given):,} filled ones; accepted: a file with at least one bar")
    return _venue_columns(table if all(given) else table.filter(given), path), given.count(False)


def _flags(table: Any, name: str) -> list[bool]:
    if name not in table.column_names:
        return []
    return [str(value).strip().lower() in ("true", "1") for value in table.column(name).to_pylist()]


def _venue_columns(table: Any, path: Path) -> Columns:
    try:
        columns: Columns = {"ts": _epoch_ms(table.column("ts"))}
        for name in BAR_COLUMNS:
            if name in table.column_names:
                columns[name] = _numbers(table.column(name), name)
    except (ValueError, TypeError, KeyError) as error:
        raise _corrupt(path, error) from None
    broken = [name for name in OHLCV if not np.isfinite(columns[name]).all()]
    if broken:
        raise CryptaiError(f"recorded bars {path} hold values that are not finite numbers in column {broken[0]!r}")
    if (np.diff(columns["ts"]) < 0).any():
        order = np.argsort(columns["ts"], kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
    return columns


def _check_header(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        if path.suffix == ".parquet":
            names = parquet.ParquetFile(path).schema_arrow.names
        else:
            with path.open(encoding="utf-8") as lines:
                names = [name.strip() for name in lines.readline().split(",")]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _corrupt(path, error) from None
    missing = [name for name in ("ts", *OHLCV) if name not in names]
    if missing:
        raise CryptaiError(f"recorded bars {path} have no column {missing[0]!r}; needed: ts {' '.join(OHLCV)}")


def _read_table(path: Path, wanted: list[str]) -> Any:
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if path.suffix == ".parquet":
            names = parquet.ParquetFile(path).schema_arrow.names
            return parquet.read_table(path, columns=[name for name in wanted if name in names])
        types = {name: pa.float64() for name in BAR_COLUMNS}
        return csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=types))
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(path, error) from None


def _epoch_ms(column: Any) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        raise ValueError("an open time is missing")
    if pa.types.is_timestamp(column.type):
        column = pc.cast(column, pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    elif not pa.types.is_integer(column.type):
        raise ValueError(f"open times are {column.type}, not timestamps or epoch milliseconds")
    ts = column.to_numpy().astype("int64")
    return np.where(ts >= _MICROSECONDS_FROM, ts // 1000, ts)


def _numbers(column: Any, name: str) -> np.ndarray:
    """float64, `trades` int64. Beyond OHLCV a value that was not reported (null or NaN) is 0, as Binance writes what it
    does not have."""
    values = column.to_numpy().astype("float64")
    if name in OHLCV:
        return values
    return np.nan_to_num(values, nan=0.0).astype("int64" if name == "trades" else "float64")


def _corrupt(path: Path, error: Exception) -> CryptaiError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return CryptaiError(f"recorded bars {path} cannot be read: {reason}")
