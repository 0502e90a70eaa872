"""Spans reach a collector that speaks OTLP over HTTP: a real one on loopback, which reads what it is sent."""

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy.ext.asyncio import AsyncSession

from app import traces
from app.jobs.worker import work
from app.services import accounts
from app.settings import Settings, SettingsError
from tests.factories import make_scene
from tests.jobs.conftest import context, home, loop
from tests.jobs.loop import Loop
from tests.sites import new_site

__all__ = ["context", "home", "loop"]


@dataclass
class Collector:
    """Keeps every span that was sent: `attributes` are those of the span and of its process, by name."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)

    @property
    def spans(self) -> list["Sent"]:
        found = []
        for body in self.bodies:
            for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = _values(of_process.resource.attributes)["service.name"]
                for scope in of_process.scope_spans:
                    found += [
                        Sent(service, one.name, one.span_id, one.parent_span_id, _values(one.attributes))
                        for one in scope.spans
                    ]
        return found

    def span(self, name: str) -> "Sent":
        (found,) = [one for one in self.spans if one.name == name]
        return found


@dataclass(frozen=True)
class Sent:
    service: str
    name: str
    id: bytes
    parent: bytes
    attributes: dict[str, object]


def _values(attributes: object) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}  # type: ignore[attr-defined]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.bodies.append(decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    yield collector
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_request_is_a_span_that_is_called_by_its_route_and_holds_no_address(
    collector: Collector, db: AsyncSession, database_url: str
) -> None:
    project, _, annotator = await make_scene(db)
    token = await accounts.create_api_token(db, annotator.user_id, name="mine")
    await db.commit()
    app = new_site(Settings(database_url=database_url, trusted_hosts="test", traces_endpoint=f"{collector.url}/"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        api = {"Authorization": f"Bearer {token}"}
        asked = await client.get(f"/api/v1/projects/{project.slug}/next-task?secret=1", headers=api)
        await client.get("/sign-in/link/secret-word")
    span = collector.span("GET /api/v1/projects/{slug}/next-task")
    assert span.service == "plumbline-web"
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/api/v1/projects/{slug}/next-task",
        "http.response.status_code": 200,
        "plumbline.request_id": asked.headers["x-request-id"],
        "plumbline.user_id": annotator.user_id,
    }
    assert collector.span("GET /sign-in/link/{token}").attributes["http.response.status_code"] == 404
    everything = b"".join(collector.bodies)
    assert [word for word in (b"secret", project.slug.encode(), token.encode()) if word in everything] == []


async def test_a_run_is_a_span_of_its_stage_within_that_of_its_job(
    collector: Collector, loop: Loop, home: Path, database_url: str
) -> None:
    run = await loop.queue_sft(await loop.make_project(), steps=2)
    settings = Settings(home=home, database_url=database_url, traces_endpoint=collector.url)
    worker = asyncio.create_task(work(settings, database_url, executor=loop.context.executor))
    assert (await loop.until_over(run)).state == "succeeded"
    signal.raise_signal(signal.SIGTERM)
    await worker
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)
    stage = collector.span("stage sft")
    # Whoever looks for forgotten runs may send a second job just as the first is taken; it finds nothing to do.
    jobs = [
        one.id
        for one in collector.spans
        if one.name == "job plumbline.run" and one.attributes.get("plumbline.run_id") == run.id
    ]
    assert stage.service == "plumbline-worker"
    assert stage.attributes == {"plumbline.run_id": run.id, "plumbline.stage": "sft", "plumbline.attempt": 1}
    assert jobs.count(stage.parent) == 1


def test_an_error_is_told_by_its_class_and_not_by_its_words(collector: Collector) -> None:
    with (
        traces.sent(Settings(traces_endpoint=collector.url), "web"),
        pytest.raises(ValueError, match="secret"),
        traces.span("outer"),
        traces.span("inner"),
    ):
        raise ValueError("a secret word")
    assert collector.span("inner").attributes == {"error.type": "ValueError"}
    assert collector.span("inner").parent == collector.span("outer").id
    assert b"secret" not in b"".join(collector.bodies)


def test_a_collector_that_is_away_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    with traces.sent(Settings(traces_endpoint="http://127.0.0.1:1"), "web"), traces.span("lost"):
        pass
    assert "127.0.0.1" in caplog.text


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with (
        pytest.raises(SettingsError, match=r"pip install 'plumbline\[traces\]'"),
        traces.sent(Settings(traces_endpoint="http://127.0.0.1:1"), "web"),
    ):
        pass


def test_nothing_is_sent_unless_asked_for() -> None:
    with traces.sent(Settings(), "web"), traces.span("quiet") as span:
        span.note(anything=1)
        span.call("other")
