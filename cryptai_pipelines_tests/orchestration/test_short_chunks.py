"""The chain on chunks so short, and warm-ups so short, that most changes can be seen by a part of the series only: whatever is
done in whatever order, what was left alone is what a whole rebuild gives."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.indicators import chunks, higher_structure
from cryptai_pipelines.indicators.chunks import compute
from cryptai_pipelines.indicators.registry import DEFAULT_SET, find_indicator
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import staleness, steps, technical_indicators
from cryptai_pipelines.orchestration.jobs import CHAIN_ASSETS
from cryptai_pipelines.storage import derived, market_data, state
from cryptai_pipelines.strategy import higher_timeframe, trend_rsi_macd
from cryptai_pipelines.strategy.signals import find_strategy
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.test_any_order import ACTIONS, World
from cryptai_pipelines_tests.orchestration.test_chain_properties import HOUR, SERIES

_CHUNK = 64
FORGETTING = tuple(replace(spec, warmup=50, lull=0) for spec in DEFAULT_SET if spec.carry is None)
CARRIED = tuple(map(find_indicator, ("obv", "ad", "supertrend_2_1")))
# A bar that becomes another one, one that turns bad and leaves the series, and another one.
FAR_APART = [("restate", (200, False)), ("restate", (600, True)), ("restate", (1_100, False))]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (chunks, staleness, higher_timeframe):
        monkeypatch.setattr(module, "CHUNK_BARS", _CHUNK)
    store(monkeypatch, FORGETTING)
    monkeypatch.setattr(technical_indicators, "FILLED_WINDOW", 50)
    monkeypatch.setattr(higher_timeframe, "_HIGHER_WARMUP", 15)
    monkeypatch.setattr(trend_rsi_macd, "LONGEST_LOOK_BACK", 60)
    for name, bars in (("FAST", 2), ("SLOW", 3), ("TREND_BARS", 6)):
        monkeypatch.setattr(higher_structure, name, bars)
    assert find_strategy("trend_rsi_macd").warmup_bars(None, Timeframe.H1) == 60


def store(monkeypatch: pytest.MonkeyPatch, specs: tuple[IndicatorSpec, ...]) -> None:
    monkeypatch.setattr(steps, "stored_indicators", lambda settings: specs)


@given(actions=st.lists(ACTIONS, min_size=3, max_size=12))
@example(FAR_APART)
@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_is_left_alone_is_right(postgres_server, tmp_path_factory, actions) -> None:
    with fresh_database(postgres_server) as database, fresh_database(postgres_server) as whole:
        world = World(database, tmp_path_factory.mktemp("world"))
        world.advance(1_400)
        world.run(CHAIN_ASSETS)
        made = state.read_state(database, "signals", SERIES).revision
        for name, argument in actions:
            getattr(world, name)(argument)
        world.assert_one_run_rebuilds_the_same(whole)
        if actions == FAR_APART:
            spans = state.changes_since(database, "signals", SERIES, made)
            assert len(spans) == 3 and sum(end - start for start, end in spans) < 600 * HOUR


@given(actions=st.lists(ACTIONS, min_size=3, max_size=12))
@example(FAR_APART)
@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_is_carried_is_right_to_the_end(postgres_server, tmp_path_factory, actions) -> None:
    """Holes, restated bars, one that leaves the series: what was added up over them goes on from the rows that are stored."""
    with (
        pytest.MonkeyPatch.context() as patch,
        fresh_database(postgres_server) as database,
        fresh_database(postgres_server) as whole,
    ):
        store(patch, (*FORGETTING, *CARRIED))
        world = World(database, tmp_path_factory.mktemp("world"))
        world.advance(1_400)
        world.run(CHAIN_ASSETS)
        for name, argument in actions:
            getattr(world, name)(argument)
        world.assert_one_run_rebuilds_the_same(whole)
        keys = {"symbol": SERIES.symbol, "timeframe": SERIES.timeframe.code}
        columns = chunks.output_columns(CARRIED)
        stored = [derived.read(one, "technical_indicators", keys, columns=columns) for one in (database, whole)]
        bars = market_data.read(whole, SERIES)
        computed = compute(bars, CARRIED, Timeframe.H1, 0)
        assert len(bars) > 500 and computed["supertrend_2_1_direction"].nunique() == 2
        for frame in stored:
            pd.testing.assert_frame_equal(frame, computed, check_exact=True, check_freq=False)
