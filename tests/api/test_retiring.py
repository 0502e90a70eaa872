"""A call that is to end says since when and until when, in the description and with its answers."""

from datetime import date

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.responses import Response

from app.web.api.retiring import announce, retiring


async def test_a_call_that_is_to_end_says_so_with_its_answers_and_others_do_not() -> None:
    router = APIRouter()

    @router.get("/old", **retiring(since=date(2026, 1, 1), until=date(2026, 8, 1)))
    async def old() -> Response:
        return Response("as ever")

    @router.get("/new")
    async def new() -> str:
        return "too"

    for route in router.routes:
        assert isinstance(route, APIRoute)
        announce(route)
    site = FastAPI()
    site.include_router(router, prefix="/api")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://site") as program:
        before, after = await program.get("/api/old"), await program.get("/api/new")

    assert (before.text, before.headers["Deprecation"]) == ("as ever", "@1767225600")
    assert before.headers["Sunset"] == "Sat, 01 Aug 2026 00:00:00 GMT"
    assert not {"deprecation", "sunset"} & after.headers.keys()
    described = site.openapi()["paths"]["/api/old"]["get"]
    assert (described["deprecated"], described["x-sunset"]) == (True, "2026-08-01")


def test_nobody_can_end_a_call_within_half_a_year() -> None:
    with pytest.raises(ValueError, match="182 days"):
        retiring(since=date(2026, 1, 1), until=date(2026, 6, 1))
