"""What a report of a backtest holds, and putting it on disk. How it looks is in `report_page` and `report_charts`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cryptai_pipelines.backtest.bootstrap import Spread
from cryptai_pipelines.backtest.findings import Finding
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.verdict import Verdict

REPORT_VERSION = 1
"""A change of what the page or the picture shows raises it: reports are rendered again then."""


@dataclass(frozen=True)
class Report:
    """The content of one report.

    title: such as `BTC-USDT 1h trend_rsi_macd`. prices, equity: by UTC time, ascending, bars or days; the last equity is
    after closing the open position. trades: `records.trades_frame`. metrics, optimistic: `metrics.summary` of both books.
    quality: what is known of the data, label to value, such as gaps, missing bars, filled bars, quarantined rows.
    provenance: label to value, such as series, code version, coverage revision, trades_sha256. simulated: not a real market.

    What is None is left out of the page. benchmark: prices of the market at the times of `equity`. full: of
    `metrics.full_metrics`. verdict: of `verdict.judge`. intervals: of `bootstrap.result_intervals`; outcomes: of
    `bootstrap.trade_outcomes`. findings: of `review.review`. gates: by gate how many bars it passed,
    rejected and did not know, its pass_rate and a note, of `strategy.gate_rates.counted_rates`. refused: entries that did not
    happen, by reason (`records.Refusal`).
    """

    title: str
    prices: pd.Series
    equity: pd.Series
    trades: pd.DataFrame
    metrics: Mapping[str, float]
    optimistic: Mapping[str, float]
    parameters: EngineParameters
    quality: Mapping[str, object]
    provenance: Mapping[str, object]
    simulated: bool = False
    benchmark: pd.Series | None = None
    full: Mapping[str, float] | None = None
    verdict: Verdict | None = None
    intervals: Mapping[str, Spread] | None = None
    outcomes: pd.DataFrame | None = None
    findings: Sequence[Finding] | None = None
    gates: Sequence[Mapping[str, object]] | None = None
    refused: Mapping[str, int] | None = None


def write_report(report: Report, path: Path) -> None:
    """Write the page to `path` (its folder is made): complete or not at all, also when two processes write at once. OSError
    when the disk will not have it."""
    replace_file(path, report_bytes(report))


def report_bytes(report: Report) -> bytes:
    """The page as it is written."""
    from cryptai_pipelines.backtest.report_page import render

    return render(report).encode()


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` (its folder is made): complete or not at all, readable by all, also when two processes write at
    once. OSError when the disk will not have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(unfinished, 0o644)
        os.replace(unfinished, path)
    except BaseException:  # whatever stopped it, the unfinished file goes; it is raised on
        Path(unfinished).unlink(missing_ok=True)
        raise
