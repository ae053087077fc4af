"""The logs of what `up` runs: where they are, and how long they get."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster_shared.telemetry import get_or_create_dir_from_dagster_home

from cryptai_pipelines.cli.children import start_child, stop_children, trim_log


def test_dagster_does_not_take_the_logs_for_its_telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "dagster"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    environment = {"DAGSTER_HOME": str(home), "CRYPTAI_HOME": str(tmp_path)}
    with open(tmp_path / "lock", "w") as lock:
        child = start_child("python", "python", ["-c", "print('said')"], environment, lock)
        child.tether.wait()
        stop_children([child])
    assert child.log.read_text() == "said\n"
    # Whatever lies in these two is sent to Dagster's makers and deleted.
    taken = [Path(get_or_create_dir_from_dagster_home(name)).resolve() for name in ("logs", ".logs_queue")]
    assert not any(child.log.resolve().is_relative_to(folder) for folder in taken)


def test_a_log_is_cut_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "program.log"
    with open(log, "ab", buffering=0) as writer:
        writer.write(b"first\n")
        trim_log(log, limit=6)
        assert log.read_bytes() == b"first\n"
        writer.write(b"second\n")
        trim_log(log, limit=6)
        writer.write(b"third\n")
    assert log.read_bytes() == b"third\n"
    assert (tmp_path / "program.log.1").read_bytes() == b"first\nsecond\n"
