"""`cryptai leakcheck`: does a strategy or an indicator know what comes after a bar? What is replayed stands in
`indicators.leaks`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption

if TYPE_CHECKING:
    import pandas as pd

    from cryptai_pipelines.indicators.leaks import Examination, Leak, OnPlace
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.market.timeframe import Timeframe

_SECONDS_BETWEEN_LINES = 5.0
_BARS = 6_000
"""The last bars of a series that are looked at: enough for what needs a year of days, or an average of 200 higher bars."""


def leakcheck(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A strategy, an indicator (rsi_14), or FILE.py[:NAME].")],
    bars: Annotated[
        str | None,
        typer.Option(metavar="FILE|SERIES", help="Bars of a file, or stored ones (BTC-USDT@1h); the default is the sample."),
    ] = None,
    timeframe: Annotated[str | None, typer.Option("--timeframe", "-t", metavar="CODE", help="Of the bars of a file.")] = None,
    prefixes: Annotated[int, typer.Option(metavar="N", help="At most so many prefixes, and as many shuffles.")] = 200,
    json: JsonOption = False,
) -> None:
    """Replay prefixes and shuffled futures; exit code 1 when a value of any column changes with the bars after it."""
    from cryptai_pipelines.cli.output import counted, print_json, say, step
    from cryptai_pipelines.indicators.leaks import examine
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.strategy.leak_targets import leak_target

    if prefixes < 1:
        raise BadInput(f"--prefixes {prefixes} is not accepted; accepted: 1 and more")
    named, read = _source(bars, timeframe)
    chosen = leak_target(target, named.timeframe)
    found = read().iloc[-_BARS:]
    with step(f"leakcheck: {chosen.name} over {counted(len(found), 'bar')} of {_title(bars, named)}"):
        examined = examine(chosen.compute, found, cuts=prefixes, on_place=_places_told(chosen.name))
    told = _told(chosen.name, chosen.kind, _title(bars, named), found, examined)
    verdict = f"{chosen.name} knows the future: {examined.leaks[0]}" if examined.leaks else None
    if json:
        print_json({**told, "error": verdict} if verdict else told)
    else:
        _print(told, examined)
    if verdict:
        say(f"cryptai: {verdict}")
    raise typer.Exit(1 if verdict else 0)


def _places_told(name: str) -> OnPlace:
    """Says every few seconds how far a slow target is."""
    last = time.monotonic()

    def tell(done: int, of: int) -> None:
        from cryptai_pipelines.cli.output import say

        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"leakcheck: {name}: {done} of {of} places")

    return tell


def _title(bars: str | None, series: Series) -> str:
    return f"{series} (recorded sample)" if bars is None else bars


def _source(bars: str | None, timeframe: str | None) -> tuple[Series, Any]:
    """The series that is looked at, and what reads its bars. Names are refused before anything is read."""
    from functools import partial

    from cryptai_pipelines.cli.demo import SAMPLE, SAMPLE_SERIES
    from cryptai_pipelines.cli.selection import one_series
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.market.series import Series, parse_series
    from cryptai_pipelines.market.timeframe import parse_timeframe

    if bars is None:
        series = parse_series(SAMPLE_SERIES)
        if timeframe is not None:
            raise BadInput(f"--timeframe {timeframe} is not that of the sample; accepted: with --bars FILE or SYMBOL")
        return series, partial(_of_file, SAMPLE / "binance" / "BTCUSDT_1h.parquet", series)
    path = Path(bars)
    if path.suffix and path.suffix.lower() in (".csv", ".gz", ".parquet", ".feather"):
        if not path.is_file():
            raise BadInput(f"--bars {bars}: there is no such file")
        series = Series("FILE-BARS", parse_timeframe(timeframe or "1h"))
        return series, partial(_of_file, path, series)
    series = one_series(bars, timeframe)
    return series, partial(_of_store, series)


def _of_file(path: Path, series: Series) -> pd.DataFrame:
    """The bars of a file as `cryptai import` reads it."""
    import pandas as pd

    from cryptai_pipelines.market.bars import bars_frame
    from cryptai_pipelines.market.clock import SystemClock
    from cryptai_pipelines.sources.bar_files import FileOptions, open_bar_file

    with open_bar_file(path, FileOptions(series), SystemClock().now_ms()) as opened:
        found = pd.concat([bars_frame(page.rows) for page in opened.pages()])
    return _on_grid(found, series.timeframe).assign(is_filled=False)


def _on_grid(bars: pd.DataFrame, timeframe: Timeframe) -> pd.DataFrame:
    from cryptai_pipelines.market.bars import index_ms

    return bars[timeframe.on_grid(index_ms(bars.index))]


def _of_store(series: Series) -> pd.DataFrame:
    """The last stored bars of a series."""
    from cryptai_pipelines.cli.selection import not_stored
    from cryptai_pipelines.market.bars import OHLCV
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.storage import market_data

    with open_store(load_settings()) as store:
        span = market_data.span(store.database, series)
        if span is None:
            raise not_stored([series.symbol], [series.timeframe])
        end = span.end_ms + series.timeframe.ms
        start = market_data.window_start(store.database, series, end, _BARS)
        return market_data.read(store.database, series, start, end, columns=(*OHLCV, "is_filled"))


def _told(name: str, kind: str, source: str, bars: pd.DataFrame, examined: Examination) -> dict[str, Any]:
    from cryptai_pipelines.market.bars import index_ms
    from cryptai_pipelines.market.clock import format_time

    opens = index_ms(bars.index)
    return {
        "target": name,
        "kind": kind,
        "bars_of": source,
        "bars": len(bars),
        "first_bar": format_time(int(opens[0])),
        "last_bar": format_time(int(opens[-1])),
        "columns": list(examined.columns),
        "prefixes": examined.cuts,
        "shuffles": examined.cuts,
        "clean": not examined.leaks,
        "leaks": [_leak(leak) for leak in examined.leaks],
    }


def _leak(leak: Leak) -> dict[str, Any]:
    from cryptai_pipelines.market.clock import format_time

    return {
        "column": leak.column,
        "bar": format_time(leak.ts_ms),
        "how": leak.how,
        "known_until": format_time(leak.known_until_ms),
        "value": leak.whole,
        "value_without": leak.alone,
    }


def _print(told: dict[str, Any], examined: Examination) -> None:
    from cryptai_pipelines.cli.output import counted

    columns = counted(len(examined.columns), "column")
    where = f"{columns} over {counted(told['bars'], 'bar')} of {told['bars_of']}, {told['first_bar']} to {told['last_bar']}"
    replayed = f"{counted(examined.cuts, 'prefix', 'prefixes')} and as many shuffled futures"
    typer.echo(f"{told['target']} ({told['kind']}): {where}; {replayed}")
    for leak in examined.leaks:
        typer.echo(f"leak: {leak}")
    if not examined.leaks:
        typer.echo("no leak: no value changed with the bars after it")
