"""Arguments that several commands share, as typer reads them. What they mean is in `selection`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, with `error` in it after a failure.")]
StartOption = Annotated[str | None, typer.Option(metavar="TIME", help="From this open time on (ISO 8601, UTC).")]
EndOption = Annotated[str | None, typer.Option(metavar="TIME", help="Up to this open time, exclusive (ISO 8601, UTC).")]


class GivenOnce(TyperCommand):
    """A command that refuses a second value of an option that has one. Of several the last would count, silently."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the base does; a usage error for an option that is given more often than it can count. Flags may repeat."""
        # The parser consumes its list.
        values, _, given = self.make_parser(ctx).parse_args(list(args))
        for one in dict.fromkeys(given):
            times = given.count(one)
            if one.param_type_name == "option" and times > 1 and not (one.multiple or one.is_flag or one.count):
                name = max(one.opts, key=len)
                ctx.fail(f"{name} is given {times} times, at last with {values[one.name]!r}; accepted: once")
        return super().parse_args(ctx, args)


def refuse_options_before(context: typer.Context, options: Mapping[str, object]) -> None:
    """`BadInput` when one of these options of a command was given and a subcommand follows, which would not see it."""
    from cryptai_pipelines.market.errors import BadInput

    given = [name for name, value in options.items() if value]
    if given:
        raise BadInput(f"{given[0]} stands before {context.invoked_subcommand}; accepted: behind it, where it has a meaning")
