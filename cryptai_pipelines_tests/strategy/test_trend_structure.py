"""`trend_structure`: one bar that passes every gate, and each gate that can refuse it alone; long and short are the same rules
turned round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.candle_gates import PATTERNS
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.parameters import parameters_of
from cryptai_pipelines.strategy.protocol import Inputs
from cryptai_pipelines.strategy.trend_structure import TREND_STRUCTURE, Parameters, confirmation_gate

from .conftest import MONDAY_MS
from .test_gates import verdicts

COUNT = 40
GATES = TREND_STRUCTURE.gates


def passing() -> Inputs:
    """Forty hours of which the last passes every gate for a long: the close is 100, the stop 95, the target 109."""
    index = ts_index(MONDAY_MS + np.arange(COUNT) * Timeframe.H1.ms)
    bars = pd.DataFrame(100.0, index=index, columns=["open", "high", "low", "close", "volume"]).assign(is_filled=False)
    indicators = pd.DataFrame(
        0.0, index=index, columns=["rsi_14", "macd", "macd_signal", "macd_histogram", "atr_14", *PATTERNS]
    )
    indicators["rsi_14"] = np.where(np.arange(COUNT) < COUNT - 1, 45.0, 55.0)
    indicators[["macd", "macd_signal", "macd_histogram"]] = (2.0, 1.0, 1.0)
    indicators["atr_14"] = 2.0
    indicators.iloc[-1, indicators.columns.get_loc("cdl_hammer")] = 100.0
    known = {"higher_trend": 1.0, "higher_bias": 1.0, "bos": 0.0, "choch": 0.0, "swing_low": 96.0, "swing_high": 99.0}
    known |= {"higher_swing_high": 109.0, "higher_swing_low": 90.0, "gap_above": np.nan, "gap_below": np.nan}
    structure = pd.DataFrame(known, index=index)
    structure.iloc[-10, structure.columns.get_loc("bos")] = 1.0
    return Inputs(bars, indicators, structure, Timeframe.H1)


def last(inputs: Inputs, **parameters: object) -> pd.Series:
    return decide_checked(TREND_STRUCTURE, inputs, parameters_of(Parameters, parameters)).iloc[-1]


def changed(part: str, at: int = -1, **values: float) -> Inputs:
    """`passing` with other values at one bar."""
    inputs = passing()
    frame = getattr(inputs, part).copy()
    for name, value in values.items():
        frame.iloc[at, frame.columns.get_loc(name)] = value
    return replace(inputs, **{part: frame})


def refused_by(row: pd.Series) -> list[str]:
    return [gate for gate in GATES if row[gate] is pd.NA or not row[gate]]


def test_a_bar_that_passes_every_gate_is_an_entry():
    row = last(passing())
    assert refused_by(row) == [] and row["side"] == 1 and row["entry"]
    assert (row["stop_price"], row["stop_level"], row["target_price"], row["target_level"]) == (95.0, 95.0, 109.0, 109.0)
    rsi, macd = 5 / 20, 1 / 3
    assert row["strategy_score"] == pytest.approx((1 + (1 - 9 / 48) + rsi + macd + 1) / 5)
    assert row["score"] == row["strategy_score"] == row["priority"] and row["score_coverage"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("inputs", "parameters", "gate"),
    [
        (changed("structure", higher_trend=0.0), {}, "trend_gate"),
        (changed("structure", higher_bias=-1.0), {}, "trend_gate"),
        (changed("structure", higher_trend=np.nan), {"min_score": -1.0}, "trend_gate"),
        (changed("structure", at=-10, bos=0.0), {}, "structure_gate"),
        (passing(), {"bos_window": 9}, "structure_gate"),
        (changed("structure", at=-3, choch=-1.0), {}, "structure_gate"),
        (passing(), {"confirmations": 3, "rsi_recovery": 56.0}, "confirmation_gate"),
        (changed("structure", higher_swing_high=104.0), {}, "risk_reward_gate"),
        (changed("indicators", atr_14=np.nan), {}, "risk_reward_gate"),
        (passing(), {"fee_rate": 0.02}, "risk_reward_gate"),
        (passing(), {"clean_bars": 41}, "data_quality_gate"),
        (passing(), {"min_score": 0.9}, "score_gate"),
    ],
)
def test_each_gate_can_refuse_it_alone(inputs, parameters, gate):
    row = last(inputs, **parameters)
    refused = [name for name in refused_by(row) if name != "score_gate" or gate == "score_gate" or not pd.isna(row["score"])]
    assert refused == [gate] and row["side"] == 0 and not row["entry"]


def test_a_filled_bar_is_refused():
    inputs = passing()
    filled = np.arange(COUNT) == COUNT - 1
    assert refused_by(last(replace(inputs, bars=inputs.bars.assign(is_filled=filled)))) == ["data_quality_gate"]


def test_a_warning_lowers_the_score_where_it_does_not_block():
    warned = last(changed("structure", at=-3, choch=-1.0), choch_blocks=False)
    assert warned["side"] == 1
    assert warned["structure_score"] == pytest.approx(last(passing())["structure_score"] / 2)


@pytest.mark.parametrize("confirmations", [0, 1, 2, 3])
def test_as_many_as_are_asked_for_must_confirm(confirmations):
    inputs = changed("indicators", rsi_14=45.0, macd_histogram=-2.0)  # the candle alone is left
    row = last(inputs, confirmations=confirmations, min_score=-1.0)
    assert row["side"] == (1 if confirmations <= 1 else 0)
    assert [bool(row[f"{name}_gate"]) for name in ("rsi", "macd", "candle")] == [False, False, True]


def test_an_unknown_confirmation_decides_only_where_it_matters():
    yes, no, unknown = (pd.array([value], dtype="boolean") for value in (True, False, None))
    assert verdicts(confirmation_gate([yes, yes, unknown], 2)) == [True]
    assert verdicts(confirmation_gate([yes, no, unknown], 2)) == [None]
    assert verdicts(confirmation_gate([no, no, unknown], 2)) == [False]


def test_the_fixed_mode_knows_no_levels_of_the_market():
    row = last(passing(), risk_mode="fixed")
    assert (row["stop_price"], row["target_price"]) == (pytest.approx(92.0), pytest.approx(115.0))
    assert np.isnan(row["stop_level"]) and np.isnan(row["target_level"]) and row["side"] == 1


def test_sentiment_and_prediction_can_stop_an_entry_that_the_gates_let_through():
    inputs = passing()
    scores = pd.DataFrame({"sentiment_score": -1.0, "ml_score": -1.0}, index=inputs.bars.index)
    row = last(replace(inputs, scores=scores))
    assert refused_by(row) == [] and row["score_coverage"] == pytest.approx(1.0)
    assert row["score"] == pytest.approx(0.6 * row["strategy_score"] - 0.4)
    assert refused_by(last(replace(inputs, scores=scores), min_score=0.1)) == ["score_gate"]
    assert last(replace(inputs, scores=scores[["ml_score"]]))["score_coverage"] == pytest.approx(0.8)


def turned_round(inputs: Inputs) -> Inputs:
    """Every price on the other side of 100, every direction the other one."""
    bars = (200 - inputs.bars.drop(columns="is_filled")).assign(is_filled=inputs.bars["is_filled"])
    bars["high"], bars["low"] = bars["low"], bars["high"].copy()
    indicators = -inputs.indicators
    indicators["rsi_14"], indicators["atr_14"] = 100 - inputs.indicators["rsi_14"], inputs.indicators["atr_14"]
    indicators["cdl_hangingman"] = -inputs.indicators["cdl_hammer"]
    indicators["cdl_hammer"] = 0.0
    told = inputs.structure
    structure = -told[["higher_trend", "higher_bias", "bos", "choch"]]
    pairs = (("swing_low", "swing_high"), ("higher_swing_low", "higher_swing_high"), ("gap_below", "gap_above"))
    for low, high in pairs:
        structure[low], structure[high] = 200 - told[high], 200 - told[low]
    return replace(inputs, bars=bars, indicators=indicators, structure=structure)


@pytest.mark.parametrize("directions", ["short", "both"])
def test_a_short_is_a_long_turned_round(directions):
    long, short = last(passing()), last(turned_round(passing()), directions=directions)
    assert short["side"] == -1 and refused_by(short) == []
    assert (short["stop_level"], short["target_level"]) == (105.0, 91.0)
    for name in ("trend", "structure", "rsi", "macd", "candle", "strategy"):
        assert short[f"{name}_score"] == pytest.approx(-long[f"{name}_score"])
    assert short["priority"] == pytest.approx(long["priority"])


def test_sides_that_are_not_asked_for_are_not_taken():
    assert last(turned_round(passing()))["side"] == 0
    assert last(passing(), directions="short")["side"] == 0
    assert last(passing(), directions="both")["side"] == 1


def test_parameters_that_contradict_each_other_are_named():
    with pytest.raises(BadArgument, match="rsi_overbought 40.0 is not above rsi_recovery 50.0"):
        Parameters(rsi_overbought=40.0)
    with pytest.raises(BadArgument, match="weights strategy 0.6 . sentiment 0.2 . ml 0 are 0.8 together"):
        Parameters(ml_weight=0.0)
