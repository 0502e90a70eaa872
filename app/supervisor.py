"""The whole application on one machine: the database, the site and the worker as children that live and die with us.

Everything that can be refused is refused before something is started: the port is taken first and handed down to the
web server, so that a restart of that server never loses it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from errno import EADDRINUSE
from pathlib import Path
from types import FrameType

import httpx
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.back_off import BackOff
from app.db import migrate
from app.db.embedded import EmbeddedPostgres, EmbeddedPostgresError
from app.db.session import create_engine, session_factory, transaction
from app.db.tables import Member, User
from app.db.unfinished import require_finished
from app.errors import DomainError
from app.processes import bound_to_us, open_log, rotate_log
from app.services import accounts
from app.services.starter import ensure_starter
from app.settings import Settings
from app.web.serving import uvicorn_logs

POLL_SECONDS = 0.2
OTHER_COMMAND_SECONDS = 10  # a short command may have the database just now
WEB_STOP_SECONDS = 5  # what uvicorn gives open requests; streams end at once
WEB_KEEP_ALIVE_SECONDS = 75  # longer than most pairs take to judge, and than nginx keeps its connections to us (60)
CHILD_STOP_SECONDS = 6  # with the database's own stop this stays under 10
WEB_START_SECONDS = 180  # imports take seconds; a busy or slow machine may need a minute
STEADY_SECONDS = 60  # a child that has lived this long starts its next restarts without delay again
DATABASE_CHECK_SECONDS = 5
LOG_CHECK_SECONDS = 5
DATABASE_CHECKS = 3  # this many in a row without an answer, and the server is started anew


class CannotStart(DomainError):
    """The application can't start; the message is one line that says why."""


@dataclass
class Child:
    """A process that is started again whenever it ends, later each time that it ends soon."""

    name: str
    command: list[str]
    environment: dict[str, str]
    logs: Path
    inherited: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    _started: float = 0
    _back_off: BackOff = field(default_factory=lambda: BackOff(0.5, 30))
    _start_again: float = field(default=0)

    @property
    def log(self) -> Path:
        return self.logs / f"{self.name}.log"

    def start(self) -> None:
        with open_log(self.logs, self.name) as log:
            self.process = subprocess.Popen(
                bound_to_us(self.command),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, pass_fds=self.inherited,
                start_new_session=True,  # Ctrl-C in a terminal is ours alone: we stop the others in their order
            )  # fmt: skip
        self._started = time.monotonic()

    def keep_running(self) -> None:
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            self._plan_restart(code)
        elif time.monotonic() >= self._start_again:
            self.start()

    def _plan_restart(self, code: int) -> None:
        if time.monotonic() - self._started > STEADY_SECONDS:
            self._back_off.end()
        wait_seconds = self._back_off.next_seconds()
        say(f"The {self.name} ended (exit code {code}) and starts again in {wait_seconds:g} s: see {self.log}")
        self._start_again = time.monotonic() + wait_seconds
        self.process = None


