"""Walking forward over stored bars: each training searched, each test traded with what was best before it, everything logged.
The rules of it are in `backtest.walk_forward`, a search over all bars at once in `sweep`."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cryptai_pipelines.backtest.evaluation import Evaluator
from cryptai_pipelines.backtest.metrics import full_metrics
from cryptai_pipelines.backtest.picture import equity_png
from cryptai_pipelines.backtest.report import replace_file
from cryptai_pipelines.backtest.subject import Span, Subject
from cryptai_pipelines.backtest.trade_statistics import entry_volumes
from cryptai_pipelines.backtest.valuation import exposure_at_closes
from cryptai_pipelines.backtest.walk_forward import Length, WalkForward, Window, walk_forward, windows_of
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.orchestration.sweep import Request, bars_told, config_of, costs_told, edges, read_subject, workers_for
from cryptai_pipelines.orchestration.sweep_log import OnPoints, logged
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import sweeps
from cryptai_pipelines.storage.database import Database


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
        told = {"objective": plan.objective, **_told(walked, subject, plan.objective), "picture": str(path)}
        return log.finish({**told, **bars_told(subject, span), **costs_told(subject, plan, settings.exchange)})


def _told(walked: WalkForward, subject: Subject, objective: str) -> dict[str, Any]:
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
    return {"summary": walked.summary, "stability": walked.stability, "metrics": metrics, "windows": windows}


def _day_ends(walked: WalkForward) -> pd.Series:
    return walked.equity.groupby(walked.equity.index.floor("D")).tail(1)


def _shifted(window: Window, rows: int) -> Window:
    return Window(*(Span(span.begin + rows, span.end + rows) for span in window))
