"""Files of users: every real kind is recognised to the row, every spelling of the same bars gives the same bars, and what
cannot be read is one line that says where."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cryptai_pipelines
from cryptai_pipelines.market.bars import OHLCV, WIRE_DTYPES, Columns, concat_columns
from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import parse_series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources import bar_files, file_tables
from cryptai_pipelines.sources.bar_files import FileFindings, FileOptions, open_bar_file
from cryptai_pipelines.sources.file_columns import parse_mapping
from cryptai_pipelines.sources.file_numbers import texts_to_floats
from cryptai_pipelines.sources.file_times import TimeReading, UnreadableTime, numbers_to_ms, texts_to_ms

HOUR, DAY = Timeframe.H1.ms, Timeframe.D1.ms
NOW_MS = parse_time("2026-10-01")
SAMPLE = Path(cryptai_pipelines.__file__).parent / "sample" / "binance" / "BTCUSDT_1h.parquet"


def _read(path: Path, key: str = "BTC-USDT|1h", now_ms: int = NOW_MS, **options: Any) -> tuple[FileFindings, Columns]:
    """Findings and all bars; the pages hold what pages must."""
    if isinstance(mapping := options.get("mapping"), str):
        options["mapping"] = parse_mapping(mapping)
    with open_bar_file(path, FileOptions(parse_series(key), **options), now_ms) as file:
        pages = list(file.pages())
        assert [page.asked.start_ms for page in pages] == [file.span.start_ms, *[page.asked.end_ms for page in pages][:-1]]
        assert pages[-1].asked.end_ms == file.span.end_ms
    for page in pages:
        ts = page.rows["ts"]
        assert (np.diff(ts) > 0).all() and page.asked.start_ms <= ts[0] and ts[-1] < page.asked.end_ms
        assert (page.url, page.fetched_at_ms) == (path.name, now_ms)
        assert page.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert {name: values.dtype.name for name, values in page.rows.items()} == WIRE_DTYPES
    return file.findings, concat_columns([page.rows for page in pages])


# Real files.

REAL: dict[str, tuple[str, str, int, int, str, str]] = {
    # file: series, kind, rows in it, bars of it, first, last
    "payloads/tradingview/BINANCE_BTCUSDT, 1D.csv": ("BTC-USDT|1d", "TradingView export", 564, 563, "2022-09-24", "2024-04-08"),
    "payloads/tradingview/BINANCE_BTCUSDT, 60.csv": (
        "BTC-USDT|1h",
        "TradingView export",
        1902,
        1901,
        "2024-01-21T14:00",
        "2024-04-09T18:00",
    ),
    "payloads/tradingview/BINANCE_BTCUSDT, 240.csv.gz": (
        "BTC-USDT|4h",
        "TradingView export",
        9288,
        9287,
        "2020-01-13T16:00",
        "2024-04-09T12:00",
    ),
    "payloads/cdd/Bitstamp_BTCUSD_d_2022-08.csv": ("BTC-USD|1d", "CryptoDataDownload", 2823, 2823, "2014-11-28", "2022-08-20"),
    "payloads/cdd/gemini_BTCUSD_1hr_tail50.csv": (
        "BTC-USD|1h",
        "CryptoDataDownload",
        50,
        50,
        "2015-10-08T13:00",
        "2015-10-10T14:00",
    ),
    "payloads/freqtrade/XRP_ETH-1m.feather": ("XRP-ETH|1m", "freqtrade", 2469, 2469, "2019-10-11", "2019-10-13T11:19"),
    "payloads/data_binance_vision/spot_nohdr_ADABTC-1m-2021-11-27.csv": (
        "ADA-BTC|1m",
        "Binance klines",
        10,
        10,
        "2021-11-27",
        "2021-11-27T00:09",
    ),
    "payloads/data_binance_vision/spot_nohdr_ADABTC-1m-2021-11-28.csv": (
        "ADA-BTC|1m",
        "Binance klines",
        11,
        11,
        "2021-11-28",
        "2021-11-28T00:10",
    ),
    "demo/BTCUSDT_1h.parquet": (
        "BTC-USDT|1h",
        "CryptAI recording",
        55765,
        55765,
        "2017-08-17T04:00",
        "2024-01-01T23:00",
    ),
    "binance_cdd/BTCUSDT_1h.parquet": (
        "BTC-USDT|1h",
        "CryptAI recording",
        36062,
        33413,
        "2017-08-17T04:00",
        "2021-06-10",
    ),
    "kraken/BTCUSD_1h.parquet": ("BTC-USD|1h", "CryptAI recording", 70253, 70253, "2013-10-06T21:00", "2023-01-07T09:00"),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_is_read_to_the_row(real_data: Path, name: str) -> None:
    key, kind, rows, bars, first, last = REAL[name]
    found, columns = _read(real_data / name, key)
    assert (found.kind, found.rows, found.bars, len(columns["ts"])) == (kind, rows, bars, bars)
    assert (columns["ts"][0], columns["ts"][-1]) == (parse_time(first), parse_time(last))
    assert (found.first, found.last) == tuple(pd.Timestamp(ts, unit="ms").strftime("%FT%TZ") for ts in columns["ts"][[0, -1]])
    assert (found.unreadable, found.not_closed) == (0, 0)


@pytest.mark.parametrize(
    ("export", "code"),
    [("BINANCE_BTCUSDT, 1D.csv", "1d"), ("BINANCE_BTCUSDT, 60.csv", "1h"), ("BINANCE_BTCUSDT, 240.csv.gz", "4h")],
)
def test_a_tradingview_export_equals_what_others_made_of_it(real_data: Path, export: str, code: str) -> None:
    oracle = pd.read_parquet(real_data / "tradingview" / f"BTCUSDT_{code}.parquet")
    ts = pd.DatetimeIndex(oracle["ts"]).as_unit("ms").asi8
    for keep_last in (False, True):
        found, columns = _read(real_data / "payloads" / "tradingview" / export, f"BTC-USDT|{code}", keep_last=keep_last)
        kept = slice(None) if keep_last else slice(-1)
        assert (found.last_dropped is None) is keep_last
        assert np.array_equal(columns["ts"], ts[kept])
        for name in OHLCV:
            assert np.array_equal(columns[name], oracle[name].to_numpy()[kept])
    assert "A组1" in found.ignored and found.ignored.count("Plot") == 3


def test_the_twelve_fields_of_binance_are_all_read(real_data: Path) -> None:
    found, columns = _read(real_data / "payloads/data_binance_vision/spot_nohdr_ADABTC-1m-2021-11-27.csv", "ADA-BTC|1m")
    assert {name: columns[name][0] for name in WIRE_DTYPES} == {
        "ts": 1637971200000,
        "open": 0.00002853,
        "high": 0.00002854,
        "low": 0.00002851,
        "close": 0.00002854,
        "volume": 36304.2,
        "close_ts": 1637971259999,
        "quote_volume": 1.03547608,
        "trades": 79,
        "taker_buy_base": 19523.0,
        "taker_buy_quote": 0.55694227,
        "unused": 0,
    }


def test_the_near_duplicates_of_a_real_file_are_told_and_the_last_counts(real_data: Path) -> None:
    found, columns = _read(real_data / "binance_cdd/BTCUSDT_1h.parquet")
    oracle = pd.read_parquet(real_data / "binance_cdd/BTCUSDT_1h.parquet")
    last = oracle.drop_duplicates("ts", keep="last").sort_values("ts")
    assert found.repeated + found.conflicting == len(oracle) - len(last) == 2649
    assert np.array_equal(columns["close"], last["close"].to_numpy())


def test_a_real_file_with_43_bars_off_the_grid_says_so(real_data: Path) -> None:
    assert _read(real_data / "binance_vision_2025/BTCUSDT_1h.parquet")[0].off_grid == 43


# The same bars, spelled in many ways.

ROWS = 500


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """Real bars without an irregular one, `ts` as UTC datetimes."""
    frame = pd.read_parquet(SAMPLE).iloc[20_000 : 20_000 + ROWS].reset_index(drop=True)
    assert (pd.DatetimeIndex(frame["ts"]).as_unit("ms").asi8 % HOUR == 0).all()
    return frame


Write = Callable[[pd.DataFrame, Path], Path]


def _csv(edit: Callable[[pd.DataFrame], pd.DataFrame], **options: Any) -> Write:
    def write(frame: pd.DataFrame, folder: Path) -> Path:
        path = folder / "bars.csv"
        edit(frame[["ts", *OHLCV]].copy()).to_csv(path, **{"index": False, **options})
        return path

    return write


def _times(spell: Callable[[pd.Series], Any], name: str = "time") -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(ts=spell(frame["ts"])).rename(columns={"ts": name})


def _ms(ts: pd.Series) -> np.ndarray:
    return pd.DatetimeIndex(ts).as_unit("ms").asi8


def _text(change: Callable[[str], str | bytes], suffix: str = "csv") -> Write:
    def write(frame: pd.DataFrame, folder: Path) -> Path:
        path = folder / f"bars.{suffix}"
        text = change(frame[["ts", *OHLCV]].assign(ts=_ms(frame["ts"])).to_csv(index=False))
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def _typed(suffix: str, spell: Callable[[pd.Series], Any]) -> Write:
    def write(frame: pd.DataFrame, folder: Path) -> Path:
        path = folder / f"bars.{suffix}"
        made = frame[["ts", *OHLCV]].assign(ts=spell(frame["ts"])).rename(columns={"ts": "date"})
        made.to_parquet(path) if suffix == "parquet" else made.to_feather(path)
        return path

    return write


def _mixed(ts: pd.Series) -> list[str]:
    ms = _ms(ts)
    kinds = [
        lambda n: str(n // 1000),
        str,
        lambda n: str(n * 1000),
        lambda n: f"{n // 1000}.0",
        lambda n: pd.Timestamp(n, unit="ms").isoformat() + "Z",
        lambda n: pd.Timestamp(n, unit="ms", tz="UTC").tz_convert("Asia/Seoul").isoformat(),
        lambda n: pd.Timestamp(n, unit="ms").strftime("%Y-%m-%d %I-%p"),
    ]
    return [kinds[at % len(kinds)](n) for at, n in enumerate(ms.tolist())]


def _shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(frac=1, random_state=3)


SEOUL = {"zone": "Asia/Seoul"}
SPELLINGS: dict[str, tuple[Write, dict[str, Any]]] = {
    "seconds": (_csv(_times(lambda ts: _ms(ts) // 1000, "unix")), {}),
    "milliseconds": (_csv(_times(_ms, "Timestamp")), {}),
    "microseconds": (_csv(_times(lambda ts: _ms(ts) * 1000, "open_time")), {}),
    "nanoseconds": (_csv(_times(lambda ts: _ms(ts) * 1_000_000, "open_time")), {}),
    "float seconds": (_csv(_times(lambda ts: _ms(ts) / 1000, "t")), {}),
    "unit named": (_csv(_times(lambda ts: _ms(ts) // 1000, "t")), {"time_unit": "s"}),
    "iso with offset": (_csv(_times(lambda ts: ts.dt.tz_convert("Asia/Seoul").map(lambda t: t.isoformat()))), {}),
    "iso with Z": (_csv(_times(lambda ts: ts.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))), {}),
    "iso with UTC": (_csv(_times(lambda ts: ts.dt.strftime("%Y-%m-%d %H:%M:%S UTC"))), {}),
    "naive, of UTC": (_csv(_times(lambda ts: ts.dt.strftime("%Y-%m-%d %H:%M"), "Date")), {}),
    "naive, of Seoul": (_csv(_times(lambda ts: ts.dt.tz_convert("Asia/Seoul").dt.strftime("%Y-%m-%d %H:%M:%S"))), SEOUL),
    "half days": (_csv(_times(lambda ts: ts.dt.strftime("%Y-%m-%d %I-%p"), "date")), {}),
    "every unit in one file": (_csv(_times(_mixed)), {}),
    "newest first": (_csv(lambda frame: frame.iloc[::-1]), {}),
    "shuffled": (_csv(_shuffled), {}),
    "twice": (_csv(lambda frame: pd.concat([frame, frame])), {}),
    "capitals": (_csv(lambda frame: frame.rename(columns=str.upper).rename(columns={"TS": "TIMESTAMP"})), {}),
    "words": (
        _csv(
            lambda frame: frame.rename(columns=lambda name: {"ts": "Open Time"}.get(name, f"{name.title()} Price")).rename(
                columns={"Volume Price": "Volume BTC"}
            )
        ),
        {},
    ),
    "letters": (_csv(lambda frame: frame.rename(columns=lambda name: name[0])), {}),
    "another order of columns": (_csv(lambda frame: frame[["volume", "close", "ts", "low", "open", "high"]]), {}),
    "more columns, named twice": (_csv(lambda frame: frame.assign(Plot=1.5).assign(**{"Plot ": "x", "组": ""})), {}),
    "mapped": (
        _csv(lambda frame: frame.rename(columns=lambda name: f"{name}?").assign(open=0, close=0)),
        {"mapping": "ts=ts?,open=open?,high=high?,low=low?,close=close?,volume=volume?"},
    ),
    "semicolons": (_csv(lambda frame: frame, sep=";"), {}),
    "tabs": (_csv(lambda frame: frame, sep="\t"), {}),
    "quoted": (_csv(lambda frame: frame, quoting=1), {}),
    "without a header": (_csv(lambda frame: frame.assign(ts=_ms(frame["ts"])), header=False), {}),
    "without a header, mapped": (
        _csv(lambda frame: frame.assign(ts=_ms(frame["ts"]))[[*OHLCV, "ts"]], header=False),
        {"mapping": "ts=6,open=1,high=2,low=3,close=4,volume=5"},
    ),
    "windows": (_text(lambda text: text.replace("\n", "\r\n")), {}),
    "byte order mark": (_text(lambda text: "\ufeff" + text), {}),
    "utf-16": (_text(lambda text: text.encode("utf-16")), {}),
    "header in another encoding": (
        _text(lambda text: text.replace("volume", "volume,交易").replace("\n", ",1\n").replace("交易,1", "交易").encode("gbk")),
        {},
    ),
    "banner and comments": (_text(lambda text: "https://www.CryptoDataDownload.com\n# a, b, c, d, e, f\n\n" + text), {}),
    "blank lines": (_text(lambda text: text.replace("\n", "\n\n")), {}),
    "no newline at the end": (_text(str.rstrip), {}),
    "gzip": (_text(lambda text: gzip.compress(text.encode()), "csv.gz"), {}),
    "gzip under another name": (_text(lambda text: gzip.compress(text.encode()), "csv"), {}),
    "parquet": (_typed("parquet", lambda ts: ts), {}),
    "parquet, naive of Seoul": (_typed("parquet", lambda ts: ts.dt.tz_convert("Asia/Seoul").dt.tz_localize(None)), SEOUL),
    "parquet, of Seoul": (_typed("parquet", lambda ts: ts.dt.tz_convert("Asia/Seoul")), {}),
    "parquet, seconds": (_typed("parquet", lambda ts: _ms(ts) // 1000), {}),
    "parquet, texts": (_typed("parquet", _mixed), {}),
    "feather": (_typed("feather", lambda ts: ts), {}),
}


@pytest.mark.parametrize(("write", "options"), SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_gives_the_same_bars(bars: pd.DataFrame, tmp_path: Path, write: Write, options: dict[str, Any]) -> None:
    found, columns = _read(write(bars, tmp_path), **options)
    assert np.array_equal(columns["ts"], _ms(bars["ts"]))
    for name in OHLCV:
        assert np.array_equal(columns[name], bars[name].to_numpy()), name
    assert not any(columns[name].any() for name in WIRE_DTYPES if name not in ("ts", *OHLCV))
    assert (found.bars, found.off_grid, found.conflicting, found.unreadable) == (ROWS, 0, 0, 0)
    assert found.repeated == found.rows - ROWS


def test_kraken_and_seed_files_are_told_by_their_shape(bars: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "XBTUSD_60.csv"
    made = bars[["ts", *OHLCV, "trades"]].assign(ts=_ms(bars["ts"]) // 1000)
    made.to_csv(path, index=False, header=False)
    found, columns = _read(path)
    assert found.kind == "Kraken OHLCVT" and np.array_equal(columns["trades"], bars["trades"])
    path.write_text("20210101T,1,2,0.5,1.5,10\n20210102T,1.5,2,1,2,20\n")
    found, columns = _read(path, "BTC-USDT|1d", zone="Asia/Seoul")
    assert found.kind == "TradingView data repository"
    assert columns["ts"].tolist() == [parse_time("2021-01-01"), parse_time("2021-01-02")]
    assert any("days of UTC" in note for note in found.notes)


@pytest.mark.parametrize(("chunk", "page"), [(1, 1), (7, 3), (64, 1000), (1000, 7)])
def test_chunks_and_pages_of_any_size_give_the_same(
    bars: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, page: int
) -> None:
    for write in (_csv(_shuffled), _typed("parquet", lambda ts: ts), _typed("feather", lambda ts: ts)):
        path = write(bars, tmp_path)
        at_once = _read(path)
        with monkeypatch.context() as patch:
            patch.setattr(file_tables, "CHUNK_ROWS", chunk)
            patch.setattr(bar_files, "PAGE_ROWS", page)
            in_parts = _read(path)
        assert in_parts[0] == at_once[0]
        for name, values in in_parts[1].items():
            assert np.array_equal(values, at_once[1][name])


def _received(path: Path) -> dict[str, list[int]]:
    """The open times of a file as they came, put together again."""
    with open_bar_file(path, FileOptions(parse_series("BTC-USDT|1h")), NOW_MS) as file:
        parts = list(file.received())
    for (before, _), (after, known) in zip(parts, parts[1:], strict=False):
        assert known == 1 and all(after[name][0] == before[name][-1] for name in before)
    return {name: np.concatenate([columns[name][known:] for columns, known in parts]).tolist() for name in parts[0][0]}


@pytest.mark.parametrize(("chunk", "page"), [(1, 1), (7, 3), (50_000, 10_000)])
def test_rows_are_handed_over_as_they_came(
    bars: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, page: int
) -> None:
    monkeypatch.setattr(file_tables, "CHUNK_ROWS", chunk)
    monkeypatch.setattr(bar_files, "PAGE_ROWS", page)
    some = bars.iloc[:40]
    shuffled = pd.concat([_shuffled(some), some.iloc[:5]])
    assert _received(_csv(lambda frame: frame)(shuffled, tmp_path)) == {"ts": _ms(shuffled["ts"]).tolist()}
    filled = shuffled.assign(is_filled=[False] * 44 + [True])
    filled.to_parquet(tmp_path / "filled.parquet")
    assert _received(tmp_path / "filled.parquet") == {"ts": _ms(shuffled["ts"]).tolist()[:-1]}


@pytest.mark.parametrize("kind", ["csv", "csv with text", "parquet"])
@pytest.mark.parametrize("chunk", [1, 7, 50_000])
def test_a_file_of_several_units_tells_the_numbers_that_it_holds(
    bars: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, kind: str
) -> None:
    monkeypatch.setattr(file_tables, "CHUNK_ROWS", chunk)
    some, generator = bars.iloc[:40], random.Random(chunk)
    ms = _ms(some["ts"]).tolist()
    numbers = [generator.choice([at // 1000, at, at * 1000, at * 1_000_000]) for at in ms]
    texts: list[Any] = list(numbers)
    if kind == "csv with text":
        texts[3], numbers[3] = pd.Timestamp(ms[3], unit="ms").isoformat() + "Z", ms[3]
    filled = [row % 5 == 0 for row in range(40)]
    made, path = some[["ts", *OHLCV]].assign(ts=texts, is_filled=filled), tmp_path / "mixed.bin"
    made.to_parquet(path) if kind == "parquet" else made.to_csv(path, index=False)
    given = [row for row in range(40) if not filled[row]]
    assert _received(path) == {"ts": [ms[row] for row in given], "ts_written": [numbers[row] for row in given]}


@pytest.mark.parametrize("name", ["seconds", "microseconds", "nanoseconds", "float seconds", "naive, of Seoul", "parquet"])
def test_a_file_of_one_unit_is_in_order_whatever_the_unit(bars: pd.DataFrame, tmp_path: Path, name: str) -> None:
    write, options = SPELLINGS[name]
    with open_bar_file(write(bars, tmp_path), FileOptions(parse_series("BTC-USDT|1h"), **options), NOW_MS) as file:
        assert [list(columns) for columns, _ in file.received()] == [["ts"]]


def test_repeats_and_conflicts_are_counted_as_planted(bars: pd.DataFrame, tmp_path: Path) -> None:
    generator = random.Random(5)
    planted = [generator.randrange(ROWS) for _ in range(60)]
    changed = bars.iloc[planted[:25]].assign(close=lambda frame: frame["close"] + 1)
    frame = pd.concat([bars, bars.iloc[planted[25:]], changed])
    found, columns = _read(_csv(lambda frame: frame)(frame, tmp_path))
    # By hand: within one open time every row is compared with the one before it.
    seen: dict[Any, list[float]] = {}
    for ts, close in zip(frame["ts"], frame["close"], strict=True):
        seen.setdefault(ts, []).append(close)
    pairs = [(a, b) for closes in seen.values() for a, b in zip(closes, closes[1:], strict=False)]
    assert found.repeated == sum(a == b for a, b in pairs)
    assert found.conflicting == sum(a != b for a, b in pairs)
    assert columns["close"].tolist() == [seen[ts][-1] for ts in bars["ts"]]


def test_bars_that_have_not_closed_are_left_out_by_the_clock(bars: pd.DataFrame, tmp_path: Path) -> None:
    path, ts = _csv(lambda frame: frame)(bars, tmp_path), _ms(bars["ts"])
    found, columns = _read(path, now_ms=int(ts[-1]) + HOUR)
    assert (found.not_closed, found.bars) == (0, ROWS)
    found, columns = _read(path, now_ms=int(ts[-3]) + HOUR - 1, keep_last=True)
    assert (found.not_closed, columns["ts"][-1]) == (3, ts[-4])
    export = _csv(lambda frame: frame.rename(columns={"ts": "time", "volume": "Volume"}))(bars, tmp_path)
    found, columns = _read(export, now_ms=int(ts[-1]) + HOUR - 1)
    # The bar that is forming is the last of the export: it is not left out twice.
    assert (found.not_closed, found.last_dropped, columns["ts"][-1]) == (1, None, ts[-2])


def test_a_value_that_is_no_number_is_left_to_those_who_judge(bars: pd.DataFrame, tmp_path: Path) -> None:
    def spoil(text: str) -> str:
        lines = text.split("\n")
        lines[3] = lines[3].replace(",", ",n/a,", 1).rsplit(",", 1)[0]
        lines[7] = ",".join([*lines[7].split(",")[:-1], ""])
        return "\n".join(lines)

    found, columns = _read(_text(spoil)(bars, tmp_path))
    assert np.isnan(columns["open"]).nonzero()[0].tolist() == [2]
    assert np.isnan(columns["volume"]).nonzero()[0].tolist() == [6]
    assert found.unreadable == 2 and found.bars == ROWS
    assert any("line 4" in note and "'n/a'" in note for note in found.notes)


def test_a_file_without_volume_says_so(bars: pd.DataFrame, tmp_path: Path) -> None:
    found, columns = _read(_csv(lambda frame: frame.drop(columns="volume"))(bars, tmp_path))
    assert not columns["volume"].any() and any("no volume" in note for note in found.notes)


# What cannot be read.

HEADER = "ts,open,high,low,close,volume\n"
GOOD = "2021-01-01T00:00Z,1,2,0.5,1.5,10\n"

BAD: dict[str, tuple[bytes, dict[str, Any], tuple[str, ...]]] = {
    "empty": (b"", {}, ("is empty",)),
    "header only": (HEADER.encode(), {}, ("no rows",)),
    "one blank": (b"\n\n\n", {}, ("no line has 5 fields",)),
    "prose": (b"hello\nworld\n" * 30, {}, ("'hello'",)),
    "page of a proxy": (b"<html>\n<body>\n</body></html>", {}, ("'<html>'",)),
    "no close": (b"ts,open,high,low,volume\n1,2,3,4,5\n", {}, ("no column for close", "--map close=NAME")),
    "no time": (b"id,open,high,low,close\n1,2,3,4,5\n", {}, ("no column for ts", "'id'")),
    "four fields": (b"1609459200,1,2,3\n", {}, ("no line has 5 fields",)),
    "shape unknown": (b"1609459200,1,2,3,4,5,6,7,8,9\n", {}, ("10 fields", "--map")),
    "short row": ((HEADER + GOOD + "2021-01-01T01:00Z,1,2\n").encode(), {}, ("line 3", "has 3 fields", "accepted: 6")),
    "bad time": ((HEADER + GOOD + "\nnoon,1,2,3,4,5\n").encode(), {}, ("line 4", "'ts'", "'noon'")),
    "day before month": ((HEADER + "31/01/2021 00:00,1,2,3,4,5\n").encode(), {}, ("line 2", "'31/01/2021 00:00'")),
    "thirteenth month": ((HEADER + "2021-13-01,1,2,3,4,5\n").encode(), {}, ("line 2", "'2021-13-01'")),
    "thirteenth hour": ((HEADER + "2021-01-01 13-PM,1,2,3,4,5\n").encode(), {}, ("line 2", "'2021-01-01 13-PM'")),
    "row number as time": ((HEADER + "1,1,2,3,4,5\n").encode(), {}, ("line 2", "'1'")),
    "wrong unit": ((HEADER + "1609459200,1,2,3,4,5\n").encode(), {"time_unit": "ms"}, ("line 2", "1609459200", "1990")),
    "year 9999": ((HEADER + "9999-01-01,1,2,3,4,5\n").encode(), {}, ("line 2", "2100")),
    "no number at all": ((HEADER + '2021-01-01T00:00Z,"1,5","2,5","0,5","1,5",10\n').encode(), {}, ("line 2", "'1,5'")),
    "two symbols": (
        b"ts,symbol,open,high,low,close\n1609459200,BTC/USD,1,2,3,4\n1609462800,ETH/USD,1,2,3,4\n",
        {},
        ("line 3", "'ETH/USD'", "'BTC/USD'"),
    ),
    "zone unknown": ((HEADER + GOOD).encode(), {"zone": "Mars/Base"}, ("'Mars/Base'", "Asia/Seoul")),
    "zone outside": ((HEADER + GOOD).encode(), {"zone": "../../etc/passwd"}, ("../../etc/passwd",)),
    "unit unknown": ((HEADER + GOOD).encode(), {"time_unit": "h"}, ("'h'", "auto s ms us")),
    "clock set back": (
        (HEADER + "2021-10-31 01:00,1,2,3,4,5\n2021-10-31 02:00,1,2,3,4,5\n").encode(),
        {"zone": "Europe/Berlin"},
        ("line 3", "'2021-10-31 02:00'", "Europe/Berlin"),
    ),
    "clock set forward": (
        (HEADER + "2021-03-28 02:30,1,2,3,4,5\n").encode(),
        {"zone": "Europe/Berlin"},
        ("line 2", "'2021-03-28 02:30'"),
    ),
    "shorter bars": (
        (HEADER + "".join(f"{1609459200 + 60 * n},1,2,3,4,5\n" for n in range(9))).encode(),
        {},
        ("bars of 1m", "--timeframe says 1h", "accepted: --timeframe 1m"),
    ),
    "not closed": ((HEADER + "2099-01-01T00:00Z,1,2,3,4,5\n").encode(), {}, ("no 1h bar that has closed",)),
    "mapped to nothing": ((HEADER + GOOD).encode(), {"mapping": "open=Opening"}, ("no column of that name", "'open'")),
    "mapped to two": (b"ts,X,X,high,low,close\n" + GOOD.encode(), {"mapping": "open=X"}, ("2 columns of that name",)),
    "mapped by a number too large": (GOOD.encode(), {"mapping": "ts=7"}, ("from 1 to 6",)),
    "mapped without a field": (GOOD.encode(), {"mapping": "opening=1"}, ("'opening=1'", "accepted fields: ts open")),
    "mapped twice": (GOOD.encode(), {"mapping": "open=1,open=2"}, ("twice",)),
    "broken gzip": (gzip.compress((HEADER + GOOD * 9000).encode())[:-30], {}, ("cannot be read further",)),
    "zip": (b"PK\x03\x04rest", {}, ("a zip archive", "unpack")),
    "feather 1": (b"FEA1rest", {}, ("Feather version 1",)),
    "broken parquet": (b"PAR1" + b"\x00" * 100 + b"PAR1", {}, ("cannot be read",)),
    "broken arrow": (b"ARROW1\x00\x00" + b"\x07" * 100, {}, ("cannot be read",)),
    "one endless line": (b"a" * 200_000, {}, ("line 1", "characters")),
    "nul bytes": (b"\x00" * 5000, {}, ("no line has 5 fields",)),
}


@pytest.mark.parametrize(("body", "options", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_one_line_saying_where(
    tmp_path: Path, body: bytes, options: dict[str, Any], said: tuple[str, ...]
) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(body)
    with pytest.raises(BadInput) as refused:
        _read(path, **options)
    line = str(refused.value)
    assert "\n" not in line and len(line) < 1000 and "accepted" in line and str(tmp_path) not in line
    assert all(words in line for words in said), line


_TEXT = (HEADER + GOOD + GOOD.replace("T00", "T01") + GOOD.replace("T00", "T02")).encode()


@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather"])
def test_any_damage_is_read_or_refused(tmp_path: Path, suffix: str) -> None:
    """Bytes changed, cut out and put in at random: bars, or one line; nothing else."""
    whole, generator, outcomes = tmp_path / f"whole.{suffix}", random.Random(11), set()
    frame = pd.DataFrame({"ts": pd.date_range("2021", periods=40, freq="h", tz="UTC"), **{name: 1.5 for name in OHLCV}})
    whole.write_bytes(_TEXT) if suffix == "csv" else _typed(suffix, lambda ts: ts)(frame, tmp_path).rename(whole)
    body, path = whole.read_bytes(), tmp_path / f"damaged.{suffix}"
    for _ in range(400):
        damaged = bytearray(body)
        for _ in range(generator.randint(1, 4)):
            at, length = generator.randrange(len(damaged)), generator.choice([0, 1, 1, 5])
            put = bytes(generator.choice(b'0,9.\n"\x00\xff-T:Z;e') for _ in range(generator.choice([0, 1, 1, 3])))
            damaged[at : at + length] = put
        path.write_bytes(damaged)
        try:
            _read(path)
        except BadInput as error:
            assert "\n" not in str(error) and "damaged" in str(error)
            outcomes.add("refused")
        else:
            outcomes.add("read")
    assert "refused" in outcomes


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_a_column_whose_name_is_no_text(bars: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    path = _typed(suffix, lambda ts: ts)(bars, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"volume", b"vol\xffme"))
    with pytest.raises(BadInput, match="cannot be read"):
        _read(path)


def test_a_missing_file_a_folder_and_a_null_time(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(BadInput, match="accepted"):
            _read(path)
    frame = pd.DataFrame({"ts": [pd.Timestamp("2021-01-01", tz="UTC"), pd.NaT], **{name: [1.0, 2.0] for name in OHLCV}})
    frame.to_parquet(tmp_path / "null.parquet")
    with pytest.raises(BadInput, match=r"null.parquet row 2, column 'ts'"):
        _read(tmp_path / "null.parquet")


def test_a_file_that_is_no_series_any_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.csv"
    path.write_text(HEADER + "".join(f"{1609459200 + 3600 * n},1,2,0.5,1.5,1\n" for n in range(50)))
    monkeypatch.setattr(bar_files, "MOST_ROWS", 49)
    with pytest.raises(BadInput, match="more than 49 rows"):
        _read(path)
    monkeypatch.setattr(file_tables, "MOST_FILE_BYTES", 100)
    with pytest.raises(BadInput, match="at most 100"):
        _read(path)


def test_another_symbol_in_the_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("ts,symbol,open,high,low,close\n1609459200,BINANCE:ETHUSDT,1,2,0.5,1.5\n")
    assert any("ETHUSDT" in note for note in _read(path)[0].notes)
    assert not any("ETHUSDT" in note for note in _read(path, "ETH-USDT|1h")[0].notes)


# Times and numbers against independent readings.

MOMENTS = st.integers(parse_time("1990-01-02") // 1000, parse_time("2099-12-30") // 1000)


@given(MOMENTS, st.sampled_from(["UTC", "Asia/Seoul", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe"]))
def test_a_local_time_is_the_moment_or_an_error(second: int, zone: str) -> None:
    """Against pandas, which says which times a zone has twice: those, and no others, are refused."""
    moment = pd.Timestamp(second, unit="s", tz=zone)
    text = moment.tz_localize(None).isoformat(sep=" ")
    twice = pd.DatetimeIndex([moment.tz_localize(None)]).tz_localize(zone, ambiguous="NaT").isna()[0]
    try:
        read = texts_to_ms([text], TimeReading(zone))[0]
    except UnreadableTime as error:
        assert twice and error.value == text
    else:
        assert not twice and read == second * 1000
    assert texts_to_ms([moment.isoformat()], TimeReading("Asia/Tokyo"))[0] == second * 1000


@given(st.lists(st.tuples(MOMENTS, st.sampled_from([1, 1000, 1_000_000, 1_000_000_000])), min_size=1, max_size=30))
def test_the_unit_of_a_number_is_told_row_by_row(rows: list[tuple[int, int]]) -> None:
    expected = [second * 1000 for second, _ in rows]
    values = [second * factor for second, factor in rows]
    assert texts_to_ms([str(value) for value in values], TimeReading()).tolist() == expected
    assert numbers_to_ms(np.array(values, dtype="int64"), TimeReading()).tolist() == expected


ANY_NUMBER = st.integers(-(2**63), 2**64 - 1) | st.builds(
    lambda s, factor: s * factor, MOMENTS, st.sampled_from([1, 1000, 10**6, 10**9])
)


@given(
    ANY_NUMBER,
    st.sampled_from(["auto", "s", "ms", "us"]),
    st.sampled_from(["i4", "u4", "i8", "u8", "f8"]),
)
def test_a_number_of_any_type_is_its_moment_or_an_error(value: int, unit: str, dtype: str) -> None:
    """Against arithmetic that never runs over; a float is read to what it holds."""
    kind = np.dtype(dtype)
    if kind.kind != "f" and not np.iinfo(kind).min <= value <= np.iinfo(kind).max:
        value = int(np.iinfo(kind).max) - abs(value) % 10**6
    held = int(float(value)) if kind.kind == "f" else value
    told = (
        unit if unit != "auto" else next((n for n, top in (("s", 10**11), ("ms", 10**14), ("us", 10**17)) if held < top), "ns")
    )
    expected = held * 1000 if told == "s" else held // {"ms": 1, "us": 1000, "ns": 10**6}[told]
    try:
        read = numbers_to_ms(np.array([value]).astype(kind), TimeReading(unit=unit))[0]
    except UnreadableTime:
        assert not parse_time("1990-01-01") <= expected < parse_time("2100-01-01")
    else:
        assert read == expected


@pytest.mark.parametrize("year", ["0001", "1989", "2100", "9999"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York"])
def test_a_local_time_far_away_is_an_error(year: str, zone: str) -> None:
    with pytest.raises(UnreadableTime) as error:
        texts_to_ms(["2021-01-01 00:00", f"{year}-06-01 00:00"], TimeReading(zone))
    assert (error.value.row, error.value.value) == (1, f"{year}-06-01 00:00")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_it_was_written(value: float) -> None:
    assert texts_to_floats([repr(value), f" {value!r} "]).tolist() == [value, value]


@given(
    st.lists(st.text(max_size=8) | st.sampled_from(["1_000", "inf", "nan", "١", "1..2", "1,5", "0x1", "--1", "1e", ".", "+"]))
)
def test_a_text_that_is_no_plain_number_is_nan(texts: list[str]) -> None:
    for text, value in zip(texts, texts_to_floats(texts), strict=True):
        plain = text.strip()
        ascii_only = plain.isascii() and set(plain) <= set("0123456789.+-eE")
        try:
            expected = float(plain) if ascii_only else np.nan
        except ValueError:
            expected = np.nan
        assert value == expected or (np.isnan(value) and np.isnan(expected)), text


def _write_opens(path: Path, opens: np.ndarray) -> Path:
    path.write_text(HEADER + "".join(f"{ts},1,2,0.5,1.5,1\n" for ts in opens.tolist()))
    return path


@pytest.mark.parametrize("said", Timeframe, ids=lambda one: one.code)
@pytest.mark.parametrize("own", Timeframe, ids=lambda one: one.code)
@pytest.mark.parametrize("rows", [10, 400])
def test_bars_of_another_length_than_was_said_are_refused(tmp_path: Path, own: Timeframe, said: Timeframe, rows: int) -> None:
    """Also with holes: every eighth bar is missing."""
    opens = own.ceil(parse_time("2010-01-01")) + own.ms * np.arange(rows + rows // 7)
    path = _write_opens(tmp_path / "mine.csv", opens[np.arange(len(opens)) % 8 != 7][:rows])
    if own is said:
        assert _read(path, f"BTC-USDT|{said.code}")[0].bars == rows
        return
    with pytest.raises(BadInput) as refused:
        _read(path, f"BTC-USDT|{said.code}")
    line = f"mine.csv holds bars of {own.code}, and --timeframe says {said.code}; accepted: --timeframe {own.code}"
    single = f", or --sparse if they are single bars of {said.code}" if own.ms > said.ms else ""
    assert str(refused.value) == line + single


def test_single_bars_that_lie_regularly_apart_are_imported_when_they_are_said_to_be(tmp_path: Path) -> None:
    """As those that fill the hole of a daily maintenance."""
    path = _write_opens(tmp_path / "patch.csv", parse_time("2021-01-01T03:00") + Timeframe.D1.ms * np.arange(30))
    with pytest.raises(BadInput, match="holds bars of 1d.* or --sparse if they are single bars of 1h"):
        _read(path)
    assert _read(path, sparse=True)[0].bars == 30
    with pytest.raises(BadInput, match="holds bars of 1d, and --timeframe says 1w; accepted: --timeframe 1d$"):
        _read(path, "BTC-USDT|1w", sparse=True)


@pytest.mark.parametrize(("every", "days"), [("MS", 28), ("QS", 90)])
@pytest.mark.parametrize("said", ["1h", "1d"])
def test_months_and_quarters_are_no_days(tmp_path: Path, every: str, days: int, said: str) -> None:
    opens = pd.date_range("2018-01-01", "2023-01-01", freq=every, tz="UTC").as_unit("ms").asi8
    with pytest.raises(BadInput, match=f"holds bars of {days} days, and --timeframe says {said}; accepted: a file of bars of"):
        _read(_write_opens(tmp_path / "months.csv", opens), f"BTC-USDT|{said}")


@pytest.mark.parametrize(
    ("minutes", "said", "length"),
    [
        (120, "1h", "120 minutes"),
        (45, "15m", "45 minutes"),
        (20, "15m", "20 minutes"),
        (3, "5m", "3 minutes"),
        (2, "5m", "2 minutes"),
        (0.5, "1m", "30 s"),
    ],
)
def test_a_length_that_no_timeframe_has_is_named(tmp_path: Path, minutes: float, said: str, length: str) -> None:
    path = _write_opens(tmp_path / "mine.csv", parse_time("2021-01-01") + int(60_000 * minutes) * np.arange(50))
    with pytest.raises(BadInput, match=f"bars of {length}, and --timeframe says {said}; accepted: a file of bars of 1m 5m"):
        _read(path, f"BTC-USDT|{said}")


@pytest.mark.parametrize(
    ("until", "every", "own"), [("2023-01-01", "D", "1d"), ("2020-04-01", "D", "1d"), ("2021-03-01", "W", "1w")]
)
@pytest.mark.parametrize("said", ["1h", "4h", "1d"])
def test_a_file_whose_clock_changes_is_still_told(tmp_path: Path, until: str, every: str, own: str, said: str) -> None:
    """Days and weeks of New York: two of a year's steps are an hour longer or shorter."""
    opens = pd.date_range("2020-01-01", until, freq=every, tz="America/New_York").as_unit("ms").asi8
    if own != said:
        with pytest.raises(BadInput, match=f"holds bars of {own}, and --timeframe says {said}"):
            _read(_write_opens(tmp_path / "days.csv", opens), f"BTC-USDT|{said}")


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2, 0.05, 0.01])
@pytest.mark.parametrize("code", ["1m", "15m", "30m", "1h", "4h"])
def test_a_file_that_leaves_empty_bars_out_is_of_its_timeframe(tmp_path: Path, share: float, code: str) -> None:
    generator, timeframe = np.random.default_rng(17), parse_series(f"BTC-USDT|{code}").timeframe
    for rows in (2, 9, 12, 40, 400):
        steps = generator.geometric(share, rows)
        path = _write_opens(tmp_path / "sparse.csv", parse_time("1995-01-01") + timeframe.ms * np.cumsum(steps))
        assert _read(path, f"BTC-USDT|{code}")[0].bars == rows


