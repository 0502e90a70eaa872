"""Requests, counted and timed for Prometheus."""

import time

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.serving.answers import Answer
from app.web.serving.route_names import CLIENT_WENT, method_of, route_of

REQUESTS = Counter("plumbline_http_requests_total", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram(
    "plumbline_http_response_seconds",
    "From a request's first byte to the first byte of its answer.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)


class RequestFigures:
    """Counts every request under its route's template. A stream counts when it ends, timed until it began."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = time.perf_counter()
        answer = Answer(send)
        try:
            await self.app(scope, receive, answer.send)
        finally:
            method, route = method_of(scope), route_of(scope)
            REQUESTS.labels(method, route, answer.status or CLIENT_WENT).inc()
            if answer.began_at is not None:
                SECONDS.labels(method, route).observe(answer.began_at - received)
