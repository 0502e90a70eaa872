"""The web application: `create_app()` for uvicorn's --factory."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request
from sqlalchemy import text
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse

from app import logs
from app.db.migrate import require_head
from app.db.session import create_engine, session_factory
from app.services.people.oidc import provider_of
from app.settings import Settings, SettingsError
from app.settings import settings as process_settings
from app.web.api import docs as api_docs
from app.web.api import routes as api
from app.web.pages import (
    account,
    agreement,
    auth,
    browse,
    datasets,
    directory,
    erasure,
    figures,
    home,
    imports,
    invitations,
    judges,
    log,
    loop,
    models,
    oidc,
    passkeys,
    people,
    project_files,
    project_list,
    project_settings,
    projects,
    quality,
    questions,
    reward_models,
    round_settings,
    rounds,
    runs,
    served_models,
    setup,
    tokens,
)
from app.web.pages.judging import annotate, review
from app.web.rendering import render
from app.web.serving import errors, events
from app.web.serving.body_limit import BodyLimit
from app.web.serving.csrf import SameOriginOnly
from app.web.serving.hosts import OwnNamesOnly, names_of
from app.web.serving.request_log import ErrorBoundary, RequestLog
from app.web.serving.security_headers import SecurityHeaders
from app.web.serving.static_files import DigestedStaticFiles

ROUTERS = (
    auth.router,
    home.router,
    annotate.router,
    project_files.router,
    setup.router,
    project_list.router,
    projects.router,
    project_settings.router,
    figures.router,
    loop.router,
    rounds.router,
    round_settings.router,
    runs.router,
    models.router,
    reward_models.router,
    served_models.router,
    judges.router,
    datasets.router,
    browse.router,
    erasure.router,
    imports.router,
    questions.router,
    quality.router,
    agreement.router,
    review.router,
    log.router,
    people.router,
    directory.router,
    invitations.router,
    account.router,
    passkeys.router,
    oidc.router,
    tokens.router,
    events.router,
    api_docs.router,
    api.description,
    api.router,
)

health = APIRouter(include_in_schema=False)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application for these settings (default: the process's). The database is opened when the server starts."""
    settings = settings or process_settings()
    provider_of(settings)  # what can't be used of it is said before anything starts
    https = settings.has_secure_cookies
    app = FastAPI(
        title="Plumbline",
        version=version("plumbline"),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would send people to whatever name they asked for
        lifespan=_lifespan,
        middleware=[
            Middleware(RequestLog),
            Middleware(SecurityHeaders, https=https),
            Middleware(ErrorBoundary),
            Middleware(GZipMiddleware, minimum_size=1_000, compresslevel=5),
            Middleware(BodyLimit, upload_bytes=settings.upload_bytes),
            Middleware(OwnNamesOnly, names=names_of(settings)),
            Middleware(SameOriginOnly, public_url=settings.public_url),
        ],
    )
    app.state.settings = settings
    errors.install(app)
    app.include_router(health)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", DigestedStaticFiles(directory=render.STATIC), name="static")
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    logs.configure(settings.log_level)
    if settings.database_url is None:
        raise SettingsError("DATABASE_URL is not set: start the site by `plumbline up`, which brings one")
    await asyncio.to_thread(require_head, settings.database_url)
    engine = create_engine(settings.database_url)
    app.state.sessions = session_factory(engine)
    app.state.hub = events.Hub(settings.database_url)
    _leave_out_of_collections()
    try:
        async with app.state.hub.listening():
            yield
    finally:
        await engine.dispose()


@cache
def _leave_out_of_collections() -> None:
    """What is loaded by now, 180,000 objects, lives as long as the process. To walk through it takes the garbage
    collector 120 ms, for which everybody waits.
    """
    gc.collect()
    gc.freeze()


@health.get("/healthz")
async def healthz() -> PlainTextResponse:
    """The process answers."""
    return PlainTextResponse("ok")


@health.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """The process can do its work: the database answers."""
    try:
        async with request.app.state.sessions() as db:
            await db.execute(text("SELECT 1"))
    except Exception:  # noqa: BLE001 - whatever keeps the database away, the answer is the same
        return JSONResponse({"ready": False, "waiting_for": "database"}, 503)
    return JSONResponse({"ready": True})


@health.get("/version")
async def show_version() -> JSONResponse:
    """Which version answers, for whoever watches the site."""
    return JSONResponse({"name": "plumbline", "version": version("plumbline")})
