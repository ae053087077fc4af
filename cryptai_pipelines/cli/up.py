"""`cryptai up`: Postgres, Dagster's web UI and daemon under one process, which starts again what ends by itself and stops what
it started."""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Annotated

import typer

from cryptai_pipelines.cli.children import Child, start_child, stop_children, trim_log
from cryptai_pipelines.cli.ports import HOST, answers, refuse_taken_port

if TYPE_CHECKING:
    from cryptai_pipelines.orchestration.store import Store
    from cryptai_pipelines.settings import Settings
    from cryptai_pipelines.storage.embedded import EmbeddedServer

_START_SECONDS = 180.0
_LOOK_EVERY_SECONDS = 0.1
_LOOK_AT_POSTGRES_EVERY_SECONDS = 1.0
_RESTARTS_A_MINUTE = 10

_WEB, _DAEMON, _POSTGRES = "the web UI", "the daemon", "Postgres"
_MODULE = ("-m", "cryptai_pipelines.definitions")


@dataclass
class _Crew:
    """The children that run, by name, and what it takes to start one again. `restarts`: when that was done, in seconds, by the
    name of the child or of Postgres."""

    environment: dict[str, str]
    lock: IO[str]
    port: int
    children: dict[str, Child] = field(default_factory=dict)
    restarts: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    looked_at_postgres: float = 0.0


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI on 127.0.0.1.")] = 3000,
) -> None:
    """Serve the Dagster UI with the daemon and the schedules on, until Ctrl-C or SIGTERM."""
    from cryptai_pipelines.cli.output import say, step
    from cryptai_pipelines.cli.running import only_one
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings

    settings = load_settings()
    home = settings.home.resolve()
    began = time.monotonic()
    try:
        with only_one(home, lambda: say("up: waiting for what an earlier, killed `up` had started to end")) as lock:
            refuse_taken_port(port)
            say(f"up: opening the store in {home}" if settings.database_url is None else "up: opening the store")
            with open_store(settings) as store, _running(settings, store, port, lock) as crew:
                with step("up: starting Dagster"):
                    _wait_until_served(list(crew.children.values()), port)
                say(f"Dagster UI: http://{HOST}:{port} after {time.monotonic() - began:.1f} s (Ctrl-C stops everything)")
                while True:
                    _keep_running(crew, store)
                    time.sleep(_LOOK_EVERY_SECONDS)
    except KeyboardInterrupt:
        # How this command is meant to end.
        say("up: stopped")


@contextmanager
def _running(settings: Settings, store: Store, port: int, lock: IO[str]) -> Iterator[_Crew]:
    from cryptai_pipelines.cli.output import say
    from cryptai_pipelines.cli.running import write_record
    from cryptai_pipelines.orchestration.instance import dagster_environment, register_symbols

    environment = dagster_environment(settings, store)
    environment["CRYPTAI_UI_URL"] = settings.ui_url if "ui_url" in settings.model_fields_set else f"http://{HOST}:{port}"
    crew = _Crew(environment, lock, port)
    write_record(lock, port, ())
    register_symbols(crew.environment, settings.symbols)
    try:
        for name in (_WEB, _DAEMON):
            _start(crew, name)
        yield crew
    finally:
        if crew.children:
            say("up: stopping")
        stop_children(list(crew.children.values()))


def _start(crew: _Crew, name: str) -> None:
    """Start a child. Runs are processes of the daemon's, so those that it left behind when it ended have ended with it."""
    from cryptai_pipelines.cli.output import say
    from cryptai_pipelines.cli.running import write_record
    from cryptai_pipelines.orchestration.instance import end_lost_runs

    if name == _DAEMON:
        for lost in end_lost_runs(crew.environment):
            say(f"up: run {lost} had lost its process; it is marked as failed")
    program, *arguments = {
        _WEB: ("dagster-webserver", "-h", HOST, "-p", str(crew.port), *_MODULE),
        _DAEMON: ("dagster-daemon", "run", *_MODULE),
    }[name]
    crew.children[name] = start_child(name, program, arguments, {**os.environ, **crew.environment}, crew.lock)
    write_record(crew.lock, crew.port, tuple(child.tether.pid for child in crew.children.values()))


def _keep_running(crew: _Crew, store: Store) -> None:
    """One look: whatever has ended by itself is started again, Postgres first, because the others need it."""
    from cryptai_pipelines.cli.output import say
    from cryptai_pipelines.market.errors import CryptaiError

    if store.server is not None:
        _revive(crew, store.server)
    for name in (_WEB, _DAEMON):
        child = crew.children.get(name)
        if child is not None and child.tether.poll() is not None:
            say(f"up: {name} ended with exit code {child.tether.returncode} and is started again; its log is {child.log}")
            stop_children([crew.children.pop(name)])
        elif child is not None:
            trim_log(child.log)
        if name not in crew.children and _is_due(crew.restarts[name]):
            try:
                _start(crew, name)
            except CryptaiError as error:
                say(f"up: {name} cannot be started yet: {error}")


def _revive(crew: _Crew, server: EmbeddedServer) -> None:
    from cryptai_pipelines.cli.output import say
    from cryptai_pipelines.market.errors import CryptaiError

    # To look is to connect, for which the server starts a process.
    if time.monotonic() - crew.looked_at_postgres < _LOOK_AT_POSTGRES_EVERY_SECONDS:
        return
    crew.looked_at_postgres = time.monotonic()
    if server.is_alive() or not _is_due(crew.restarts[_POSTGRES]):
        return
    try:
        if server.revive():
            say(f"up: {_POSTGRES} had ended and was started again")
    except CryptaiError as error:
        say(f"up: {_POSTGRES} cannot be started yet: {error}")


def _is_due(restarts: deque[float]) -> bool:
    """Whether something may be started again now, and if so, note it: a second after the last time at the earliest, and no more
    than `_RESTARTS_A_MINUTE`."""
    now = time.monotonic()
    while restarts and now - restarts[0] > 60.0:
        restarts.popleft()
    if len(restarts) >= _RESTARTS_A_MINUTE or (restarts and now - restarts[-1] < 1.0):
        return False
    restarts.append(now)
    return True


def _wait_until_served(children: list[Child], port: int) -> None:
    from cryptai_pipelines.market.errors import CryptaiError

    deadline = time.monotonic() + _START_SECONDS
    while not answers(port):
        _refuse_ended(children)
        if time.monotonic() > deadline:
            raise CryptaiError(
                f"the Dagster UI did not answer on port {port} within {_START_SECONDS:.0f} s; see {children[0].log}"
            )
        time.sleep(_LOOK_EVERY_SECONDS)


def _refuse_ended(children: list[Child]) -> None:
    from cryptai_pipelines.market.errors import CryptaiError

    for child in children:
        if child.tether.poll() is not None:
            raise CryptaiError(f"{child.name} ended with exit code {child.tether.returncode}; its log is {child.log}")
