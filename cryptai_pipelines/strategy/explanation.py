"""Why a strategy decided as it did at one bar, told from the row it left: as plain data and as sentences. Nothing is computed
anew, so what is told is what was stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.strategy.blend import WEIGHTS
from cryptai_pipelines.strategy.decisions import own_columns
from cryptai_pipelines.strategy.protocol import Column, Strategy

_SIDES = {1: "long", -1: "short", 0: "none"}
_SAID = {True: "yes", False: "no", None: "unknown"}


def explain(row: pd.Series, strategy: Strategy, parameters: Any) -> dict[str, Any]:
    """What the row of a bar says, as plain data. `row` is named by the open time of its bar (`ts`, UTC) and holds the columns
    of `strategy` and its decision:

    - strategy, at (ISO, open time of the bar), side (`long`, `short`, `none`), direction (the side that the gates were asked
      for; None where the strategy does not tell), exits (the sides that are closed).
    - gates, evidence: name, verdict (True, False, None unknown), score (None where there is none), meaning.
    - refused_by: the gates that are not True, in order; none for an entry.
    - blend: parts (name, weight, score, None where absent), score, coverage, least; None for a strategy without one.
    - levels: name (`stop`, `target`), price, kind (`share` of the close, or a `level` of the strategy's), reason; those that
      the row tells.
    - scores, numbers: the other columns of the strategy, by name.
    - sentences: all of that in words.
    """
    told: dict[str, Any] = {
        "strategy": strategy.name,
        "at": format_time(int(index_ms(pd.DatetimeIndex([row.name]))[0])),
        "side": _SIDES[int(row["side"])],
        "direction": _SIDES.get(_whole(row.get("direction"))) if "direction" in row else None,
        "exits": [side for side in ("long", "short") if bool(row.get(f"exit_{side}", False))],
        "gates": [_verdict(row, column) for column in strategy.columns if column.kind == "gate"],
        "evidence": [_verdict(row, column) for column in strategy.columns if column.kind == "evidence"],
        "blend": _blend(row, parameters),
        "levels": _levels(row, strategy, parameters),
    }
    open_gates = [gate["name"] for gate in told["gates"] if gate["verdict"] is not True]
    told["refused_by"] = open_gates if told["side"] == "none" else []
    for kind in ("score", "number"):
        told[f"{kind}s"] = {column.name: _number(row.get(column.name)) for column in strategy.columns if column.kind == kind}
    return {**told, "sentences": _sentences(told, _meanings(strategy))}


def with_undeclared(strategy: Strategy, rows: pd.DataFrame) -> Strategy:
    """`strategy`, and the columns of its `rows` that it does not declare as if it did: verdicts as gates, `*_score` as scores,
    what else there is as numbers, all without a meaning."""
    declared = {column.name for column in strategy.columns}
    numbers, verdicts = ([str(name) for name in names if name not in declared] for names in own_columns(rows))
    kinds = {name: "score" if name.endswith("_score") else "number" for name in numbers} | dict.fromkeys(verdicts, "gate")
    return replace(strategy, columns=(*strategy.columns, *(Column(name, kind, "") for name, kind in kinds.items())))


def _meanings(strategy: Strategy) -> dict[str, str]:
    return {column.name: column.help for column in strategy.columns}


def _verdict(row: pd.Series, column: Column) -> dict[str, Any]:
    value = row.get(column.name)
    verdict = None if value is None or pd.isna(value) else bool(value)
    score = _number(row.get(column.name.removesuffix("_gate") + "_score"))
    return {"name": column.name, "verdict": verdict, "score": score, "meaning": column.help}


def _blend(row: pd.Series, parameters: Any) -> dict[str, Any] | None:
    if "score_coverage" not in row or _number(row["score_coverage"]) is None:
        return None
    weights: Mapping[str, float] = getattr(parameters, "weights", WEIGHTS)
    parts = [{"name": name, "weight": weight, "score": _number(row.get(f"{name}_score"))} for name, weight in weights.items()]
    return {
        "parts": parts,
        "score": _number(row.get("score")),
        "coverage": _number(row["score_coverage"]),
        "least": getattr(parameters, "min_score", None),
    }


def _levels(row: pd.Series, strategy: Strategy, parameters: Any) -> list[dict[str, Any]]:
    meanings = _meanings(strategy)
    shares = {"stop": getattr(parameters, "stop_loss", None), "target": getattr(parameters, "take_profit", None)}
    found = []
    for name, share in shares.items():
        price, own = _number(row.get(f"{name}_price")), _number(row.get(f"{name}_level"))
        shown = own if price is None else price
        if shown is None:
            continue
        if share is not None and own is None:
            found.append({"name": name, "price": shown, "kind": "share", "reason": f"{100 * share:.4g} % of the close"})
        else:
            reason = meanings.get(f"{name}_level", "a level of the strategy")
            found.append({"name": name, "price": shown, "kind": "level", "reason": reason})
    return found


def _sentences(told: Mapping[str, Any], meanings: Mapping[str, str]) -> list[str]:
    asked = "" if told["direction"] is None else f" (gates asked for: {told['direction']})"
    verdict = "no entry" if told["side"] == "none" else f"asks for a {told['side']}"
    sentences = [f"{told['strategy']} at {told['at']}: {verdict}{asked}"]
    sentences += [_sentence(gate) for gate in told["gates"]]
    sentences += [f"  counts: {_sentence(one)}" for one in told["evidence"]]
    if told["blend"] is not None:
        sentences.append(_blend_sentence(told["blend"]))
    sentences += [f"{level['name']} {level['price']:.8g}: {level['reason']}" for level in told["levels"]]
    sentences += _others(told, meanings)
    sentences += [f"an open {side} is closed at the next open" for side in told["exits"]]
    if told["side"] == "none":
        refused = ", ".join(told["refused_by"])
        sentences.append(f"refused by: {refused}" if refused else "no gate refuses: the rule asks for nothing here")
    return sentences


def _sentence(gate: Mapping[str, Any]) -> str:
    score = "" if gate["score"] is None else f"score {gate['score']:+.2f}"
    about = ", ".join(part for part in (gate["meaning"], score) if part)
    return f"{gate['name']}: {_SAID[gate['verdict']]}" + (f" ({about})" if about else "")


def _others(told: Mapping[str, Any], meanings: Mapping[str, str]) -> list[str]:
    """The scores and numbers that no other sentence tells."""
    elsewhere = {"direction", *(f"{one}_{what}" for one in ("stop", "target") for what in ("price", "level"))}
    elsewhere |= {one["name"].removesuffix("_gate") + "_score" for one in (*told["gates"], *told["evidence"])}
    if told["blend"] is not None:
        elsewhere |= {"score", "score_coverage", *(f"{part['name']}_score" for part in told["blend"]["parts"])}
    rest = {name: value for name, value in (told["scores"] | told["numbers"]).items() if name not in elsewhere}
    return [
        f"{name} {'unknown' if value is None else format(value, '.8g')}" + (f": {meanings[name]}" if meanings[name] else "")
        for name, value in rest.items()
    ]


def _blend_sentence(blend: Mapping[str, Any]) -> str:
    parts = " + ".join(
        f"{part['weight']:.2f} {part['name']} {'absent' if part['score'] is None else format(part['score'], '+.2f')}"
        for part in blend["parts"]
    )
    score = "unknown" if blend["score"] is None else f"{blend['score']:+.2f}"
    least = "" if blend["least"] is None else f", least {blend['least']:+.2f} for its side"
    return f"blend {score} = {parts}; coverage {blend['coverage']:.2f}{least}"


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
