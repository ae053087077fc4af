"""Arguments that several commands share, as typer reads them. What they mean is in `selection`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, with `error` in it after a failure.")]
StartOption = Annotated[str | None, typer.Option(metavar="TIME", help="From this open time on (ISO 8601, UTC).")]
EndOption = Annotated[str | None, typer.Option(metavar="TIME", help="Up to this open time, exclusive (ISO 8601, UTC).")]


def refuse_options_before(context: typer.Context, options: Mapping[str, object]) -> None:
    """`BadInput` when one of these options of a command was given and a subcommand follows, which would not see it."""
    from cryptai_pipelines.market.errors import BadInput

    given = [name for name, value in options.items() if value]
    if given:
        raise BadInput(f"{given[0]} stands before {context.invoked_subcommand}; accepted: behind it, where it has a meaning")
