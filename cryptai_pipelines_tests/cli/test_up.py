"""`cryptai up` once, end to end: what it serves, that it is alone on its home, and that nothing is left of it."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from cryptai_pipelines_tests.cli.command import call, start, until

_QUESTION = """{
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  repositoriesOrError { ... on RepositoryConnection { nodes {
    schedules { name scheduleState { status } } sensors { name sensorState { status } }
    assetNodes { assetKey { path } }
  } } }
}"""


def _ask(port: int) -> dict[str, Any]:
    body = json.dumps({"query": _QUESTION}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _processes_of(home: Path) -> list[str]:
    """Every process with this home in its environment, and the Postgres in it."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            ours = process.environ().get("CRYPTAI_HOME") == str(home) or process.cwd().startswith(str(home))
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.info["cmdline"]))
        except psutil.Error:
            continue
    return found


def test_up_serves_the_graph_and_leaves_nothing(home: Path, url: str) -> None:
    port = _free_port()
    process = start(["up", "--port", str(port)], home, CRYPTAI_DATABASE_URL=url)
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any(f"http://127.0.0.1:{port}" in line for line in lines), "it ended before it served"

    def healthy() -> bool:
        daemons = _ask(port)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return bool(daemons) and all(daemon["healthy"] for daemon in daemons if daemon["required"])

    until(healthy, "healthy daemons")
    (repository,) = _ask(port)["repositoriesOrError"]["nodes"]
    states = {one["name"]: one["scheduleState"]["status"] for one in repository["schedules"]}
    assert {"bars_at_close", "latest_prices", "daily_symbols", "daily_catch_up", "weekly_maintenance"} <= set(states)
    watched = {one["name"]: one["sensorState"]["status"] for one in repository["sensors"]}
    assert {"stale_series", "failed_sync", "failed_check", "restated_file", "failed_run", "alert_delivery"} <= set(watched)
    assert set(states.values()) == set(watched.values()) == {"RUNNING"}
    assert {"raw_ohlcv", "performance_metrics"} <= {node["assetKey"]["path"][0] for node in repository["assetNodes"]}
    sockets = [found for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN]
    assert {found.laddr.ip for found in sockets if found.laddr.port == port} == {"127.0.0.1"}

    second = call(["up", "--port", str(_free_port())], home, CRYPTAI_DATABASE_URL=url)
    assert second.code == 1
    assert second.err.startswith("cryptai: ") and "running already" in second.err and str(port) in second.err

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert _processes_of(home) == []
