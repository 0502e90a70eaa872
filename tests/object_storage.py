"""A server that speaks S3, on the loopback: one for all tests of a process, each of which has a folder of its own."""

import re
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from app.services.places.storage import Storage
from app.services.published.bucket import Bucket
from app.services.published.shelf import Shelf
from app.settings import settings
from tests.up import free_port, wait_until


@dataclass(frozen=True)
class Stored:
    """A test's own folder in it."""

    server: str
    folder: str

    @property
    def url(self) -> str:
        return f"s3://bucket/{self.folder}"

    def names(self) -> list[str]:
        """Relative to the folder."""
        listed = httpx.get(f"{self.server}/bucket", params={"list-type": "2", "prefix": f"{self.folder}/"}).text
        return [key.removeprefix(f"{self.folder}/") for key in re.findall("<Key>(.*?)</Key>", listed)]

    def read(self, key: str) -> bytes:
        return httpx.get(f"{self.server}/bucket/{self.folder}/{key}").raise_for_status().content

    def write(self, key: str, content: bytes) -> None:
        storage = Storage(self.url)
        storage.remove(key)
        assert storage.create(key, content)

    def remove(self, key: str) -> None:
        Storage(self.url).remove(key)

    def flip_a_byte(self, name: str) -> str:
        """In the file of that name; its key."""
        (key,) = (key for key in self.names() if key.endswith(f"/{name}") and "manifest" not in name)
        content = bytearray(self.read(key))
        content[0] ^= 1
        self.write(key, bytes(content))
        return key

    def shelf(self, home: Path, *, most_bytes: int = 1 << 40, reserve_bytes: int = 0) -> Shelf:
        bucket = Bucket(Storage(self.url, patience_seconds=60))
        return Shelf(home, bucket, most_bytes=most_bytes, reserve_bytes=reserve_bytes)


@pytest.fixture(scope="session")
def storage_server() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _listens(port))
        httpx.put(f"http://127.0.0.1:{port}/bucket").raise_for_status()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def credentials(server: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT": server,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }


@pytest.fixture
def stored(storage_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stored]:
    """This process, and those that it starts, keep what is published there."""
    found = Stored(storage_server, secrets.token_hex(4))
    for name, value in {**credentials(storage_server), "PLUMBLINE_STORAGE_URL": found.url}.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield found
    monkeypatch.undo()
    settings.cache_clear()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class Between:
    """A server between a test and its storage. It tells what was asked, and `spoils` what a test wants spoilt."""

    def __init__(self, server: str) -> None:
        self.asked: list[str] = []
        self.forgets_conditions = False
        self.loses_answers = 0
        """How many of the next requests to write are passed on and get no answer."""
        self.stalls_at = ("none", "")
        """Requests of this method for names that end so: writing gets no answer and isn't passed on, reading stops
        half-way."""
        self.stalled, self.goes_on = threading.Event(), threading.Event()
        self._server = server
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def count(self, method: str, end: str) -> int:
        """Requests of the method for objects whose names end so."""
        return sum(line.startswith(f"{method} ") and line.endswith(end) for line in self.asked)

    def end(self) -> None:
        self.goes_on.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                asked = f"{self.command} {self.path.partition('?')[0]}"
                between.asked.append(asked)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                left_out = {"host", "content-length"} | ({"if-none-match"} if between.forgets_conditions else set())
                headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
                if stalls := asked.startswith(between.stalls_at[0]) and asked.endswith(between.stalls_at[1]):
                    between.stalled.set()
                if stalls and self.command == "PUT":
                    between.goes_on.wait(20)
                    self.close_connection = True
                    return
                answer = httpx.request(self.command, f"{between._server}{self.path}", content=body, headers=headers)
                if between.loses_answers and self.command == "PUT":
                    between.loses_answers -= 1
                    self.close_connection = True
                    return
                content = answer.content
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in {"transfer-encoding", "connection", "content-length", "content-encoding"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", answer.headers.get("content-length", str(len(content))))
                self.end_headers()
                if stalls:
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    between.goes_on.wait(20)
                elif self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815 - as http.server calls them

            def handle(self) -> None:
                with suppress(ConnectionError):  # of a client that was killed
                    super().handle()

            def log_message(self, *_: object) -> None:
                return

        return Handler


@pytest.fixture
def between(storage_server: str) -> Iterator[Between]:
    made = Between(storage_server)
    yield made
    made.end()
