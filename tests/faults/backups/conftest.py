"""An installation that works, and an empty one to restore to."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import psycopg
import pytest
import structlog

from app.db.session import transaction
from app.db.tables import Project, User
from app.security import hash_password
from tests.command_line import Done, runner
from tests.factories import make_member
from tests.jobs.conftest import context, loop, start_worker
from tests.jobs.loop import Loop

__all__ = ["context", "loop", "start_worker"]

EMAIL = "ada@example.org"
PASSWORD = "a horse, a battery"

Command = Callable[..., Coroutine[object, object, Done]]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def _logs_end_with_the_test() -> Iterator[None]:
    """A site that starts within a test logs to what is captured there, which is closed with it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "here" / "home"


@pytest.fixture
def other_home(tmp_path: Path) -> Path:
    return tmp_path / "there" / "home"


@pytest.fixture
def here(database_url: str, home: Path, command: Command) -> Command:
    """`plumbline` on the installation that works."""
    return on(command, database_url, home)


@pytest.fixture
def there(empty_database_url: str, other_home: Path, command: Command) -> Command:
    """`plumbline` on the empty one."""
    return on(command, empty_database_url, other_home)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    plumbline = runner(monkeypatch, capsys)

    async def execute(*arguments: str, **environment: str) -> Done:
        capsys.readouterr()
        return await asyncio.to_thread(plumbline, *arguments, **environment)

    return execute


@pytest.fixture
async def project(loop: Loop) -> Project:
    """With a policy in use, its pairs, and an owner who has a password."""
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    await loop.work_off()
    async with transaction(loop.sessions) as db:
        owner = await make_member(db, project, "owner")
        user = await db.get_one(User, owner.user_id)
        user.email, user.password_hash = EMAIL, await hash_password(PASSWORD)
    return project


def on(command: Command, url: str, home: Path) -> Command:
    async def execute(*arguments: object, **environment: str) -> Done:
        own = {"DATABASE_URL": url, "PLUMBLINE_HOME": str(home)}
        return await command(*map(str, arguments), **own, **environment)

    return execute


def kill_when(url: str, home: Path, is_time: Callable[[], bool], *arguments: object) -> None:
    """Start `plumbline ARGUMENTS` as a process of its own and kill it as soon as it has come so far."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from app.cli.main import main; main()", *map(str, arguments)],
        env=os.environ | {"DATABASE_URL": url, "PLUMBLINE_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not is_time():
        assert process.poll() is None, "it was done before it could be killed"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def is_marked(url: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT to_regclass('public.restoring') IS NOT NULL").fetchone()
    return row is not None and bool(row[0])


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
