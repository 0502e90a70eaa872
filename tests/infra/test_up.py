"""`plumbline up`: one process that starts everything, keeps it running and leaves nothing behind."""

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.supervisor import take_port
from tests.up import LINK, Up, free_port, processes_of, wait_until

pytestmark = pytest.mark.e2e

# `plumbline up` gives another command ten seconds to be done with the database: long to sit out.
IMPATIENT = "import app.cli.main, app.supervisor as up; up.OTHER_COMMAND_SECONDS = 0.5; app.cli.main.main()"


@pytest.fixture
def home() -> Iterator[Path]:
    closed = Path(tempfile.mkdtemp(prefix="plumbline-up-"))
    yield closed / "home"
    assert processes_of(closed / "home") == {}
    shutil.rmtree(closed)


@pytest.fixture
def up(home: Path) -> Iterator[Callable[..., Up]]:
    port = free_port()
    started: list[Up] = []

    def start(**settings: str) -> Up:
        started.append(Up(home, port, **settings))
        return started[-1].wait_until_ready()

    yield start
    for running in started:
        if running.process.poll() is None:
            running.end()


def test_it_prints_a_link_that_works_has_its_home_alone_and_leaves_nothing_running(
    up: Callable[..., Up], home: Path
) -> None:
    site = up()
    (who, link), *_ = LINK.findall(site.said)
    assert who == "Admin"
    assert httpx.get(link).is_success
    second = Up(home, free_port(), (sys.executable, "-c", IMPATIENT, "up"))
    assert second.process.wait() == 4
    second.end()
    assert f"is in use by another Plumbline (process {site.process.pid})" in second.said
    assert second.said.count("\n") == 1
    assert site.is_ready()
    assert site.end() == 0
    assert processes_of(home) == {}
    again = up()
    assert again.is_ready()
    assert LINK.findall(again.said) == []
    assert "`plumbline link` prints a one-time sign-in link." in again.said


def test_a_taken_port_is_one_line_and_nothing_is_started(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site = Up(home, port)
        assert site.process.wait() == 4
        site.end()
    assert site.said == f"Port {port} is taken by another program. Set PLUMBLINE_PORT to a free one.\n"
    assert not home.exists()


def test_nothing_is_held_back_on_connections_to_the_port() -> None:
    with (
        take_port("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.slow
def test_parts_that_are_killed_start_again(up: Callable[..., Up]) -> None:
    site = up()
    for part in ("app.web.main", "app.jobs.worker", "postgres -D"):
        killed = site.pid_of(part)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: site.pid_of(part) not in {None, killed})  # noqa: B023 - called before the loop goes on
        wait_until(site.is_ready)
    restarts = site.said.split("Ctrl-C stops everything.")[1]
    for part in ("web", "worker", "database"):
        assert f"The {part} " in restarts


@pytest.mark.slow
def test_of_two_web_processes_one_goes_on_alone_until_the_other_is_back(up: Callable[..., Up], home: Path) -> None:
    site = up(PLUMBLINE_WEB_PROCESSES="2")
    wait_until(lambda: all("startup complete" in log_of(home, name) for name in ("web", "web-2")))
    killed, left = site.pids_of("app.web.main")
    os.kill(killed, signal.SIGKILL)
    assert site.is_ready()
    wait_until(lambda: len(site.pids_of("app.web.main") - {killed}) == 2)
    assert left in site.pids_of("app.web.main")
    assert site.end() == 0
    assert processes_of(home) == {}


@pytest.mark.slow
def test_nothing_outlives_a_killed_supervisor_and_the_next_one_starts(up: Callable[..., Up], home: Path) -> None:
    up().end(signal.SIGKILL)
    wait_until(lambda: processes_of(home) == {})
    assert up().is_ready()


def log_of(home: Path, name: str) -> str:
    log = home / "logs" / f"{name}.log"
    return log.read_text() if log.exists() else ""
