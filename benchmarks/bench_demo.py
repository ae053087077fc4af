"""`cryptai demo` as the first thing after an installation: a fresh home, so a new embedded server, new databases and a graph
that was never materialized, and no compiled code of numba's.

`run()` gives a row of name, ours_s, peer_s, ratio, goal. The peer is the goal itself, 60 s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL_S = 60.0
_COMMAND = "from cryptai_pipelines.cli.main import run; run()"


def run() -> list[dict[str, object]]:
    """The row of the benchmark: wall time from starting the command to its end."""
    with tempfile.TemporaryDirectory(prefix="cryptai-bench-", ignore_cleanup_errors=True) as folder:
        own = {
            "CRYPTAI_HOME": str(Path(folder) / "home"),
            "NUMBA_CACHE_DIR": str(Path(folder) / "numba"),
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CRYPTAI_", "DAGSTER_"))}
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _COMMAND, "demo", "--json"],
            env=inherited | own,
            cwd=folder,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"cryptai demo ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    told = json.loads(done.stdout)
    name = f"cryptai demo, first run ({told['data']['bars']:,} bars, {told['backtest']['trade_count']} trades)"
    return [{"name": name, "ours_s": seconds, "peer_s": GOAL_S, "ratio": seconds / GOAL_S, "goal": f"< {GOAL_S:g} s"}]


if __name__ == "__main__":
    for line in run():
        print(line)
