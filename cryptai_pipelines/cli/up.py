"""`cryptai up`: Postgres, Dagster's web UI and daemon as children of one process, which stops what it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from cryptai_pipelines.cli.ports import HOST, answers, refuse_taken_port

if TYPE_CHECKING:
    from cryptai_pipelines.orchestration.store import Store
    from cryptai_pipelines.settings import Settings

_START_SECONDS = 180.0
_LOOK_EVERY_SECONDS = 0.1


@dataclass(frozen=True)
class _Child:
    """A program under its tether. Closing `rope` ends it and everything it started."""

    name: str
    tether: subprocess.Popen[bytes]
    rope: int
    log: Path


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
            with open_store(settings) as store, _children(settings, store, port, lock) as children:
                with step("up: starting Dagster"):
                    _wait_until_served(children, port)
                say(f"Dagster UI: http://{HOST}:{port} after {time.monotonic() - began:.1f} s (Ctrl-C stops everything)")
                while True:
                    _refuse_ended(children)
                    time.sleep(_LOOK_EVERY_SECONDS)
    except KeyboardInterrupt:
        # How this command is meant to end.
        say("up: stopped")


@contextmanager
def _children(settings: Settings, store: Store, port: int, lock: IO[str]) -> Iterator[list[_Child]]:
    from cryptai_pipelines.cli.output import say
    from cryptai_pipelines.cli.running import write_record
    from cryptai_pipelines.orchestration.instance import dagster_environment, end_lost_runs, register_symbols

    environment = dagster_environment(settings, store)
    environment["CRYPTAI_UI_URL"] = settings.ui_url if "ui_url" in settings.model_fields_set else f"http://{HOST}:{port}"
    write_record(lock, port, ())
    register_symbols(environment, settings.symbols)
    for lost in end_lost_runs(environment):
        say(f"up: run {lost} had lost its process; it is marked as failed")
    module = ("-m", "cryptai_pipelines.definitions")
    commands = {
        "the web UI": ("dagster-webserver", "-h", HOST, "-p", str(port), *module),
        "the daemon": ("dagster-daemon", "run", *module),
    }
    children: list[_Child] = []
    try:
        for name, (program, *arguments) in commands.items():
            children.append(_started(name, program, arguments, {**os.environ, **environment}, lock))
            write_record(lock, port, tuple(child.tether.pid for child in children))
        yield children
    finally:
        if children:
            say("up: stopping")
        _stop(children)


def _started(name: str, program: str, arguments: list[str], environment: dict[str, str], lock: IO[str]) -> _Child:
    from cryptai_pipelines.market.errors import CryptaiError

    path = Path(sys.executable).parent / program
    if not path.exists():
        raise CryptaiError(f"{path} is missing; install this project again into its virtual environment")
    logs = Path(environment["DAGSTER_HOME"]) / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{program}.log"
    end, rope = os.pipe()
    command = [sys.executable, "-m", "cryptai_pipelines.cli.tether", str(end), str(path), *arguments]
    try:
        with log.open("ab") as output:
            # A session of its own: Ctrl-C at the terminal reaches us only.
            tether = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(end, lock.fileno()),
            )
    except BaseException:  # whatever kept the child from starting, its rope must not stay open; it is raised on
        os.close(rope)
        raise
    finally:
        os.close(end)
    return _Child(name, tether, rope, log)


def _wait_until_served(children: list[_Child], port: int) -> None:
    from cryptai_pipelines.market.errors import CryptaiError

    deadline = time.monotonic() + _START_SECONDS
    while not answers(port):
        _refuse_ended(children)
        if time.monotonic() > deadline:
            raise CryptaiError(
                f"the Dagster UI did not answer on port {port} within {_START_SECONDS:.0f} s; see {children[0].log}"
            )
        time.sleep(_LOOK_EVERY_SECONDS)


def _refuse_ended(children: list[_Child]) -> None:
    from cryptai_pipelines.market.errors import CryptaiError

    for child in children:
        if child.tether.poll() is not None:
            raise CryptaiError(f"{child.name} ended with exit code {child.tether.returncode}; its log is {child.log}")


def _stop(children: list[_Child]) -> None:
    """End every child and what it started; returns when all are gone. An interrupt meanwhile does not cut this short."""
    from cryptai_pipelines.cli.running import end_group

    for child in children:
        os.close(child.rope)
    for child in children:
        while child.tether.poll() is None:
            try:
                child.tether.wait()
            except KeyboardInterrupt:
                continue
        if child.tether.returncode < 0:
            end_group(child.tether.pid)
