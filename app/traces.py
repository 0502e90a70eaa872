"""Traces by OpenTelemetry: where time goes in a request or a run, told to a collector where the settings name one.

A span holds names, numbers and ids, and never what people or models wrote: no exception's message, no address.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

Value = str | int | float | bool
Kind = Literal["server", "consumer", "internal"]

LAST_SECONDS = 2.0
"""How long the end of a process waits for its last spans to be taken."""

_tracer: "Tracer | None" = None


class Span:
    """Something that takes time. One that nobody asked for does nothing."""

    def note(self, **_attributes: Value) -> None:
        """Say more of it; `__` in a name stands for a dot."""

    def call(self, _name: str) -> None:
        """Give it the name that is known only now."""


@contextmanager
def sent(settings: Settings, part: Literal["web", "worker"]) -> Iterator[None]:
    """Spans of this process are sent to the settings' collector for the length of the block, if there is one."""
    global _tracer
    if settings.traces_endpoint is None:
        yield
        return
    exporter = _exporter(settings.traces_endpoint)
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"plumbline-{part}", "service.version": version("plumbline")})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("plumbline")
    try:
        yield
    finally:
        _tracer = None
        provider.force_flush(int(LAST_SECONDS * 1000))
        provider.shutdown()


def _exporter(endpoint: str) -> "SpanExporter":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise SettingsError(
            "PLUMBLINE_TRACES_ENDPOINT is set and OpenTelemetry isn't installed: pip install 'plumbline[traces]'"
        ) from None
    return OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=LAST_SECONDS)


@contextmanager
def span(name: str, kind: Kind = "internal", **attributes: Value) -> Iterator[Span]:
    """The block as a span, within the one around it. An error in it is told by the name of its class."""
    if _tracer is None:
        yield Span()
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode

    with _tracer.start_as_current_span(
        name, kind=SpanKind[kind.upper()], record_exception=False, set_status_on_exception=False
    ) as started:

        class Told(Span):
            def note(self, **more: Value) -> None:
                started.set_attributes({name.replace("__", "."): value for name, value in more.items()})

            def call(self, name: str) -> None:
                started.update_name(name)

        told = Told()
        told.note(**attributes)
        try:
            yield told
        except Exception as error:
            told.note(error__type=type(error).__qualname__)
            started.set_status(Status(StatusCode.ERROR))
            raise
