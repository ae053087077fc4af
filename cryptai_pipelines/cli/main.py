"""The entry point: the list of commands, and how an error becomes one line and an exit code."""

from __future__ import annotations

import sys

import typer

from cryptai_pipelines.cli import backtest, db, demo, doctor, replay, sync, up
from cryptai_pipelines.cli.output import configure_logging, say
from cryptai_pipelines.market.errors import BadInput, CryptaiError

app = typer.Typer(
    name="cryptai",
    help="Exchange data to trustworthy bars, and bars to backtests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what is done to stderr.")) -> None:
    configure_logging(verbose)


app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("sync")(sync.sync)
app.command("backtest")(backtest.backtest)
app.command("replay")(replay.replay)
app.command("doctor")(doctor.doctor)
app.add_typer(db.app, name="db", help="The database: its URL, its schema, a psql on it.")


def run() -> None:
    """Run the command line. Exit code 0: done; 1: failed, explained in one line; 2: bad usage, explained in one line."""
    try:
        app()
    except BadInput as error:
        _fail(error, 2)
    except CryptaiError as error:
        _fail(error, 1)
    except KeyboardInterrupt:
        say("cryptai: interrupted; what was committed stays, running the command again goes on from there")
        sys.exit(130)
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 1)


def _fail(error: object, code: int) -> None:
    say("cryptai: " + " ".join(str(error).split()))
    sys.exit(code)
