"""Calls that are to end: marked so in the description, and said with every answer of theirs (RFC 9745, RFC 8594)."""

from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime, time, timedelta
from email.utils import format_datetime
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

LEAST_NOTICE = timedelta(days=182)


def retiring(since: date, until: date) -> dict[str, Any]:
    """What the decorator of a route takes besides: deprecated since then, and not there any more from `until` on.
    Raises ValueError for less than half a year between them.
    """
    if until - since < LEAST_NOTICE:
        raise ValueError(f"A call stays for {LEAST_NOTICE.days} days after it was deprecated.")
    return {"deprecated": True, "openapi_extra": {"x-deprecated-since": str(since), "x-sunset": str(until)}}


def announce(route: APIRoute) -> None:
    """Have a route that is marked by `retiring` say so with its answers."""
    if not route.deprecated:
        return
    told = route.openapi_extra or {}
    headers = {
        "Deprecation": f"@{int(_midnight(told['x-deprecated-since']).timestamp())}",
        "Sunset": format_datetime(_midnight(told["x-sunset"]), usegmt=True),
    }
    made = route.get_route_handler
    # Every inclusion of a router makes its handlers from this.
    route.get_route_handler = lambda: _saying(headers, made())  # type: ignore[method-assign]


def _saying(headers: dict[str, str], handle: Handler) -> Handler:
    async def handler(request: Request) -> Response:
        response = await handle(request)
        response.headers.update(headers)
        return response

    return handler


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), UTC)
