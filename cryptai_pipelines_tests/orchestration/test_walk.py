"""One bad series never stops the others."""

from __future__ import annotations

from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.outcome import Outcome
from cryptai_pipelines.orchestration.chain.walk import Step, walk
from cryptai_pipelines.storage.leases import SeriesLease

ASSETS = ("raw_ohlcv", "validated_bars", "signals")


@contextmanager
def hold(series):
    yield SeriesLease("binance", series, token=1, holder="test", lease_s=1.0, connection=None)


def step(asset, fails_at):
    def run(lease):
        series = lease.series
        if fails_at.get(series.symbol) == asset:
            raise RuntimeError(f"{asset}\n  broke")
        return Outcome(asset, series, written=1, rows=1, revision=1)

    return Step(asset, run)


@given(st.dictionaries(st.sampled_from([f"S{n}-USDT" for n in range(6)]), st.sampled_from(ASSETS)), st.integers(1, 4))
def test_each_series_reaches_the_end_or_its_own_fault(fails_at, threads):
    series = [Series(f"S{n}-USDT", Timeframe.H1) for n in range(6)]
    results = {result.series: result for result in walk(series, [step(asset, fails_at) for asset in ASSETS], hold, threads)}
    assert set(results) == set(series)
    for one, result in results.items():
        failed_at = fails_at.get(one.symbol)
        reached = ASSETS.index(failed_at) if failed_at else len(ASSETS)
        assert [outcome.asset for outcome in result.outcomes] == list(ASSETS[:reached])
        assert result.failed_at == failed_at
        assert result.error == (f"{failed_at} broke" if failed_at else None)


def test_no_series_is_no_work():
    assert list(walk([], [step("signals", {})], hold, 4)) == []
