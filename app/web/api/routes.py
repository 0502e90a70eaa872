"""All routes of `/api/v1` under one roof, and its description for programs."""

from functools import cache
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse, Response

from app.web.api import (
    agreement,
    audit,
    browse,
    datasets,
    directory,
    erasures,
    errands,
    examples,
    figures,
    imports,
    judgements,
    judges,
    loop,
    model_files,
    models,
    once,
    oneself,
    people,
    project_files,
    projects,
    quality,
    refusals,
    retiring,
    round_settings,
    rows,
    served_models,
    site,
    tasks,
    versions,
    webhooks,
)
from app.web.api.access import may_read_docs, scopes_of

PREFIX = "/api/v1"

ABOUT = """Everything that the pages do, for programs.

Send `Authorization: Bearer plumb_…` with every request; make a token on the page *API tokens*. Cookies are not looked
at.

A token is for reading (`read`), for taking tasks and judging them (`judge`), for changing something (`manage`), or
for several of these; `x-scopes` of each call says which of them it takes.

Lists come newest first in pages: `limit` up to 200, and `next_cursor` to send as `cursor` for the page after.

Every `POST` takes an `Idempotency-Key`, by which it is carried out once, however often it is sent; every `PATCH` asks
for `If-Match` with the `ETag` of what you read. More of both, and how often you may call: docs/api.md of the project.

Errors are `application/problem+json` (RFC 9457) with a `request_id` that is in the server's log, too. Something of a
project that you may not see is answered as if it weren't there.
"""

PARTS = (
    *(projects, project_files, tasks, datasets, judgements, versions, loop, round_settings, models, model_files),
    *(errands, browse, rows, figures, agreement, quality, erasures, imports, judges, served_models, audit, people),
    *(directory, oneself, site, webhooks),
)


def tell_version(request: Request, response: Response) -> None:
    """Says in a header which version answers, to whoever has a token: a client warns of one that it wasn't made for."""
    response.headers["Plumbline-Version"] = request.app.version


router = APIRouter(
    prefix=PREFIX,
    dependencies=[Depends(tell_version)],
    # What generated clients call their functions.
    generate_unique_id_function=lambda route: route.name,
)
for each in (*(part.router for part in PARTS), webhooks.of_site):
    for route in each.routes:
        if isinstance(route, APIRoute):
            once.make_repeatable(route)
            retiring.announce(route)
    router.include_router(each)

description = APIRouter(include_in_schema=False)


@description.get(f"{PREFIX}/openapi.json", dependencies=[Depends(may_read_docs)])
async def read_openapi(request: Request) -> JSONResponse:
    """The OpenAPI document of `/api/v1`, for people who are signed in and for programs with a token."""
    return JSONResponse(openapi(request.app.version))


@cache
def openapi(version: str) -> dict[str, Any]:
    """The OpenAPI document of `/api/v1`: its routes alone, not the pages. Made once, so only read it."""
    document = get_openapi(title="Plumbline", version=version, description=ABOUT, routes=router.routes)
    for item in document["paths"].values():
        for method, described in item.items():
            described["x-scopes"] = sorted(scopes_of(described["operationId"], method.upper()))
            refusals.describe(described, method)
    document["components"]["schemas"]["Problem"] = refusals.SCHEMA
    examples.give(document)
    return document
