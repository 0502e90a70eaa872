"""How annotators are checked and how they do: qualification, gold tasks, repeats, and figures of each person."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Project
from app.errors import DomainError, Invalid
from app.services.judging import gold
from app.services.judging import quality as conduct
from app.services.judging.assignments import PANE_NAMES
from app.services.judging.gold import Known, Suggestion
from app.services.loop.settings.round_settings import settings_of
from app.services.projects import checks
from app.services.projects.checks import Checks
from app.services.reports import reports
from app.services.reports.annotators import ANNOTATORS
from app.services.reports.annotators_figures import ANNOTATORS_FIGURES
from app.services.reports.counted import conducted
from app.services.reports.gold import GOLD
from app.web.locales import translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.pages.seen import ChangedMeanwhile, SeenForm, require_seen
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db
from app.web.words.reports import word

router = APIRouter(prefix="/projects/{slug}/quality", include_in_schema=False)

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
LongText = Annotated[str, Field(max_length=gold.LONGEST_TEXT)]


class ChecksForm(SeenForm):
    """An unticked box is not sent."""

    qualification_size: int = 0
    qualification_percent: int = 80
    gold_percent: float = 0
    tells_gold: bool = False
    repeat_percent: float = 0

    @classmethod
    def of(cls, project: Project) -> "ChecksForm":
        return cls(**Checks.of(project.checks).model_dump()).as_shown()

    def checks(self) -> Checks:
        """Raises Invalid."""
        return checks.checked(self.model_dump(exclude={"seen"}))


class Saying(BaseModel):
    """What the project says of a task: `better` counts positions from 0; "none": neither is."""

    purpose: Literal["qualification", "gold"] = "qualification"
    better: Literal["none", "0", "1", "2", "3", "4", "5", "6", "7", "8"] = "0"
    explanation: LongText = ""

    @property
    def position(self) -> int | None:
        return None if self.better == "none" else int(self.better)

    def known(self) -> Known:
        return Known(self.purpose, self.position, self.explanation)


class Written(Saying):
    prompt: LongText = ""
    response_0: LongText = ""
    response_1: LongText = ""


class Use(BaseModel):
    use: bool


@router.get("")
async def show_quality(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers how people are checked and how each of them does."""
    return await _page(request, managed, db)


@router.get("/state")
async def show_state(request: Request, managed: ManagedProject, db: Db) -> Response:
    """All of the page that moves when a newer report is written."""
    return render.partial(request, "quality/_reliability.html", managed=managed, **await _reliability(managed, db))


@router.post("")
async def change_checks(
    request: Request, managed: ManagedProject, project: OwnedProject, form: Annotated[ChecksForm, Form()], db: Db
) -> Response:
    """Keeps how people are checked; what can't be meant is said on the form, with all that was typed still in it."""
    try:
        await require_seen(db, project, form.seen, lambda now: ChecksForm.of(now).seen)
        project.checks = form.checks().to_json()
    except (Invalid, ChangedMeanwhile) as error:
        form.seen = ChecksForm.of(project).seen
        return await _page(request, managed, db, form=form, problem=error)
    await db.flush()
    return _saved(project.slug)


@router.post("/gold")
async def write_gold(
    request: Request,
    managed: ManagedProject,
    project: OwnedProject,
    form: Annotated[Written, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """What can't be a gold task is said on the form, with everything that was typed still in it."""
    try:
        await gold.write(db, principal, project, form.prompt, (form.response_0, form.response_1), form.known())
    except Invalid as error:
        return await _page(request, managed, db, written=form, problem=error)
    return _saved(project.slug)


@router.post("/tasks/{task_id}/gold")
async def make_gold(
    task_id: Id, project: OwnedProject, form: Annotated[Saying, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Makes a gold task like one of the project's tasks, which stays as it is."""
    await gold.of_task(db, principal, project, task_id, form.known())
    return _saved(project.slug)


@router.post("/gold/{task_id}")
async def change_gold(task_id: Id, project: OwnedProject, form: Annotated[Saying, Form()], db: Db) -> Response:
    """Says something else of a gold task; earlier answers are measured by it, too."""
    await gold.explain(db, project, task_id, better=form.position, explanation=form.explanation)
    return _saved(project.slug)


@router.post("/gold/{task_id}/use")
async def use_gold(task_id: Id, project: OwnedProject, form: Annotated[Use, Form()], db: Db) -> Response:
    """Takes a gold task out of use or back into it; what was said of it stays."""
    await gold.take_out(db, project, task_id, use=form.use)
    return _saved(project.slug)


@router.post("/people/{user_id}/let-in")
async def let_in(user_id: Id, project: OwnedProject, db: Db) -> Response:
    """Has an annotator work without passing the qualification round."""
    await conduct.let_in(db, project, user_id)
    return _saved(project.slug)


def _saved(slug: str) -> Response:
    return render.redirect(f"/projects/{slug}/quality?saved=true")


async def _page(
    request: Request,
    managed: Managed,
    db: AsyncSession,
    *,
    form: ChecksForm | None = None,
    written: Written | None = None,
    problem: DomainError | None = None,
) -> Response:
    project = managed.project
    items = await gold.in_project(db, project)
    in_use = await gold.in_use(db, project)
    people, counted = await conducted(db, project)
    return render.page(
        request,
        "quality/show.html",
        status_code=problem.status if problem else 200,
        managed=managed,
        form=form or ChecksForm.of(project),
        written=written or Written(),
        problem=translated(problem) if problem else None,
        saved=request.query_params.get("saved") == "true",
        people=people,
        counted=counted,
        items=items,
        practice_items=in_use.get("qualification", 0),
        gold_items=in_use.get("gold", 0),
        most_items=gold.SHOWN,
        suggestions=await _suggestions(db, managed),
        letters=PANE_NAMES,
        **await _reliability(managed, db),
    )


async def _suggestions(db: AsyncSession, managed: Managed) -> list[Suggestion]:
    """For owners, who alone can do something with them."""
    if not managed.is_owner:
        return []
    known = (await reports.current(db, managed.project, GOLD)).content
    return [] if known is None else await gold.suggestions(db, managed.project, known.agreed)


async def _reliability(managed: Managed, db: AsyncSession) -> dict[str, Any]:
    latest = await reports.current(db, managed.project, ANNOTATORS)
    rows = {figure.name: await figure.read(db, latest.content) for figure in ANNOTATORS_FIGURES}
    return {
        "latest": latest,
        "figures": {figure.name: figure for figure in ANNOTATORS_FIGURES},
        "annotators": rows["annotators"],
        "groups": rows["annotators-by-group"],
        "weighs": settings_of(managed.project).people.weigh,
        "word": word,
    }
