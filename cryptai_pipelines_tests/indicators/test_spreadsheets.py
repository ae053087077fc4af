"""Spreadsheets of indicators that TA-Lib has not, or has in a form of its own: 120 bars with a hole of trading and bars without
a range, worked out in exact fractions by `spreadsheets/formulas.py`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.indicators.registry import find_indicator
from cryptai_pipelines.indicators.warmup import wilder_bars
from cryptai_pipelines_tests.indicators.spreadsheets import formulas

BARS = pd.read_csv(formulas.FOLDER / "bars.csv", dtype="float64")
VALUES = pd.read_csv(formulas.FOLDER / "values.csv", dtype="float64")
NAMES = (
    "vwap_5 vwma_5 cmf_5 relative_volume_5 donchian_5 ichimoku_3_5_9 keltner_5_4_1.5 hma_9 obv accumulation_distribution"
    " supertrend_3_1"
).split()


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_spreadsheet(name: str) -> None:
    spec = find_indicator(name)
    computed = spec.compute({column: BARS[column].to_numpy() for column in spec.inputs})
    for output, values in zip(spec.outputs, computed, strict=True):
        np.testing.assert_allclose(values, VALUES[output].to_numpy(), rtol=1e-12, atol=1e-12, err_msg=output)


def test_every_column_of_the_spreadsheet_is_looked_at() -> None:
    assert set(VALUES.columns) == {output for name in NAMES for output in find_indicator(name).outputs}


def test_the_spreadsheet_is_what_the_formulas_give() -> None:
    for name, cells in formulas.sheet(formulas.read_bars()).items():
        expected = [np.nan if cell is None else float(cell) for cell in cells]
        assert np.array_equal(VALUES[name].to_numpy(), expected, equal_nan=True), name


def test_the_bars_hold_what_is_hard() -> None:
    """Windows in which nothing is traded, bars without a range, and turns of the supertrend both ways."""
    assert (BARS["volume"].rolling(5).sum() == 0).any() and (BARS["high"] == BARS["low"]).any()
    turns = VALUES["supertrend_3_1_direction"].diff()
    assert (turns > 0).any() and (turns < 0).any()
    assert VALUES["supertrend_3_1"].first_valid_index() == wilder_bars(3)
