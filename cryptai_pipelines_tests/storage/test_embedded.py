"""The server in a folder: shared by processes, stopped with the last, and recovered from whatever a kill left behind."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.storage import postmaster
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.embedded import EmbeddedServer, binaries, start_embedded
from cryptai_pipelines_tests.conftest import REPOSITORY
from cryptai_pipelines_tests.databases import private_folder

_USER = (
    "import sys, pathlib; from cryptai_pipelines.storage.embedded import start_embedded;"
    "server = start_embedded(pathlib.Path(sys.argv[1])); print(server.url('postgres'), flush=True);"
    "sys.stdin.readline(); print(server.stop_if_last())"
)


@pytest.fixture(scope="module")
def made_home() -> Iterator[Path]:
    """A home whose server was made and stopped once; copied for each test, which is cheaper than making it again."""
    with private_folder() as folder:
        start_embedded(folder).stop_if_last()
        yield folder


@pytest.fixture
def home(made_home: Path) -> Iterator[Path]:
    with private_folder() as folder:
        subprocess.run(["cp", "-a", f"{made_home}/.", str(folder)], check=True)
        yield folder
        for process in postmaster.processes_of(folder / "postgres"):
            process.kill()
        _until(lambda: not postmaster.processes_of(folder / "postgres"))


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not reached in time"
        time.sleep(0.02)


def _other_user(home: Path, **identity: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _USER, str(home)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=REPOSITORY, **pipes, **identity)  # type: ignore[call-overload]


def _works(server: EmbeddedServer) -> bool:
    db = Database(server.url("postgres"))
    try:
        return db.rows("SELECT 1") == [(1,)]
    finally:
        db.close()


def _pid(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split()[0])


def test_the_server_stops_with_its_last_user(home: Path) -> None:
    first = start_embedded(home)
    other = _other_user(home)
    assert other.stdout.readline().strip() == first.url("postgres")
    second = start_embedded(home)
    assert first.stop_if_last() is False and first.stop_if_last() is False
    assert second.stop_if_last() is False and _works(second)
    told, _ = other.communicate("\n", timeout=60)
    assert told.strip() == "True"
    assert not postmaster.processes_of(home / "postgres")


def test_a_killed_user_does_not_count(home: Path) -> None:
    other = _other_user(home)
    other.stdout.readline()
    server = start_embedded(home)
    other.kill()
    other.wait()
    assert server.stop_if_last() is True
    assert not postmaster.processes_of(home / "postgres")


def test_a_server_that_outlived_its_users_is_taken_up_and_stopped(home: Path) -> None:
    other = _other_user(home)
    other.stdout.readline()
    other.kill()
    other.wait()
    pid = _pid(home)
    with start_embedded(home) as server:
        assert _works(server) and _pid(home) == pid
    assert not postmaster.processes_of(home / "postgres")


def test_two_processes_share_their_first_start_after_one_that_was_killed() -> None:
    with private_folder() as folder:
        (folder / "postgres.new" / "base").mkdir(parents=True)
        (folder / "postgres.new" / "PG_VERSION").write_text("18\n")
        others = [_other_user(folder) for _ in range(2)]
        urls = [other.stdout.readline() for other in others]
        assert urls[0] == urls[1] != ""
        told = [other.communicate("\n", timeout=60)[0].strip() for other in others]
        assert told == ["False", "True"]
        assert not (folder / "postgres.new").exists()


@pytest.mark.parametrize("victims", ["the server alone", "the server and its backends"])
def test_a_killed_server_recovers_what_was_committed(home: Path, victims: str) -> None:
    server = start_embedded(home)
    db = Database(server.url("postgres"))
    db.rows("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n; SELECT 1")
    pid = _pid(home)
    processes = postmaster.processes_of(home / "postgres") if victims != "the server alone" else [psutil.Process(pid)]
    for process in processes:
        process.kill()
    again = start_embedded(home)
    assert db.rows("SELECT count(*) FROM kept") == [(1000,)]
    assert _pid(home) != pid
    db.close()
    server.stop_if_last()
    assert again.stop_if_last() is True


_WHOLE_LOCK = "{pid}\n{data}\n1700000000\n5432\n{data}\n\n  1 2\nready\n"


@pytest.mark.parametrize("content", ["", "12", "{pid}\n", _WHOLE_LOCK, "nonsense"])
def test_a_stale_lock_file_is_no_obstacle(home: Path, content: str) -> None:
    """Cut short, or naming a process id that now belongs to some other program of the same user."""
    data = home / "postgres"
    owner = data.stat().st_uid
    identity = {"user": owner} if os.geteuid() == 0 else {}
    program = subprocess.Popen(["sleep", "600"], **identity)  # type: ignore[call-overload]
    try:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (data / name).write_text(content.format(pid=program.pid, data=data))
            os.chown(data / name, owner, -1)
        with start_embedded(home) as server:
            assert _works(server)
        assert program.poll() is None
    finally:
        program.kill()
        program.wait()


def test_orphans_of_a_killed_server_are_gone_before_another_starts(home: Path) -> None:
    server = start_embedded(home)
    db = Database(server.url("postgres"))
    db.rows("SELECT 1")
    family = [process for process in postmaster.processes_of(home / "postgres") if process.pid != _pid(home)]
    orphan = next(process for process in family if "idle" in process.cmdline()[0])
    orphan.send_signal(signal.SIGSTOP)
    os.kill(_pid(home), signal.SIGKILL)
    # A stopped orphan cannot leave and does not take the signal that asks it to: it must be reported, not ignored.
    try:
        limits = postmaster._ORPHANS_LEAVE_S, postmaster._ORPHANS_END_S
        postmaster._ORPHANS_LEAVE_S, postmaster._ORPHANS_END_S = 0.2, 0.5
        with pytest.raises(CryptaiError, match=f"{orphan.pid}.* still use"):
            start_embedded(home)
    finally:
        postmaster._ORPHANS_LEAVE_S, postmaster._ORPHANS_END_S = limits
        orphan.send_signal(signal.SIGCONT)
    with start_embedded(home) as again:
        assert _works(again)
    server.stop_if_last()
    db.close()


def test_a_folder_with_something_else_in_it_is_left_alone() -> None:
    with private_folder() as folder:
        (folder / "postgres").mkdir()
        (folder / "postgres" / "letters.txt").write_text("dear")
        with pytest.raises(CryptaiError, match="holds files but no Postgres"):
            start_embedded(folder)
        assert (folder / "postgres" / "letters.txt").read_text() == "dear"


def test_a_home_that_cannot_be_made_is_one_line() -> None:
    with private_folder() as folder:
        (folder / "file").write_text("")
        with pytest.raises(CryptaiError) as failed:
            start_embedded(folder / "file" / "home")
    assert str(folder / "file" / "home") in str(failed.value) and "\n" not in str(failed.value)


def test_a_broken_configuration_is_told_with_its_reason(home: Path) -> None:
    with open(home / "postgres" / "postgresql.conf", "a") as conf:
        conf.write("shared_buffers = lots\n")
    with pytest.raises(CryptaiError) as failed:
        start_embedded(home)
    assert "shared_buffers" in str(failed.value) and "\n" not in str(failed.value)


def test_a_long_path_with_odd_characters_works(made_home: Path) -> None:
    with private_folder() as folder:
        deep = folder / ("o'dd \"na,me% " + "x" * 60) / ("y" * 60)
        deep.mkdir(parents=True)
        subprocess.run(["cp", "-a", f"{made_home}/postgres", str(deep)], check=True)
        with start_embedded(deep) as server:
            assert _works(server)
            assert Database(server.url("postgres")).read("SELECT 1 AS one").to_pylist() == [{"one": 1}]
            sockets = server.socket_dir
            with start_embedded(deep) as second:
                assert second.socket_dir == sockets
        assert not sockets.exists()


def test_a_killed_server_on_a_long_path_comes_back_on_the_socket_that_its_clients_know(made_home: Path) -> None:
    with private_folder() as folder:
        deep = folder / ("x" * 60) / ("y" * 60)
        deep.mkdir(parents=True)
        subprocess.run(["cp", "-a", f"{made_home}/postgres", str(deep)], check=True)
        with start_embedded(deep) as server:
            url, sockets = server.url("postgres"), server.socket_dir
            assert sockets != server.data and server.revive() is False
            os.kill(_pid(deep), signal.SIGKILL)
            assert server.revive() is True and server.url("postgres") == url and _works(server)
        assert not sockets.exists() and (made_home / "postgres" / "PG_VERSION").exists()


def test_odd_characters_in_a_short_path_work(made_home: Path) -> None:
    with private_folder() as folder:
        odd = folder / "o'd \"q,50% ü"
        odd.mkdir()
        subprocess.run(["cp", "-a", f"{made_home}/postgres", str(odd)], check=True)
        with start_embedded(odd) as server:
            assert _works(server)
            assert Database(server.url("postgres")).read("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_settings_keep_it_durable_and_off_the_network(home: Path) -> None:
    server = start_embedded(home)
    db = Database(server.url("postgres"))
    names = ("fsync", "full_page_writes", "synchronous_commit", "listen_addresses", "max_connections", "TimeZone")
    stored = dict(db.rows("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(names),)))
    assert [stored[name] for name in names] == ["on", "on", "on", "", "100", "UTC"]
    files = "SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%%cryptai.conf' AND applied AND error IS NULL"
    assert db.rows(files)[0][0] > 15
    assert (server.data.stat().st_mode & 0o077) == 0
    db.close()
    server.stop_if_last()


def test_the_callers_pg_variables_do_not_reach_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PGPORT", "9"), ("PGDATA", "/nowhere"), ("PGHOST", "elsewhere"), ("PGDATABASE", "no")):
        monkeypatch.setenv(name, value)
    with start_embedded(home) as server:
        assert _works(server)
        assert Database(server.url("postgres")).read("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def _as_user(uid: int, gid: int, work: Callable[[], object]) -> object:
    """The result of `work` in a forked process that has become another, ordinary user (whom the interpreter's own files may
    be closed to: everything is imported already)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            told = repr(work())
        except BaseException as error:  # noqa: BLE001
            # Whatever it is, the parent has to hear of it.
            told = f"failed: {error!r}"
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_an_ordinary_user_has_its_own_server() -> None:
    nobody = pwd.getpwnam("nobody")

    def use() -> object:
        with start_embedded(folder) as server:
            owners = {process.uids().real for process in postmaster.processes_of(server.data)}
            return _works(server), owners

    expected = repr((True, {nobody.pw_uid}))
    with private_folder() as folder:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        assert _as_user(nobody.pw_uid, nobody.pw_gid, use) == expected
        # Root may use the same folder, as the user whose it is, and without taking it from them.
        assert repr(use()) == expected
        assert _as_user(nobody.pw_uid, nobody.pw_gid, use) == expected
        assert not postmaster.processes_of(folder / "postgres")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_home_that_may_not_be_written_is_one_line() -> None:
    nobody = pwd.getpwnam("nobody")

    def use() -> object:
        with pytest.raises(CryptaiError) as failed:
            start_embedded(folder / "home")
        return str(failed.value)

    with private_folder() as folder:
        folder.chmod(0o755)
        told = _as_user(nobody.pw_uid, nobody.pw_gid, use)
    assert "Permission denied" in told and str(folder / "home") in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_as_root_the_way_to_the_server_is_opened_but_not_listed(made_home: Path) -> None:
    with private_folder() as folder:
        closed = folder / "closed"
        closed.mkdir(mode=0o700)
        subprocess.run(["cp", "-a", f"{made_home}/.", str(closed / "home")], check=True)
        with start_embedded(closed / "home") as server:
            assert _works(server)
            assert psutil.Process(_pid(closed / "home")).uids().real != 0
        assert closed.stat().st_mode & 0o077 == 0o001


def test_the_programs_are_there() -> None:
    assert (binaries() / "psql").exists()
