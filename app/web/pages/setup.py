"""Setting up a new project: one question per page, each with a default, each to be left and taken up again."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Invitation, Project
from app.db.tables.projects import SetupStep
from app.errors import Conflict, DomainError, Forbidden, Invalid
from app.security import new_token
from app.services.loop.chores import lifecycle
from app.services.loop.models import models
from app.services.loop.runs import base_models
from app.services.loop.runs.base_models import CheckedModel
from app.services.people import invitations, trust
from app.services.projects import setup, standing
from app.services.projects.templates import TEMPLATES
from app.services.reports.counted import counted
from app.web.locales import gettext, translated
from app.web.pages.access import OwnedProject
from app.web.pages.preview import question_context
from app.web.pages.question_form import QuestionForm
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of

LINK_DAYS = 7

router = APIRouter(prefix="/projects", include_in_schema=False)


Writer = Literal["none", "model", "scratch"]


class NewProject(BaseModel):
    name: Annotated[str, Field(max_length=1000)] = ""
    template: str = next(iter(TEMPLATES))
    slug: Annotated[str, Field(max_length=200)] = ""
    description: Annotated[str, Field(max_length=100_000)] = ""


class Writers(BaseModel):
    """Who writes responses. `none` and `scratch` are the same to the database: there is no model to start from.

    `check` is sent by a button that looks at the model, and changes nothing. `shown` is what the form had chosen.
    """

    writer: Writer = "none"
    shown: Writer = "none"
    model: Annotated[str, Field(max_length=4096)] = ""
    check: bool = False


class NewPeople(BaseModel):
    """`people` are lines; `key` is the form's own, so that sending it twice invites nobody twice."""

    people: Annotated[str, Field(max_length=100_000)] = ""
    key: Annotated[str, Field(max_length=100)] = ""


@router.get("/new")
async def show_new(request: Request, principal: CurrentUser) -> Response:
    """Asks whoever may make projects for a name, and what the project is for."""
    if not setup.may_begin(principal, settings_of(request).project_creation):
        raise Forbidden
    return render.page(request, "setup/new.html", form=NewProject(), templates=TEMPLATES, problem=None)


@router.post("/new")
async def create_project(
    request: Request, principal: CurrentUser, form: Annotated[NewProject, Form()], db: Db
) -> Response:
    """Makes the project, which from here on can be left and come back to."""
    try:
        project = await setup.begin(
            db,
            principal,
            settings_of(request).project_creation,
            name=form.name,
            template=form.template,
            slug=form.slug,
            description=form.description,
            translate=gettext,
        )
        await trust.begin_own(db, principal, project.id)
    except Forbidden:
        raise
    except DomainError as error:
        return render.page(
            request, "setup/new.html", status_code=error.status,
            form=form, templates=TEMPLATES, problem=translated(error),
        )  # fmt: skip
    return render.redirect(f"/projects/{project.slug}/setup/{project.setup_step}")


@router.get("/{slug}/setup")
async def resume(project: OwnedProject) -> Response:
    """Leads the owner to where they left off."""
    return render.redirect(f"/projects/{project.slug}/setup/{project.setup_step or 'done'}")


@router.get("/{slug}/setup/compare")
async def show_compare(request: Request, project: OwnedProject, db: Db) -> Response:
    """What is to be compared: what is there already, and the way to bring more."""
    return render.page(
        request, "setup/compare.html", project=project, step="compare", overview=(await counted(db, project)).overview
    )


@router.get("/{slug}/setup/writers")
async def show_writers(request: Request, project: OwnedProject, db: Db) -> Response:
    """Who writes the responses that people compare."""
    return _writers_page(request, project, await _writers_of(db, project))


@router.get("/{slug}/setup/question")
async def show_question(request: Request, project: OwnedProject, db: Db) -> Response:
    """The question, as the template has filled it in, beside the page that it makes."""
    return await _question_page(request, db, project, QuestionForm.of(project))


@router.get("/{slug}/setup/people")
async def show_people(request: Request, project: OwnedProject, db: Db) -> Response:
    """Who judges: names or e-mail addresses, one a line."""
    return _people_page(request, project, NewPeople(key=new_token()))


@router.get("/{slug}/setup/done")
async def show_done(request: Request, project: OwnedProject, db: Db) -> Response:
    """What the project can do now, and what it still waits for."""
    return await _done_page(request, db, project)


