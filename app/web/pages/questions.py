"""What a project asks its annotators: the form of an answer, what else is asked, guidelines, overlap, skips."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.errors import Invalid
from app.web.locales import translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.pages.preview import preview_of, question_context
from app.web.pages.question_form import QuestionForm
from app.web.pages.seen import ChangedMeanwhile, require_seen
from app.web.rendering import render
from app.web.serving.deps import Db

router = APIRouter(prefix="/projects/{slug}/question", include_in_schema=False)


@router.get("")
async def show_question(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers what annotators are asked, in a form that only owners may send."""
    return await _page(request, db, managed, QuestionForm.of(managed.project))


@router.post("")
async def change_question(
    request: Request, managed: ManagedProject, project: OwnedProject, form: Annotated[QuestionForm, Form()], db: Db
) -> Response:
    """What can't be asked is said on the form, with everything that was typed still in it."""
    if form.preview:
        return await _page(request, db, managed, form)
    try:
        await require_seen(db, project, form.seen, lambda now: QuestionForm.of(now).seen)
        form.apply(project)
    except (Invalid, ChangedMeanwhile) as error:
        form.seen = QuestionForm.of(project).seen
        return await _page(request, db, managed, form, problem=translated(error), status_code=error.status)
    await db.flush()
    return render.redirect(f"/projects/{project.slug}/question?saved=true")


@router.post("/preview")
async def show_preview(
    request: Request, project: OwnedProject, form: Annotated[QuestionForm, Form()], db: Db
) -> Response:
    """The annotator's page as the form stands. Nothing is saved."""
    return render.partial(request, "questions/_preview.html", preview=await preview_of(db, project, form))


async def _page(
    request: Request,
    db: AsyncSession,
    managed: Managed,
    form: QuestionForm,
    *,
    problem: str | None = None,
    status_code: int = 200,
) -> Response:
    return render.page(
        request,
        "questions/show.html",
        status_code=status_code,
        managed=managed,
        saved=request.query_params.get("saved") == "true",
        **await question_context(db, managed.project, form, problem),
    )
