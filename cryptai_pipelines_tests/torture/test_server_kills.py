"""`kill -9` of the daemon and of Postgres: `up` recovers unaided, and a writer that is run again completes what it began."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.storage import market_data, raw, schema
from cryptai_pipelines.storage.database import Database, create_databases
from cryptai_pipelines.storage.embedded import start_embedded
from cryptai_pipelines.storage.leases import check_lease, take_series
from cryptai_pipelines_tests.cli.command import start
from cryptai_pipelines_tests.databases import private_folder
from cryptai_pipelines_tests.storage.bars_examples import START, bar_rows, opens, wire_rows
from cryptai_pipelines_tests.torture.tally import record, size
from cryptai_pipelines_tests.torture.writer import forks, write_until_killed

_WITHIN_S = 60.0
_HEALTH = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy lastHeartbeatTime } } } }"
_BARS = 400


def _postmaster(home: Path) -> int | None:
    """The process of the server, None while there is none."""
    try:
        return int((home / "postgres" / "postmaster.pid").read_text().split()[0])
    except (OSError, IndexError):
        return None


def _kill_postgres(home: Path) -> int:
    pid = _postmaster(home)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def _within(holds: Callable[[], bool], what: str, seconds: float = _WITHIN_S) -> float:
    """Poll until `holds()`; how long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - began


def test_postgres_killed_under_a_writer_comes_back_with_all_it_had_promised() -> None:
    rounds, lost, altered = size(5, 50), 0, 0
    wire, bars = wire_rows(opens(_BARS)), bar_rows(opens(_BARS))
    with private_folder() as home, start_embedded(home) as server:
        create_databases(server.url("cryptai"))
        database = Database(server.url("cryptai"))
        schema.upgrade(database)
        for number in range(rounds):
            series = Series(f"K{number}-USDT", Timeframe.H1)
            ours, theirs = forks.Pipe()
            process = forks.Process(target=write_until_killed, args=(database.url, series, _BARS, theirs))
            process.start()
            theirs.close()
            promised = 0
            while promised < (number % 5) * 20 + 5:
                promised = ours.recv()
            _kill_postgres(home)
            try:
                while True:
                    promised = max(promised, ours.recv())
            except EOFError:
                process.join()
            server.revive()
            opened = market_data.read_opens(database, series, START, int(wire["ts"][-1]) + 1)
            lost += max(0, promised - len(opened))
            with take_series(database, "binance", series, "again", 60) as lease, database.transaction() as cursor:
                check_lease(cursor, lease)
                raw.append(cursor, "binance", series, wire, 1, START)
                market_data.upsert(cursor, series, bars, "binance", "rest")
            stored = market_data.read(database, series)
            received = raw.read_current(database, "binance", series, START, int(wire["ts"][-1]) + 1)
            altered += (
                stored["close"].tolist() != bars["close"].tolist() or received["close"].tolist() != wire["close"].tolist()
            )
            altered += bool(received["revision"].any())
        database.close()
    record("kill -9 of Postgres", "under a writer", rounds, lost=lost, altered=altered)
    assert (lost, altered) == (0, 0)


