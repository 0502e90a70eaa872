"""What can go wrong, as exceptions with the fields of the site's problem documents (RFC 9457)."""

import json
from collections.abc import Mapping
from typing import Any, cast

import httpx


class PlumblineError(Exception):
    """Everything that this package raises of its own."""


class Unreachable(PlumblineError):
    """The site didn't answer, or broke off, and went on doing so for as often as it was tried."""


class RunFailed(PlumblineError):
    """A run ended without success. `run` has its state and, as `error`, why; `bad_rows` is, of a file that was refused,
    the table of its rows that can't be used, as CSV."""

    def __init__(self, run: Any) -> None:
        super().__init__(f"Run {run.id} ({run.stage}) {run.state}" + (f": {run.error}" if run.error else "."))
        self.run = run
        self.bad_rows = ""


class Missing(PlumblineError):
    """A library that this needs isn't installed."""


class ApiError(PlumblineError):
    """The site refused a call.

    `kind` is what a program can rely on, such as `LeaseExpired`; `detail` is for people. `request_id` is in the site's
    log, too. `errors` says of each field what is wrong with it: `{"field": …, "message": …}`.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        self.status = status
        self.type = str(problem.get("type", "about:blank"))
        self.kind = self.type.rpartition("#error-")[2] if "#error-" in self.type else ""
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", ""))
        self.request_id = str(problem.get("request_id") or headers.get("x-request-id", ""))
        self.errors = cast("list[dict[str, Any]]", problem.get("errors") or [])
        super().__init__(" ".join(part for part in (str(status), f"{self.kind or self.title}:", self.detail) if part))


class NotSignedIn(ApiError):
    """401: no token, or one that is unknown, expired or revoked."""


class Forbidden(ApiError):
    """403: the role in the project doesn't allow it, or the token isn't for it."""


class NotFound(ApiError):
    """404: nothing there, or nothing that its person may see."""


class Conflict(ApiError):
    """409 and 412: the state of things doesn't allow it, or they have changed meanwhile."""


class Invalid(ApiError):
    """400, 413 and 422: something that was sent can't be used."""


class TooMany(ApiError):
    """429: asked too often, and again after every wait."""


class ServerFailed(ApiError):
    """5xx: not this program's fault."""


BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: NotSignedIn,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: Invalid,
    422: Invalid,
    429: TooMany,
}


def error_of(response: httpx.Response) -> ApiError:
    """The exception for an answer of 400 or more, whose body has been read."""
    try:
        found = json.loads(response.content)
    except ValueError:
        found = None
    problem = found if isinstance(found, dict) else {"title": response.reason_phrase, "detail": response.text[:500]}
    kind = BY_STATUS.get(response.status_code, ServerFailed if response.status_code >= 500 else ApiError)
    return kind(response.status_code, problem, response.headers)
