"""`cryptai bars`: the validated bars of a series, as they are or as they were known at some moment."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import EndOption, JsonOption, StartOption

if TYPE_CHECKING:
    import pandas as pd

    from cryptai_pipelines.market.errors import CryptaiError
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.storage.database import Database

_SHOWN = 20
_FORMATS = (".csv", ".parquet")


class Fill(enum.StrEnum):
    """What `--fill` accepts. `stored`: filled bars as they stand in the store."""

    STORED = "stored"
    NONE = "none"
    INTERPOLATE = "interpolate"


def bars(
    series: Annotated[str, typer.Argument(metavar="SERIES", help="Such as BTC-USDT@1h, or BTC-USDT with --timeframe.")],
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w; the default is 1h.")
    ] = None,
    as_of: Annotated[str | None, typer.Option(metavar="TIME", help="As known at this moment (ISO 8601, UTC).")] = None,
    start: StartOption = None,
    end: EndOption = None,
    fill: Annotated[Fill, typer.Option(help="`interpolate` reads ahead: for charts and exports only.")] = Fill.STORED,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Write them to a .csv or .parquet file.")] = None,
    json: JsonOption = False,
) -> None:
    """Show the bars of a series with the source and origin of each; the last 20 on a terminal, all with --to or --json."""
    from cryptai_pipelines.cli.output import counted, print_json, say
    from cryptai_pipelines.cli.selection import chosen_moment, chosen_window, one_series
    from cryptai_pipelines.market.clock import format_moment
    from cryptai_pipelines.market.errors import BadInput

    chosen = one_series(series, timeframe)
    if to is not None and to.suffix not in _FORMATS:
        raise BadInput(f"--to {to} is not accepted; accepted: a file that ends in {' or '.join(_FORMATS)}")
    known_at = chosen_moment(as_of)
    found, simulated = _read(chosen, chosen_window(start, end), known_at, fill)
    summary: dict[str, Any] = {
        "symbol": chosen.symbol,
        "timeframe": chosen.timeframe.code,
        "simulated": simulated,
        "as_of": None if known_at is None else format_moment(known_at),
        "bars": len(found),
        "filled": int(found["is_filled"].sum()),
        "origins": {str(name): int(count) for name, count in found["origin"].value_counts().items() if count},
    }
    if to is not None:
        _write(found.assign(simulated=True) if simulated else found, to)
        say(f"bars: {counted(len(found), 'bar')} of {_named(chosen, simulated)} written to {to}")
    if json:
        print_json(summary if to is not None else {**summary, "rows": _rows(found)})
    elif to is None:
        _print(found, _named(chosen, simulated))


def _named(series: Series, simulated: bool) -> str:
    return f"{series} (simulated)" if simulated else str(series)


def _read(series: Series, window: Any, known_at_ms: int | None, fill: Fill) -> tuple[pd.DataFrame, bool]:
    """The bars, and whether their market is made up."""
    import pandas as pd

    from cryptai_pipelines.orchestration.chain.bar_history import read_bars
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.quality.filling import interpolated
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.storage.symbols import is_simulated

    settings = load_settings()
    with open_store(settings) as store:
        blocks = [block for block in read_bars(store.database, series, window, known_at_ms) if len(block)]
        if not blocks:
            raise _nothing(store.database, series, window, known_at_ms)
        simulated = bool(is_simulated(store.database, settings.exchange, series.symbol))
    found = pd.concat([block.astype({"source": str, "origin": str}) for block in blocks])
    if fill is Fill.STORED:
        return found, simulated
    given = found[~found["is_filled"]]
    return (given if fill is Fill.NONE else interpolated(given, series.timeframe)), simulated


def _nothing(database: Database, series: Series, window: Any, known_at_ms: int | None) -> CryptaiError:
    """Why there are no bars, and what helps."""
    from cryptai_pipelines.cli.selection import not_stored
    from cryptai_pipelines.market.clock import format_time
    from cryptai_pipelines.market.errors import CryptaiError
    from cryptai_pipelines.orchestration.chain.bar_history import nothing_known
    from cryptai_pipelines.storage import market_data

    stored = market_data.span(database, series)
    if stored is None:
        return not_stored([series.symbol], [series.timeframe])
    unknown = None if known_at_ms is None else nothing_known(database, series, known_at_ms)
    if unknown is not None:
        return unknown
    last = stored.end_ms + series.timeframe.ms
    asked = " in the window that was asked for" if window is not None else ""
    return CryptaiError(f"no bars of {series} are stored{asked}; stored: {format_time(stored.start_ms)} to {format_time(last)}")


def _rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    from cryptai_pipelines.market.bars import index_ms
    from cryptai_pipelines.market.clock import format_time

    times = [format_time(int(ts)) for ts in index_ms(found.index)]
    return [{"ts": ts, **row} for ts, row in zip(times, found.to_dict("records"), strict=True)]


def _write(found: pd.DataFrame, to: Path) -> None:
    """Complete or not at all: the file appears under its name when it is whole."""
    partial = to.with_name(f".{to.name}.part")
    table = found.reset_index()
    try:
        if to.suffix == ".parquet":
            table.to_parquet(partial, index=False)
        else:
            table.to_csv(partial, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)


def _print(found: pd.DataFrame, series: str) -> None:
    from rich.table import Table

    from cryptai_pipelines.cli.output import say
    from cryptai_pipelines.cli.results import print_table

    table = Table(title=series, title_justify="left")
    for heading in ("open time", "open", "high", "low", "close", "volume", "source", "origin"):
        table.add_column(heading)
    for row in _rows(found.tail(_SHOWN)):
        values = [f"{row[name]:.10g}" for name in ("open", "high", "low", "close", "volume")]
        table.add_row(row["ts"], *values, row.get("source", ""), row["origin"])
    print_table(table)
    if len(found) > _SHOWN:
        say(f"bars: the last {_SHOWN} of {len(found):,} bars of {series}; all of them with --to FILE or --json")