class Up:
    """A running `cryptai up` with its own Postgres, and what it said."""

    def __init__(self, home: Path, port: int, process: subprocess.Popen[str]) -> None:
        self.home, self.port, self.process = home, port, process
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(iter(self.process.stderr.readline, ""))

    def ask(self, question: str) -> dict[str, Any]:
        body = json.dumps({"query": question}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["data"]

    def is_healthy(self, since: float) -> bool:
        """Whether the UI answers and every daemon has sent a sign of life after `since` (epoch seconds)."""
        assert self.process.poll() is None, "".join(self.said)
        try:
            daemons = self.ask(_HEALTH)["instance"]["daemonHealth"]["allDaemonStatuses"]
        except (urllib.error.URLError, OSError, TypeError, KeyError):
            return False
        needed = [one for one in daemons if one["required"]]
        return bool(needed) and all(one["healthy"] and (one["lastHeartbeatTime"] or 0) > since for one in needed)

    def told(self, what: str) -> int:
        """How often it has said so."""
        return sum(what in line for line in self.said)

    def child(self, program: str) -> int | None:
        """The process of this `up` that runs `program`."""
        for one in psutil.Process(self.process.pid).children(recursive=True):
            try:
                command = one.cmdline()
            except psutil.Error:
                continue
            if len(command) > 1 and command[1].endswith(f"/{program}"):
                return one.pid
        return None


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    now = parse_time("2024-02-01T00:05:00Z")
    with private_folder() as folder, running(open_simulated(1, 1, FixedClock(now))) as venue:
        home = folder / "home"
        process = start(["up", "--port", str(port)], home, CRYPTAI_BINANCE_URL=venue)
        found = Up(home, port, process)
        try:
            _within(lambda: found.is_healthy(0), "healthy daemons after the start", 180)
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def test_up_recovers_from_the_death_of_its_daemon(up: Up) -> None:
    rounds, slowest = size(5, 50), 0.0
    for _ in range(rounds):
        before = up.child("dagster-daemon")
        assert before is not None
        killed_at = time.time()
        os.kill(before, signal.SIGKILL)
        took = _within(lambda at=killed_at: up.is_healthy(at) and up.child("dagster-daemon") is not None, "a new daemon")
        assert up.child("dagster-daemon") != before
        slowest = max(slowest, took)
    record("kill -9 of the daemon", f"under `up`, slowest recovery {slowest:.0f} s", rounds)
    _within(lambda: up.told("the daemon ended") >= rounds, "what `up` says of it")
    assert up.told("the daemon ended") == rounds


def test_up_recovers_from_the_death_of_its_postgres(up: Up) -> None:
    rounds, slowest = size(5, 50), 0.0
    for number in range(1, rounds + 1):
        before = _kill_postgres(up.home)
        # Health is read from Postgres; that the daemon does its work again is told by the run at the end.
        took = _within(lambda pid=before: _postmaster(up.home) not in (None, pid) and up.is_healthy(0), "Postgres and the UI")
        # The server answers before `up` has seen so; killed in between, it would be started twice and told of once.
        _within(lambda count=number: up.told("Postgres had ended") == count, "what `up` says of it")
        slowest = max(slowest, took)
    record("kill -9 of Postgres", f"under `up`, slowest recovery {slowest:.0f} s", rounds)
    assert up.told("Postgres had ended") == rounds


def test_up_starts_its_web_ui_again(up: Up) -> None:
    before = up.child("dagster-webserver")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    _within(lambda: up.child("dagster-webserver") not in (None, before) and up.is_healthy(0), "a new web UI")


def test_up_runs_jobs_after_all_of_that(up: Up) -> None:
    launch = """mutation { launchRun(executionParams: {
      selector: {repositoryLocationName: "cryptai_pipelines.definitions", repositoryName: "__repository__", pipelineName: "%s"},
      runConfigData: {} }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
    from cryptai_pipelines.orchestration.jobs import SYMBOLS_JOB

    launched = up.ask(launch % SYMBOLS_JOB.name)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = launched["run"]["runId"]
    question = '{ runOrError(runId: "%s") { ... on Run { status } } }' % run  # noqa: UP031 - braces are GraphQL's
    _within(lambda: up.ask(question)["runOrError"]["status"] in ("SUCCESS", "FAILURE"), "the end of a run")
    assert up.ask(question)["runOrError"]["status"] == "SUCCESS", _what_went_wrong(up, run)


def _what_went_wrong(up: Up, run: str) -> list[str]:
    events = """{ logsForRun(runId: "%s") { ... on EventConnection { events { ... on MessageEvent { message level }
      ... on ExecutionStepFailureEvent { error { message causes { message } } }
      ... on EngineEvent { failure: error { message causes { message } } } } } } }"""
    told = up.ask(events % run)["logsForRun"]["events"]
    return [
        f"{event.get('message')} {event.get('error') or event.get('failure')}"
        for event in told
        if event.get("level") == "ERROR"
    ]
