"""Served models: endpoints that write responses here, each tried, changed and asked; and pairs of what was written."""

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Completion, Project, Prompt, ServedModel
from app.errors import DomainError
from app.phrases import phrase
from app.services.judging.machines import judges
from app.services.judging.machines.settings import settings_of as judge_settings_of
from app.services.loop.comparisons.comparisons import Comparison, comparisons
from app.services.loop.comparisons.writers import NamedWriter, Writer, writers_of
from app.services.loop.runs import starting
from app.services.loop.settings.round_settings import settings_of as round_settings_of
from app.services.projects.question import question_of
from app.services.reports import reports
from app.services.reports.judges import JUDGES
from app.services.served import served_models
from app.services.served.protocol import Answer
from app.web.locales import gettext, translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.pages.seen import require_seen
from app.web.pages.served_form import ServedForm
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db, settings_of
from app.web.words.versions import writer_name

router = APIRouter(prefix="/projects/{slug}/served-models", include_in_schema=False)

MOST_CHARACTERS = 20_000
FEWEST_FOR_A_SHARE = 10
EXAMPLE = phrase("In one sentence: why is the sky blue?")

ServedId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@dataclass(frozen=True)
class Listed:
    """A served model with how many responses it has written here."""

    served: ServedModel
    written: int


@dataclass(frozen=True)
class Tried:
    """What came of a test: an answer, or what went wrong."""

    prompt: str
    answer: Answer | None = None
    problem: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Told:
    """A comparison with the writers' names for people; the first is ahead."""

    first: str
    second: str
    figures: Comparison

    @property
    def is_decided(self) -> bool:
        """Whether the interval leaves one half out."""
        return self.figures.low > 0.5

    @property
    def has_share(self) -> bool:
        """Whether there are enough judgements: of fewer a share would say more than is known."""
        return self.figures.judgements >= FEWEST_FOR_A_SHARE


class Ask(BaseModel):
    """`compared`: a writer, `itself`, or nothing where no pairs are wanted."""

    prompts: Annotated[int, Field(ge=1, le=2**31 - 1)]
    compared: Annotated[str, Field(max_length=100)] = ""


class Compare(BaseModel):
    first: Annotated[str, Field(max_length=100)]
    second: Annotated[str, Field(max_length=100)]
    pairs: Annotated[int, Field(ge=1, le=2**31 - 1)]


class Try(BaseModel):
    prompt: Annotated[str, Field(max_length=MOST_CHARACTERS)]


