"""What a client may send, hold and leave unread: limits below the application, on real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from app.web.serving.connections import Connection, Limits, Register

LIMITS = Limits(
    head_bytes=8_000, head_seconds=0.4, body_seconds=0.4, unread_seconds=0.4, most=40, most_of_client=6
)  # fmt: skip
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
KEEP_ALIVE_SECONDS = 30
PATIENCE_SECONDS = 10

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[], Awaitable[Streams]]


async def answer_all(scope: Scope, receive: Receive, send: Send) -> None:
    """`/` counts the body, `/events` goes on for a while, `/large` is large, `/unread` answers without reading."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/events":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(8):
            await send({"type": "http.response.body", "body": b"event\n", "more_body": True})
            await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"the end\n"})
        return
    size = 0
    more = scope["path"] != "/unread"
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    body = b"x" * 20_000_000 if scope["path"] == "/large" else b"%d bytes" % size
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(limits: Limits, protocol: type[asyncio.Protocol] | None = None) -> AsyncIterator[Dial]:
    class Bounded(Connection):
        chosen_register = Register(limits)

    config = uvicorn.Config(
        answer_all, http=protocol or Bounded, ws="none", lifespan="off", log_level="critical",
        timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=0,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server._serve(sockets=[listener]))
        try:
            async with AsyncExitStack() as opened:

                async def dial() -> Streams:
                    reader, writer = await asyncio.open_connection(*listener.getsockname())
                    opened.callback(writer.close)
                    return reader, writer

                yield dial
        finally:
            server.should_exit = True
            await task


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    async with served(LIMITS) as dial:
        yield dial


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server ends the connection, which it has to."""
    received = b""
    with suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while more := await reader.read(65_536):
                received += more
    return received


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        return head + await reader.readexactly(length)


async def until_answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, letters: bytes) -> bytes:
    """What comes while one letter after the other is sent, until the server ends the connection."""
    answer = asyncio.ensure_future(until_closed(reader))
    for letter in letters:
        if answer.done() or reader._eof:  # type: ignore[attr-defined]  # at_eof says it once all is read
            break
        writer.write(bytes([letter]))
        await asyncio.sleep(0.05)
    return await answer


async def pour(writer: asyncio.StreamWriter, piece: bytes, most_bytes: int = 20_000_000) -> int:
    """Send until the server has had enough; how much it took."""
    sent = 0
    with suppress(ConnectionError):
        while sent < most_bytes:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
    return sent


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /", b"a" * 10_000),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: ", b"a" * 10_000),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-A: a\r\n" * 1_000),
        (b"", b"\r\n" * 5_000),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: ", b"a" * 10_000),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: a\r\n" * 1_000),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;a=", b"a" * 10_000),
    ],
    ids=["address", "one header", "many headers", "empty lines", "a trailer", "trailers", "a chunk's extension"],
)
async def test_a_head_without_end_is_refused_soon(dial: Dial, start: bytes, piece: bytes) -> None:
    reader, writer = await dial()
    writer.write(start)
    taken, answer = await asyncio.gather(pour(writer, piece), until_closed(reader))
    assert taken < 10_000_000  # of which sockets hold some
    assert not answer or b" 431 " in answer


async def test_a_head_that_is_too_long_is_told_so_and_one_that_fits_is_answered(dial: Dial) -> None:
    reader, writer = await dial()
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: %b\r\n\r\n" % (b"a" * 7_000))
    assert (await answer_of(reader)).endswith(b"0 bytes")
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: %b\r\n\r\n" % (b"a" * 9_000))
    assert b" 431 " in await until_closed(reader)


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"\r\n", GET[:-2]])
async def test_a_head_that_does_not_come_ends_the_connection(dial: Dial, start: bytes) -> None:
    reader, writer = await dial()
    writer.write(start)
    answer = await until_closed(reader)
    assert (b" 408 " in answer) == (b"GET" in start)


async def test_a_head_that_comes_letter_by_letter_gets_no_more_time(dial: Dial) -> None:
    reader, writer = await dial()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert b" 408 " in await until_answered(reader, writer, GET[:-4] + b"a" * 100)
    assert loop.time() - began < 3


async def test_nothing_but_empty_lines_after_a_request_is_no_reason_to_stay(dial: Dial) -> None:
    reader, writer = await dial()
    writer.write(GET)
    await answer_of(reader)
    writer.write(b"\r\n")
    assert await until_closed(reader) == b""


async def test_a_body_that_does_not_come_is_given_up(dial: Dial) -> None:
    reader, writer = await dial()
    writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
    assert b" 408 " in await until_answered(reader, writer, b"a" * 100)


async def test_a_large_body_may_take_its_time_as_long_as_it_comes(dial: Dial) -> None:
    reader, writer = await dial()
    writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
    for _ in range(10):
        writer.write(b"a" * 500)
        await asyncio.sleep(0.1)
    assert (await answer_of(reader)).endswith(b"5000 bytes")


async def test_the_rest_of_a_body_that_was_answered_is_not_waited_for(
    dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.serving.connections.REST_SECONDS", 0.2)
    reader, writer = await dial()
    writer.write(b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
    await answer_of(reader)
    await until_answered(reader, writer, b"a" * 100)
    assert reader.at_eof()


async def test_an_answer_that_nobody_reads_is_let_go(dial: Dial) -> None:
    reader, writer = await dial()
    writer.write(GET.replace(b"/ ", b"/large "))
    await asyncio.sleep(1.5)
    assert len(await until_closed(reader)) < 20_000_000


async def test_a_stream_of_events_outlives_every_limit(dial: Dial) -> None:
    reader, writer = await dial()
    writer.write(GET.replace(b"/ ", b"/events "))
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert b"the end" in await reader.readuntil(b"the end")


async def test_a_connection_that_was_of_use_stays_open(dial: Dial) -> None:
    reader, writer = await dial()
    for _ in range(3):
        writer.write(GET)
        await answer_of(reader)
        await asyncio.sleep(LIMITS.head_seconds * 1.5)
    assert not reader.at_eof()


async def test_requests_that_wait_for_one_another_are_few(dial: Dial) -> None:
    reader, writer = await dial()
    writer.write(GET.replace(b"/ ", b"/events ") + GET * 100)
    answer = await until_closed(reader)
    assert answer.count(b"HTTP/1.1 200") <= 1


async def test_clients_that_send_nothing_never_keep_out_one_that_does() -> None:
    async with served(replace(LIMITS, head_seconds=30, most=10, most_of_client=100)) as dial:
        slow = [await dial() for _ in range(30)]
        for _, writer in slow:
            writer.write(b"GET /")
        reader, writer = await dial()
        writer.write(GET)
        assert (await answer_of(reader)).endswith(b"0 bytes")


async def test_a_client_has_a_number_of_connections_of_which_idle_ones_make_room() -> None:
    async with served(replace(LIMITS, head_seconds=30)) as dial:
        busy = [await dial() for _ in range(LIMITS.most_of_client - 1)]
        for _, writer in busy:
            writer.write(GET.replace(b"/ ", b"/events "))
        await asyncio.gather(*(reader.readuntil(b"event") for reader, _ in busy))
        idle, writer = await dial()
        writer.write(GET)
        await answer_of(idle)
        last, writer = await dial()
        writer.write(GET.replace(b"/ ", b"/events "))
        await last.readuntil(b"event")
        assert await until_closed(idle) == b""
        refused, _ = await dial()
        assert b" 503 " in await until_closed(refused)
        for reader, _ in busy:
            assert b"the end" in await reader.readuntil(b"the end")
