"""How a command speaks: results on stdout (lines, or exactly one JSON object), everything else on stderr."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

stderr = Console(stderr=True)


def configure_logging(verbose: bool) -> None:
    """Warnings (or, when `verbose`, everything of ours) to stderr; plain lines when stderr is not a terminal."""
    level = logging.DEBUG if verbose else logging.WARNING
    handler: logging.Handler
    if sys.stderr.isatty():
        handler = RichHandler(console=stderr, show_path=False, rich_tracebacks=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("cryptai_pipelines")
    root.handlers = [handler]
    root.setLevel(level)
    root.propagate = False


def print_json(result: Mapping[str, Any]) -> None:
    """The one JSON object of a command. NaN and infinities, which JSON lacks, become null."""
    sys.stdout.write(json.dumps(_finite(result), default=str) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def say(line: str) -> None:
    """A line for the person at the terminal; not part of the result."""
    stderr.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def step(line: str) -> Iterator[None]:
    """A line that says what is being done: a spinner on a terminal, a plain line elsewhere."""
    if stderr.is_terminal:
        with stderr.status(line):
            yield
    else:
        say(line)
        yield
