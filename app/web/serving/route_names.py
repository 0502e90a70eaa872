"""What a request is called where it is counted: by its route, never by its address, which holds names and secrets."""

import re

from starlette.types import Scope

MOUNTED = ("/static", "/docs")
UNKNOWN = "unknown"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_WENT = 499
"""The status of a request whose client went before it was answered; nginx's."""

_API = re.compile(r"/api/v\d+(?=/)")


def route_of(scope: Scope) -> str:
    """`/projects/{slug}/runs`, after the request has been answered; `unknown` for an address that leads nowhere."""
    template = getattr(scope.get("route"), "path", None)
    if template is None:
        return next((folder for folder in MOUNTED if scope.get("root_path", "").endswith(folder)), UNKNOWN)
    # Routes of the API are told without what they were included under.
    api = _API.match(scope["path"])
    return f"{api[0]}{template}" if api and not _API.match(template) else str(template)


def method_of(scope: Scope) -> str:
    """The method, of which a client could invent any number."""
    return scope["method"] if scope["method"] in METHODS else "other"
