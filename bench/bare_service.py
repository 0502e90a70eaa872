"""The least that could serve the same tables: two endpoints, JSON, no sign-in, no page, no promise beyond the row lock.

    uvicorn bench.bare_service:create_app --factory

What the site's speed is compared with. A next task is one locking read, an update and an insert; an answer is one
statement.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI, Request
from pydantic import BaseModel
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from app.db.session import driver_url
from app.db.tables import Assignment, Completion, Project, Prompt, Task, TaskCompletion

SLUG = os.environ.get("BARE_PROJECT", "")

SUBMIT = text(
    """WITH closed AS (
           UPDATE assignments SET state = 'submitted', closed_at = now()
           WHERE id = :assignment AND state = 'leased' RETURNING *
       )
       INSERT INTO judgements (project_id, task_id, assignment_id, annotator_id, kind, choice, preference, shown_order,
                               idempotency_key, body_digest, guidelines_version, served_at)
       SELECT project_id, task_id, id, annotator_id, 'human', CAST(:choice AS smallint),
              4 - CAST(:choice AS smallint), shown_order,
              CAST(:key AS text), sha256(convert_to(CAST(:key AS text), 'UTF8')), guidelines_version, leased_at
       FROM closed RETURNING id"""
)


class Answer(BaseModel):
    assignment: int
    choice: int
    key: str


def create_app() -> FastAPI:
    app = FastAPI(lifespan=_lifespan, openapi_url=None)

    @app.get("/next")
    async def next_task(request: Request, annotator: int) -> dict[str, object]:
        async with request.app.state.sessions() as db, db.begin():
            texts = (
                select(func.array_agg(Completion.text))
                .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
                .where(TaskCompletion.task_id == Task.id)
                .scalar_subquery()
            )
            task = (
                await db.execute(
                    select(Task.id, Prompt.messages, texts.label("texts"))
                    .join(Prompt, Prompt.id == Task.prompt_id)
                    .where(
                        Task.project_id == request.app.state.project_id,
                        Task.purpose == "label",
                        Task.state == "open",
                        Task.taken < Task.quota,
                    )
                    .order_by(Task.priority.desc(), Task.id)
                    .limit(1)
                    .with_for_update(of=Task, skip_locked=True)
                )
            ).one()
            await db.execute(
                update(Task)
                .where(Task.id == task.id)
                .values(taken=Task.taken + 1)
                .execution_options(synchronize_session=False)
            )
            assignment = await db.scalar(
                insert(Assignment)
                .values(
                    project_id=request.app.state.project_id,
                    task_id=task.id,
                    annotator_id=annotator,
                    shown_order=[0, 1],
                    guidelines_version=1,
                    lease_expires_at=func.now() + timedelta(minutes=10),
                )
                .returning(Assignment.id)
            )
        return {"assignment": assignment, "prompt": task.messages, "texts": task.texts}

    @app.post("/submit", status_code=201)
    async def submit(request: Request, answer: Answer) -> dict[str, object]:
        async with request.app.state.sessions() as db, db.begin():
            judgement = await db.scalar(SUBMIT, answer.model_dump())
        return {"judgement": judgement}

    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = create_async_engine(driver_url(os.environ["DATABASE_URL"]), pool_size=20, max_overflow=0)
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with app.state.sessions() as db:
        app.state.project_id = await db.scalar(select(Project.id).where(Project.slug == SLUG))
    yield
    await engine.dispose()