@router.post("/{slug}/setup/writers")
async def save_writers(
    request: Request, project: OwnedProject, principal: CurrentUser, form: Annotated[Writers, Form()], db: Db
) -> Response:
    """Looks at a model that was named, and takes nothing that couldn't be used."""
    checked = None
    try:
        # Who typed a model and left the choice as it was, where no model was chosen before, meant the model.
        is_meant = form.writer == form.shown and form.model.strip() and project.policy_source is None
        if form.check or form.writer == "model" or is_meant:
            checked = await base_models.check(settings_of(request), principal, form.model)
        if form.check:
            return _writers_page(request, project, form.model_copy(update={"writer": "model"}), checked=checked)
        await lifecycle.change_model(db, project, checked.card.location if checked else None)
    except (Invalid, Conflict) as error:
        return _writers_page(request, project, form, problem=translated(error), status_code=error.status)
    return await _go_on(db, project, "writers")


@router.post("/{slug}/setup/question")
async def save_question(
    request: Request, project: OwnedProject, form: Annotated[QuestionForm, Form()], db: Db
) -> Response:
    """Saves the question and goes on; what can't be asked is said with everything that was typed still there."""
    if form.preview:
        return await _question_page(request, db, project, form)
    try:
        form.apply(project)
    except Invalid as error:
        return await _question_page(request, db, project, form, problem=translated(error), status_code=error.status)
    return await _go_on(db, project, "question")


@router.post("/{slug}/setup/people")
async def save_people(
    request: Request, project: OwnedProject, form: Annotated[NewPeople, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Makes a link for everybody who was named, which is shown on the last page and never again."""
    if not form.people.strip():
        return await _go_on(db, project, "people")
    try:
        invitees = invitations.invitees_of(form.people)
        made = await invitations.invite(
            db, principal, project, invitees, "annotator", days=LINK_DAYS, form_key=form.key or new_token()
        )
    except DomainError as error:
        return _people_page(request, project, form, problem=translated(error), status_code=error.status)
    setup.go_on(project, "people")
    await db.flush()
    site = settings_of(request).site_url
    return await _done_page(request, db, project, [(one.invitation, f"{site}/invitations/{one.token}") for one in made])


@router.post("/{slug}/setup/{step}")
async def go_on(project: OwnedProject, step: SetupStep, db: Db) -> Response:
    """Goes on without saying anything: what the template has filled in holds."""
    return await _go_on(db, project, step)


async def _go_on(db: AsyncSession, project: Project, step: SetupStep) -> Response:
    following = setup.go_on(project, step)
    await db.flush()
    return render.redirect(f"/projects/{project.slug}/setup/{following or 'done'}")


async def _writers_of(db: AsyncSession, project: Project) -> Writers:
    if project.policy_source is not None:
        return Writers(writer="model", model=project.policy_source)
    has_demonstrations = (await standing.glance(db, project)).has_demonstrations
    return Writers(writer="scratch" if has_demonstrations else "none")


def _writers_page(
    request: Request,
    project: Project,
    form: Writers,
    *,
    checked: CheckedModel | None = None,
    problem: str | None = None,
    status_code: int = 200,
) -> Response:
    return render.page(
        request,
        "setup/writers.html",
        status_code=status_code,
        project=project,
        step="writers",
        form=form,
        checked=checked,
        problem=problem,
    )


async def _question_page(
    request: Request,
    db: AsyncSession,
    project: Project,
    form: QuestionForm,
    *,
    problem: str | None = None,
    status_code: int = 200,
) -> Response:
    return render.page(
        request,
        "setup/question.html",
        status_code=status_code,
        step="question",
        **await question_context(db, project, form, problem),
    )


def _people_page(
    request: Request, project: Project, form: NewPeople, *, problem: str | None = None, status_code: int = 200
) -> Response:
    return render.page(
        request,
        "setup/people.html",
        status_code=status_code,
        project=project,
        step="people",
        form=form,
        key=form.key,
        problem=problem,
    )


async def _done_page(
    request: Request, db: AsyncSession, project: Project, links: Sequence[tuple[Invitation, str]] = ()
) -> Response:
    return render.page(
        request,
        "setup/done.html",
        project=project,
        step="done",
        overview=(await counted(db, project)).overview,
        policy=await models.promoted(db, project.id, "policy"),
        links=links,
    )
