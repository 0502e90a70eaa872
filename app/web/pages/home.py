"""The start page, which sends everybody where their work is, and a person's preferences."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.services.projects import projects
from app.web import locales
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of

router = APIRouter(include_in_schema=False)

PREFERENCE_SECONDS = 365 * 24 * 3600


class Preferences(BaseModel):
    """What a button of the menu sends: one of the three, and the page to come back to."""

    theme: str | None = None
    reading: str | None = None
    locale: str | None = None
    back: str = "/"


@router.get("/")
async def home(principal: CurrentUser, db: Db) -> Response:
    """Sends annotators of one project to its tasks; everybody else chooses among their projects."""
    visible = [] if principal.is_admin else list(await db.scalars(projects.visible_to(principal).limit(2)))
    if len(visible) == 1 and await projects.role_of(db, principal, visible[0]) == "annotator":
        return render.redirect(f"/projects/{visible[0].slug}/annotate")
    return render.redirect("/projects")


@router.post("/preferences")
async def keep_preferences(request: Request, form: Annotated[Preferences, Form()]) -> Response:
    """Kept in cookies, not with the account: a person may want the dark at night on one device only."""
    response = render.redirect(render.local_path(form.back))
    choices = {
        "theme": (form.theme, render.THEMES),
        "reading": (form.reading, render.READING_FACES),
        "locale": (form.locale, locales.available()),
    }
    secure = settings_of(request).has_secure_cookies
    for name, (chosen, known) in choices.items():
        if chosen in known:
            response.set_cookie(name, chosen, max_age=PREFERENCE_SECONDS, secure=secure, samesite="lax")
        elif chosen is not None:
            response.delete_cookie(name, secure=secure, samesite="lax")
    return response
