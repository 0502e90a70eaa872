"""The outermost layers: a request's id and language, one log line per request, and an answer to what nobody foresaw."""

import re
import secrets
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.acting import Actor, Door, acting
from app.web import locales
from app.web.serving import away, errors
from app.web.serving.answers import Answer
from app.web.serving.away import Outages

log = structlog.get_logger(__name__)

# A proxy's id is taken over if it looks like one: it ends up in logs and pages.
_REQUEST_ID = re.compile(r"[0-9A-Za-z_-]{8,64}")
SECRET_PATHS = ("/sign-in/link/", "/invitations/")
QUIET_PATHS = ("/static/", "/healthz", "/readyz")


class RequestLog:
    """Gives each request its language and an id, and logs its end.

    The id is `request.state.request_id`, the header X-Request-ID, and in every line that is logged meanwhile.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        locales.use(locales.of_request(Request(scope)))
        started = time.perf_counter()
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        door: Door = "api" if scope["path"].startswith(errors.API) else "page"
        named = acting(Actor(door, request_id))
        with structlog.contextvars.bound_contextvars(request_id=request_id), named:
            try:
                await self.app(scope, receive, send_and_note)
            finally:
                if not scope["path"].startswith(QUIET_PATHS):
                    milliseconds = round((time.perf_counter() - started) * 1000, 1)
                    # No query string: links to sign in and the like carry secrets. Their paths are cut for the same
                    # reason.
                    log.info(
                        "request",
                        method=scope["method"],
                        path=_without_secrets(scope["path"]),
                        status=status,
                        milliseconds=milliseconds,
                    )


class ErrorBoundary:
    """Logs an unforeseen error with its stack and answers with the error page, headers and all; of an outage, which
    every request meets, a line now and then."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._outages = Outages()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = Answer(send)
        try:
            await self.app(scope, receive, answer.send)
        except ClientDisconnect:  # nobody is there to be answered
            log.info("request.aborted", path=_without_secrets(scope["path"]))
        except Exception as error:  # the edge of the process: whatever it is, it is logged and answered
            refusal = self._outages.note(error)
            if refusal is not None:
                # An answer that has begun is cut off: the server ends its connection when nothing more comes.
                if answer.status is None:
                    await away.answered(Request(scope), refusal)(scope, receive, send)
                return
            log.exception("request.crashed", path=_without_secrets(scope["path"]))
            if answer.status is not None:
                raise
            await errors.crashed(Request(scope))(scope, receive, send)


def _without_secrets(path: str) -> str:
    secret = next((start for start in SECRET_PATHS if path.startswith(start)), None)
    return path if secret is None else f"{secret}…"
