"""Funding rates of a file: what is accepted, what is told of what is not, and by what they are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryptai_pipelines.backtest.funding_rates import parse_funding, read_funding
from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval

DAY = "2024-01-01T{:02d}:00:00Z,{}"
TEXT = "\n".join(("ts,rate", DAY.format(0, 0.0001), DAY.format(8, -0.00025), DAY.format(16, "1e-4")))


def test_times_and_rates_are_those_of_the_file() -> None:
    rates = parse_funding(TEXT, "file")
    hours = [parse_time(f"2024-01-01T{hour:02d}:00Z") for hour in (0, 8, 16)]
    assert rates.ts.tolist() == hours and rates.ts.dtype == np.int64
    assert rates.rate.tolist() == [0.0001, -0.00025, 0.0001]
    assert (rates.told["rates"], rates.told["first"], rates.told["last"]) == (3, hours[0], hours[2])


def test_however_it_is_written_the_same_rates_are_known_by_the_same_hash(tmp_path: Path) -> None:
    milliseconds = f'TS, Rate\r\n{parse_time("2024-01-01")},0.00010\r\n\r\n"2024-01-01 08:00",-2.5e-4\r\n'
    other = milliseconds + "2024-01-01T18:00:00+02:00,0.0001\r\n"
    (tmp_path / "rates.csv").write_bytes(b"\xef\xbb\xbf" + other.encode())
    assert read_funding(tmp_path / "rates.csv").told == parse_funding(TEXT, "file").told
    for changed in (TEXT.replace("-0.00025", "0.00025"), TEXT.replace("T08", "T09"), TEXT.rpartition("\n")[0]):
        assert parse_funding(changed, "file").told["sha256"] != parse_funding(TEXT, "file").told["sha256"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "rates.csv does not begin with the header ts,rate; accepted: it"),
        ("time,rate\n1,2", "rates.csv does not begin with the header ts,rate"),
        ("ts,rate\n", "rates.csv has no rate; accepted: at least one line"),
        ("ts,rate\n2024-01-01,0.1,x", "rates.csv line 2 has 3 values; accepted: 2, such as"),
        ("ts,rate\n\n2024-01-41,0.1", "rates.csv line 3: time '2024-01-41' is not accepted; accepted: ISO 8601, such as"),
        ("ts,rate\n1704067200,0.1", "line 2: time '1704067200' is not in milliseconds; accepted: ISO 8601"),
        ("ts,rate\n2024-01-01,0.01%", "line 2: rate '0.01%' is not accepted; accepted: a share above -1 and below 1"),
        ("ts,rate\n2024-01-01,nan", "line 2: rate 'nan' is not accepted"),
        ("ts,rate\n2024-01-01,1", "line 2: rate '1' is not accepted"),
        ("ts,rate\n2024-01-01,0\n2024-01-01,0", "line 3: '2024-01-01' is not after the time before it; accepted: ascending"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_funding(text, "rates.csv")
    assert told in str(raised.value) and "\n" not in str(raised.value) and "accepted" in str(raised.value)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="none.csv cannot be read: No such file"):
        read_funding(tmp_path / "none.csv")
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BadInput, match="picture is not UTF-8 text; accepted: a CSV file with the header ts,rate"):
        read_funding(tmp_path / "picture")


def test_rates_of_another_time_than_the_bars_are_told() -> None:
    rates = parse_funding(TEXT, "file")
    rates.check_within(Interval(int(rates.ts[1]), int(rates.ts[1]) + 1))
    with pytest.raises(BadInput, match="no funding rate is of the time of the bars: rates of 2024-01-01T00:00:00Z to "):
        rates.check_within(Interval(int(rates.ts[2]) + 1, int(rates.ts[2]) + 2))
