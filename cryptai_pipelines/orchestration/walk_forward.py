"""Walking forward over stored bars: each training searched, each test traded with what was best before it, everything logged.
The rules of it are in `backtest.walk_forward`, a search over all bars at once in `sweep`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.evaluation import Evaluator
from cryptai_pipelines.backtest.metrics import full_metrics
from cryptai_pipelines.backtest.picture import equity_png
from cryptai_pipelines.backtest.report import replace_file
from cryptai_pipelines.backtest.return_metrics import period_returns
from cryptai_pipelines.backtest.review import ReviewInputs, review
from cryptai_pipelines.backtest.subject import Span, Subject
from cryptai_pipelines.backtest.trade_statistics import entry_volumes
from cryptai_pipelines.backtest.valuation import exposure_at_closes
from cryptai_pipelines.backtest.verdict import beside_review, judge
from cryptai_pipelines.backtest.walk_forward import Length, WalkForward, Window, walk_forward, windows_of
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.orchestration.sweep import Request, bars_told, config_of, costs_told, edges, read_subject, workers_for
from cryptai_pipelines.orchestration.sweep_log import OnPoints, logged
from cryptai_pipelines.orchestration.sweep_verdict import told_plainly
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import sweeps
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy.signals import is_of_file


def run_walk_forward(
    database: Database,
    settings: Settings,
    request: Request,
    lengths: tuple[Length, Length, Length | None],
    anchored: bool,
    on_points: OnPoints,
) -> dict[str, Any]:
    """Walk forward through the window by trainings, tests and steps of these `lengths`; what came out as plain data, with the
    path of a picture of the tests' equity.

    `CryptaiError` when the series has no bars or no point can be, `BadInput` for what cannot be searched or cut so.
    """
    plan = request.plan
    subject, span = read_subject(database, settings, request)
    inside = index_ms(subject.bars.index)[span.begin : span.end]
    windows = [_shifted(window, span.begin) for window in windows_of(inside, *lengths, anchored=anchored)]
    config = {**config_of(subject, plan), "windows": [[*window.train, *window.test] for window in windows]}
    sweep = sweeps.Sweep("walk_forward", request.strategy_name, request.series, config, plan.size * len(windows))
    with (
        logged(database, sweep, resume=request.resume, on_points=on_points) as log,
        workers_for(subject, request) as submit,
    ):
        walked = walk_forward(
            Evaluator(subject),
            plan,
            windows,
            submit,
            known=log.known,
            on_batch=lambda number, batch: log.add(number, batch.found),
        )
        log.write()
        path = request.file(settings.home.resolve() / "reports", f"walk_forward_{log.id}.png")
        title = f"{request.series} {request.strategy_name}, walk-forward out of sample"
        replace_file(path, equity_png(_day_ends(walked), subject.capital, title))
        trials = sweeps.trial_sharpes(database, request.strategy_name, request.series)
        told = {"objective": plan.objective, **_told(walked, subject, plan.objective, trials), "picture": str(path)}
        return log.finish({**told, **bars_told(subject, span), **costs_told(subject, plan, settings.exchange)})


def _told(walked: WalkForward, subject: Subject, objective: str, trials: np.ndarray) -> dict[str, Any]:
    windows = [
        {
            "train": edges(subject, step.window.train),
            "test": edges(subject, step.window.test),
            "point": None if step.chosen is None else step.chosen.point,
            "in_sample": None if step.chosen is None else step.chosen.value(objective),
            "metrics": step.tested,
        }
        for step in walked.steps
    ]
    trades = walked.trades.assign(entry_volume=entry_volumes(walked.trades, subject.bars), is_open=False)
    equity = _day_ends(walked)
    exposure = exposure_at_closes(trades, subject.bars["close"].reindex(equity.index), equity.to_numpy())
    metrics = full_metrics(equity, trades, None, subject.capital, subject.timeframe.values_per_year, exposure)
    judged = out_of_sample(walked, equity, trades, subject, trials)
    return {"summary": walked.summary, "stability": walked.stability, "metrics": metrics, "windows": windows, **judged}


def out_of_sample(
    walked: WalkForward, equity: pd.Series, trades: pd.DataFrame, subject: Subject, trials: np.ndarray
) -> dict[str, Any]:
    """The verdict on the tests in a row and the findings that hold, beside the market over the same bars. equity: at the ends
    of their days. trades: with `entry_volume`. None for both where nothing was tested."""
    told = {"trials": len(trials), **dict.fromkeys(("better_than_market", "dsr", "verdict", "findings"))}
    if not len(equity):
        return told
    bars, capital = subject.bars, subject.capital
    market = bars["close"].reindex(equity.index)
    inputs = ReviewInputs(
        equity,
        trades,
        capital,
        subject.timeframe.values_per_year,
        benchmark=market,
        filled=bars.index[bars["is_filled"].to_numpy()],
        trial_sharpes=trials,
    )
    reviewed = review(inputs)
    of_market = period_returns(market.to_numpy(), float(bars["open"].loc[walked.equity.index[0]]))
    returns = period_returns(equity.to_numpy(), capital)
    verdict = judge(returns, len(trades), trial_sharpes=trials, market=of_market)
    return told | told_plainly(beside_review(verdict, reviewed, of_file=is_of_file(subject.strategy)), reviewed)


def _day_ends(walked: WalkForward) -> pd.Series:
    return walked.equity.groupby(walked.equity.index.floor("D")).tail(1)


def _shifted(window: Window, rows: int) -> Window:
    return Window(*(Span(span.begin + rows, span.end + rows) for span in window))
