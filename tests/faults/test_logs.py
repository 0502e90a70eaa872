"""Logs that nobody can write lines into but the program, and that never grow without end."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI

from app import logs, processes
from app.processes import open_log, rotate_log
from app.settings import Settings
from app.supervisor import Supervisor

FORGED = "2026-01-01T00:00:00Z [info     ] request    path=/people status=200"
ODD = f"tea\r\n{FORGED}\x1b[2J\x9b31m\x00\u202e\u2028end"


@pytest.fixture
def _as_before() -> Iterator[None]:
    before, handlers = structlog.get_config(), list(logging.root.handlers)
    yield
    structlog.configure(**before)
    logging.root.handlers[:] = handlers


def assert_clean(written: str) -> None:
    for line in written.splitlines():
        assert line.isprintable(), repr(line)
        assert not line.startswith(FORGED)
    assert "\r" not in written
    assert "\x1b" not in written


@pytest.mark.usefixtures("_as_before")
async def test_what_people_send_stays_on_the_line_that_tells_of_it(
    site: FastAPI, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info")
    transport = httpx.ASGITransport(site, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
        await browser.get("/nowhere/tea%0D%0A" + FORGED.replace(" ", "%20") + "%1B%5B2J%C2%9B%E2%80%AEend")
    site.state.hub.publish(ODD)
    written = capsys.readouterr().err
    assert "\\r\\n2026-01-01" in written
    assert len(written.splitlines()) == 2
    assert_clean(written)


@pytest.mark.usefixtures("_as_before")
def test_stacks_and_words_of_libraries_are_set_in_and_hold_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logging.root.handlers.clear()
    logs.configure("info")
    try:
        raise ValueError(ODD)
    except ValueError:
        structlog.get_logger().exception("it_broke", why=ODD, whose={"name": ODD}, key=[ODD])
        logging.getLogger("a.library").exception("it broke by %s", ODD)
    written = capsys.readouterr().err
    assert written.count(logs.SET_IN + "ValueError\n") == 2
    assert written.count('File "') == 2
    assert_clean(written)
    of_the_program = [line for line in written.splitlines() if not line.startswith("  ")]
    assert [("it_broke" in line, "it broke by" in line) for line in of_the_program] == [(True, False), (False, True)]


def test_a_log_that_is_written_to_is_rotated_and_loses_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is another process, as it is for a supervisor, and never opens its log anew."""
    monkeypatch.setattr(processes, "LOG_BYTES", 20_000)
    program = "import sys, time\nfor n in range(2000):\n    print(n, 'x' * 20, flush=True); time.sleep(0.0005)"
    with open_log(tmp_path, "web") as log:
        writer = subprocess.Popen([sys.executable, "-c", program], stdout=log)
    kept: list[str] = []
    while writer.poll() is None:
        if rotate_log(tmp_path, "web"):
            kept += (tmp_path / "web.log.1").read_text().split("\n")[:-1]
        assert (tmp_path / "web.log").stat().st_size < 60_000
    kept += (tmp_path / "web.log").read_text().split("\n")[:-1]
    numbers = [int(line.split()[0]) for line in kept]
    assert len(numbers) > 1_950, "but for some of the moment in which it is cut"
    assert numbers == sorted(set(numbers)), "none twice, and none torn"
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 120_000


def test_where_there_is_no_room_for_the_old_log_it_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES", 10)
    with open_log(tmp_path, "web") as log:
        log.write(b"a line of it\n" * 3)
        log.flush()
        (tmp_path / "web.log.1.part").symlink_to("/dev/full")
        assert rotate_log(tmp_path, "web")
        assert [path.name for path in tmp_path.iterdir()] == ["web.log"]
        log.write(b"next\n")
        log.flush()
    assert (tmp_path / "web.log").read_bytes() == b"next\n"


def test_every_log_of_a_running_site_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES", 10)
    (tmp_path / "logs").mkdir()
    for name in ("web", "worker", "postgres"):
        (tmp_path / "logs" / f"{name}.log").write_text("more than ten bytes\n")
    Supervisor(Settings(home=tmp_path)).rotate_logs()
    assert {path.name for path in (tmp_path / "logs").glob("*.1")} == {"web.log.1", "worker.log.1", "postgres.log.1"}
