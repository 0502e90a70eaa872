"""Judges that are models for tests: how a served one replies, and pairs that people and machines judge."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import transaction
from app.db.tables import Judge, JudgeAnswer, Judgement, Project, Run, ServedModel, Task
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.judging.machines import judges
from app.services.loop.runs import starting
from app.services.served import served_models
from app.services.served.served_models import Description
from app.services.served.settings import Limits
from tests.factories import make_member, make_prompt, make_task
from tests.jobs.loop import Loop
from tests.served_endpoint import KEY, Asked, Reply, ServedEndpoint, says

GOOD, BAD = "Gently, in water.", "In a shoe."

Side = Callable[[dict[str, Any]], str]
"""From what a judge is shown, as JSON, to the side that it names."""


def shown(asked: Asked) -> dict[str, Any]:
    """The pair of a request."""
    found: dict[str, Any] = json.loads(asked.prompt)
    return found


def judging(side: Side) -> Callable[[Asked], Reply]:
    """A judge that gives a reason and ends with the side that it names."""
    return lambda asked: says(f"One of them is clearer.\n\nVERDICT: {side(shown(asked))}")


def consistent(pair: dict[str, Any]) -> str:
    """Prefers the good response, wherever it stands."""
    if pair["response_a"] == pair["response_b"]:
        return "TIE"
    return "A" if pair["response_a"].startswith(GOOD) else "B"


def side_biased(pair: dict[str, Any]) -> str:
    """Prefers what is shown first."""
    return "A"


class Judging:
    """A project whose pairs an endpoint judges."""

    def __init__(self, loop: Loop, home: Path) -> None:
        self.loop = loop
        self._home = home

    async def project(self, pairs: int, **settings: Any) -> Project:
        project = await self.loop.make_project(prompts=0, **settings)
        await self.add_pairs(project, pairs)
        return project

    async def add_pairs(self, project: Project, pairs: int) -> None:
        """Open pairs of a good response and a bad one, which stands first in every other."""

        async def make(db: AsyncSession) -> None:
            for number in range(pairs):
                prompt = await make_prompt(db, project)
                await make_task(db, project, *((GOOD, BAD) if number % 2 else (BAD, GOOD)), prompt=prompt)

        await self.loop.do(make)

    async def add(self, project: Project, endpoint: ServedEndpoint, *, name: str = "Vicuña", **limits: Any) -> Judge:
        async def make(db: AsyncSession) -> Judge:
            description = Description(name, endpoint.address, "m", limits=Limits(**limits))
            served = await served_models.create(db, project, description, key=KEY, home=self._home)
            return await judges.make(db, await db.get_one(Project, project.id), served)

        return await self.loop.do(make)

    async def queue(self, judge: Judge, *, pairs: int = 100) -> Run:
        async def queue(db: AsyncSession) -> Run:
            project = await db.get_one(Project, judge.project_id)
            return await starting.judge(db, None, project, judge, pairs=pairs)

        return await self.loop.do(queue)

    async def judge(self, judge: Judge, *, pairs: int = 100) -> Run:
        """A whole run."""
        return await self.loop.execute(await self.queue(judge, pairs=pairs))

    async def people_judge(self, project: Project, count: int, *, wrong: int = 0) -> None:
        """A new person judges pairs for the good response, the first `wrong` of them for the bad one."""
        async with transaction(self.loop.sessions) as db:
            person = await make_member(db, project)
        for number in range(count):
            async with transaction(self.loop.sessions) as db:
                leased = await assignments.lease_next(db, person, await db.get_one(Project, project.id))
                assert leased is not None
                seen = await assignments.view(db, person, leased.id)
                is_good_first = seen.panes[0][1] == GOOD
                choice = 2 if is_good_first == (number >= wrong) else 6
                await judgements.submit(
                    db, person, leased.id, Submission(Answer(choice), idempotency_key=f"{person.user_id}-{number}")
                )

    async def answers(self, judge: Judge) -> list[JudgeAnswer]:
        async def read(db: AsyncSession) -> Sequence[JudgeAnswer]:
            of_judge = select(JudgeAnswer).where(JudgeAnswer.judge_id == judge.id)
            return list(await db.scalars(of_judge.order_by(JudgeAnswer.task_id)))

        return list(await self.loop.do(read))

    async def judgements(self, judge: Judge) -> list[Judgement]:
        async def read(db: AsyncSession) -> Sequence[Judgement]:
            return list(
                await db.scalars(
                    select(Judgement).where(Judgement.annotator_id == judge.user_id).order_by(Judgement.task_id)
                )
            )

        return list(await self.loop.do(read))

    async def tasks(self, project: Project) -> list[Task]:
        async def read(db: AsyncSession) -> Sequence[Task]:
            return list(await db.scalars(select(Task).where(Task.project_id == project.id).order_by(Task.id)))

        return list(await self.loop.do(read))

    async def served(self, judge: Judge) -> ServedModel:
        return await self.loop.do(lambda db: db.get_one(ServedModel, judge.served_model_id))
