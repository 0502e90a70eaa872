"""The application in this process, started by each test on a database of its own."""

from fastapi import FastAPI

from app.settings import Settings
from app.web.main import create_app

_made: dict[str, FastAPI] = {}


def site_of(settings: Settings) -> FastAPI:
    """Made once for all settings that differ in home and database alone, which are read when it starts: at its first
    request an application looks through all of its routes, for longer than most tests take.
    """
    kind = settings.model_dump_json(exclude={"home", "database_url"})
    app = _made.get(kind) or _made.setdefault(kind, create_app(settings))
    app.state.settings = settings
    return app
