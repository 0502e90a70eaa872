"""Errands: models that are asked at once, for programs that wait."""

import asyncio
import time
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import look_up
from app.db.tables import Errand, Project
from app.services.loop.asking import tasks_by_hand
from app.services.loop.chores import errands
from app.services.loop.chores.errands import (
    MOST_CHARACTERS,
    MOST_PAIRS,
    MOST_SAMPLES,
    MOST_TOKENS,
    MOST_WRITERS,
    Pair,
    Writing,
)
from app.services.loop.comparisons.writers import Writer
from app.services.loop.models import models
from app.web.api.access import Caller, Id, ManagedProject, OwnedProject
from app.web.api.schemas import NO_NUL
from app.web.serving.deps import Db, sessions_of
from app.web.serving.events import Hub
from training.records import Message

router = APIRouter(tags=["models"])

MOST_WAIT_SECONDS = 20
LOOK_SECONDS = 1.0

Text = Annotated[str, Field(max_length=MOST_CHARACTERS, pattern=NO_NUL)]


class MessageIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: Text


class _Waiting(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wait_seconds: float = Field(
        default=10, ge=0, le=MOST_WAIT_SECONDS, description="How long to wait for what comes of it: 202 after that."
    )


class GenerateIn(_Waiting):
    messages: list[MessageIn] = Field(min_length=1, max_length=100, description="The last is the user's.")
    samples: int = Field(default=1, ge=1, le=MOST_SAMPLES)
    max_new_tokens: int | None = Field(
        default=None, ge=1, le=MOST_TOKENS, description="Null: as the project's stage `generate` has it."
    )
    temperature: float | None = Field(default=None, ge=0.01, le=2, description="Null: the same.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1)

    def writing(self, writers: list[Writer]) -> Writing:
        return Writing(
            [Message(message.role, message.content) for message in self.messages],
            writers,
            samples=self.samples,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed,
        )


class ErrandIn(GenerateIn):
    writers: list[Annotated[str, Field(max_length=100)]] = Field(
        min_length=1, max_length=MOST_WRITERS, description="As `policy:ID` or `served:ID`, of `GET …/writers`."
    )


class PairIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    messages: list[MessageIn] = Field(min_length=1, max_length=100)
    response: Text
    ended: bool = Field(default=True, description="Whether the response ended by itself.")


class ScoreIn(_Waiting):
    pairs: list[PairIn] = Field(min_length=1, max_length=MOST_PAIRS)


class TaskIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    answers: list[Annotated[int, Field(ge=0, le=1_000)]] = Field(
        min_length=1, max_length=9, description="Places in `answers`, from 0; as many as the question compares."
    )


class MadeTaskOut(BaseModel):
    task_id: int


class ErrandOut(BaseModel):
    """`answers` grow while it is done: for `write` the responses, for `score` a `raw` and a normalised `score` each."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    kind: Literal["write", "score"]
    state: Literal["queued", "running", "succeeded", "failed"]
    answers: list[dict[str, Any]]
    error: str | None
    task_id: int | None = Field(description="The task that was made of two of its answers.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, errand: Errand) -> Self:
        return cls.model_validate(errand)


_DONE: dict[int | str, dict[str, Any]] = {
    202: {"model": ErrandOut, "description": "It isn't over yet: ask `Location` again."},
    429: {"description": "Many wait here already."},
}


@router.post("/projects/{slug}/models/policy/{number}/generate", summary="Have a policy write", responses=_DONE)
async def generate(
    request: Request, response: Response, project: OwnedProject, number: Id, caller: Caller, db: Db, body: GenerateIn
) -> ErrandOut:
    """Responses of any version of the policy to one prompt, by a worker that keeps models in memory."""
    version = await models.numbered(db, project.id, "policy", number)
    writing = body.writing([Writer("policy", version.id)])
    errand = await errands.write(db, caller.user_id, project, writing)
    return await _answer(request, response, db, project, errand, body.wait_seconds)


@router.post("/projects/{slug}/models/reward/{number}/score", summary="Have a reward model score", responses=_DONE)
async def score(
    request: Request, response: Response, project: OwnedProject, number: Id, caller: Caller, db: Db, body: ScoreIn
) -> ErrandOut:
    """Scores of responses by any version of the reward model, in their order: `raw` as the model says it, `score` less
    its mean over responses for reference, in their deviations.
    """
    version = await models.numbered(db, project.id, "reward", number)
    pairs = [
        Pair([Message(message.role, message.content) for message in pair.messages], pair.response, pair.ended)
        for pair in body.pairs
    ]
    errand = await errands.score(db, caller.user_id, project, version, pairs)
    return await _answer(request, response, db, project, errand, body.wait_seconds)


@router.post("/projects/{slug}/errands", summary="Have several writers write", responses=_DONE)
async def ask_writers(
    request: Request, response: Response, project: OwnedProject, caller: Caller, db: Db, body: ErrandIn
) -> ErrandOut:
    """Responses of policies and served models to one prompt, with rewards by the reward model in use: the playground.

    It is forgotten a day later.
    """
    writing = body.writing([Writer.parse(text) for text in body.writers])
    errand = await errands.write(db, caller.user_id, project, writing)
    return await _answer(request, response, db, project, errand, body.wait_seconds)


@router.get("/projects/{slug}/errands/{errand_id}", summary="Read an errand")
async def read_errand(project: ManagedProject, errand_id: Id, db: Db) -> ErrandOut:
    """How far it is; 404 once it was forgotten."""
    return ErrandOut.of(await errands.get(db, project, errand_id))


@router.post(
    "/projects/{slug}/errands/{errand_id}/task",
    status_code=status.HTTP_201_CREATED,
    summary="Make a task of responses",
    responses={409: {"description": "A response isn't written, they are the same, or the prompt is held out."}},
)
async def make_task_of_errand(project: OwnedProject, errand_id: Id, db: Db, body: TaskIn) -> MadeTaskOut:
    """Puts responses of an errand before people, with their prompt; asked again, the same task."""
    errand = await errands.get(db, project, errand_id)
    task = await tasks_by_hand.make(db, project, errand, body.answers)
    return MadeTaskOut(task_id=task.id)


async def _answer(
    request: Request, response: Response, db: AsyncSession, project: Project, errand: Errand, wait_seconds: float
) -> ErrandOut:
    """What came of it within the time. No transaction is open, and no connection held, while it is waited for."""
    hub: Hub = request.app.state.hub
    until = time.monotonic() + wait_seconds
    async with hub.subscribe(project.id, last_event_id=hub.latest_id) as subscription:
        await db.commit()
        while errand.ended_at is None and (left := until - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await subscription.next()
            async with look_up(sessions_of(request)) as own:
                errand = await errands.get(own, project, errand.id)
    if errand.ended_at is None:
        response.status_code = status.HTTP_202_ACCEPTED
        response.headers["Location"] = f"/api/v1/projects/{project.slug}/errands/{errand.id}"
    return ErrandOut.of(errand)
