"""What may be concluded from a backtest: has it an edge, has it shown none, or is there too little of it to tell. The
probabilities are those of `significance`, the interval that of `bootstrap`; what else is suspicious is in `review`.

An edge is affirmed only when all of these hold:
- at least 30 trades and 30 returns;
- the probability that the true Sharpe ratio is above that of the market, and above 0, is at least `confidence`;
- so is the probability that it is above what luck alone shows in the best of as many trials as were made;
- the interval of the Sharpe ratio over stationary resamples, which knows of the memory in the returns, is above 0;
- the review found no error (`beside_review`): a result that says nothing as it stands shows no edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cryptai_pipelines.backtest.bootstrap import Spread, resampled, sharpes
from cryptai_pipelines.backtest.findings import Finding
from cryptai_pipelines.backtest.return_metrics import LEAST_RETURNS
from cryptai_pipelines.backtest.significance import (
    least_track_record,
    luckiest_sharpe,
    per_period_sharpe,
    probabilistic_sharpe,
)
from cryptai_pipelines.market.errors import BadInput

EDGE, NO_EDGE, TOO_LITTLE = "has an edge", "no edge shown", "too little data"
LEAST_TRADES = 30
CONFIDENCE = 0.95
UNCHECKED = "a strategy of a file, not checked for a look ahead: run `cryptai leakcheck FILE` before this is believed"
_REPEATS = 1_000


@dataclass(frozen=True)
class Verdict:
    """`answer`: one of `EDGE`, `NO_EDGE`, `TOO_LITTLE`. All Sharpe ratios are of one period, not annualised.

    sharpe: of the returns; market_sharpe: of the market, at least 0; luckiest_sharpe: what the best of `trials` shows without
    skill. better_than_market: the probability that the true ratio is above the market's, dsr: above the luckiest.
    least_track_record: how many returns like these both take at the confidence asked for, infinite when no number does.
    interval: of the ratio over resamples. reasons: one sentence for each condition, those that fail first.
    """

    answer: str
    trade_count: int
    periods: int
    trials: int
    sharpe: float
    market_sharpe: float
    luckiest_sharpe: float
    better_than_market: float
    dsr: float
    least_track_record: float
    interval: Spread
    reasons: tuple[str, ...]


def judge(
    returns: np.ndarray,
    trade_count: int,
    *,
    trial_sharpes: np.ndarray | None = None,
    market: np.ndarray | None = None,
    confidence: float = CONFIDENCE,
    repeats: int = _REPEATS,
    seed: int = 0,
) -> Verdict:
    """The verdict on a backtest of `trade_count` closed trades.

    returns: simple, per period, float64. market: returns of the traded market in the same periods; None for a benchmark of 0.
    trial_sharpes: per-period Sharpe ratios of all trials that were made on the way here, this one among them; NaN for a trial
    without one, which adds to their number only; None for a single trial. The same input gives the same verdict. `BadInput`
    for a confidence outside 0.5 to 1, or returns that are not finite.
    """
    unknown = np.flatnonzero(~np.isfinite(returns))
    if len(unknown):
        raise BadInput(f"return {unknown[0]} is {returns[unknown[0]]}; accepted: finite")
    held = max(0.0, _known(math.nan if market is None else per_period_sharpe(market)))
    lucky = 0.0 if trial_sharpes is None else luckiest_sharpe(trial_sharpes)
    found = Verdict(
        answer=TOO_LITTLE,
        trade_count=trade_count,
        periods=len(returns),
        trials=1 if trial_sharpes is None else len(trial_sharpes),
        sharpe=per_period_sharpe(returns),
        market_sharpe=held,
        luckiest_sharpe=lucky,
        better_than_market=probabilistic_sharpe(returns, held),
        dsr=math.nan if math.isnan(lucky) else probabilistic_sharpe(returns, lucky),
        least_track_record=least_track_record(returns, max(held, _known(lucky)), confidence),
        interval=resampled(returns, {"sharpe": sharpes}, repeats=repeats, confidence=confidence, seed=seed)["sharpe"],
        reasons=(),
    )
    conditions = _conditions(found, confidence)
    failed = [sentence for holds, sentence in conditions if not holds]
    met = [sentence for holds, sentence in conditions if holds]
    enough = trade_count >= LEAST_TRADES and len(returns) >= LEAST_RETURNS
    answer = (NO_EDGE if failed else EDGE) if enough else TOO_LITTLE
    return replace(found, answer=answer, reasons=(*failed, *met))


def beside_review(verdict: Verdict, findings: Sequence[Finding], *, of_file: bool = False) -> Verdict:
    """The verdict after a review of the same result: no edge is shown where a finding of severity `error` holds, and each is a
    reason. of_file: the strategy is of a person's file, which nobody checked for a look ahead; an edge is told with that."""
    errors = tuple(f"{one.code}: {one.sentence}" for one in findings if one.holds and one.severity == "error")
    answer = NO_EDGE if errors and verdict.answer == EDGE else verdict.answer
    unchecked = (UNCHECKED,) if of_file and answer == EDGE else ()
    return replace(verdict, answer=answer, reasons=(*errors, *unchecked, *verdict.reasons))


def _conditions(found: Verdict, confidence: float) -> tuple[tuple[bool, str], ...]:
    """Does each hold, and the sentence that tells so. What is NaN holds nothing."""
    wanted = f"{confidence:.0%} is needed"
    rivals = "no skill" if found.trials == 1 else f"the luckiest of {found.trials:,} without skill"
    low, needed, market = found.interval.low, found.least_track_record, found.better_than_market
    return (
        (found.trade_count >= LEAST_TRADES, f"{found.trade_count:,} trades; at least {LEAST_TRADES} are needed"),
        (found.periods >= LEAST_RETURNS, f"{found.periods:,} returns; at least {LEAST_RETURNS} are needed"),
        (market >= confidence, f"better than the market with a probability of {_share(market)}; {wanted}"),
        (found.dsr >= confidence, f"better than {rivals} with a probability of {_share(found.dsr)}; {wanted}"),
        (low > 0, f"Sharpe ratio per period {found.sharpe:.4f}, by resampling from {low:.4f}; above 0 is needed"),
        (needed <= found.periods, f"{found.periods:,} returns for these probabilities; {_enough(needed)}"),
    )


def _known(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _share(probability: float) -> str:
    return "unknown" if math.isnan(probability) else f"{probability:.1%}"


def _enough(needed: float) -> str:
    return f"{math.ceil(needed):,} like these are needed" if math.isfinite(needed) else "no number like these is enough"
