"""A whole site of its own for a simulation: home, port and processes, started by the command that people use."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx

from app.db.embedded import EmbeddedPostgres
from app.errors import DomainError

START_SECONDS = 180
STOP_SECONDS = 30


class SiteError(DomainError):
    """The site did not start."""


@dataclass(frozen=True)
class Site:
    home: Path
    url: str
    database_url: str


@contextmanager
def running_site(home: Path, settings: Mapping[str, str]) -> Iterator[Site]:
    """`plumbline up` in `home` on a free port, for the length of the block. Raises SiteError.

    For its length SIGTERM ends this process in order, and with it the site.
    """
    before = signal.signal(signal.SIGTERM, _end_in_order)
    home.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLUMBLINE_")}
    environment.pop("DATABASE_URL", None)
    # Its people think in no time.
    environment["PLUMBLINE_REQUESTS_PER_MINUTE"] = "0"
    environment |= {"PLUMBLINE_HOME": str(home), "PLUMBLINE_PORT": str(port), **settings}
    log = home / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("plumbline"), "up"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url, log)
        yield Site(home, url, EmbeddedPostgres(home).url)
    finally:
        _stop(process)
        signal.signal(signal.SIGTERM, before)


def _end_in_order(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SiteError(f"the site ended with {process.returncode}: {log.read_text(errors='replace').strip()}")
        try:
            if httpx.get(f"{url}/healthz", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SiteError(f"the site was not ready after {START_SECONDS} s; its output is in {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