@router.get("")
async def list_served_models(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers who is asked here, with a form for one more."""
    return await _list(request, managed, db, ServedForm.fresh())


@router.post("")
async def add_served_model(
    request: Request, managed: ManagedProject, project: OwnedProject, form: Annotated[ServedForm, Form()], db: Db
) -> Response:
    """Adds one for an owner and leads to its page, where it is tried. What can't be used is said on the form."""
    try:
        home = settings_of(request).home
        served = await served_models.create(db, project, form.description(), key=form.new_key().new, home=home)
    except DomainError as error:
        return await _list(request, managed, db, form, problem=translated(error), status_code=error.status)
    return render.redirect(f"/projects/{project.slug}/served-models/{served.id}")


@router.post("/pairs")
async def make_pairs(
    project: OwnedProject, form: Annotated[Compare, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Has pairs made of what two writers have written already, or one by itself, for an owner. Raises Invalid."""
    compared = [Writer.parse(form.first), Writer.parse(form.second)]
    run = await starting.compare(db, principal.user_id, project, compared, pairs=form.pairs)
    return render.redirect(f"/projects/{project.slug}/runs/{run.id}")


@router.get("/comparisons")
async def show_comparisons(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers how served models do against each other and against policies."""
    found = await comparisons(db, managed.project)
    return render.page(request, "served/comparisons.html", managed=managed, compared=[_told(one) for one in found])


@router.get("/{served_model_id}")
async def show_served_model(request: Request, served_model_id: ServedId, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers how one is asked; owners try it and change it here."""
    served = await served_models.get(db, managed.project, served_model_id)
    return await _show(request, managed, db, served, ServedForm.of(served))


@router.post("/{served_model_id}")
async def change_served_model(
    request: Request,
    served_model_id: ServedId,
    managed: ManagedProject,
    project: OwnedProject,
    form: Annotated[ServedForm, Form()],
    db: Db,
) -> Response:
    """Changes one for an owner; runs that are queued already ask as they were told. What can't be used is said on the
    form.
    """
    served = await served_models.get(db, project, served_model_id)
    try:
        home = settings_of(request).home
        await require_seen(db, served, form.seen, lambda now: ServedForm.of(now).seen)
        await served_models.change(db, project, served, form.description(), form.new_key(), home=home)
    except DomainError as error:
        form.seen = ServedForm.of(served).seen
        return await _show(request, managed, db, served, form, problem=translated(error), status_code=error.status)
    return render.redirect(f"/projects/{project.slug}/served-models/{served.id}?saved=true")


@router.post("/{served_model_id}/remove")
async def remove_served_model(served_model_id: ServedId, project: OwnedProject, db: Db) -> Response:
    """Has one asked no more, for an owner. What it wrote stays."""
    await served_models.remove(db, await served_models.get(db, project, served_model_id))
    return render.redirect(f"/projects/{project.slug}/served-models")


@router.post("/{served_model_id}/test")
async def try_served_model(
    request: Request,
    served_model_id: ServedId,
    managed: ManagedProject,
    project: OwnedProject,
    form: Annotated[Try, Form()],
    db: Db,
) -> Response:
    """Asks for one response and shows it to an owner, or the sentence of what went wrong. Nothing is stored."""
    served = await served_models.get(db, project, served_model_id)
    writers, as_judge = await writers_of(db, project), await _as_judge(db, project, served)
    endpoint = served_models.endpoint_of(served, served_models.described(served), settings_of(request).home)
    await db.commit()  # no connection is held while somebody else's machine thinks
    started = time.monotonic()
    try:
        answer = await served_models.try_out(endpoint, form.prompt)
        tried = Tried(form.prompt, answer, seconds=time.monotonic() - started)
    except DomainError as error:
        tried = Tried(form.prompt, problem=translated(error))
    return _page(request, managed, served, ServedForm.of(served), tried, writers, as_judge)


@router.post("/{served_model_id}/runs")
async def ask_served_model(
    served_model_id: ServedId, project: OwnedProject, form: Annotated[Ask, Form()], principal: CurrentUser, db: Db
) -> Response:
    """Queues the writing of responses, for an owner, and leads to its run. Raises Invalid."""
    served = await served_models.get(db, project, served_model_id)
    itself = Writer("served", served.id)
    match form.compared:
        case "":
            compared = []
        case "itself":
            compared = [itself]
        case other:
            compared = [itself, Writer.parse(other)]
    run = await starting.ask(db, principal.user_id, project, served, prompts=form.prompts, compared=compared)
    return render.redirect(f"/projects/{project.slug}/runs/{run.id}")


async def _list(
    request: Request,
    managed: Managed,
    db: AsyncSession,
    form: ServedForm,
    *,
    problem: str | None = None,
    status_code: int = 200,
) -> Response:
    return render.page(
        request,
        "served/list.html",
        status_code=status_code,
        managed=managed,
        listed=await _listed(db, managed.project),
        form=form,
        problem=problem,
        key_there=False,
        choices=_choices(await writers_of(db, managed.project)),
        **_asking(managed.project),
    )


async def _show(
    request: Request,
    managed: Managed,
    db: AsyncSession,
    served: ServedModel,
    form: ServedForm,
    *,
    problem: str | None = None,
    status_code: int = 200,
) -> Response:
    tried = Tried(await _example(db, managed.project))
    writers, as_judge = await writers_of(db, managed.project), await _as_judge(db, managed.project, served)
    return _page(request, managed, served, form, tried, writers, as_judge, problem=problem, status_code=status_code)


def _page(
    request: Request,
    managed: Managed,
    served: ServedModel,
    form: ServedForm,
    tried: Tried,
    writers: list[NamedWriter],
    as_judge: dict[str, object],
    *,
    problem: str | None = None,
    status_code: int = 200,
) -> Response:
    return render.page(
        request,
        "served/show.html",
        status_code=status_code,
        managed=managed,
        served=served,
        form=form,
        tried=tried,
        problem=problem,
        key_there=served.key_sealed is not None,
        saved=request.query_params.get("saved") == "true",
        choices=_choices(writers),
        **as_judge,
        **_asking(managed.project),
    )


async def _as_judge(db: AsyncSession, project: Project, served: ServedModel) -> dict[str, object]:
    """What its page says of it as a judge; figures only where it is one."""
    judge = await judges.of(db, served)
    latest = await reports.current(db, project, JUDGES) if judge is not None else None
    entry = latest.content.of(judge.id) if judge is not None and latest is not None and latest.content else None
    measured = entry.measured if entry is not None else None
    return {"judge": judge, "latest": latest, "measured": measured, "judging": judge_settings_of(project)}


def _asking(project: Project) -> dict[str, int]:
    """How many prompts are asked unless somebody says otherwise, and how many responses a task compares."""
    return {"prompts": round_settings_of(project).generate_prompts, "size": question_of(project).size}


def _choices(writers: list[NamedWriter]) -> list[tuple[str, str]]:
    """Writers as a form offers them."""
    return [(str(named.writer), _called(named)) for named in writers]


def _called(named: NamedWriter) -> str:
    """A writer's name for people."""
    return writer_name(named.writer.kind, named.name)


def _told(comparison: Comparison) -> Told:
    return Told(_called(comparison.first), _called(comparison.second), comparison)


async def _listed(db: AsyncSession, project: Project) -> list[Listed]:
    found = await served_models.list_served(db, project.id)
    counts = await db.execute(
        select(Completion.served_model_id, func.count())
        .where(Completion.served_model_id.in_([served.id for served in found]))
        .group_by(Completion.served_model_id)
    )
    written = {served_model_id: count for served_model_id, count in counts}  # noqa: C416 - rows are no pairs to mypy
    return [Listed(served, written.get(served.id, 0)) for served in found]


async def _example(db: AsyncSession, project: Project) -> str:
    """What to try it with: the project's first prompt, as far as its last turn goes."""
    messages = await db.scalar(
        select(Prompt.messages)
        .where(Prompt.project_id == project.id, Prompt.erased_at.is_(None))
        .order_by(Prompt.id)
        .limit(1)
    )
    return str(messages[-1]["content"])[:MOST_CHARACTERS] if messages else gettext(EXAMPLE)
