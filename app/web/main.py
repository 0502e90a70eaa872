"""The web application: `create_app()` for uvicorn's --factory."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.middleware import Middleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.responses import JSONResponse, PlainTextResponse

from app import figures_server, logs, traces
from app.db import pool_figures
from app.db.migrate import require_head
from app.db.session import create_engine, session_factory
from app.services.health import Place
from app.services.loop.models import archive
from app.services.people.oidc import provider_of
from app.settings import Settings, SettingsError
from app.settings import settings as process_settings
from app.web.api import docs as api_docs
from app.web.api import routes as api
from app.web.pages import (
    account,
    agreement,
    auth,
    backups,
    browse,
    dataset_versions,
    datasets,
    directory,
    erasure,
    exports,
    figures,
    home,
    imports,
    invitations,
    judges,
    log,
    loop,
    model_files,
    models,
    oidc,
    passkeys,
    people,
    playground,
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
    webhooks,
)
from app.web.pages import (
    health as health_page,
)
from app.web.pages.judging import annotate, review
from app.web.rendering import render
from app.web.serving import errors, events
from app.web.serving.body_limit import BodyLimit
from app.web.serving.conversions import Conversions
from app.web.serving.csrf import SameOriginOnly
from app.web.serving.documentation import Documentation
from app.web.serving.hosts import OwnNamesOnly, names_of
from app.web.serving.rates import RateLimit, Rates
from app.web.serving.readiness import Readiness, findings_of
from app.web.serving.request_figures import RequestFigures
from app.web.serving.request_log import ErrorBoundary, RequestLog
from app.web.serving.request_spans import RequestSpans
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
    model_files.router,
    playground.router,
    reward_models.router,
    served_models.router,
    judges.router,
    datasets.router,
    exports.router,
    dataset_versions.router,
    browse.router,
    erasure.router,
    imports.router,
    questions.router,
    quality.router,
    agreement.router,
    review.router,
    log.router,
    webhooks.router,
    webhooks.of_site,
    backups.router,
    health_page.router,
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

# A model's weights hardly become smaller, and parts of its archive are asked for by their place in it.
NOT_COMPRESSED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, archive.MEDIA_TYPE)

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
        # FastAPI would tell addresses, which hold names and secrets.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        middleware=[
            *([] if settings.metrics_port is None else [Middleware(RequestFigures)]),
            Middleware(RequestLog),
            *([] if settings.traces_endpoint is None else [Middleware(RequestSpans)]),
            Middleware(SecurityHeaders, https=https),
            Middleware(ErrorBoundary),
            *([Middleware(RateLimit, settings=settings)] if settings.requests_per_minute else []),
            Middleware(GZipMiddleware, minimum_size=1_000, compresslevel=5, exclude_content_types=NOT_COMPRESSED),
            Middleware(BodyLimit, upload_bytes=settings.upload_bytes),
            Middleware(OwnNamesOnly, names=names_of(settings)),
            Middleware(SameOriginOnly, public_url=settings.public_url),
        ],
    )
    app.state.settings = settings
    app.state.rates = Rates.of(settings)
    app.state.conversions = Conversions()
    errors.install(app)
    app.include_router(health)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/docs", Documentation(), name="docs")
    app.mount("/static", DigestedStaticFiles(directory=render.STATIC), name="static")
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    logs.configure(settings.log_level, settings.log_format)
    if settings.database_url is None:
        raise SettingsError("DATABASE_URL is not set: start the site by `plumbline up`, which brings one")
    await asyncio.to_thread(require_head, settings.database_url)
    asked = settings.pooler_url or settings.database_url
    engine = create_engine(asked, is_pooler=settings.pooler_url is not None)
    pool_figures.tell_of(engine)
    app.state.sessions = session_factory(engine)
    app.state.rates = Rates.of(settings)
    app.state.hub = events.Hub(settings.database_url)
    app.state.readiness = Readiness(
        Place(app.state.sessions, settings.home, settings.disk_reserve_bytes, settings.ray_url)
    )
    _leave_out_of_collections()
    told = figures_server.told_at(settings.metrics_host, figures_server.web_ports(settings))
    try:
        with traces.sent(settings, "web"), told:
            async with app.state.hub.listening():
                yield
    finally:
        app.state.readiness = None
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
async def readyz(request: Request, exclude: Annotated[tuple[str, ...], Query()] = ()) -> JSONResponse:
    """Whether everything that the site stands on is well, and what isn't: 503 then. What is told by `exclude` is looked
    at and doesn't count: who routes people by this answer leaves out what they can judge without.
    """
    states = {found.name: found.state for found in await findings_of(request)} or {"database": "failing"}
    failing = [name for name, state in states.items() if state == "failing" and name not in exclude]
    return JSONResponse({"ready": not failing, "failing": failing, "checks": states}, 503 if failing else 200)


@health.get("/version")
async def show_version() -> JSONResponse:
    """Which version answers, for whoever watches the site."""
    return JSONResponse({"name": "plumbline", "version": version("plumbline")})
