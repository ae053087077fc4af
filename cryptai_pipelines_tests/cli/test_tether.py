"""What `up` starts ends with it, in whatever way it ends; shown on small programs in Dagster's place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cryptai_pipelines.cli import running
from cryptai_pipelines.cli.running import kept_down, only_one, running_up, write_record
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines_tests.cli.command import until
from cryptai_pipelines_tests.conftest import REPOSITORY

# A program with a child of its own, both of which note their process id.
_PROGRAM = """
import os, subprocess, sys, time
open(sys.argv[1] + "/program", "w").write(str(os.getpid()))
subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]])
time.sleep(600)
"""
_GRANDCHILD = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
open(sys.argv[1] + "/grandchild", "w").write(str(os.getpid()))
time.sleep(600)
"""
# Starts the program under a tether, as `up` does, and then waits.
_STARTER = """
import os, subprocess, sys, time
end, rope = os.pipe()
tether = subprocess.Popen(
    [sys.executable, "-m", "cryptai_pipelines.cli.tether", str(end), sys.executable, "-c", *sys.argv[1:]],
    start_new_session=True, pass_fds=(end,),
)
open(sys.argv[2] + "/tether", "w").write(str(tether.pid))
time.sleep(600)
"""


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _STARTER, _PROGRAM, str(tmp_path), _GRANDCHILD], cwd=REPOSITORY, env={"PATH": os.environ["PATH"]}
    )
    yield process
    process.kill()
    process.wait()


def _family(folder: Path) -> list[psutil.Process]:
    files = [folder / name for name in ("tether", "program", "grandchild")]
    until(lambda: all(file.exists() and file.read_text() for file in files), "the program and its child")
    return [psutil.Process(int(file.read_text())) for file in files]


def _gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_everything_ends_with_the_starter(starter: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    family = _family(tmp_path)
    starter.send_signal(number)
    until(lambda: all(_gone(process) for process in family), "the end of everything that was started")
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_everything_ends_with_the_program(starter: subprocess.Popen[bytes], tmp_path: Path) -> None:
    tether, program, grandchild = _family(tmp_path)
    program.kill()
    until(lambda: _gone(grandchild) and _gone(tether), "the end of the program's child and of the tether")
    assert starter.poll() is None


def test_a_signal_to_the_tether_alone_changes_nothing(starter: subprocess.Popen[bytes], tmp_path: Path) -> None:
    tether, program, _ = _family(tmp_path)
    tether.terminate()
    with pytest.raises(psutil.TimeoutExpired):
        program.wait(timeout=0.5)


def test_only_one_up_at_a_time(tmp_path: Path) -> None:
    with only_one(tmp_path, waiting=lambda: None) as lock:
        write_record(lock, 3123, (1,))
        assert running_up(tmp_path).port == 3123
        with pytest.raises(CryptaiError, match=f"running already .*{os.getpid()}.*:3123"), only_one(tmp_path, lambda: None):
            pass
    assert running_up(tmp_path) is None
    with only_one(tmp_path, waiting=lambda: None):
        pass


def test_a_database_is_not_replaced_under_an_up_nor_one_started_meanwhile(tmp_path: Path, monkeypatch) -> None:
    with only_one(tmp_path, waiting=lambda: None) as lock:
        write_record(lock, 3123, ())
        refused = f"'cryptai' is in use by `cryptai up` .*process {os.getpid()}.*:3123.*stop that"
        with pytest.raises(CryptaiError, match=refused), kept_down(tmp_path, "cryptai"):
            pass
    monkeypatch.setattr(running, "_PATIENCE_S", 0.0)
    with (
        kept_down(tmp_path, "cryptai"),
        pytest.raises(CryptaiError, match="a backup is put in place"),
        only_one(tmp_path, waiting=lambda: None),
    ):
        pass
    with only_one(tmp_path, waiting=lambda: None):
        pass


def test_a_record_that_was_cut_short_is_none(tmp_path: Path) -> None:
    with only_one(tmp_path, waiting=lambda: None):
        pass
    (tmp_path / "dagster" / "up.lock").write_text('{"pid": 12')
    assert running_up(tmp_path) is None
    with only_one(tmp_path, waiting=lambda: None):
        pass


def test_what_a_killed_up_and_its_killed_tethers_left_is_ended_and_nothing_else(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    folder = str((tmp_path / "dagster").resolve())
    with only_one(tmp_path, waiting=lambda: None) as lock:
        write_record(lock, 3000, ())
        record = lock.name
    ours = subprocess.Popen(sleep, start_new_session=True, env={"DAGSTER_HOME": folder})
    other_home = subprocess.Popen(sleep, start_new_session=True, env={"DAGSTER_HOME": "/elsewhere"})
    other_group = subprocess.Popen(sleep, start_new_session=True, env={"DAGSTER_HOME": folder})
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    began = psutil.Process(ours.pid).create_time() - 1
    Path(record).write_text(
        f'{{"pid": {gone.pid}, "started": {began}, "port": 3000, "groups": [{ours.pid}, {other_home.pid}]}}'
    )
    with only_one(tmp_path, waiting=lambda: None):
        assert ours.wait(timeout=30) == -signal.SIGTERM
        assert other_home.poll() is None and other_group.poll() is None
    for process in (other_home, other_group):
        process.kill()
        process.wait()
