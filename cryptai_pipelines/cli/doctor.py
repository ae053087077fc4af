"""`cryptai doctor`: is this machine able to run the project, and if not, what is to be done."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption
from cryptai_pipelines.market.errors import CryptaiError

if TYPE_CHECKING:
    from cryptai_pipelines.settings import Settings

_NEEDED_FREE_BYTES = 2 * 1024**3


def doctor(
    json: JsonOption = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not call the venue.")] = False,
) -> None:
    """Check Python, disk, database, port and venue; exit code 1 when one of them is not fit."""
    from cryptai_pipelines.settings import load_settings

    settings = load_settings()
    checks: dict[str, Callable[[Settings], str]] = {
        "python": _python,
        "disk": _disk,
        "database": _database,
        "port": _port,
    }
    if not offline:
        checks["venue"] = _venue
    findings = [_examine(name, check, settings) for name, check in checks.items()]
    _tell(findings, json)
    raise typer.Exit(0 if all(finding["ok"] for finding in findings) else 1)


def _tell(findings: list[dict[str, Any]], json: bool) -> None:
    from cryptai_pipelines.cli.output import print_json, say

    unfit = [finding["check"] for finding in findings if not finding["ok"]]
    verdict = f"not fit: {', '.join(unfit)}" if unfit else None
    if json:
        told = {"healthy": not unfit, "checks": findings}
        print_json({**told, "error": verdict} if unfit else told)
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding['ok'] else 'FAIL'} {finding['check']:9} {finding['detail']}")
    if unfit:
        say(f"cryptai: {verdict}")


def _examine(name: str, check: Callable[[Settings], str], settings: Settings) -> dict[str, Any]:
    from cryptai_pipelines.sources.errors import SourceError

    try:
        return {"check": name, "ok": True, "detail": check(settings)}
    except OSError as error:
        return {"check": name, "ok": False, "detail": f"{error.filename or 'the system'}: {error.strerror or error}"}
    except (CryptaiError, SourceError) as error:
        return {"check": name, "ok": False, "detail": " ".join(str(error).split())}


def _python(_: Settings) -> str:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise CryptaiError(f"Python {platform.python_version()} is not supported; accepted: 3.11, 3.12, 3.13")
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _disk(settings: Settings) -> str:
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free
    if free < _NEEDED_FREE_BYTES:
        raise CryptaiError(f"{free / 1024**3:.1f} GiB free under {settings.home}; at least 2 GiB are needed")
    return f"{free / 1024**3:.0f} GiB free under {settings.home}"


def _database(settings: Settings) -> str:
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.storage.schema import current_revision

    with open_store(settings) as store:
        kind = "embedded" if store.bin_path else "yours"
        return f"PostgreSQL {store.database.server_version()} ({kind}), schema revision {current_revision(store.database)}"


def _port(settings: Settings) -> str:
    from cryptai_pipelines.cli.ports import refuse_taken_port
    from cryptai_pipelines.cli.running import running_up

    running = running_up(settings.home)
    if running is not None:
        return f"{running.port} on 127.0.0.1 serves the Dagster UI of this home (process {running.pid})"
    refuse_taken_port(3000)
    return "3000 on 127.0.0.1 is free for the Dagster UI"


def _venue(settings: Settings) -> str:
    from cryptai_pipelines.market.clock import format_time
    from cryptai_pipelines.orchestration.store import open_venue
    from cryptai_pipelines.sources.catalog import VENUES

    told = format_time(open_venue(settings).server_time())
    known = VENUES.get(settings.exchange)
    where = "" if known is None else f" at {settings.replaced_by or known.base_url}"
    return f"{settings.exchange}{where} answers; its time is {told}"
