"""Requests as spans of a trace."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app import traces
from app.acting import current
from app.web.serving.answers import Answer
from app.web.serving.route_names import CLIENT_WENT, method_of, route_of


class RequestSpans:
    """Each request is a span, called by its route; within the log's layer, whose id of the request it carries."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = Answer(send)
        method = method_of(scope)
        with traces.span(method, "server", http__request__method=method) as span:
            try:
                await self.app(scope, receive, answer.send)
            finally:
                route = route_of(scope)
                span.call(f"{method} {route}")
                span.note(http__route=route, http__response__status_code=answer.status or CLIENT_WENT)
                actor = current()
                if actor is not None and actor.request_id is not None:
                    span.note(plumbline__request_id=actor.request_id)
                if actor is not None and actor.user_id is not None:
                    span.note(plumbline__user_id=actor.user_id)
