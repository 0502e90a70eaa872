"""Connections that nobody can fill without end, hold for ever, or open without number.

uvicorn's own protocol reads a head until it is whole, however long that is and however long it takes, waits for a body
as long as its client likes, and keeps what a client doesn't fetch. Here each of these ends:

    waiting for a head       `head_seconds`, and it may have `head_bytes`
    waiting for a body       it brings BODY_BYTES_A_SECOND over each `body_seconds`
    an answer nobody reads   `unread_seconds`
    idle                     uvicorn's --timeout-keep-alive

While an answer is being made or sent (a stream of events, a download) nothing is waited for, and no time runs. The size
of bodies is `app.web.serving.body_limit`'s to know: it depends on what they are sent to.
"""

import asyncio
import resource
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import ClassVar, Literal

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.networks import network_of
from app.settings import Settings, settings

MOST_HEADERS = 128
# Browsers don't send a request before the last one was answered, and others send few.
MOST_WAITING = 8
BODY_BYTES_A_SECOND = 1_000
# How long what is left of a body may come in once it was answered, so that its sender gets to read the answer.
REST_SECONDS = 5.0
# How long a connection that was closed may take to send what it still holds.
FAREWELL_SECONDS = 10.0

MOST_CONNECTIONS = 10_000
# Files that a process needs beside its connections: database, logs, downloads, uploads.
OTHER_FILES = 200

Awaited = Literal["head", "body", "rest"]


@dataclass(frozen=True)
class Limits:
    """`most` connections of a process, `most_of_client` of one client; those of `proxies` are many clients'."""

    head_bytes: int = 32 * 1024
    head_seconds: float = 20
    body_seconds: float = 30
    unread_seconds: float = 60
    most: int = MOST_CONNECTIONS
    most_of_client: int = 512
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, chosen: Settings, most: int) -> "Limits":
        return cls(
            head_bytes=chosen.header_kilobytes * 1024,
            head_seconds=chosen.header_seconds,
            body_seconds=chosen.body_seconds,
            most=most,
            most_of_client=chosen.client_connections,
            proxies=tuple(_networks(chosen.trusted_proxies)),
        )


def _networks(listed: str) -> Iterator[IPv4Network | IPv6Network]:
    """What uvicorn takes for a proxy, too: addresses, networks, and “*” for everybody. A socket's name is none."""
    for name in (proxy.strip() for proxy in listed.split(",")):
        if name == "*":
            yield from (ip_network("0.0.0.0/0"), ip_network("::/0"))
        elif name:
            with suppress(ValueError):
                yield ip_network(name, strict=False)


class Refused(Exception):
    """The parser has seen enough."""


class Register:
    """The open connections of a process by client, each client's in the order of their coming."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._of_clients: dict[str, dict[Connection, None]] = {}
        self._count = 0

    def admit(self, connection: "Connection") -> bool:
        """Whether there is room for it, if need be in place of one that is idle or hasn't asked for anything yet: of
        the same client, or where the process has too many, of the client that has most."""
        crowd = self._crowd(connection)
        if crowd is not None:
            dispensable = min(
                (other for other in crowd if other.is_idle), key=lambda other: other.has_served, default=None
            )
            if dispensable is None:
                return False
            dispensable.end()
        self._of_clients.setdefault(connection.client_name, {})[connection] = None
        self._count += 1
        return True

    def forget(self, connection: "Connection") -> None:
        of_client = self._of_clients.get(connection.client_name, {})
        if connection in of_client:
            del of_client[connection]
            self._count -= 1
            if not of_client:
                del self._of_clients[connection.client_name]

    def _crowd(self, connection: "Connection") -> "Iterable[Connection] | None":
        of_client = self._of_clients.get(connection.client_name, {})
        if len(of_client) >= self.limits.most_of_client and not self._is_proxy(connection):
            return of_client
        if self._count >= self.limits.most:
            return max(self._of_clients.values(), key=len)
        return None

    def _is_proxy(self, connection: "Connection") -> bool:
        if connection.client is None:
            return True
        address = ip_address(connection.client[0].partition("%")[0])
        return any(address in network for network in self.limits.proxies)


@cache
def register() -> Register:
    """This process's, by its settings. As many files as it may have are asked of the system first."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return Register(Limits.of(settings(), max(soft - OTHER_FILES, soft // 2)))


