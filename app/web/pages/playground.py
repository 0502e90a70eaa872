"""The playground: one prompt, and what several writers make of it, side by side as they write."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Errand, Project
from app.errors import Conflict, DomainError, Invalid, NotFound, TooMany
from app.services import dispatch
from app.services.loop.asking import tasks_by_hand
from app.services.loop.chores import errands
from app.services.loop.chores.errands import MOST_CHARACTERS, MOST_TOKENS, MOST_WRITERS, Writing
from app.services.loop.comparisons.writers import Writer
from app.services.projects.question import question_of
from app.web.locales import translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.rendering import render
from app.web.serving.deps import CurrentUser, Db
from app.web.words.versions import writer_name
from training.records import Message

router = APIRouter(prefix="/projects/{slug}/playground", include_in_schema=False)

USUAL_WRITERS = 2

ErrandId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Play(BaseModel):
    """What is asked. Without JavaScript the page is the same, and is read again by a link."""

    prompt: Annotated[str, Field(max_length=MOST_CHARACTERS)] = ""
    system: Annotated[str, Field(max_length=MOST_CHARACTERS)] = ""
    writers: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=50)] = []
    max_new_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 120
    temperature: Annotated[float, Field(ge=0.01, le=2)] = 0.7
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    def writing(self) -> Writing:
        system = [Message("system", self.system)] if self.system.strip() else []
        return Writing(
            [*system, Message("user", self.prompt)],
            [Writer.parse(text) for text in self.writers],
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed,
        )


class Chosen(BaseModel):
    answers: Annotated[list[Annotated[int, Field(ge=0, le=1_000)]], Field(max_length=20)] = []


@router.get("")
async def show_playground(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers whom one can ask; owners ask, for whom a worker gets ready meanwhile."""
    if managed.is_owner:
        await dispatch.defer_waking(db)
    return await _page(request, db, managed)


@router.post("")
async def play(
    request: Request,
    managed: ManagedProject,
    project: OwnedProject,
    form: Annotated[Play, Form()],
    principal: CurrentUser,
    db: Db,
) -> Response:
    """Has the writers write, for an owner, and leads to where it is seen. What can't be asked is said on the form."""
    try:
        errand = await errands.write(db, principal.user_id, project, form.writing())
    except (Invalid, TooMany) as error:
        return await _page(request, db, managed, form=form, error=error)
    return render.redirect(f"/projects/{project.slug}/playground/{errand.id}")


@router.get("/{errand_id}")
async def show_play(request: Request, errand_id: ErrandId, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers what the writers make of a prompt."""
    return await _page(request, db, managed, errand=await _errand(db, managed.project, errand_id))


@router.get("/{errand_id}/state")
async def show_state(request: Request, errand_id: ErrandId, managed: ManagedProject, db: Db) -> Response:
    """All of the page that moves while they write."""
    errand = await _errand(db, managed.project, errand_id)
    return render.partial(request, "playground/_state.html", **await _state(db, managed, errand))


@router.post("/{errand_id}/task")
async def make_task(
    request: Request,
    errand_id: ErrandId,
    managed: ManagedProject,
    project: OwnedProject,
    form: Annotated[Chosen, Form()],
    db: Db,
) -> Response:
    """Puts responses before people, for an owner; what stands against it is said on the page."""
    errand = await _errand(db, project, errand_id)
    try:
        async with db.begin_nested():
            await tasks_by_hand.make(db, project, errand, form.answers)
    except (Invalid, Conflict) as error:
        await db.refresh(errand)
        return await _page(request, db, managed, errand=errand, error=error)
    return render.redirect(f"/projects/{project.slug}/playground/{errand.id}")


async def _errand(db: AsyncSession, project: Project, errand_id: int) -> Errand:
    """Raises NotFound, too, for what was only to be scored."""
    errand = await errands.get(db, project, errand_id)
    if errand.kind != "write":
        raise NotFound
    return errand


async def _page(
    request: Request,
    db: AsyncSession,
    managed: Managed,
    *,
    errand: Errand | None = None,
    form: Play | None = None,
    error: DomainError | None = None,
) -> Response:
    options = await errands.options(db, managed.project)
    usual = [str(option.writer) for option in options[:USUAL_WRITERS]]
    return render.page(
        request,
        "playground/show.html",
        status_code=error.status if error else 200,
        options=[(str(option.writer), writer_name(option.writer.kind, option.name)) for option in options],
        form=form or (Play(writers=usual) if errand is None else _asked(errand)),
        problem=translated(error) if error else None,
        most_writers=MOST_WRITERS,
        most_tokens=MOST_TOKENS,
        **await _state(db, managed, errand),
    )


async def _state(db: AsyncSession, managed: Managed, errand: Errand | None) -> dict[str, Any]:
    """What the part that moves is given."""
    answers = errand.answers if errand is not None else []
    named = [writer_name(Writer.parse(answer["writer"]).kind, answer["name"]) for answer in answers]
    return {
        "managed": managed,
        "errand": errand,
        "answers": list(zip(named, answers, strict=True)),
        "size": question_of(managed.project).size,
        "is_anybody_there": await errands.is_anybody_there(db),
    }


def _asked(errand: Errand) -> Play:
    asked = errand.asked
    said = {turn["role"]: turn["content"] for turn in asked["messages"]}
    given = {name: asked[name] for name in ("max_new_tokens", "temperature") if asked[name] is not None}
    return Play(
        prompt=said["user"],
        system=said.get("system", ""),
        writers=asked["writers"],
        seed=asked["config"]["seed"],
        **given,
    )
