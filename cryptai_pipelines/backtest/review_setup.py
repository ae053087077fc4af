"""Rules of a review that look at how the backtest was set up: gates, parameters, models and the choice of symbols. Each takes
the inputs and gives one finding."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.findings import Finding, ReviewInputs, Severity, at_least, not_judged

MOST_UNKNOWN = 0.5
_FEWEST_VALUES = 3


def gate_never_rejects(inputs: ReviewInputs) -> Finding:
    """A gate that lets everything pass is none."""
    return _gates(inputs, "gate_never_rejects", "warn", "rejected", "never rejected a bar")


def gate_always_rejects(inputs: ReviewInputs) -> Finding:
    """A gate that lets nothing pass leaves nothing to test."""
    return _gates(inputs, "gate_always_rejects", "error", "passed", "never let a bar pass")


def gate_seldom_known(inputs: ReviewInputs) -> Finding:
    """A gate without a verdict on most bars."""
    if inputs.gates is None or not len(inputs.gates):
        return not_judged("gate_seldom_known", "warn", MOST_UNKNOWN, "no gates were given")
    shares = inputs.gates["unknown"] / inputs.gates[["passed", "rejected", "unknown"]].sum(axis=1)
    worst = float(shares.max())
    sentence = (
        f"Gate {shares.idxmax()} had no verdict on {worst:.0%} of the bars; from {MOST_UNKNOWN:.0%} on it is hardly tested."
    )
    return at_least("gate_seldom_known", "warn", worst, MOST_UNKNOWN, sentence)


def constant_risk_reward(inputs: ReviewInputs) -> Finding:
    """Target and stop at fixed shares: their ratio says nothing of the market."""
    if inputs.risk_reward is None:
        return not_judged("constant_risk_reward", "warn", 1.0, "no risk/reward ratios were given")
    known = inputs.risk_reward[np.isfinite(inputs.risk_reward)]
    if len(known) < 2:
        return not_judged("constant_risk_reward", "warn", 1.0, "fewer than two risk/reward ratios are known")
    low, high = known.min(), known.max()
    constant = low == high
    sentence = f"The risk/reward ratio goes from {low:.3f} to {high:.3f} over {len(known):,} bars; a constant gates nothing."
    return at_least("constant_risk_reward", "warn", float(constant), 1.0, sentence)


def parameter_on_edge(inputs: ReviewInputs) -> Finding:
    """The best value is the last one that was tried: the best may lie beyond."""
    if not inputs.grid:
        return not_judged("parameter_on_edge", "warn", 1.0, "no searched parameters were given")
    on_edge = [
        f"{name} = {chosen:g} of {min(tried):g} to {max(tried):g}"
        for name, (chosen, tried) in inputs.grid.items()
        if len(set(tried)) >= _FEWEST_VALUES and chosen in (min(tried), max(tried))
    ]
    told = ", ".join(on_edge) if on_edge else "none"
    sentence = f"Parameters on the edge of what was searched: {told}; the best may lie beyond."
    return at_least("parameter_on_edge", "warn", len(on_edge), 1.0, sentence)


def in_sample(inputs: ReviewInputs) -> Finding:
    """A model was tested on what it had learnt."""
    return _too_late(inputs, "in_sample", "error", inputs.trained_until, "A model had learnt until", "no model was given")


def symbols_chosen_afterwards(inputs: ReviewInputs) -> Finding:
    """Survivorship: who chose the symbols knew which would last."""
    chosen = inputs.universe_chosen_at
    why = "it is not known when the symbols were chosen"
    return _too_late(inputs, "symbols_chosen_afterwards", "warn", chosen, "The symbols were chosen at", why)


def _gates(inputs: ReviewInputs, code: str, severity: Severity, column: str, what: str) -> Finding:
    if inputs.gates is None or not len(inputs.gates):
        return not_judged(code, severity, 1.0, "no gates were given")
    known = inputs.gates[["passed", "rejected"]].sum(axis=1) > 0
    guilty = inputs.gates.index[known & (inputs.gates[column] == 0)].tolist()
    told = ", ".join(map(str, guilty)) if guilty else "none"
    sentence = f"Of {len(inputs.gates)} gates these {what}: {told}."
    return at_least(code, severity, len(guilty), 1.0, sentence)


def _too_late(inputs: ReviewInputs, code: str, severity: Severity, moment: pd.Timestamp | None, what: str, why: str) -> Finding:
    """Holds when `moment` is not before the first period; value: days of the test before it."""
    if moment is None or not len(inputs.equity):
        return not_judged(code, severity, 0.0, why)
    start = inputs.equity.index[0]
    days = (moment - start).total_seconds() / 86_400
    sentence = f"{what} {moment:%Y-%m-%d %H:%M}, and the test begins at {start:%Y-%m-%d %H:%M}."
    return at_least(code, severity, days, 0.0, sentence)
