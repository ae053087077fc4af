"""Archived files read to the last field, and everything that is no such file refused."""

from __future__ import annotations

import csv
import hashlib
import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from cryptai_pipelines.market.bars import WIRE_DTYPES
from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources import archive_rows
from cryptai_pipelines.sources.archive_rows import read_checksum, read_klines, read_zip
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines_tests.sources.archive_shelf import HEADER, HTML, row, rows, zipped

HOUR, DAY = Timeframe.H1.ms, Timeframe.D1.ms
START = parse_time("2024-10-28")
PERIOD = Interval(START, START + DAY)
NAME = "BTCUSDT-1h-2024-10-28.csv"
REAL = {
    "spot-klines-BTCUSDT-1h-2024-10-28.zip": "744d4a991858208ead11e682457c452cd56067d113888d7323ba849ce221bc09",
    "futures-um-klines-BTCUSDT-1h-2024-10-28.zip": "8310448cfc4978c89070a13d17636d3b726e8f784068ea8f7dbb5bbfc69ce581",
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_to_the_last_field(name: str, real_data: Path) -> None:
    content = (real_data / "payloads" / "data_binance_vision" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == REAL[name]
    columns = read_klines(read_zip(content, NAME), PERIOD)
    lines = list(csv.reader(io.TextIOWrapper(zipfile.ZipFile(io.BytesIO(content)).open(NAME), "utf-8")))
    expected = [line for line in lines if line[0].isdigit()]
    assert len(expected) == 24 and len(lines) - len(expected) == name.startswith("futures")
    for place, (field, dtype) in enumerate(WIRE_DTYPES.items()):
        assert columns[field].dtype == dtype
        assert columns[field].tolist() == [float(line[place]) if "float" in dtype else int(line[place]) for line in expected]


@pytest.mark.parametrize("name", ["spot_nohdr_ADABTC-1m-2021-11-27.csv", "spot_nohdr_ADABTC-1m-2021-11-28.csv"])
def test_real_rows_of_minutes_are_read(name: str, real_data: Path) -> None:
    text = (real_data / "payloads" / "data_binance_vision" / name).read_bytes()
    lines = list(csv.reader(text.decode().splitlines()))
    day = parse_time(name[-14:-4])
    columns = read_klines(text, Interval(day, day + DAY))
    assert columns["ts"].tolist() == [int(line[0]) for line in lines]
    assert columns["taker_buy_quote"].tolist() == [float(line[10]) for line in lines]


def test_a_header_is_no_row_and_line_ends_do_not_matter() -> None:
    plain = rows(START, START + 5 * HOUR, HOUR)
    expected = read_klines(plain, PERIOD)
    headed = HEADER.encode() + plain
    for text in (headed, headed.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + headed, plain.removesuffix(b"\n")):
        found = read_klines(text, PERIOD)
        assert all(np.array_equal(found[name], expected[name]) for name in WIRE_DTYPES)


def test_the_unit_is_told_row_by_row() -> None:
    text = "".join(row(START + hour * HOUR, HOUR, factor=1000 if hour % 3 else 1) for hour in range(24)).encode()
    columns = read_klines(text, PERIOD)
    assert columns["ts"].tolist() == list(range(START, START + DAY, HOUR))
    assert (columns["close_ts"] == columns["ts"] + HOUR - 1).all()


def test_repeated_and_off_grid_rows_are_kept_in_the_order_of_time() -> None:
    opens = [START + 2 * HOUR, START + HOUR, START + HOUR, START + HOUR + 1_694_000]
    text = "".join(row(ts, HOUR, price) for ts, price in zip(opens, (1, 2, 3, 4), strict=True)).encode()
    columns = read_klines(text, PERIOD)
    assert columns["ts"].tolist() == sorted(opens)
    assert columns["open"].tolist() == [2, 3, 4, 1]


def test_one_unreadable_value_spoils_no_other() -> None:
    good = row(START, HOUR)
    for place, name in enumerate(list(WIRE_DTYPES)[1:], 1):
        for value in ("", "x", "1_000", "5 5", "nan", "--1"):
            fields = good.strip().split(",")
            fields[place] = value
            columns = read_klines((",".join(fields) + "\n" + row(START + HOUR, HOUR)).encode(), PERIOD)
            spoilt = columns[name][0]
            assert spoilt == -1 if "int" in WIRE_DTYPES[name] else np.isnan(spoilt), (name, value)
            for other in WIRE_DTYPES:
                assert other in (name, "ts", "close_ts") or columns[other][0] == columns[other][1], (name, other)


WHOLE = rows(START, START + DAY, HOUR)

BROKEN_ROWS = {
    "nothing": (b"", "Empty"),
    "header alone": (HEADER.encode(), "no rows"),
    "html": (HTML, "CSV"),
    "11 fields": (WHOLE.replace(b",0\n", b"\n"), "CSV"),
    "13 fields in one row": (WHOLE.replace(b",0\n", b",0,0\n", 1), "CSV"),
    "cut in a row": (WHOLE[:-40], "CSV"),
    "open time is no integer": (WHOLE.replace(str(START).encode(), b"17300736x0000", 1), "row 1 .* integer"),
    "open time is missing": (WHOLE + row(START, HOUR).replace(str(START), "", 1).encode(), "row 25 .* integer"),
    "before the period": (row(START - 1, HOUR).encode() + WHOLE, "row 1 .* outside"),
    "after the period": (WHOLE + row(START + DAY, HOUR).encode(), "row 25 .* outside"),
    "seconds": (row(START, HOUR).replace(str(START), str(START // 1000)).encode(), "outside"),
    "nanoseconds": (row(START, HOUR).replace(str(START), str(START * 10**6)).encode(), "outside"),
    "first row spoilt": (WHOLE.replace(str(START).encode(), b"open", 1), "row 1 .* integer"),
}


@pytest.mark.parametrize("kind", BROKEN_ROWS)
def test_a_file_with_a_broken_structure_is_malformed(kind: str) -> None:
    text, says = BROKEN_ROWS[kind]
    with pytest.raises(Malformed, match=says):
        read_klines(text, PERIOD)


def _patched(content: bytes, size: int) -> bytes:
    """The zip with another uncompressed size in its directory and in its member's own header."""
    at = content.index(b"PK\x01\x02")
    changed = bytearray(content)
    changed[at + 24 : at + 28] = changed[22:26] = struct.pack("<I", size)
    return bytes(changed)


def _with_directory_of(content: bytes, count: int) -> bytes:
    """The zip with its one directory entry repeated, the end record still claiming one."""
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    directory = content[start:end] * count
    record = bytearray(content[end:])
    record[12:16] = struct.pack("<I", len(directory))
    return content[:start] + directory + bytes(record)


GOOD_ZIP = zipped({NAME: WHOLE})
BOMB = zipped({NAME: bytes(archive_rows.MAX_CSV_BYTES + 1)})


BROKEN_ZIPS = {
    "html": (HTML, "no zip"),
    "nothing": (b"", "no zip"),
    "truncated": (GOOD_ZIP[:-100], "no zip"),
    "truncated in front": (GOOD_ZIP[50:], "zip"),
    "garbage inside": (GOOD_ZIP[:80] + bytes(20) + GOOD_ZIP[100:], "zip"),
    "two members": (zipped({NAME: WHOLE, "b.csv": b"1"}), "one file"),
    "no member": (zipped({}), "one file"),
    "other name": (zipped({"BTCUSDT-1h-2024-10-27.csv": WHOLE}), "alone"),
    "path traversal": (zipped({"../" + NAME: WHOLE}), "alone"),
    "absolute path": (zipped({"/" + NAME: WHOLE}), "alone"),
    "folder": (zipped({NAME + "/": b""}), "alone"),
    "bomb that says so": (BOMB, "at most"),
    "bomb that lies": (_patched(BOMB, 1000), "zip"),
    "claims more than it holds": (_patched(GOOD_ZIP, len(WHOLE) + 1), "zip|should be"),
    "claims less than it holds": (_patched(GOOD_ZIP, len(WHOLE) - 1), "zip"),
    "large directory": (_with_directory_of(GOOD_ZIP, 1000), "one file"),
    "other compression": (zipped({NAME: WHOLE}, zipfile.ZIP_LZMA).replace(b"\x0e\x00", b"\x63\x00"), "zip"),
    "comment": (GOOD_ZIP[:-2] + b"\x02\x00hi", "zip"),
}


@pytest.mark.parametrize("kind", BROKEN_ZIPS)
def test_whatever_is_no_plain_zip_of_one_csv_is_malformed(kind: str) -> None:
    content, says = BROKEN_ZIPS[kind]
    with pytest.raises(Malformed, match=says) as refused:
        read_zip(content, NAME)
    assert len(str(refused.value)) < 400


def test_a_zip_that_is_too_large_is_not_opened() -> None:
    with pytest.raises(Malformed, match="at most"):
        read_zip(bytes(archive_rows.MAX_ZIP_BYTES + 1), NAME)


def test_an_encrypted_member_is_malformed() -> None:
    changed = bytearray(GOOD_ZIP)
    changed[6] |= 1
    changed[GOOD_ZIP.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(Malformed, match="encrypted"):
        read_zip(bytes(changed), NAME)


def test_a_stored_member_is_read() -> None:
    assert read_zip(zipped({NAME: WHOLE}, zipfile.ZIP_STORED), NAME) == WHOLE
    assert zlib.crc32(read_zip(GOOD_ZIP, NAME)) == zlib.crc32(WHOLE)


@pytest.mark.parametrize(
    "content",
    [b"", HTML, b"a" * 63 + b"  x.zip\n", b"a" * 64 + b"  y.zip\n", b"a" * 64, b"a" * 64 + b"  x.zip\n" + b"b" * 64, b"g" * 64],
)
def test_a_checksum_of_another_form_or_file_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed, match="checksum"):
        read_checksum(content, "x.zip")


def test_a_checksum_is_read_in_either_case() -> None:
    for text in (b"AB" * 32 + b"  x.zip\n", b"ab" * 32 + b" *x.zip\r\n", b"ab" * 32 + b"  x.zip"):
        assert read_checksum(text, "x.zip") == "ab" * 32
