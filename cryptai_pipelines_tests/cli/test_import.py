"""`cryptai import`: from a file to validated bars, once, as one source among others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cryptai_pipelines
from cryptai_pipelines.market.bars import OHLCV
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import parse_series
from cryptai_pipelines.orchestration.chain.import_file import file_source, import_file
from cryptai_pipelines.orchestration.chain.steps import holding
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.sources import bar_files
from cryptai_pipelines.sources.bar_files import BarFile, FileOptions, open_bar_file
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.series_sources import read_sources
from cryptai_pipelines.storage.sync_log import read_syncs
from cryptai_pipelines_tests.cli.conftest import Invoke

SAMPLE = Path(cryptai_pipelines.__file__).parent / "sample" / "binance" / "BTCUSDT_1h.parquet"
SERIES = parse_series("BTC-USDT|1h")
ROWS = 300


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return pd.read_parquet(SAMPLE).iloc[20_000 : 20_000 + ROWS].reset_index(drop=True)


@pytest.fixture
def csv(bars: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "My Bars (1).csv"
    bars[["ts", *OHLCV]].to_csv(path, index=False)
    return path


def _stored(database: Database) -> pd.DataFrame:
    return database.read(f"SELECT ts, {', '.join(OHLCV)}, source, origin FROM market_data ORDER BY ts").to_pandas()


def test_a_dry_run_tells_everything_and_needs_no_store(csv: Path, invoke: Invoke, home: Path) -> None:
    told = invoke("import", str(csv), "--symbol", "btc/usdt", "-t", "1h", "--dry-run", "--json").object
    assert told["source"] == "file:my-bars-1" and told["dry_run"] is True
    assert (told["recognised"]["bars"], told["recognised"]["columns"]["close"]) == (ROWS, "close")
    shown = invoke("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h", "--dry-run")
    for words in ("CryptAI recording, 300 rows, oldest first", "volume = 'volume'", "0 conflicting", "nothing is stored"):
        assert words in shown.out
    assert not home.exists()


def _in_disorder(bars: pd.DataFrame, path: Path) -> None:
    """The bars with something planted for each rule of received rows, at rows 20, 50, 100 and 200."""
    ts = [int(moment.timestamp()) * 1000 for moment in bars["ts"]]
    off_grid = [at + 1_694_000 if 100 <= row < 143 else at for row, at in enumerate(ts)]
    written = [at * 1000 if 200 <= row < 210 else at for row, at in enumerate(off_grid)]
    frame = bars[["ts", *OHLCV]].assign(ts=written)
    order = [*range(20), 21, 20, *range(22, 51), 50, 50, *range(51, ROWS)]
    frame.iloc[order].to_csv(path, index=False)


def _finding(rule: str, severity: str, first: pd.Timestamp, rows: int, detail: str) -> dict[str, object]:
    return {"rule": rule, "severity": severity, "first_open": f"{first:%FT%TZ}", "rows": rows, "detail": detail}


def test_what_is_odd_about_the_rows_as_they_came_is_told(
    csv: Path, bars: pd.DataFrame, invoke: Invoke, url: str, database: Database
) -> None:
    _in_disorder(bars, csv)
    arguments = ("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h")
    ts = bars["ts"]
    expected = [
        _finding(
            "unsorted", "warning", ts[20], 1, "rows that open before the row they follow: 1, by up to 1 x the length of a bar"
        ),
        _finding("duplicate_run", "warning", ts[50], 2, "rows in a row with the open time of the row before: 2"),
        _finding(
            "mixed_time_unit", "error", ts[200], 10, "open times in a row that are not in milliseconds, or lie before 2009: 10"
        ),
        _finding(
            "shifted_grid",
            "warning",
            ts[100] + pd.Timedelta(seconds=1694),
            43,
            "rows in a row that open 1694 s behind the grid: 43",
        ),
    ]
    dry = invoke(*arguments, "--dry-run", "--json").object
    assert dry["findings"] == expected
    assert dry["findings_by_rule"] == {str(one["rule"]): {"findings": 1, "rows": one["rows"]} for one in expected}
    stored = invoke(*arguments, "--json", CRYPTAI_DATABASE_URL=url).object
    assert stored["findings"] == expected and stored["recognised"]["repeated"] == 2
    for shown in (invoke(*arguments, "--dry-run"), invoke(*arguments, CRYPTAI_DATABASE_URL=url)):
        lines = [line.split(None, 1)[1] for line in shown.out.splitlines() if line.startswith("  findings ")]
        assert lines == [f"{one['rule']}, {one['severity']}: {one['detail']}, from {one['first_open']} on" for one in expected]
    # What is stored is in order, so there the same rules have nothing to say.
    assert (_stored(database)["ts"].diff().dropna() > pd.Timedelta(0)).all() and len(_stored(database)) == ROWS - 43
    assert database.rows("SELECT count(*) FROM data_quality WHERE starts_with(kind, 'rule:')") == [(0,)]


def test_rows_in_order_have_no_findings(csv: Path, invoke: Invoke) -> None:
    arguments = ("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h", "--dry-run")
    told = invoke(*arguments, "--json").object
    assert (told["findings"], told["findings_by_rule"]) == ([], {})
    assert "  findings    none\n" in invoke(*arguments).out


def test_more_findings_than_a_person_reads_are_counted(csv: Path, bars: pd.DataFrame, invoke: Invoke) -> None:
    pairs = [row for first in range(0, ROWS, 2) for row in (first + 1, first)]
    bars[["ts", *OHLCV]].iloc[pairs].to_csv(csv, index=False)
    arguments = ("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h", "--dry-run")
    told = invoke(*arguments, "--json").object
    assert [one["first_open"] for one in told["findings"]] == [f"{ts:%FT%TZ}" for ts in bars["ts"][:200:2]]
    assert told["findings_by_rule"] == {"unsorted": {"findings": ROWS // 2, "rows": ROWS // 2}}
    lines = [line for line in invoke(*arguments).out.splitlines() if line.startswith("  findings ")]
    assert len(lines) == 4 and "150 findings in all, 150 rows" in lines[3]


def test_a_file_is_stored_once_however_often_it_is_imported(
    csv: Path, bars: pd.DataFrame, invoke: Invoke, url: str, database: Database
) -> None:
    arguments = ("import", str(csv), "--symbol", "BTC-USDT", "--timeframe", "1h", "--json")
    first = invoke(*arguments, CRYPTAI_DATABASE_URL=url).object
    assert (first["rows_new"], first["validated_rows_written"], first["bars"], first["gaps"]) == (ROWS, ROWS, ROWS, 0)
    again = invoke(*arguments, CRYPTAI_DATABASE_URL=url).object
    assert (again["rows_new"], again["rows_restated"], again["validated_rows_written"]) == (0, 0, 0)
    stored = _stored(database)
    assert set(stored["source"]) == {"file:my-bars-1"} and set(stored["origin"]) == {"csv"}
    for name in OHLCV:
        assert np.array_equal(stored[name], bars[name])
    urls = database.rows("SELECT DISTINCT url, asked_from, asked_until FROM fetch_log")
    assert [row[0] for row in urls] == ["My Bars (1).csv"]
    assert str(csv.parent) not in str(urls)


def test_a_corrected_file_becomes_revisions(
    csv: Path, bars: pd.DataFrame, invoke: Invoke, url: str, database: Database
) -> None:
    arguments = ("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h", "--name", "mine", "--json")
    invoke(*arguments, CRYPTAI_DATABASE_URL=url)
    bars[["ts", *OHLCV]].assign(volume=bars["volume"].where(bars.index != 7, 1.25)).to_csv(csv, index=False)
    assert invoke(*arguments, CRYPTAI_DATABASE_URL=url).object["rows_restated"] == 1
    assert _stored(database)["volume"][7] == 1.25
    assert database.rows("SELECT count(*), max(revision) FROM raw_ohlcv") == [(ROWS + 1, 1)]


def test_the_rank_decides_whose_bars_stand(csv: Path, bars: pd.DataFrame, invoke: Invoke, url: str, database: Database) -> None:
    store = {"CRYPTAI_DATABASE_URL": url}
    common = ("--symbol", "BTC-USDT", "-t", "1h", "--json")
    bars[["ts", *OHLCV]].drop(index=range(10, 20)).to_csv(csv, index=False)
    invoke("import", str(csv), *common, "--name", "first", **store)
    bars[["ts", *OHLCV]].assign(volume=5.0).to_csv(csv, index=False)
    told = invoke("import", str(csv), *common, "--name", "second", **store).object
    assert [one["source"] for one in told["sources"]] == ["binance", "file:first", "file:second"]
    assert _stored(database).index[_stored(database)["source"] == "file:second"].tolist() == list(range(10, 20))
    told = invoke("import", str(csv), *common, "--name", "second", "--rank", "primary", **store).object
    assert [one["source"] for one in told["sources"]] == ["file:second", "binance", "file:first"]
    assert set(_stored(database)["volume"]) == {5.0}
    assert [one.rank for one in read_sources(database, SERIES)] == [0, 1, 2]
    # A file that is imported once more stays where it is, and goes behind when that is asked for.
    for rank, order in (
        ([], ["file:second", "binance", "file:first"]),
        (["--rank", "last"], ["binance", "file:first", "file:second"]),
    ):
        told = invoke("import", str(csv), *common, "--name", "second", *rank, **store).object
        assert [one["source"] for one in told["sources"]] == order
    assert _stored(database).index[_stored(database)["source"] == "file:second"].tolist() == list(range(10, 20))


def test_as_of_a_moment_its_order_of_sources_counts(csv: Path, bars: pd.DataFrame, invoke: Invoke, url: str) -> None:
    common = ("--symbol", "BTC-USDT", "-t", "1h", "--json")

    def known(moment: str) -> list[tuple[float, str]]:
        rows = invoke("bars", "BTC-USDT@1h", "--as-of", moment, "--json", CRYPTAI_DATABASE_URL=url).object["rows"]
        return [(row["volume"], row["source"]) for row in rows]

    def imported(name: str, volume: float, *rank: str) -> tuple[str, list[tuple[float, str]]]:
        bars[["ts", *OHLCV]].assign(volume=volume).to_csv(csv, index=False)
        assert invoke("import", str(csv), *common, "--name", name, *rank, CRYPTAI_DATABASE_URL=url).code == 0
        time.sleep(0.002)
        moment = pd.Timestamp.now(tz="UTC").isoformat()
        time.sleep(0.002)
        return moment, known(moment)

    told = [imported("one", 1.0), imported("two", 2.0), imported("two", 2.0, "--rank", "primary")]
    told += [imported("three", 3.0, "--rank", rank) for rank in ("primary", "last")]
    told.append(imported("two", 2.0, "--rank", "last"))
    assert [set(rows) for _, rows in told] == [
        {(1.0, "file:one")},
        {(1.0, "file:one")},
        {(2.0, "file:two")},
        {(3.0, "file:three")},
        {(2.0, "file:two")},
        {(1.0, "file:one")},
    ]
    assert all(known(moment) == rows for moment, rows in told)


def test_a_file_is_not_mixed_with_a_simulated_market(csv: Path, invoke: Invoke, url: str, database: Database) -> None:
    with running(open_simulated(7, 1, FixedClock(1_700_000_000_000))) as venue:
        store = {"CRYPTAI_DATABASE_URL": url, "CRYPTAI_BINANCE_URL": venue}
        assert invoke("sync", "BTC-USDT", "-t", "1d", **store).code == 0
        before = database.rows("SELECT count(*) FROM raw_ohlcv")
        ended = invoke("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h", **store)
    assert ended.code == 1 and "BTC-USDT is a simulated market of binance in this store" in ended.err
    assert database.rows("SELECT count(*) FROM raw_ohlcv") == before


def test_an_imported_history_is_carried_on_by_the_exchange(
    csv: Path, bars: pd.DataFrame, invoke: Invoke, url: str, database: Database
) -> None:
    """Imported first, synced later: the exchange's bars stand where it has any, those of the file in its holes; also when the
    file was believed before the exchange for a while."""
    bars[["ts", *OHLCV]].assign(volume=5.0).to_csv(csv, index=False)
    invoke("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h", "--name", "mine", CRYPTAI_DATABASE_URL=url)
    recorded = csv.parent / "recorded" / "binance" / "BTCUSDT_1h.parquet"
    recorded.parent.mkdir(parents=True)
    longer = pd.read_parquet(SAMPLE).iloc[20_000 : 20_000 + ROWS + 50]
    longer.drop(index=longer.index[10:20]).to_parquet(recorded, index=False)
    now_ms = int(longer["ts"].iloc[-1].timestamp() * 1000) + 3_660_000
    with running(open_recorded(recorded.parent.parent, FixedClock(now_ms))) as venue:
        store = {"CRYPTAI_DATABASE_URL": url, "CRYPTAI_BINANCE_URL": venue, "CRYPTAI_ARCHIVE_URL": "off"}
        ended = invoke("sync", "BTC-USDT", "-t", "1h", "--json", **store)
    assert ended.code == 0, ended.err
    stored = _stored(database)
    assert np.array_equal(stored["ts"].astype("datetime64[ms, UTC]"), longer["ts"].astype("datetime64[ms, UTC]"))
    assert stored.index[stored["source"] == "file:mine"].tolist() == list(range(10, 20))
    assert set(stored["volume"][10:20]) == {5.0}
    mine = ("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h", "--name", "mine")
    invoke(*mine, "--rank", "primary", CRYPTAI_DATABASE_URL=url)
    longer.to_parquet(recorded, index=False)
    with running(open_recorded(recorded.parent.parent, FixedClock(now_ms))) as venue:
        ended = invoke("sync", "BTC-USDT", "-t", "1h", "--json", **{**store, "CRYPTAI_BINANCE_URL": venue})
    assert ended.code == 0 and set(_stored(database)["volume"][: len(bars)]) == {5.0}
    invoke(*mine, "--rank", "last", CRYPTAI_DATABASE_URL=url)
    assert _stored(database)["source"].equals(stored["source"])


def test_bad_rows_are_quarantined_and_not_the_file(csv: Path, invoke: Invoke, url: str, database: Database) -> None:
    lines = csv.read_text().split("\n")
    lines[5] = lines[5].split(",")[0] + ",1,0.5,2,1.5,1"  # high below low
    lines[9] = lines[9].split(",")[0] + ",n/a,2,0.5,1.5,1"
    csv.write_text("\n".join(lines))
    told = invoke("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h", "--json", CRYPTAI_DATABASE_URL=url).object
    assert (told["bars"], told["missing_bars"], told["recognised"]["unreadable"]) == (ROWS - 2, 2, 1)
    assert len(_stored(database)) == ROWS - 2


def test_refused_rows_are_told_even_where_another_source_has_a_good_bar(
    csv: Path, bars: pd.DataFrame, invoke: Invoke, url: str, database: Database
) -> None:
    arguments = ("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h")
    invoke(*arguments, "--name", "good", CRYPTAI_DATABASE_URL=url)
    bad = bars[["ts", *OHLCV]].copy()
    bad.loc[[5, 250], "high"] = bad.loc[[5, 250], "low"] - 1
    bad.loc[9, "volume"] = -1.0
    bad.to_csv(csv, index=False)
    dry = invoke(*arguments, "--dry-run", "--json").object
    told = invoke(*arguments, "--json", CRYPTAI_DATABASE_URL=url).object
    again = invoke(*arguments, "--json", CRYPTAI_DATABASE_URL=url).object
    for one in (dry, told, again):
        assert one["rows_refused"] == 3 and list(one["refused_by_rule"]) == ["negative_volume", "price_order"]
        first = one["refused_by_rule"]["price_order"]
        assert (first["rows"], first["first_open"]) == (2, f"{bars['ts'][5]:%FT%TZ}")
        assert first["reason"].startswith("low is not the lowest or high not the highest price: open=")
    assert (told["quarantined"], told["missing_bars"]) == ({}, 0)
    kept = database.rows("SELECT rule, count(*) FROM quarantine WHERE source = 'file:my-bars-1' GROUP BY rule ORDER BY rule")
    assert kept == [("negative_volume", 1), ("price_order", 2)]
    shown = invoke(*arguments, CRYPTAI_DATABASE_URL=url).out
    assert f"  refused     price_order: 2 rows, the first at {bars['ts'][5]:%FT%TZ}: low is not" in shown
    assert "  validated   3 refused (1 negative_volume, 2 price_order), which are in quarantine" in shown


def test_what_the_dry_look_refuses_is_what_validation_refuses(
    csv: Path, bars: pd.DataFrame, invoke: Invoke, url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of every kind that a file can hold, the last one off the grid, on pages of a few rows."""
    monkeypatch.setattr(bar_files, "PAGE_ROWS", 7)
    bad = bars[["ts", *OHLCV]].astype({"volume": object})
    bad["ts"] = [int(moment.timestamp()) * 1000 for moment in bars["ts"]]
    bad.loc[[3, ROWS - 1], "ts"] += 60_000
    bad.loc[20, "low"], bad.loc[21, "open"], bad.loc[30, "volume"] = 0.0, 1e9, "n/a"
    bad.to_csv(csv, index=False)
    told = invoke("import", str(csv), "--symbol", "BTC-USDT", "-t", "1h", "--json", CRYPTAI_DATABASE_URL=url).object
    kept = database.rows("SELECT rule, count(*) FROM quarantine GROUP BY rule ORDER BY rule")
    assert kept == [("not_finite", 1), ("not_positive", 1), ("off_grid", 2), ("price_order", 1)]
    assert sorted((rule, one["rows"]) for rule, one in told["refused_by_rule"].items()) == kept
    assert told["rows_refused"] == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--symbol", "BTCUSDT", "-t", "1h"), "symbol 'BTCUSDT'"),
        (("--symbol", "BTC-USDT", "-t", "7m"), "timeframe '7m'"),
        (("--symbol", "BTC-USDT", "-t", "1h", "--name", "A/B"), "--name 'A/B'"),
        (("--symbol", "BTC-USDT", "-t", "1h", "--tz", "Nowhere"), "time zone 'Nowhere'"),
        (("--symbol", "BTC-USDT", "-t", "1h", "--time-unit", "h"), "time unit 'h'"),
        (("--symbol", "BTC-USDT", "-t", "1h", "--map", "close=Last"), "--map close=Last"),
        (("--symbol", "BTC-USDT", "-t", "4h"), "holds bars of 1h, and --timeframe says 4h; accepted: --timeframe 1h"),
        (("--symbol", "BTC-USDT", "-t", "15m"), "holds bars of 1h, and --timeframe says 15m; accepted: --timeframe 1h"),
    ],
)
def test_a_mistake_is_one_line_and_stores_nothing(
    csv: Path, invoke: Invoke, home: Path, arguments: tuple[str, ...], words: str
) -> None:
    ended = invoke("import", str(csv), *arguments, "--json")
    assert ended.code == 2 and words in ended.object["error"] and "\n" not in ended.object["error"]
    assert not home.exists()