class Connection(HttpToolsProtocol):
    """One connection: what it waits for is bounded in bytes and seconds. For uvicorn's `--http`."""

    chosen_register: ClassVar[Register | None] = None
    """Whose limits hold and who counts; None: the process's."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.register = self.chosen_register or register()
        self.limits = self.register.limits
        self.client_name = network_of(self.client[0] if self.client else None)
        self.has_served = False
        self._receiving: Literal["head", "body"] | None = None
        self._is_silent = False
        self._is_ending = False
        self._head_bytes = self._silent_bytes = self._body_bytes = self._messages = 0
        self._has_waited_for_us = False
        self._awaited: tuple[Awaited, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        if not self.register.admit(self):
            self._refuse(503)
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.register.forget(self)
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    @property
    def is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_idle(self) -> bool:
        """Nothing whole was asked that isn't answered."""
        return not self.is_answering and self._receiving != "body" and not self._is_ending

    def data_received(self, data: bytes) -> None:
        self._is_silent = True
        super().data_received(data)
        if self._is_ending or self.transport.is_closing():
            return
        # A part of a header, of a trailer or of a chunk's size: the parser keeps it and says nothing yet.
        self._silent_bytes = self._silent_bytes + len(data) if self._is_silent else 0
        if self._silent_bytes > self.limits.head_bytes:
            self._refuse(431)
            return
        self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._receiving, self._head_bytes, self._is_silent = "head", 0, False
        self._messages += 1

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        if self._receiving == "body":  # a trailer, which nobody reads
            return
        if len(self.headers) >= MOST_HEADERS:
            self._refuse(431)
            raise Refused
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_WAITING:
            self._refuse(429)
            raise Refused
        self._receiving, self._body_bytes, self._is_silent = "body", 0, False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._is_silent = False
        self._body_bytes += len(body)
        super().on_body(body)
        self._has_waited_for_us = self._has_waited_for_us or self.flow.read_paused

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._receiving, self._is_silent = None, False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.has_served = True
        if not self.transport.is_closing():
            self._watch()

    def send_400_response(self, msg: str) -> None:
        if not self._is_ending:
            self._refuse(400)

    def timeout_keep_alive_handler(self) -> None:
        self.end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def end(self) -> None:
        """Close it, and let go of what nobody fetches."""
        if not self._is_ending:
            self._is_ending = True
            if self.is_answering:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.transport.close()
            self._within(FAREWELL_SECONDS, self.transport.abort)

    def _count_head(self, size: int) -> None:
        self._is_silent = False
        self._head_bytes += size
        if self._head_bytes > self.limits.head_bytes:
            self._refuse(431)
            raise Refused

    def _watch(self) -> None:
        """Set a time for what is waited for now. What was waited for already keeps its own."""
        kind = self._awaits()
        awaited = None if kind is None else (kind, self._messages)
        if awaited == self._awaited:
            return
        self._awaited = awaited
        match kind:
            case "head":
                self._within(self.limits.head_seconds, self._miss_head)
            case "body":
                self._look_at_body_later()
            case "rest":
                self._unset_keepalive_if_required()
                self._within(REST_SECONDS, self.end)
            case None:
                self._within(None)

    def _awaits(self) -> Awaited | None:
        if self._receiving == "body" and not self.is_answering:
            return "rest"
        if self._receiving is not None:
            return self._receiving
        is_kept = self.is_answering or self.timeout_keep_alive_task is not None
        return None if is_kept else "head"

    def _look_at_body_later(self) -> None:
        self._body_bytes, self._has_waited_for_us = 0, self.flow.read_paused
        self._within(self.limits.body_seconds, self._look_at_body)

    def _look_at_body(self) -> None:
        is_ours = self._has_waited_for_us or self.flow.read_paused
        if is_ours or self._body_bytes >= BODY_BYTES_A_SECOND * self.limits.body_seconds:
            self._look_at_body_later()
        else:
            self._refuse(408)

    def _miss_head(self) -> None:
        if self._receiving == "head":
            self._refuse(408)
        else:
            self.end()

    def _within(self, seconds: float | None, act: Callable[[], object] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None or act is None else self.loop.call_later(seconds, act)

    def _refuse(self, status: int) -> None:
        """Say why, unless an answer is under way already, and end."""
        if self._is_ending:
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            line = STATUS_LINE[status]
            why = line.partition(b" ")[2].strip()
            head = b"content-type: text/plain\r\ncontent-length: %d\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
            self.transport.write(line + head % len(why) + why)
        self.end()
