"""Where Prometheus asks: each process tells its own figures, at a port of its own that only this machine reaches.

One process never waits for another to tell how it is, and a process that has ended tells nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EADDRINUSE

import structlog
from prometheus_client import REGISTRY, start_http_server

from app.settings import Settings

WEB_PROCESSES = 4
"""As many as can be set; a port each."""

log = structlog.get_logger(__name__)


def worker_ports(settings: Settings) -> Sequence[int]:
    """The worker's port, by which figures of the whole site are told."""
    return () if settings.metrics_port is None else (settings.metrics_port,)


def web_ports(settings: Settings) -> Sequence[int]:
    """Ports of the web processes, each of which takes the first that is free."""
    if settings.metrics_port is None:
        return ()
    return range(settings.metrics_port + 1, settings.metrics_port + 1 + WEB_PROCESSES)


@contextmanager
def told_at(host: str, ports: Sequence[int]) -> Iterator[int | None]:
    """Figures are told for the length of the block, at the port that is given; at none if all are taken."""
    port = None
    for port in ports:
        try:
            server, thread = start_http_server(port, host, REGISTRY)
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise
            continue
        try:
            yield port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        return
    if ports:
        log.warning("metrics_ports_taken", first=ports[0], last=ports[-1])
    yield None
