"""Templates to responses. `page`, `partial` and `redirect` are the only ways that an endpoint answers with HTML."""

import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse

from app.services import disk
from app.web import locales
from app.web.rendering.markdown import render_markdown
from app.web.words import choices, figures, stages

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"
DOCUMENTATION = ROOT / "build" / "docs"
"""Its site, where somebody has built it: `make docs`, `make run` and the images do."""

THEMES = ("light", "dark")
READING_FACES = ("sans", "serif")


def page(request: Request, template: str, *, status_code: int = 200, **context: object) -> HTMLResponse:
    """A whole page; `template` extends base.html."""
    return _respond(request, template, status_code, context)


def partial(request: Request, template: str, *, status_code: int = 200, **context: object) -> HTMLResponse:
    """A fragment that htmx swaps in; the file name starts with an underscore."""
    assert template.rsplit("/", 1)[-1].startswith("_"), template
    return _respond(request, template, status_code, context)


def redirect(url: str) -> RedirectResponse:
    """See Other: what a form post answers to a browser without JavaScript."""
    return RedirectResponse(url, status_code=303)


def is_htmx(request: Request) -> bool:
    """Whether a fragment is wanted. Restoring history asks for whole pages."""
    return request.headers.get("hx-request") == "true" and "hx-history-restore-request" not in request.headers


def local_path(url: str | None) -> str:
    """`url` if it is a path on this site, else the home page: nobody is sent elsewhere by a link to us."""
    if url and url.startswith("/") and not url.startswith(("//", "/\\")) and url.isprintable():
        return url
    return "/"


def _respond(request: Request, template: str, status_code: int, context: dict[str, object]) -> HTMLResponse:
    principal = getattr(request.state, "principal", None)
    shared = {
        "request": request,
        "principal": principal,
        "is_short_of_room": principal is not None and principal.is_admin and _is_short_of_room(request),
        "theme": _choice(request, "theme", THEMES),
        "reading": _choice(request, "reading", READING_FACES),
        "locale": locales.current(),
        "has_documentation": DOCUMENTATION.is_dir(),
    }
    html = environment().get_template(template).render(shared | context)
    return HTMLResponse(html, status_code, headers={"Cache-Control": "no-store"})


def _is_short_of_room(request: Request) -> bool:
    settings = request.app.state.settings
    with suppress(OSError):
        return disk.look(settings.home, settings.disk_reserve_bytes).is_short
    return True


def _choice(request: Request, cookie: str, choices: tuple[str, ...]) -> str | None:
    chosen = request.cookies.get(cookie)
    return chosen if chosen in choices else None


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Jinja as all pages use it, made once: everything is escaped, and an unknown name is an error."""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    env.install_gettext_callables(  # type: ignore[attr-defined]  # added by the i18n extension
        locales.gettext, locales.ngettext, newstyle=True
    )
    env.globals["static"] = static_url
    env.globals["static_digest"] = static_digest
    env.globals["locale_names"] = locales.names
    env.globals["scales"] = choices.SCALES
    env.globals["sentence"] = choices.sentence
    env.filters["markdown"] = render_markdown
    env.filters["urlpath"] = lambda text: quote(str(text), safe="")
    env.filters["ago"] = ago
    env.filters["stage"] = stages.stage_title
    env.filters.update(figures.FILTERS)
    return env


def ago(moment: datetime | None) -> str:
    """How long ago, in the reader's language: “3 minutes ago”."""
    return "" if moment is None else locales.format_ago(datetime.now(UTC) - moment)


@lru_cache(maxsize=1)
def static_digest() -> str:
    """One digest of all static files.

    It is part of their URLs, so browsers may keep them for ever, and relative URLs within style sheets and modules
    stay true.
    """
    digest = hashlib.sha256()
    for file in sorted(path for path in STATIC.rglob("*") if path.is_file()):
        digest.update(file.relative_to(STATIC).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def static_url(path: str) -> str:
    """Where browsers find a file of `static/`: below its digest, so that they may keep it for ever."""
    return f"/static/{static_digest()}/{path}"
