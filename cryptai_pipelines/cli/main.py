"""The entry point: the list of commands, and how an error becomes one line and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import nullcontext
from typing import Any, NoReturn

import typer

from cryptai_pipelines.cli import (
    alerts,
    backtest,
    bars,
    db,
    demo,
    doctor,
    explain,
    gaps,
    import_bars,
    leakcheck,
    outages,
    portfolio,
    quality,
    reconcile,
    replay,
    restatements,
    strategies,
    sweep,
    sync,
    up,
    walkforward,
    webhook,
)
from cryptai_pipelines.cli.interrupts import note_interrupts, received_signal
from cryptai_pipelines.cli.options import GivenOnce
from cryptai_pipelines.cli.output import configure_logging, print_json, results, say, stdout_for_json
from cryptai_pipelines.market.errors import BadInput, CryptaiError

# What typer makes of a KeyboardInterrupt.
_INTERRUPTED = 130
# Newer releases of typer bring a click of their own, older ones use the package.
UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="cryptai",
    help="Exchange data to trustworthy bars, and bars to backtests.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context, verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what is done to stderr.")
) -> None:
    configure_logging(verbose)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("sync")(sync.sync)
app.command("gaps")(gaps.gaps)
app.command("quality")(quality.quality)
app.command("import")(import_bars.import_bars)
app.command("bars")(bars.bars)
app.command("backtest")(backtest.backtest)
app.command("portfolio")(portfolio.portfolio)
app.command("explain")(explain.explain)
app.command("strategies")(strategies.strategies)
app.command("leakcheck")(leakcheck.leakcheck)
app.command("sweep")(sweep.sweep)
app.command("walkforward")(walkforward.walkforward)
app.command("reconcile")(reconcile.reconcile)
app.command("restatements")(restatements.restatements)
app.command("replay")(replay.replay)
app.command("webhook")(webhook.webhook)
app.command("doctor")(doctor.doctor)
app.add_typer(alerts.app, name="alerts", help="What is wrong, and who was told of it.")
app.add_typer(outages.app, name="outages", help="When the venue stood still, as found or as declared.")
app.add_typer(db.app, name="db", help="The database: its URL, its schema, a psql on it, its backups.")
for _group in (app, alerts.app, outages.app, db.app):
    for _command in _group.registered_commands:
        _command.cls = GivenOnce


def run() -> NoReturn:
    """Run the command line. Exit code 0: done; 1: failed, explained in one line; 2: bad usage, explained in one line; 128 and
    the number of a signal: interrupted. With --json a failure is an object with `error` on stdout as well."""
    note_interrupts()
    with stdout_for_json() if _wants_json() and "--help" not in sys.argv else nullcontext():
        _run()


def _run() -> NoReturn:
    try:
        code = app(prog_name="cryptai", standalone_mode=False) or 0
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        results().flush()
    except BrokenPipeError:
        _leave_quietly()
    except KeyboardInterrupt:
        number = received_signal() or signal.SIGINT
        _leave("interrupted; what was committed stays, running the command again goes on from there", 128 + number)
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "cryptai"
        _leave(f"{error.format_message().rstrip('.')} (see {command} --help)", 2)
    except BadInput as error:
        _leave(error, 2)
    except CryptaiError as error:
        _leave(error, 1)
    except OSError as error:
        _leave(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    except Exception as error:  # noqa: BLE001
        # A fault of ours, or of a library in words of its own: still one line, and the whole of it for who asks.
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        _leave(_described(error), 1)
    sys.exit(code)


def _described(error: Exception) -> str:
    module = type(error).__module__
    if module.startswith(("cryptai_pipelines.sources", "psycopg2", "adbc_driver_manager")) and str(error).strip():
        return str(error)
    return f"unexpected {type(error).__name__}: {error} (cryptai --verbose ... shows where)"


def _leave(error: object, code: int) -> NoReturn:
    line = " ".join(str(error).split())
    try:
        say(f"cryptai: {line}")
        if _wants_json():
            print_json({"error": line})
        results().flush()
    except BrokenPipeError:
        _leave_quietly(code)
    if received_signal() is not None and threading.active_count() > 1:
        # Threads that wait for a venue would keep the process; what they had open was rolled back with the store.
        os._exit(code)
    sys.exit(code)


def _leave_quietly(code: int = 1) -> NoReturn:
    """Whoever read our output has gone; what is still buffered has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), results().fileno())
    sys.exit(code)


def _wants_json() -> bool:
    arguments = sys.argv[1:]
    return "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
