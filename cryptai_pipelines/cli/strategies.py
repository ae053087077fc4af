"""`cryptai strategies`: which strategies there are, and what they and the engine may be told."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption


def strategies(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of them, FILE.py or FILE.py:NAME, or `engine`: its parameters.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the strategies, or the parameters of one or of the engine, with what is accepted; as JSON a JSON schema."""
    from cryptai_pipelines.backtest.parameters import parameters_schema, told_parameters
    from cryptai_pipelines.cli.output import print_json, print_table
    from cryptai_pipelines.strategy.parameters import parameters_in
    from cryptai_pipelines.strategy.signals import find_strategy, known_strategies

    if name == "engine":
        if json:
            print_json({"engine": parameters_schema()})
        else:
            rows = [(one.name, one.default, one.accepted, one.meaning) for one in told_parameters()]
            print_table(("parameter", "default", "accepted", "meaning"), rows)
        return
    found = known_strategies() if name is None else (find_strategy(name),)
    if json:
        print_json({"strategies": [_told(one) for one in found]})
    elif name is None:
        print_table(("strategy", "parameters", "what it does"), [_row(one) for one in found])
    else:
        rows = [(one.name, str(one.default), one.accepted, one.help) for one in parameters_in(found[0].parameters)]
        print_table(("parameter", "default", "accepted", "meaning"), rows)


def _row(strategy: Any) -> tuple[str, ...]:
    from cryptai_pipelines.strategy.parameters import parameters_in

    return strategy.name, str(len(parameters_in(strategy.parameters))), strategy.summary


def _told(strategy: Any) -> dict[str, Any]:
    from cryptai_pipelines.strategy.parameters import schema

    columns = [column._asdict() for column in strategy.columns]
    return {
        "name": strategy.name,
        "code_version": strategy.code_version,
        "summary": strategy.summary,
        "parameters": schema(strategy.parameters),
        "columns": columns,
    }