def test_an_import_that_was_cut_off_goes_on_and_ends_as_if_it_had_not_been(
    csv: Path, database: Database, bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut after every number of pages: what is committed stays, and the next import brings the rest."""
    monkeypatch.setattr(bar_files, "PAGE_ROWS", 5)

    class Cut(Exception):
        pass

    @dataclass(frozen=True)
    class CutFile(BarFile):
        after: int = 0

        def pages(self) -> Iterator[Page]:
            for number, page in enumerate(super().pages()):
                if number == self.after:
                    raise Cut
                yield page

    hold = holding(database, "file:x", Settings(), "test")
    with open_bar_file(csv, FileOptions(SERIES), parse_time("2026-01-01")) as file:
        for after in (0, 1, 24, 25, 26, 59):
            cut = CutFile(**vars(file), after=after)
            with pytest.raises(Cut):
                import_file(database, hold, SERIES, "file:x", cut, run_id="test")
            assert read_syncs(database, SERIES, 1)[0]["status"] == "FAILED"
        imported = import_file(database, hold, SERIES, "file:x", file, run_id="test")
    assert imported.outcome.rows == ROWS
    assert np.array_equal(_stored(database)["close"], bars["close"])
    assert database.rows("SELECT count(*), count(DISTINCT ts) FROM raw_ohlcv") == [(ROWS, ROWS)]
    assert read_syncs(database, SERIES, 1)[0]["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("BINANCE_BTCUSDT, 60.csv", "file:binance_btcusdt-60"),
        ("XBTUSD_60.csv.gz", "file:xbtusd_60"),
        ("../../etc/passwd", "file:etc-passwd"),
        ("交易.parquet", "file:import"),
        ("x" * 90 + ".feather", "file:" + "x" * 40),
    ],
)
def test_the_source_of_a_file_is_made_of_its_name(file: str, source: str) -> None:
    assert file_source(None, file) == source
