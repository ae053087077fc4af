"""How a command speaks: results on stdout (lines, or exactly one JSON object), everything else on stderr."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# These tell of a failure that the command itself explains in one line.
_TOLD_BY_THE_COMMAND = (
    "cryptai_pipelines.orchestration.chain.walk",
    "cryptai_pipelines.orchestration.chain.portfolio_inputs",
)

_results: TextIO | None = None


@cache
def stderr() -> Console:
    """The console that lines, logs and progress bars share, so that they do not write over each other."""
    from rich.console import Console

    return Console(stderr=True)


def configure_logging(verbose: bool) -> None:
    """Everything of ours to stderr when `verbose`. Otherwise warnings, such as a venue that has to be asked again, to a person
    at a terminal, and errors alone elsewhere: a failure is one line there. Libraries are heard when `verbose` only."""
    handler = _handler()
    everyone, ours = logging.getLogger(), logging.getLogger("cryptai_pipelines")
    everyone.handlers, ours.handlers = [handler], [handler]
    everyone.setLevel(logging.WARNING if verbose else logging.CRITICAL)
    ours.setLevel(logging.DEBUG if verbose else logging.WARNING if sys.stderr.isatty() else logging.ERROR)
    ours.propagate = False
    for name in _TOLD_BY_THE_COMMAND:
        logging.getLogger(name).setLevel(logging.NOTSET if verbose else logging.ERROR)


def _handler() -> logging.Handler:
    if sys.stderr.isatty():
        from rich.logging import RichHandler

        handler: logging.Handler = RichHandler(console=stderr(), show_path=False, rich_tracebacks=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
        return handler
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


@contextmanager
def stdout_for_json() -> Iterator[None]:
    """In the block whatever is printed goes to stderr, such as by a strategy of a user's file: stdout holds what `print_json`
    writes, and nothing else."""
    global _results
    _results = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results = None


def results() -> TextIO:
    """Where the result of a command goes."""
    return _results or sys.stdout


def print_json(result: Mapping[str, Any]) -> None:
    """The one JSON object of a command. NaN and infinities, which JSON lacks, become null."""
    results().write(json.dumps(_finite(result), default=str) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table as the result of a command. Off a terminal nothing of it is cut: whoever reads it may be a file."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*heads)
    for row in rows:
        table.add_row(*row)
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun, such as `1 gap` and `2,000 gaps`; `many` where the plural is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def say(line: str) -> None:
    """A line for the person at the terminal; not part of the result."""
    if sys.stderr.isatty():
        stderr().print(line, highlight=False, markup=False, soft_wrap=True)
    else:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def step(line: str) -> Iterator[None]:
    """A line that says what is being done: a spinner on a terminal, a plain line elsewhere."""
    if sys.stderr.isatty():
        with stderr().status(line):
            yield
    else:
        say(line)
        yield
