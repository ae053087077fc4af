"""`cryptai up`: Postgres, Dagster's web UI and daemon as children of one process, which stops what it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from cryptai_pipelines.cli.output import say, step
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.orchestration.instance import dagster_environment, register_symbols
from cryptai_pipelines.orchestration.store import Store, open_store
from cryptai_pipelines.settings import Settings, load_settings

HOST = "127.0.0.1"
_STOP_SECONDS = 20.0
_START_SECONDS = 120.0


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI on 127.0.0.1.")] = 3000,
) -> None:
    """Serve the Dagster UI with the daemon and the schedules on, until Ctrl-C or SIGTERM."""
    settings = load_settings()
    refuse_taken_port(port)
    say(f"up: opening the store in {settings.home}" if settings.database_url is None else "up: opening the store")
    with open_store(settings) as store:
        _supervise(_start_children(settings, store, port), port)


def refuse_taken_port(port: int) -> None:
    """`CryptaiError` naming the port when something listens on it already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise CryptaiError(f"port {port} on {HOST} is taken; stop what listens there or choose another: --port N") from None


def _start_children(settings: Settings, store: Store, port: int) -> dict[str, subprocess.Popen[bytes]]:
    environment = dagster_environment(settings, store)
    register_symbols(environment, settings.symbols)
    module = ["-m", "cryptai_pipelines.definitions"]
    commands = {
        "the web UI": ["dagster-webserver", "-h", HOST, "-p", str(port), *module],
        "the daemon": ["dagster-daemon", "run", *module],
    }
    logs = Path(environment["DAGSTER_HOME"]) / "logs"
    logs.mkdir(exist_ok=True)
    return {name: _start(arguments, {**os.environ, **environment}, logs) for name, arguments in commands.items()}


def _start(arguments: list[str], environment: dict[str, str], logs: Path) -> subprocess.Popen[bytes]:
    program, *rest = arguments
    command = [str(Path(sys.executable).parent / program), *rest]
    with (logs / f"{program}.log").open("ab") as log:
        # A session of its own: Ctrl-C reaches only us, and the whole tree of a child can be signalled at once.
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def _supervise(children: dict[str, subprocess.Popen[bytes]], port: int) -> None:
    stopping = _stop_on_signals()
    try:
        _wait_until_served(children, port, stopping)
        say(f"Dagster UI: http://{HOST}:{port} (Ctrl-C stops everything)")
        while not stopping:
            _refuse_dead(children)
            time.sleep(0.2)
    finally:
        with step("stopping"):
            stop_children(children)


def _stop_on_signals() -> list[int]:
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
    return received


def _wait_until_served(children: dict[str, subprocess.Popen[bytes]], port: int, stopping: list[int]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with step("starting Dagster"):
        while not stopping:
            _refuse_dead(children)
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((HOST, port)) == 0:
                    return
            if time.monotonic() > deadline:
                raise CryptaiError(f"the Dagster UI did not answer on port {port} within {_START_SECONDS:.0f} s; see the logs")
            time.sleep(0.1)


def _refuse_dead(children: dict[str, subprocess.Popen[bytes]]) -> None:
    for name, child in children.items():
        if child.poll() is not None:
            raise CryptaiError(f"{name} ended with exit code {child.returncode}; its log is under CRYPTAI_HOME/dagster/logs")


def stop_children(children: dict[str, subprocess.Popen[bytes]]) -> None:
    """SIGTERM to each child's session, then SIGKILL to what is left after a while; returns when all are gone."""
    for child in children.values():
        _signal_session(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for child in children.values():
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"process {child.pid} did not stop within {_STOP_SECONDS:.0f} s; killing it")
        _signal_session(child.pid, signal.SIGKILL)
        child.wait()


def _signal_session(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


