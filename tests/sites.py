"""The application in this process, started by each test on a database of its own."""

from functools import cache

from fastapi import FastAPI
from fastapi.routing import _IncludedRouter

from app.settings import Settings
from app.web.main import create_app

_made: dict[str, FastAPI] = {}


def site_of(settings: Settings) -> FastAPI:
    """Made once for all settings that differ in home and database alone, which are read when it starts."""
    kind = settings.model_dump_json(exclude={"home", "database_url"})
    app = _made.get(kind) or _made.setdefault(kind, new_site(settings))
    app.state.settings = settings
    return app


def new_site(settings: Settings) -> FastAPI:
    """An application of the test's own. At its first request one looks through all of its routes, for longer than most
    tests take: so each has those of the first one, but for what is mounted, and stands in for its dependencies with it.
    """
    app = create_app(settings)
    routes = zip(_first().router.routes, app.router.routes, strict=True)
    app.router.routes[:] = [first if isinstance(first, _IncludedRouter) else own for first, own in routes]
    app.dependency_overrides = _first().dependency_overrides
    return app


@cache
def _first() -> FastAPI:
    return create_app(Settings())