class Supervisor:
    """`run` returns when SIGINT, SIGTERM or SIGHUP came and everything has stopped."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.children: list[Child] = []
        self.postgres: EmbeddedPostgres | None = None
        self._checks_failed = 0
        self._next_check = 0.0
        self._next_log_check = 0.0

    def run(self) -> None:
        listener = take_port(self.settings.host, self.settings.port)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            self._start(listener)
            while True:
                self._watch_database()
                self.rotate_logs()
                for child in self.children:
                    child.keep_running()
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            say("Stopping.")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            listener.close()
            self._stop()

    def _start(self, listener: socket.socket) -> None:
        url = self._start_database()
        invitation = prepare(url, self.settings)
        environment = os.environ | {
            "DATABASE_URL": url,
            "PLUMBLINE_HOME": str(self.settings.home),
            "PYTHONUNBUFFERED": "1",
        }
        logs = self.settings.home / "logs"
        # They take turns at one socket: whoever is free accepts, and nobody waits for one that has died.
        command, inherited = web_command(self.settings, f"--fd={listener.fileno()}"), (listener.fileno(),)
        names = ["web", *(f"web-{number}" for number in range(2, self.settings.web_processes + 1))]
        webs = [Child(name, command, environment, logs, inherited) for name in names]
        worker = Child("worker", [sys.executable, "-m", "app.jobs.worker"], environment, logs)
        self.children = [*webs, worker]
        for child in self.children:
            child.start()
        self._wait_for(webs[0])
        say(f"\nPlumbline is at {self.settings.site_url}\n\n{invitation}\n")
        say(f"Data and logs are in {self.settings.home}. Ctrl-C stops everything.")

    def _start_database(self) -> str:
        if self.settings.database_url is not None:
            return self.settings.database_url
        self.postgres = EmbeddedPostgres(self.settings.home)
        return self.postgres.start(wait_seconds=OTHER_COMMAND_SECONDS)

    def _wait_for(self, web: Child) -> None:
        host = "127.0.0.1" if self.settings.host in {"0.0.0.0", "::"} else self.settings.host  # noqa: S104 - compared
        # Not /readyz: a disk that is nearly full must not keep from starting who is to make room on it.
        address = f"http://{f'[{host}]' if ':' in host else host}:{self.settings.port}/healthz"
        deadline = time.monotonic() + WEB_START_SECONDS
        while time.monotonic() < deadline:
            assert web.process is not None
            if web.process.poll() is not None:
                raise CannotStart(f"The site did not start: {last_line(web.log)} (see {web.log})")
            try:
                if httpx.get(address, timeout=5, trust_env=False).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(POLL_SECONDS)
        raise CannotStart(f"The site did not answer in {WEB_START_SECONDS} s (see {web.log})")

    def _watch_database(self) -> None:
        """Starts the embedded server again when it died, or when it has not answered for a while."""
        if self.postgres is None or time.monotonic() < self._next_check:
            return
        if self.postgres.is_running():
            self._next_check = time.monotonic() + DATABASE_CHECK_SECONDS
            self._checks_failed = 0 if self.postgres.answers() else self._checks_failed + 1
            if self._checks_failed < DATABASE_CHECKS:
                return
        say("The database stopped answering and starts again.")
        self._checks_failed = 0
        try:
            self.postgres.restart()
        except EmbeddedPostgresError as error:
            say(error.message)
            self._next_check = time.monotonic() + DATABASE_CHECK_SECONDS

    def rotate_logs(self) -> None:
        """Keep each log of a site that runs for months below some size."""
        if time.monotonic() < self._next_log_check:
            return
        self._next_log_check = time.monotonic() + LOG_CHECK_SECONDS
        logs = self.settings.home / "logs"
        for log in logs.glob("*.log"):
            rotate_log(logs, log.stem)

    def _stop(self) -> None:
        running = [child.process for child in self.children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + CHILD_STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.postgres is not None:
            self.postgres.stop()


def take_port(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises CannotStart in one line when somebody else has the port."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == EADDRINUSE:
            raise CannotStart(f"Port {port} is taken by another program. Set PLUMBLINE_PORT to a free one.") from None
        raise CannotStart(f"Can't listen on {host}, port {port}: {error.strerror}.") from None
    # Connections inherit it; uvicorn takes a socket that it is handed for a Unix one and leaves it out. Without it an
    # answer's second packet waits for the client's delayed acknowledgement, 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def web_command(settings: Settings, *bind: str) -> list[str]:
    if settings.trusted_proxies:
        proxies = ["--proxy-headers", f"--forwarded-allow-ips={settings.trusted_proxies}"]
    else:
        proxies = ["--no-proxy-headers"]  # uvicorn would believe anybody on this machine
    return [
        sys.executable, "-m", "uvicorn", "app.web.main:create_app", "--factory", *bind,
        "--http=app.web.serving.connections:Connection", "--ws=none",
        f"--timeout-keep-alive={WEB_KEEP_ALIVE_SECONDS}", f"--timeout-graceful-shutdown={WEB_STOP_SECONDS}",
        f"--log-level={settings.log_level}",
        f"--log-config={uvicorn_logs.CONFIGURATION}", "--no-access-log", "--no-server-header", *proxies,
    ]  # fmt: skip


def prepare(database_url: str, settings: Settings) -> str:
    """Brings the database to head and creates the starter project if there is none. Says how the first people come in:
    one sign-in link a line when the admin was made just now, and how to get one from then on, since logs are kept.
    """
    require_finished(database_url)
    migrate.upgrade(database_url)
    tokens = asyncio.run(_prepare(database_url, settings))
    if not tokens:
        return "  `plumbline link` prints a one-time sign-in link."
    address = f"{settings.site_url}/sign-in/link"
    return "\n".join(f"  {name} signs in, once, by {address}/{token}" for name, token in tokens.items())


async def _prepare(database_url: str, settings: Settings) -> dict[str, str]:
    engine = create_engine(database_url, pool_size=1)
    try:
        async with transaction(session_factory(engine)) as db:
            admins = select(User.id).where(User.is_admin, User.disabled_at.is_(None))
            is_first = await db.scalar(admins.limit(1)) is None
            if settings.starter:
                await ensure_starter(db)
            people = await first_people(db)
            return {user.name: await accounts.create_sign_in_link(db, user.id) for user in people if is_first}
    finally:
        await engine.dispose()


async def first_people(db: AsyncSession) -> list[User]:
    """An admin, made if there is none, and an annotator if there is one."""
    people = select(User).where(User.disabled_at.is_(None), ~User.is_simulated).order_by(User.id).limit(1)
    admin = await db.scalar(people.where(User.is_admin))
    if admin is None:
        admin = await accounts.create_user(db, name="Admin", is_admin=True)
    annotator = await db.scalar(
        people.where(exists().where(Member.user_id == User.id, Member.role == "annotator"), ~User.is_admin)
    )
    return [admin, annotator] if annotator else [admin]


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def say(line: str) -> None:
    print(line, flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
