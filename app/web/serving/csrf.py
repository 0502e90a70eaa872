"""Cross-site requests that would change something are refused by what the browser itself says of their origin.

`Sec-Fetch-Site` is sent by every browser since 2023 and can't be set by a page. Without it, `Origin` must be ours.
A request with neither comes from no browser, so no browser's cookies were abused. There are no tokens in forms to
forget.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.locales import gettext
from app.web.serving import errors

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITE = frozenset({"same-origin", "none"})


class SameOriginOnly:
    def __init__(self, app: ASGIApp, *, public_url: str | None = None) -> None:
        self.app = app
        self.public_origin = _origin(public_url) if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS or self._is_ours(scope):
            await self.app(scope, receive, send)
            return
        refusal = errors.respond(
            Request(scope), 403, "Forbidden", gettext("This request came from another site, so it was not carried out.")
        )
        await refusal(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        # A bearer token is never sent by a browser of its own accord.
        if headers.get("authorization", "").lower().startswith("bearer ") and "cookie" not in headers:
            return True
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site in OWN_SITE
        origin = headers.get("origin")
        if origin is None:
            return True
        return origin in {f"{scope['scheme']}://{headers.get('host', '')}", self.public_origin}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
