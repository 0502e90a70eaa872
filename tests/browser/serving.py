"""A real server in a process of its own: uvicorn, as `plumbline` starts it, on a free port."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.settings import load_settings
from app.supervisor import web_command

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180


@contextmanager
def serving(database_url: str, port: int | None = None, *, files: int | None = None, **settings: str) -> Iterator[str]:
    """The address of a server on this database, which is gone when the block ends; it may open `files`."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"PLUMBLINE_PORT": str(port), "DATABASE_URL": database_url, "PLUMBLINE_REQUESTS_PER_MINUTE": "0"}
    environment = {**os.environ, **own, **settings}
    limits = ["prlimit", f"--nofile={files}:{files}"] if files else []
    command = [*limits, *web_command(load_settings(environment), f"--port={port}")]
    server = subprocess.Popen(
        [*command, "--log-level=warning"], cwd=ROOT, env=environment | {"PYTHONWARNINGS": "default"}
    )
    try:
        _wait_until_ready(url, server)
        yield url
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/readyz") as answer:  # noqa: S310 - our own address
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise TimeoutError("the server did not become ready")
