"""No column of the registry, nor of market structure, knows what comes after its bar."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cryptai_pipelines.indicators.chunks import compute
from cryptai_pipelines.indicators.leaks import examine, find_leak
from cryptai_pipelines.indicators.registry import REGISTRY
from cryptai_pipelines.indicators.structure_readings import structure_readings
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines_tests.indicators.samples import RECORDED, random_bars, recorded_bars

ALL = tuple(REGISTRY.values())


def test_our_own_indicators_know_nothing() -> None:
    """Every column of the registry and of market structure, over at least 500 prefixes and as many shuffles."""
    bars = random_bars(32, 4_000, Timeframe.H1)

    def columns(known: pd.DataFrame) -> pd.DataFrame:
        told = compute(known, ALL, Timeframe.H1, 0)
        return pd.concat((told, structure_readings(known, Timeframe.H1)), axis=1)

    examined = examine(columns, bars, cuts=600)
    assert examined.leaks == () and examined.cuts >= 500 and len(examined.columns) > 180


@pytest.mark.parametrize("name", RECORDED)
def test_our_own_indicators_know_nothing_of_recorded_markets(real_data: Path, name: str) -> None:
    bars = recorded_bars(real_data, name)[["open", "high", "low", "close", "volume"]].iloc[-3_000:]
    assert find_leak(lambda known: compute(known, ALL, RECORDED[name], 0), bars, cuts=40) is None
