"""Any parameters of a family: one name, columns of its own, a warm-up that is long enough; what is not accepted is told."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.indicators.carried import CARRIED
from cryptai_pipelines.indicators.families import LONGEST, Family, Parameter
from cryptai_pipelines.indicators.registry import FAMILIES, REGISTRY, find_indicator
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines_tests.indicators.samples import random_bars
from cryptai_pipelines_tests.indicators.test_catalogue import TOLERANCE, WINDOWED, arrays, scale


def values_of(parameter: Parameter) -> st.SearchStrategy[float]:
    if isinstance(parameter.default, int):
        return st.integers(int(parameter.low), int(parameter.high))
    return st.decimals(parameter.low, parameter.high, places=2).map(float)


@st.composite
def members(draw: st.DrawFn) -> tuple[Family, list[float]]:
    family = draw(st.sampled_from(FAMILIES))
    values = [draw(values_of(parameter)) for parameter in family.parameters]
    if len(set(values[: family.ascending])) < family.ascending:
        values[: family.ascending] = [parameter.default for parameter in family.parameters[: family.ascending]]
    ranged = sorted(values[: family.ascending])
    return family, [
        min(max(value, parameter.low), parameter.high)
        for value, parameter in zip([*ranged, *values[family.ascending :]], family.parameters, strict=True)
    ]


@given(member=members())
@settings(max_examples=200)
def test_a_member_is_found_again_by_its_name_and_has_columns_of_its_own(member: tuple[Family, list[float]]) -> None:
    family, values = member
    spec = family.member(*values)
    assert find_indicator(spec.name) is spec
    assert find_indicator(f" {spec.name.replace('p', '.').upper()} " if "p" not in family.name else spec.name) is spec
    assert len(spec.outputs) == len(family.outputs) and all(len(name) <= 59 for name in spec.outputs)
    others = {output for other in REGISTRY.values() if other is not spec for output in other.outputs}
    assert not others & set(spec.outputs)


@pytest.mark.parametrize("name", REGISTRY)
def test_what_is_listed_is_found(name: str) -> None:
    assert find_indicator(name) is REGISTRY[name]


@pytest.mark.parametrize(
    ("asked", "found", "outputs"),
    [
        ("sma_37", "sma_37", "sma_37"),
        ("rsi", "rsi_14", "rsi_14"),
        ("willr_21", "williams_r_21", "williams_r_21"),
        ("roc_3", "rate_of_change_3", "rate_of_change_3"),
        ("mom_1", "momentum_1", "momentum_1"),
        ("bollinger_20_2.0", "bollinger", "bb_upper bb_middle bb_lower"),
        ("bollinger_30_2.5", "bollinger_30_2p5", "bb_30_2p5_upper bb_30_2p5_middle bb_30_2p5_lower"),
        ("bollinger_30", "bollinger_30_2", "bb_30_2_upper bb_30_2_middle bb_30_2_lower"),
        ("macd_12_26_9", "macd", "macd macd_signal macd_histogram"),
        ("macd_8_21_5", "macd_8_21_5", "macd_8_21_5 macd_8_21_5_signal macd_8_21_5_histogram"),
        ("stochastic_21_3_5", "stochastic_21_3_5", "stoch_21_3_5_k stoch_21_3_5_d"),
        ("donchian_55", "donchian_55", "donchian_55_upper donchian_55_middle donchian_55_lower"),
        ("keltner_20_10_2", "keltner", "keltner_upper keltner_middle keltner_lower"),
    ],
)
def test_names(asked: str, found: str, outputs: str) -> None:
    spec = find_indicator(asked)
    assert spec.name == found and spec.outputs == tuple(outputs.split())


def test_the_parameters_in_a_name_are_those_of_the_values() -> None:
    bars = random_bars(3, 400, Timeframe.H1)
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    for name, peer in {
        "macd_8_21_5": talib.MACD(close, 8, 21, 5),
        "bollinger_30_2.5": talib.BBANDS(close, 30, 2.5, 2.5, 0),
        "stochastic_21_2_5": talib.STOCH(high, low, close, 21, 2, 0, 5, 0),
        "keltner_15_7_1.5": talib.KC(high, low, close, 15, 7, 1.5),
        "adx_7": (talib.ADX(high, low, close, 7),),
    }.items():
        spec = find_indicator(name)
        for ours, theirs in zip(spec.compute(arrays(bars, spec)), peer, strict=True):
            assert np.array_equal(ours, theirs, equal_nan=True), name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("smaa_20", "'smaa_20' does not exist; the nearest known: sma "),
        ("stochastics", "the nearest known: stochastic "),
        ("cdl_dojji", "the nearest known: cdl_doji "),
        ("???", "known families: sma ema "),
        ("", "known families: sma ema "),
        ("sma_1", f"'sma_1': timeperiod=1 is not accepted; accepted: whole numbers from 2 to {LONGEST}"),
        ("ema_99999", "timeperiod=99999 is not accepted"),
        ("sma_2.5", "timeperiod=2.5 is not accepted; accepted: whole numbers"),
        ("bollinger_20_99", "nbdev=99 is not accepted; accepted: numbers from 0.1 to 20"),
        ("macd_26_12_9", "'macd_26_12_9' is not accepted; accepted: fastperiod < slowperiod"),
        ("rsi_14_3", "'rsi_14_3' has more parameters than it knows; accepted: timeperiod"),
        ("true_range_3", "accepted: none"),
    ],
)
def test_what_is_not_accepted_is_told(name: str, told: str) -> None:
    with pytest.raises(BadArgument) as caught:
        find_indicator(name)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in CARRIED], ids=lambda family: family.name)
def test_the_warm_up_is_right_for_other_parameters_too(family: Family) -> None:
    """Values from the warm-up alone are those from all of the past; that of a window is exact."""
    for length in (2, 3, 7, 16, 33, 90) if family.parameters else ():
        whole_numbers = [isinstance(parameter.default, int) for parameter in family.parameters]
        values = [
            length + at if whole else parameter.default
            for at, (whole, parameter) in enumerate(zip(whole_numbers, family.parameters, strict=True))
        ]
        spec = family.member(*values)
        bars = random_bars(length, spec.warmup + 300, Timeframe.H1)
        columns = arrays(bars, spec)
        whole = spec.compute(columns)
        for at in (spec.warmup + 1, len(bars) - 1):
            alone = spec.compute({name: array[at - spec.warmup : at + 1] for name, array in columns.items()})
            for name, mine, true in zip(spec.outputs, alone, whole, strict=True):
                assert abs(mine[-1] - true[at]) / scale(true)[at] < TOLERANCE, (name, at)
        if set(WINDOWED) & {listed.name for listed in family.members}:
            first = max(int(np.argmax(np.isfinite(array))) for array in whole)
            assert first == spec.warmup
