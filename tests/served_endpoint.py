"""A small endpoint of the OpenAI-compatible protocol, over real sockets, that makes the mistakes of real ones."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.settings import settings

KEY = "sk-very-secret-0123456789"
LOOPBACK = "127.0.0.0/8"


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    raw: bytes = b""

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"] if "messages" in self.body else self.body["prompt"])


@dataclass(frozen=True)
class Reply:
    """What goes out. `length` is what the header says of it, where that isn't true; `waits` holds it back."""

    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    waits: threading.Event | None = None


def says(text: str | None, *, tokens: int | None = 5, reason: str = "stop", **message: Any) -> Reply:
    """A response as most endpoints give it; `tokens` None leaves out the count."""
    usage = {} if tokens is None else {"usage": {"prompt_tokens": 7, "completion_tokens": tokens}}
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}
    return of({"id": "x", "model": "served-model-2026", "choices": [{**choice, "text": text}], **usage})


def of(body: object, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})


def cut() -> Reply:
    """Half of a body: the connection ends before what the header promised."""
    whole = says("Boil it.").content
    return Reply(200, whole[: len(whole) // 2], length=len(whole))


def busy(seconds: str = "0") -> Reply:
    return of({"error": {"message": "Rate limit reached"}}, 429, **{"Retry-After": seconds})


class ServedEndpoint:
    """Replies with what is in `next`, one after the other, then with what `reply` makes of a request."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.next: list[Reply] = []
        self.reply: Callable[[Asked], Reply] = lambda asked: says(f"Answer {len(self.asked)} to {asked.prompt}")
        self.arrived = threading.Condition()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {k.lower(): v for k, v in self.headers.items()}
                endpoint.answer(self, Asked(self.path, headers, json.loads(raw), raw))

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def speak_tls(self, certificate: Path) -> None:
        """From here on, with the certificate and private key of a file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        with self.arrived:
            self.asked.append(asked)
            reply = self.next.pop(0) if self.next else self.reply(asked)
            self.arrived.notify_all()
        if reply.waits is not None:
            reply.waits.wait()
        handler.close_connection = True
        try:
            handler.send_response(reply.status)
            for name, value in {**reply.headers, "Connection": "close"}.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(reply.content) if reply.length is None else reply.length))
            handler.end_headers()
            handler.wfile.write(reply.content)
        except ConnectionError:
            return  # whoever asked has gone

    def until_asked(self, count: int) -> None:
        """Return once so many requests have come in."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.asked) >= count, timeout=60)

    @contextmanager
    def serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@pytest.fixture
def endpoint() -> Iterator[ServedEndpoint]:
    """An endpoint of the test's own."""
    served = ServedEndpoint()
    with served.serving():
        yield served


@pytest.fixture
def loopback_allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation whose settings let served models be on this machine."""
    monkeypatch.setenv("PLUMBLINE_PRIVATE_ADDRESSES", LOOPBACK)
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()
