"""How large a request may be: files on the routes that take them, little everywhere else."""

import re

from starlette.datastructures import Headers
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.serving import errors

TOO_LARGE = "Content Too Large"
# Enough for the longest rationale or edited response.
MOST_BYTES = 1_048_576
# What a form adds to the file in it.
FORM_BYTES = 1_048_576

UPLOADS = re.compile(r"(/api/v1)?/projects/[^/]+/imports|/projects/new/file|/api/v1/project-files")


class BodyLimit:
    """Answers 413 to what is larger, before all of it was read."""

    def __init__(self, app: ASGIApp, *, upload_bytes: int) -> None:
        self._usual = RequestBodyLimitMiddleware(app, max_body_size=MOST_BYTES)
        self._of_uploads = RequestBodyLimitMiddleware(app, max_body_size=upload_bytes + FORM_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_upload = scope["type"] == "http" and scope["method"] == "POST" and UPLOADS.fullmatch(scope["path"])
        limited = self._of_uploads if is_upload else self._usual
        if scope["type"] == "http" and _announced_bytes(scope) > limited.max_body_size:
            refused = errors.respond(Request(scope), 413, "HTTPError", TOO_LARGE)
            await refused(scope, receive, send)
        else:
            await limited(scope, receive, send)


def _announced_bytes(scope: Scope) -> int:
    said = Headers(scope=scope).get("content-length", "")
    return int(said) if said.isdecimal() else 0
