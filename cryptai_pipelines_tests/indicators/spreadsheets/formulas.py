"""The formulas of indicators that TA-Lib has not, or computes otherwise, in plain Python and exact fractions: row by row, no
arrays, no library. `python -m cryptai_pipelines_tests.indicators.spreadsheets.formulas` writes `values.csv` from `bars.csv`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

FOLDER = Path(__file__).parent
Cell = Fraction | None
Bars = dict[str, list[Fraction]]


def read_bars() -> Bars:
    with (FOLDER / "bars.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [Fraction(row[name]) for row in rows] for name in rows[0]}


def windows(values: Sequence[Fraction], length: int) -> Iterator[Sequence[Fraction] | None]:
    """The last `length` values at each row; None while there are fewer."""
    for i in range(len(values)):
        yield values[i - length + 1 : i + 1] if i + 1 >= length else None


def per_window(values: Sequence[Fraction], length: int, of: Callable[[Sequence[Fraction]], Cell]) -> list[Cell]:
    return [None if window is None else of(window) for window in windows(values, length)]


def weighted_by_volume(values: Sequence[Fraction], bars: Bars, length: int) -> list[Cell]:
    pairs = list(zip(values, bars["volume"], strict=True))
    result: list[Cell] = []
    for i in range(len(pairs)):
        window = pairs[i - length + 1 : i + 1] if i + 1 >= length else []
        traded = sum((volume for _, volume in window), Fraction(0))
        result.append(sum((value * volume for value, volume in window), Fraction(0)) / traded if traded else None)
    return result


def typical(bars: Bars) -> list[Fraction]:
    return [(high + low + close) / 3 for high, low, close in zip(bars["high"], bars["low"], bars["close"], strict=True)]


def places(bars: Bars) -> list[Fraction]:
    """Where the close lies in the range: -1 at the low, 1 at the high; 0 without a range."""
    result = []
    for high, low, close in zip(bars["high"], bars["low"], bars["close"], strict=True):
        result.append(((close - low) - (high - close)) / (high - low) if high > low else Fraction(0))
    return result


def relative_volume(bars: Bars, length: int) -> list[Cell]:
    volume, result = bars["volume"], []
    for i, now in enumerate(volume):
        before = sum(volume[i - length : i], Fraction(0)) / length if i >= length else Fraction(0)
        result.append(now / before if before else None)
    return result


def middles(bars: Bars, length: int) -> list[Cell]:
    """Half way between the highest high and the lowest low of the last `length` bars."""
    highs, lows = per_window(bars["high"], length, max), per_window(bars["low"], length, min)
    return [None if high is None or low is None else (high + low) / 2 for high, low in zip(highs, lows, strict=True)]


def linear_mean(window: Sequence[Fraction]) -> Fraction:
    """Weights 1, 2, ... n, the last row the heaviest."""
    weights = range(1, len(window) + 1)
    return sum((weight * value for weight, value in zip(weights, window, strict=True)), Fraction(0)) / sum(weights)


def hull(values: Sequence[Fraction], length: int, root: int) -> list[Cell]:
    """Hull (2005): the linear mean over `root` rows of twice the mean of half the length minus that of the whole length."""
    half, whole = per_window(values, length // 2, linear_mean), per_window(values, length, linear_mean)
    first = length - 1
    raw = [2 * one - other for one, other in zip(half[first:], whole[first:], strict=True)]  # type: ignore[operator]
    return [None] * first + per_window(raw, root, linear_mean)


def exponential(values: Sequence[Fraction], length: int) -> list[Cell]:
    """Begins with the mean of the first `length` values, then moves 2 / (length + 1) of the way."""
    result: list[Cell] = [None] * (length - 1) + [sum(values[:length], Fraction(0)) / length]
    for value in values[length:]:
        result.append(result[-1] + (value - result[-1]) * Fraction(2, length + 1))  # type: ignore[operator]
    return result


def average_true_range(bars: Bars, length: int) -> list[Cell]:
    """Wilder (1978): the mean of the first `length` true ranges, the first row having none, then 1 / length of the way."""
    high, low, close = bars["high"], bars["low"], bars["close"]
    ranges = [max(high[i], close[i - 1]) - min(low[i], close[i - 1]) for i in range(1, len(close))]
    result: list[Cell] = [None] * length + [sum(ranges[:length], Fraction(0)) / length]
    for value in ranges[length:]:
        result.append((result[-1] * (length - 1) + value) / length)  # type: ignore[operator]
    return result


def supertrend(bars: Bars, length: int, multiplier: Fraction, first: int) -> list[list[Cell]]:
    """Line, direction, upper and lower band, beginning as a rise at row `first`."""
    close, distance = bars["close"], average_true_range(bars, length)
    rows: list[list[Cell]] = [[None] * 4 for _ in range(first)]
    for i in range(first, len(close)):
        middle = (bars["high"][i] + bars["low"][i]) / 2
        upper, lower = middle + multiplier * distance[i], middle - multiplier * distance[i]  # type: ignore[operator]
        direction = Fraction(1)
        if i > first:
            _, direction, upper_before, lower_before = rows[-1]  # type: ignore[assignment]
            upper = upper if upper < upper_before or close[i - 1] > upper_before else upper_before  # type: ignore[operator]
            lower = lower if lower > lower_before or close[i - 1] < lower_before else lower_before  # type: ignore[operator]
            if direction == 1 and close[i] < lower:
                direction = Fraction(-1)
            elif direction == -1 and close[i] > upper:
                direction = Fraction(1)
        rows.append([lower if direction == 1 else upper, direction, upper, lower])
    return [list(column) for column in zip(*rows, strict=True)]


def running(steps: Sequence[Fraction]) -> list[Cell]:
    result = [steps[0]]
    for step in steps[1:]:
        result.append(result[-1] + step)
    return list(result)


def on_balance(bars: Bars) -> list[Cell]:
    close, volume = bars["close"], bars["volume"]
    signs = [(now > before) - (now < before) for before, now in zip(close[:-1], close[1:], strict=True)]
    return running([volume[0], *(sign * traded for sign, traded in zip(signs, volume[1:], strict=True))])


def sheet(bars: Bars) -> dict[str, list[Cell]]:
    """Every column by the name that it has here, small periods so that a row can be checked by hand."""
    fast, base, leading = middles(bars, 3), middles(bars, 5), middles(bars, 9)
    place, close = places(bars), bars["close"]
    middle, distance = exponential(typical(bars), 5), average_true_range(bars, 4)
    around = [(one, Fraction(3, 2) * other) for one, other in zip(middle, distance, strict=True) if None not in (one, other)]
    absent = [None] * (len(close) - len(around))
    trend = ("supertrend_3_1", "supertrend_3_1_direction", "supertrend_3_1_upper", "supertrend_3_1_lower")
    return {
        "vwap_5": weighted_by_volume(typical(bars), bars, 5),
        "vwma_5": weighted_by_volume(close, bars, 5),
        "cmf_5": weighted_by_volume(place, bars, 5),
        "relative_volume_5": relative_volume(bars, 5),
        "donchian_5_upper": per_window(bars["high"], 5, max),
        "donchian_5_middle": middles(bars, 5),
        "donchian_5_lower": per_window(bars["low"], 5, min),
        "ichimoku_3_5_9_conversion": fast,
        "ichimoku_3_5_9_base": base,
        "ichimoku_3_5_9_leading_a": [
            None if one is None or other is None else (one + other) / 2 for one, other in zip(fast, base, strict=True)
        ],
        "ichimoku_3_5_9_leading_b": leading,
        "keltner_5_4_1p5_upper": absent + [one + width for one, width in around],
        "keltner_5_4_1p5_middle": absent + [one for one, _ in around],
        "keltner_5_4_1p5_lower": absent + [one - width for one, width in around],
        "hma_9": hull(close, 9, 3),
        "obv": on_balance(bars),
        "accumulation_distribution": running([one * traded for one, traded in zip(place, bars["volume"], strict=True)]),
        **dict(zip(trend, supertrend(bars, 3, Fraction(1), 72), strict=True)),
    }


def write() -> None:
    columns = sheet(read_bars())
    with (FOLDER / "values.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow("" if cell is None else repr(float(cell)) for cell in row)


if __name__ == "__main__":
    write()
