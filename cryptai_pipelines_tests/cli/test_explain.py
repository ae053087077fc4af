"""`cryptai explain` and `cryptai strategies` on stored bars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy.signals import STRATEGIES
from cryptai_pipelines_tests.cli.conftest import Invoke
from cryptai_pipelines_tests.orchestration.stored_bars import store
from cryptai_pipelines_tests.quality.samples import good_rows

SERIES = Series("BTC-USDT", Timeframe.H1)

OWN = '''"""A strategy of one's own."""
from dataclasses import dataclass

import pandas as pd

from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, as_strategy


@dataclass(frozen=True)
class Parameters:
    above: float = parameter(1.0, above=0, help="least close")


@as_strategy(parameters=Parameters, columns=(Column("close_gate", "gate", "the close is high enough"),))
def dear(inputs, parameters):
    """Buys what is dear."""
    high = inputs.bars["close"] > parameters.above
    return pd.DataFrame({"close_gate": high.astype("boolean"), "side": high.astype("int8")}, index=inputs.bars.index)
'''


@pytest.fixture
def stored(database: Database) -> int:
    """Bars of the series; the open time of the last one, epoch ms."""
    rows = good_rows(300, SERIES.timeframe)
    store(database, SERIES, rows)
    return int(rows["ts"][-1])


def iso(ts_ms: int) -> str:
    from cryptai_pipelines.market.clock import format_time

    return format_time(ts_ms)


def test_a_strategy_of_ones_own_explains_itself(invoke: Invoke, url: str, stored: int, home: Path) -> None:
    (home.parent / "own.py").write_text(OWN)
    asked = ("explain", "BTC-USDT@1h", iso(stored + 60_000), "--strategy", "own.py")
    ended = invoke(*asked, "--json", CRYPTAI_DATABASE_URL=url)
    told = json.loads(ended.out)
    assert (ended.code, told["side"], told["refused_by"], told["at"]) == (0, "long", [], iso(stored))
    refused = json.loads(invoke(*asked, "--set", "above=1e12", "--json", CRYPTAI_DATABASE_URL=url).out)
    assert (refused["side"], refused["refused_by"]) == ("none", ["close_gate"])
    shown = invoke(*asked, CRYPTAI_DATABASE_URL=url).out
    assert "the close is high enough" in shown and "asks for a long" in shown


def test_what_is_not_stored_is_told(invoke: Invoke, url: str, stored: int) -> None:
    scheduled = invoke("explain", "BTC-USDT@1h", iso(stored), CRYPTAI_DATABASE_URL=url)
    assert scheduled.code == 1 and "no signal of BTC-USDT 1h is stored at" in scheduled.err
    later = ("explain", "BTC-USDT@1h", iso(stored + 7_200_000), "--strategy", "ema_crossover")
    absent = invoke(*later, CRYPTAI_DATABASE_URL=url)
    assert absent.code == 1 and "no bar of BTC-USDT 1h is stored at" in absent.err
    wrong = invoke("explain", "BTC-USDT@1h", "noon", CRYPTAI_DATABASE_URL=url)
    assert wrong.code == 2 and "TIME 'noon' is not an ISO 8601" in wrong.err


def test_strategies_are_listed_with_their_parameters(invoke: Invoke, home: Path) -> None:
    (home.parent / "own.py").write_text(OWN)
    told = json.loads(invoke("strategies", "--json").out)["strategies"]
    assert [one["name"] for one in told] == list(STRATEGIES)
    own = json.loads(invoke("strategies", "own.py", "--json").out)["strategies"][0]
    assert own["parameters"]["properties"]["above"]["exclusiveMinimum"] == 0
    assert "least close" in invoke("strategies", "own.py").out
    assert all(name in invoke("strategies").out for name in STRATEGIES)
    assert not home.exists()
