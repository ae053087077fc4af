"""The files beside the replay venue's API: which there are, what they hold, and that they never change."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.api import Api
from cryptai_pipelines.replay.archive import ReplayArchive
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines_tests.replay.conftest import SAMPLE, ask, fetch, plain_bars

DAILY, MONTHLY = "/data/spot/daily/klines", "/data/spot/monthly/klines"


def api_at(now: str, seed: int = 4) -> Api:
    return Api(open_simulated(seed, 2, FixedClock(parse_time(now))))


def lines(content: bytes) -> list[list[str]]:
    """The rows of the one CSV in a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (name,) = archive.namelist()
        return list(csv.reader(io.TextIOWrapper(archive.open(name), "utf-8")))


@pytest.mark.parametrize("code", ["15m", "1h", "1d"])
@pytest.mark.parametrize(("year", "factor"), [(2024, 1), (2025, 1000)])
def test_a_file_holds_the_rows_of_the_api(code: str, year: int, factor: int) -> None:
    api, timeframe = api_at("2025-11-05T12:34:56"), Timeframe(code)
    content = ask(api, f"{MONTHLY}/BTCUSDT/{code}/BTCUSDT-{code}-{year}-02.zip").body
    start, end = parse_time(f"{year}-02-01"), parse_time(f"{year}-03-01")
    expected, at = [], start
    while at < end:
        rows = json.loads(
            ask(api, f"/api/v3/klines?symbol=BTCUSDT&interval={code}&startTime={at}&endTime={end - 1}&limit=1000").body
        )
        expected += [[str(field) for field in row] for row in rows]
        at = rows[-1][0] + timeframe.ms
    for row in expected:
        row[0], row[6] = str(int(row[0]) * factor), str((int(row[6]) + 1) * factor - 1)
    assert lines(content) == expected
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == [f"BTCUSDT-{code}-{year}-02.csv"]


def test_days_and_months_are_there_once_they_have_ended() -> None:
    clock = FixedClock(parse_time("2024-05-31T23:59:59.999"))
    api = Api(open_simulated(4, 1, clock))
    day, month = f"{DAILY}/BTCUSDT/1h/BTCUSDT-1h-2024-05-31.zip", f"{MONTHLY}/BTCUSDT/1h/BTCUSDT-1h-2024-05.zip"
    paths = [day, f"{day}.CHECKSUM", month, f"{month}.CHECKSUM"]
    assert [ask(api, path).status for path in paths] == [404] * 4
    clock.at_ms += 1
    found = [ask(api, path) for path in paths]
    assert [answer.status for answer in found] == [200] * 4
    for zipped, checked in (found[:2], found[2:]):
        name = "BTCUSDT-1h-2024-05" + ("-31" if zipped is found[0] else "")
        assert checked.body == f"{hashlib.sha256(zipped.body).hexdigest()}  {name}.zip\n".encode()
    assert lines(found[0].body) == lines(found[2].body)[-24:]


def test_a_file_is_the_same_bytes_whenever_it_is_made() -> None:
    for path in (f"{DAILY}/BTCUSDT/1m/BTCUSDT-1m-2024-02-29.zip", f"{MONTHLY}/ETHUSDT/1w/ETHUSDT-1w-2024-02.zip"):
        soon, late = (ask(api_at(now), path).body for now in ("2024-03-01", "2025-09-09T12:00"))
        assert soon == late and len(soon) > 100


def test_days_and_months_of_a_recording_hold_its_rows_as_they_are() -> None:
    api = Api(open_recorded(SAMPLE, FixedClock(parse_time("2018-03-02"))))
    month = lines(ask(api, f"{MONTHLY}/BTCUSDT/1h/BTCUSDT-1h-2018-02.zip").body)
    days = [
        lines(answer.body)
        for day in range(1, 29)
        if (answer := ask(api, f"{DAILY}/BTCUSDT/1h/BTCUSDT-1h-2018-02-{day:02d}.zip")).status == 200
    ]
    assert month == [row for day in days for row in day]
    assert sum(int(row[0]) % Timeframe.H1.ms != 0 for row in month) == 43


NO_FILES = [
    "/data/",
    f"{DAILY}/NOPEUSDT/1h/NOPEUSDT-1h-2024-02-01.zip",
    f"{DAILY}/BTCUSDT/1h/ETHUSDT-1h-2024-02-01.zip",
    f"{DAILY}/BTCUSDT/1h/BTCUSDT-4h-2024-02-01.zip",
    f"{DAILY}/BTCUSDT/1h/BTCUSDT-1h-2024-02.zip",
    f"{MONTHLY}/BTCUSDT/1h/BTCUSDT-1h-2024-02-01.zip",
    f"{DAILY}/BTCUSDT/1h/BTCUSDT-1h-2023-02-29.zip",
    f"{MONTHLY}/BTCUSDT/1h/BTCUSDT-1h-2024-13.zip",
    f"{MONTHLY}/BTCUSDT/1h/BTCUSDT-1h-9999-12.zip",
    f"{MONTHLY}/BTCUSDT/1h/BTCUSDT-1h-0000-01.zip",
    f"{MONTHLY}/BTCUSDT/1h/BTCUSDT-1h-2016-12.zip",
    f"{DAILY}/BTCUSDT/1w/BTCUSDT-1w-2024-02-05.zip",
    f"{DAILY}/BTCUSDT/3m/BTCUSDT-3m-2024-02-05.zip",
    f"{DAILY}/BTCUSDT/1h/BTCUSDT-1h-2024-02-01.csv",
    "/data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2019-08.zip",
    "/data/futures/cm/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-02-01.zip",
    "/data/spot/daily/klines/../klines/BTCUSDT/1h/BTCUSDT-1h-2024-02-01.zip",
]


@pytest.mark.parametrize("path", NO_FILES)
def test_whatever_is_no_file_is_absent(path: str) -> None:
    api = api_at("2024-11-05")
    assert ask(api, path).status == ask(api, f"{path}.CHECKSUM").status == 404


def test_files_cost_no_weight_and_say_what_they_are_made_of() -> None:
    path = f"{DAILY}/BTCUSDT/1h/BTCUSDT-1h-2018-01-05.zip"
    now = FixedClock(parse_time("2018-03-02"))
    for venue, simulated in ((open_recorded(SAMPLE, now), None), (open_simulated(1, 1, now), "1")):
        with running(venue) as url:
            got, headers = fetch(url, path), fetch(url, path, "HEAD")
            assert got.status == headers.status == 200 and len(got.body) > 100 and headers.body == b""
            assert (
                got.headers.get("x-cryptai-simulated") == fetch(url, "/data/").headers.get("x-cryptai-simulated") == simulated
            )
            assert fetch(url, path, "POST").status == 404
            assert fetch(url, "/api/v3/ping").headers["x-mbx-used-weight-1m"] == "1"


def test_the_zips_that_are_kept_are_bounded(record: Callable[..., Path]) -> None:
    start, now = parse_time("2024-01-01"), parse_time("2024-02-01")
    folder = record(plain_bars(np.arange(start, now, Timeframe.H1.ms)))
    archive = ReplayArchive(open_recorded(folder, FixedClock(now)), cached_bytes=5_000)
    paths = [f"{DAILY}/BTCUSDT/1h/BTCUSDT-1h-2024-01-{day:02d}.zip" for day in range(1, 32)]
    first = [archive.file(path) for path in paths]
    assert sum(map(len, archive._zips.values())) <= 5_000
    assert [archive.file(path) for path in paths] == first
