"""The sections of a report that are there when their content was given: verdict, intervals, review, all metrics, tables. The
page around them is `report_page`."""

from __future__ import annotations

from html import escape

import pandas as pd

from cryptai_pipelines.backtest.benchmark_metrics import BENCHMARK_METRICS
from cryptai_pipelines.backtest.drawdowns import DRAWDOWN_METRICS
from cryptai_pipelines.backtest.exposure_metrics import EXPOSURE_METRICS
from cryptai_pipelines.backtest.findings import Finding
from cryptai_pipelines.backtest.report import Report
from cryptai_pipelines.backtest.report_format import frame_table, label, shown, table
from cryptai_pipelines.backtest.return_metrics import EQUITY_METRICS
from cryptai_pipelines.backtest.significance import SIGNIFICANCE_METRICS
from cryptai_pipelines.backtest.tables import crisis_windows, exit_reason_table, group_table, regime_table, worst_drawdowns
from cryptai_pipelines.backtest.trade_statistics import TRADE_METRICS
from cryptai_pipelines.backtest.verdict import EDGE, NO_EDGE

_GROUPS = {
    "Equity and returns": EQUITY_METRICS,
    "Drawdowns": DRAWDOWN_METRICS,
    "Against the market": BENCHMARK_METRICS,
    "Luck": SIGNIFICANCE_METRICS,
    "Trades": TRADE_METRICS,
    "Exposure": EXPOSURE_METRICS,
}
_ANSWERS = {EDGE: "good", NO_EDGE: "bad"}


def verdict_section(report: Report) -> str:
    """The answer in large, the numbers it is made of, and why."""
    told = report.verdict
    if told is None:
        return ""
    numbers = {
        "Better than the market": shown("psr", told.better_than_market),
        f"Better than the luckiest of {told.trials:,} trials": shown("dsr", told.dsr),
        "Sharpe ratio per period": f"{told.sharpe:.4f}",
        "By resampling": f"{told.interval.low:.4f} to {told.interval.high:.4f}",
        "Returns": f"{told.periods:,}",
        "Returns needed": shown("min_track_record", told.least_track_record),
    }
    cards = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in numbers.items())
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in told.reasons)
    return (
        f'<section class="verdict {_ANSWERS.get(told.answer, "unsure")}"><h2>Verdict: {escape(told.answer)}</h2>'
        f'<dl class="cards">{cards}</dl><ul>{reasons}</ul></section>'
    )


def review_section(report: Report) -> str:
    """Complaints first, errors before warnings; what does not hold is folded away."""
    if report.findings is None:
        return ""
    held = sorted((one for one in report.findings if one.holds), key=lambda one: one.severity)
    rest = [one for one in report.findings if not one.holds]
    complaints = "".join(map(_finding, held)) or '<li class="finding clean">Nothing to complain of.</li>'
    folded = (
        f"<details><summary>{len(rest)} rules without a complaint</summary><ul>{''.join(map(_finding, rest))}</ul></details>"
    )
    return (
        f"<section><h2>Review: {len(held)} of {len(report.findings)} rules complain</h2><ul>{complaints}</ul>{folded}</section>"
    )


def interval_section(report: Report) -> str:
    """Where the numbers may lie, and what else the same trades could have come to."""
    parts = []
    if report.intervals is not None:
        rows = (
            (label(name), *(shown(name, value) for value in (one.low, one.median, one.high)))
            for name, one in report.intervals.items()
        )
        parts.append(table(("95 % interval, by resampling", "low", "median", "high"), rows))
    if report.outcomes is not None:
        # In another order the same profits come to the same end.
        outcomes = report.outcomes.drop(columns=[("shuffled", "final_equity")])
        head = ["Same trades, quantile", *(f"{how}: {label(name).lower()}" for how, name in outcomes.columns)]
        rows = (
            (f"{quantile:.0%}", *(shown(name, value) for (_, name), value in zip(outcomes.columns, row, strict=True)))
            for quantile, row in zip(outcomes.index, outcomes.to_numpy(), strict=True)
        )
        parts.append(table(head, rows))
    return f"<section><h2>Intervals</h2>{''.join(parts)}</section>" if parts else ""


def refused_section(report: Report) -> str:
    """How many entries did not happen, and why."""
    if report.refused is None:
        return ""
    rows = [(label(reason), f"{count:,}") for reason, count in report.refused.items() if count]
    told = table(("reason", "entries"), rows) if rows else "<p>None.</p>"
    return f"<section><h2>Refused entries</h2>{told}</section>"


def gate_section(report: Report) -> str:
    """How often each gate let pass, and what has to be said about it."""
    if not report.gates:
        return ""
    rows = pd.DataFrame(report.gates).set_index("gate").astype({"pass_rate": "float64"})
    return f"<section><h2>Gates</h2>{frame_table(rows, index=True)}</section>"


def full_section(report: Report) -> str:
    """Every metric, by subject, folded."""
    if report.full is None:
        return ""
    full = report.full
    rows = {title: [(label(name), shown(name, full[name])) for name in names] for title, names in _GROUPS.items()}
    groups = (f"<details><summary>{title}</summary>{table(('', ''), told)}</details>" for title, told in rows.items())
    return f"<section><h2>All metrics</h2>{''.join(groups)}</section>"


def table_sections(report: Report) -> str:
    """Worst drawdowns, falls of the market, kinds of months, and trades by what they have in common."""
    capital = report.parameters.initial_capital
    sections = [("Worst drawdowns", frame_table(worst_drawdowns(report.equity, capital, report.benchmark)))]
    if report.benchmark is not None and len(report.benchmark):
        falls = crisis_windows(report.equity, report.benchmark, capital)
        sections.append(("While the market fell most", frame_table(falls)))
        sections.append(("Months by kind", frame_table(regime_table(report.equity, report.benchmark, capital), index=True)))
    sections.append(("Trades by exit", frame_table(exit_reason_table(report.trades), index=True)))
    sections += [
        (f"Trades by {by}", frame_table(group_table(report.trades, by), index=True))
        for by in ("symbol", "side")
        if by in report.trades and report.trades[by].nunique() > 1
    ]
    return "".join(f"<section><h2>{title}</h2>{content}</section>" for title, content in sections)


def _finding(one: Finding) -> str:
    kind = one.severity if one.holds else "clean"
    return f'<li class="finding {kind}"><code>{escape(one.code)}</code> {escape(one.sentence)}</li>'
