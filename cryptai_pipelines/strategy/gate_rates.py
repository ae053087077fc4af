"""How often each gate of a strategy lets an entry through: a gate that never refuses is no gate."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.strategy.protocol import Strategy


class GateRate(NamedTuple):
    """Of one gate: rows on which its verdict is known, the share of those on which it is True (NaN without any), the entries
    that it alone refuses (every other gate is True), and what has to be said about it, if anything."""

    gate: str
    known: int
    passed: float
    alone: int
    note: str


def gate_rates(rows: pd.DataFrame, strategy: Strategy, parameters: Any) -> tuple[GateRate, ...]:
    """The rates of every gate and of what counts for one over `rows` (a strategy's rows, or what is stored of them)."""
    counted = [column.name for column in strategy.columns if column.kind in ("gate", "evidence")]
    verdicts = {name: pd.array(rows[name], dtype="boolean") for name in counted}
    holds = {name: one.to_numpy(dtype=bool, na_value=False) for name, one in verdicts.items()}
    rates = []
    for name in counted:
        known = ~np.asarray(verdicts[name].isna())
        others = [holds[other] for other in strategy.gates if other != name]
        refused = ~holds[name] & np.logical_and.reduce([np.ones(len(rows), dtype=bool), *others])
        passed = float(holds[name].sum() / known.sum()) if known.any() else float("nan")
        alone = int(refused.sum()) if name in strategy.gates else 0
        rates.append(GateRate(name, int(known.sum()), passed, alone, _note(name, passed, parameters)))
    return tuple(rates)


def counted_rates(counts: pd.DataFrame, parameters: Any) -> list[dict[str, Any]]:
    """What is told of gates of which the verdicts were counted: counts has a row per gate and the columns passed, rejected and
    unknown. Plain data: gate, these three, pass_rate (of the known ones; None without any) and note."""
    told = []
    for gate, *numbers in counts[["passed", "rejected", "unknown"]].itertuples():
        passed, rejected, unknown = (int(number) for number in numbers)
        rate = passed / (passed + rejected) if passed + rejected else None
        note = _note(str(gate), float("nan") if rate is None else rate, parameters)
        numbers_told = {"passed": passed, "rejected": rejected, "unknown": unknown, "pass_rate": rate}
        told.append({"gate": str(gate), **numbers_told, "note": note})
    return told


def fixed_ratio(parameters: Any) -> float | None:
    """Reward per unit of risk before costs of a strategy whose target and stop are fixed shares of the price, 1.875 at 15 % and
    8 %; None where they are not fixed."""
    shares = (getattr(parameters, "take_profit", None), getattr(parameters, "stop_loss", None))
    if None in shares or getattr(parameters, "risk_mode", "fixed") != "fixed":
        return None
    return shares[0] / shares[1]


def _note(name: str, passed: float, parameters: Any) -> str:
    ratio = fixed_ratio(parameters)
    if name == "risk_reward_gate" and ratio is not None:
        return f"target and stop are fixed shares: always {ratio:.4g}:1 before costs, so this gate says the same at every bar"
    return {1.0: "refuses nothing", 0.0: "lets nothing through"}.get(passed, "")