def test_shorter_bars_are_told_although_empty_ones_are_left_out(tmp_path: Path) -> None:
    steps = np.random.default_rng(17).geometric(0.4, 400)
    path = _write_opens(tmp_path / "sparse.csv", parse_time("2010-01-01") + Timeframe.M15.ms * np.cumsum(steps))
    with pytest.raises(BadInput, match="holds bars of 15m, and --timeframe says 1h; accepted: --timeframe 15m"):
        _read(path)


def test_a_few_rows_are_believed(tmp_path: Path) -> None:
    hours = parse_time("2021-01-01") + HOUR * np.arange(9)
    assert _read(_write_opens(tmp_path / "few.csv", hours), "BTC-USDT|15m")[0].bars == 9
    assert _read(_write_opens(tmp_path / "one.csv", hours[:1]), "BTC-USDT|15m")[0].bars == 1


def test_steps_that_no_spacing_repeats_are_those_of_a_sparse_file(tmp_path: Path) -> None:
    """All are multiples of 30m, the most frequent of them; but 30m was met no oftener than by chance."""
    half_hours = np.cumsum([0, 1, 1, 2, 3, 4, 5, 6, 7, 8])
    opens = parse_time("2021-01-01") + Timeframe.M30.ms * half_hours
    assert _read(_write_opens(tmp_path / "sparse.csv", opens), "BTC-USDT|15m")[0].bars == 10


def test_a_span_is_on_the_grid_whatever_the_bars(tmp_path: Path) -> None:
    path = tmp_path / "off.csv"
    path.write_text(HEADER + "2021-01-01T00:28:14Z,1,2,0.5,1.5,1\n2021-01-01T02:28:14Z,1,2,0.5,1.5,1\n")
    with open_bar_file(path, FileOptions(parse_series("BTC-USDT|1h")), NOW_MS) as file:
        assert file.span == Interval(parse_time("2021-01-01"), parse_time("2021-01-01T03:00"))
        assert file.findings.off_grid == 2
