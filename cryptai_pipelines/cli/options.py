"""Arguments that several commands share, as typer reads them. What they mean is in `selection`."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, with `error` in it after a failure.")]
StartOption = Annotated[str | None, typer.Option(metavar="TIME", help="From this open time on (ISO 8601, UTC).")]
EndOption = Annotated[str | None, typer.Option(metavar="TIME", help="Up to this open time, exclusive (ISO 8601, UTC).")]
