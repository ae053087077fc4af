"""Progress where no terminal is: lines that tell no speed which was not there."""

from __future__ import annotations

import re

import pytest

from cryptai_pipelines.cli.progress import shown_progress
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.outcome import Progress

SERIES = Series("BTC-USDT", Timeframe.H1)


def test_bars_that_were_there_before_the_first_word_have_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as show:
        show(Progress("validated_bars", SERIES, 1, 1, 1_000_000))
        show(Progress("raw_ohlcv", SERIES, 0, 10, 500))
        show(Progress("raw_ohlcv", SERIES, 10, 10, 700))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "BTC-USDT 1h validated_bars: 100 %, 1,000,000 bars"
    assert re.fullmatch(r"BTC-USDT 1h raw_ohlcv: 100 %, 700 bars, [0-9,]+ bars/s", second)
