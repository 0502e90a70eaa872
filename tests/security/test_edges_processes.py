"""The site as `plumbline` starts it, attacked from outside: it stays small, and answers everybody else."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.browser.serving import serving
from tests.databases import Copies

pytestmark = pytest.mark.e2e

FILES = 330
SLOW = 600
HEADERS_BYTES = 30_000_000
BODY_BYTES = 30_000_000
MOST_GROWTH_BYTES = 6_000_000
HEADER_SECONDS = 3.0


@pytest.fixture(scope="module")
def site(copies: Copies, template_database: str) -> Iterator[str]:
    """Its process may open no more files than on many machines, a bit smaller."""
    with (
        copies.of(template_database) as database_url,
        serving(database_url, files=FILES, PLUMBLINE_HEADER_SECONDS=str(HEADER_SECONDS)) as address,
    ):
        httpx.post(f"{address}/sign-in", data={"email": "nobody", "password": "wrong"})  # loads what it needs
        yield address


@pytest.mark.parametrize(
    "head",
    [
        b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nX-Long: ",
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    ],
)
def test_headers_without_end_take_no_memory(site: str, head: bytes) -> None:
    with dialled(site) as connection:
        before = largest_bytes(site)
        pour(connection, head, HEADERS_BYTES)
    assert largest_bytes(site) - before < MOST_GROWTH_BYTES


@pytest.mark.parametrize("length", [b"Content-Length: 30000000", b"Transfer-Encoding: chunked"])
def test_a_body_that_is_too_large_takes_no_memory(site: str, length: bytes) -> None:
    with dialled(site) as connection:
        before = largest_bytes(site)
        head = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        start = b"1C9C380\r\n" if b"chunked" in length else b""
        pour(connection, head + length + b"\r\n\r\n" + start + b"email=", BODY_BYTES)
    assert largest_bytes(site) - before < MOST_GROWTH_BYTES


def test_clients_that_never_finish_their_request_keep_nobody_out(site: str) -> None:
    with ExitStack() as opened:
        for _ in range(SLOW):
            connection = opened.enter_context(dialled(site))
            with suppress(OSError):
                connection.sendall(b"GET /sign-in HTTP/1.1\r\n")
        for _ in range(3):
            assert httpx.get(f"{site}/sign-in", timeout=5).status_code == 200


def test_a_foreign_name_is_in_no_answer(site: str) -> None:
    for path in ("/", "/projects", "/projects/", "/sign-in", "/static/nothing", "/api/v1/projects", "/nowhere/"):
        answer = httpx.get(f"{site}{path}", headers={"Host": "evil.test"})
        assert "evil.test" not in f"{answer.text}{answer.headers}", path
        forwarded = httpx.get(f"{site}{path}", headers={"X-Forwarded-Host": "evil.test", "Forwarded": "host=evil.test"})
        assert "evil.test" not in f"{forwarded.text}{forwarded.headers}", path


def dialled(site: str) -> socket.socket:
    address = urlsplit(site)
    return socket.create_connection((address.hostname, address.port or 0), timeout=20)


def pour(connection: socket.socket, head: bytes, most_bytes: int) -> None:
    """Send the head and letters after it until the server has had enough."""
    with suppress(OSError):
        connection.sendall(head)
        for _ in range(most_bytes // 100_000):
            connection.sendall(b"a" * 100_000)


def largest_bytes(site: str) -> int:
    """The most memory that the site's process has had so far."""
    port = f"PLUMBLINE_PORT={urlsplit(site).port}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"uvicorn" in (process / "cmdline").read_bytes() and port in (process / "environ").read_bytes():
                found = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
                assert found is not None
                return int(found[1]) * 1024
    raise AssertionError("no such process")
